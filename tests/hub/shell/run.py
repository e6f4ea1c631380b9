"""Starts a hub or a node as its own process: `python -m tests.hub.shell.run hub|node SETTINGS`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    what, settings = sys.argv[1:]
    if what == "hub":
        from aval.hub.bootstrap import serve
    else:
        from aval.node.bootstrap import serve
    serve(Path(settings))
