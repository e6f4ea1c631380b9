"""The contract's code is made again when a ``.proto`` file changed, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from hatch_build import CONTRACT, SUFFIXES, generate

BED = 'syntax = "proto3";\npackage aval.v1;\nmessage Bed { string name = 1; }\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / CONTRACT).mkdir(parents=True)
    (tmp_path / CONTRACT / "bed.proto").write_text(BED)
    return tmp_path


def _generated(root: Path) -> set[str]:
    return {path.name for path in (root / CONTRACT).glob("*_pb2*")}


def test_each_file_gives_its_four_and_leaves_nothing_beside_them(root: Path) -> None:
    assert generate(root)
    assert _generated(root) == {f"bed{suffix}" for suffix in SUFFIXES}
    assert {path.name for path in root.iterdir()} == {"aval", ".generated"}


def test_nothing_is_done_while_nothing_changed(root: Path) -> None:
    assert generate(root)
    assert not generate(root)


def test_a_change_and_a_lost_file_are_both_noticed(root: Path) -> None:
    generate(root)
    (root / CONTRACT / "bed.proto").write_text(BED.replace("name = 1", "name = 2"))
    assert generate(root)
    (root / CONTRACT / "bed_pb2.pyi").unlink()
    assert generate(root)
    assert _generated(root) == {f"bed{suffix}" for suffix in SUFFIXES}


def test_what_a_removed_file_gave_goes_with_it(root: Path) -> None:
    (root / CONTRACT / "room.proto").write_text(BED.replace("Bed", "Room"))
    generate(root)
    (root / CONTRACT / "room.proto").unlink()
    assert generate(root)
    assert _generated(root) == {f"bed{suffix}" for suffix in SUFFIXES}


def test_a_file_that_protoc_refuses_is_an_error_each_time(root: Path) -> None:
    generate(root)
    (root / CONTRACT / "bed.proto").write_text(BED.replace("string", "strung"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="protoc refused"):
            generate(root)
