"""Builds the Python code of the contract from ``aval/v1/*.proto``.

Generated code is not committed, so that nobody can change it by hand. One function, ``generate``, makes it for both of
its callers: the hatch hook below, when the distribution is installed or built, and ``make proto``, which runs this
file. It works in a temporary folder and moves each finished file into place, so that a program that imports the
contract meanwhile never sees half a file; and it does nothing while neither a ``.proto`` nor a generator has changed.
"""

from __future__ import annotations

import hashlib
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
CONTRACT = Path("aval", "v1")
STAMP = ".generated"
"""Beside this file: the digest of what the present generated code was made from."""

SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
GENERATORS = ("grpcio-tools", "mypy-protobuf", "protobuf")
PLUGINS = {"mypy": "main", "mypy_grpc": "grpc"}
"""protoc's name of each plugin of mypy-protobuf → the function of ``mypy_protobuf.main`` that it is."""


class ContractBuildHook(BuildHookInterface[Any]):
    """Generates the contract's code before hatch collects files, for an editable install as for a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatch with the kind of build (``standard`` or ``editable``), which makes no difference here."""
        generate()


def generate(root: Path = ROOT) -> bool:
    """Brings the generated code under ``root`` up to date with its ``.proto`` files; says whether it had to.

    Raises ``RuntimeError`` when protoc refuses a file; what protoc said is then on standard error.
    """
    protos = sorted((root / CONTRACT).glob("*.proto"))
    digest = _digest(protos)
    stamp = root / STAMP
    wanted = {proto.with_name(proto.stem + suffix) for proto in protos for suffix in SUFFIXES}
    if all(path.exists() for path in wanted) and stamp.exists() and stamp.read_text() == digest:
        return False
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".generating-") as folder:
        made = Path(folder)
        if protos:
            _protoc(root, protos, made)
        for path in (root / CONTRACT).glob("*_pb2*.py*"):
            if path not in wanted:
                path.unlink()
        for path in sorted((made / CONTRACT).glob("*")):
            path.replace(root / CONTRACT / path.name)
        (made / STAMP).write_text(digest)
        (made / STAMP).replace(stamp)
    return True


def _digest(protos: Iterable[Path]) -> str:
    """What the outcome depends on: this program, the generators' versions, each file's name and content."""
    whole = hashlib.sha256(Path(__file__).read_bytes())
    for generator in GENERATORS:
        whole.update(f"{generator} {version(generator)}\n".encode())
    for proto in protos:
        whole.update(f"{proto.name} {hashlib.sha256(proto.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _protoc(root: Path, protos: list[Path], made: Path) -> None:
    # Imported here: hatch loads this file also to read metadata, when no generator is needed.
    import grpc_tools
    from grpc_tools import protoc

    arguments = [
        "protoc",
        f"--proto_path={root}",
        f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}",
        f"--python_out={made}",
        f"--grpc_python_out={made}",
        f"--mypy_out=quiet:{made}",
        # Every server and client of ours runs on grpc.aio: stubs for the blocking API would only invite its use.
        f"--mypy_grpc_out=quiet,only_async:{made}",
        *_plugins(made),
        *(str(proto) for proto in protos),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc refused the contract; its own words are above")


def _plugins(made: Path) -> Iterator[str]:
    """protoc runs a plugin as a program of its own; these two run the very packages that this interpreter imports.

    Looking the installed scripts up on PATH would find another environment's when ours is not activated.
    """
    for name, function in PLUGINS.items():
        script = made / f"protoc-gen-{name}"
        code = f"from mypy_protobuf.main import {function}; {function}()"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        yield f"--plugin=protoc-gen-{name}={script}"


if __name__ == "__main__":
    generate()
