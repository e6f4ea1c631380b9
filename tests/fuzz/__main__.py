"""`make fuzz`: each parser for so many inputs, from a seed; a failure is told with its input."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.campaign import REACH_MIN, SLOW_SECONDS, run
from tests.fuzz.parsers import PARSERS


def main() -> int:
    """Runs all parsers; the exit status."""
    options = argparse.ArgumentParser(prog="make fuzz")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--count", type=int, default=100_000)
    options.add_argument("--seconds", type=float, default=3600.0)
    options.add_argument("--only", default="")
    given = options.parse_args()
    bad = False
    for parser in PARSERS:
        if given.only not in ("", parser.name):
            continue
        findings = run(parser, given.seed, given.seconds, given.count)
        sys.stdout.write(f"{findings}\n")
        for content, why in findings.failures:
            sys.stdout.write(f"  {why}\n  {content!r}\n")
        bad |= bool(findings.failures) or findings.slowest_seconds > SLOW_SECONDS or findings.reach < REACH_MIN
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
