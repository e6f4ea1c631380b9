"""The drop folder over real files: each comes to one end, whole, with a report beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from aval.adapters.counts import DropFolder, Verdict
from aval.adapters.counts.folder import (
    DONE,
    FILE_BYTES_MAX,
    FILES_A_LOOK_MAX,
    KEPT_FILES_MAX,
    LOOK_EVERY,
    REJECTED,
    REPORT_SUFFIX,
    TAKEN,
)
from tests.adapters.demo.hand_clock import HandClock
from tests.waiting import until

UNPRIVILEGED = 65534
"""The user `nobody`, whose rights tests take where they run as root: root may read everything."""


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """Without root's rights but those on a folder, if these are root's."""
    user = os.geteuid()
    if user == 0:
        os.chown(folder, UNPRIVILEGED, -1)
        os.seteuid(UNPRIVILEGED)
    try:
        yield
    finally:
        os.seteuid(user)


class Desk:
    """Says what becomes of a file by its content, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, bytes | None]] = []
        self.away = False

    async def handle(self, content: bytes | None, name: str) -> Verdict:
        if self.away:
            return Verdict(None, "NODE_UNREACHABLE")
        self.given.append((name, content))
        return Verdict(content == b"good", "compte rendu\r\n")


class Scene:
    """A folder, its desk, and what was noticed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.desk = Desk()
        self.noticed: list[tuple[str, str]] = []
        self.clock = HandClock(datetime(2026, 11, 24, 7, 30, tzinfo=UTC))
        self.folder = self.reopened()

    def reopened(self) -> DropFolder:
        self.folder = DropFolder(self.path, self.desk.handle, lambda *notice: self.noticed.append(notice), self.clock)
        return self.folder

    def drop(self, name: str, content: bytes = b"good") -> Path:
        (self.path / name).write_bytes(content)
        return self.path / name

    async def settle(self) -> int:
        """Two looks: a file is taken when both find it the same."""
        ended = await self.folder.look()
        self.clock.advance(LOOK_EVERY)
        return ended + await self.folder.look()

    def within(self, name: str) -> list[str]:
        return sorted(path.name.partition("-")[2] for path in (self.path / name).iterdir())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_good_sheet_and_a_bad_one_come_to_their_ends_with_reports(scene: Scene) -> None:
    scene.drop("lits.csv")
    scene.drop("faux.csv", b"bad")
    assert await scene.settle() == 2
    assert scene.within(DONE) == ["lits.csv", f"lits.csv{REPORT_SUFFIX}"]
    assert scene.within(REJECTED) == ["faux.csv", f"faux.csv{REPORT_SUFFIX}"]
    assert scene.within(TAKEN) == []
    report = next((scene.path / REJECTED).glob(f"*{REPORT_SUFFIX}"))
    assert report.read_bytes() == b"\xef\xbb\xbfcompte rendu\r\n"
    assert {what for what, _ in scene.noticed} == {"applied", "rejected"}
    assert await scene.settle() == 0
    assert len(scene.desk.given) == 2


async def test_a_half_written_file_waits_until_two_looks_agree(scene: Scene) -> None:
    path = scene.drop("lits.csv", b"go")
    assert await scene.folder.look() == 0
    with path.open("ab") as file:
        file.write(b"od")
        file.flush()
        assert await scene.folder.look() == 0, "it has grown since the last look"
    assert await scene.folder.look() == 1
    assert scene.desk.given[0][1] == b"good"


@pytest.mark.parametrize("name", [".lits.csv", "lits.csv.tmp", "lits.csv.part", "~$lits.csv", "lits.csv~"])
async def test_a_name_in_the_making_is_left_alone_until_it_is_renamed(scene: Scene, name: str) -> None:
    path = scene.drop(name)
    assert await scene.settle() == 0
    path.rename(scene.path / "lits.csv")
    assert await scene.settle() == 1


async def test_the_same_name_twice_keeps_both(scene: Scene) -> None:
    for _ in range(3):
        scene.drop("lits.csv")
        assert await scene.settle() == 1
    assert len(list((scene.path / DONE).glob("*lits*.csv"))) == 3
    assert len({name for name, _ in scene.desk.given}) == 3, "each is told under a name of its own"


async def test_an_empty_file_a_read_only_one_and_a_folder(scene: Scene) -> None:
    scene.drop("vide.csv", b"")
    scene.drop("protege.csv").chmod(0o444)
    (scene.path / "ancien").mkdir()
    (scene.path / "lien.csv").symlink_to(scene.path / "ancien")
    assert await scene.settle() == 2
    assert scene.within(REJECTED) == ["vide.csv", f"vide.csv{REPORT_SUFFIX}"]
    assert scene.within(DONE) == ["protege.csv", f"protege.csv{REPORT_SUFFIX}"]


async def test_a_file_too_large_is_not_read_whole(scene: Scene) -> None:
    scene.drop("gros.csv", b"x" * (FILE_BYTES_MAX + 4096))
    assert await scene.settle() == 1
    assert len(scene.desk.given[0][1] or b"") == FILE_BYTES_MAX + 1


async def test_whatever_a_file_is_called_it_stops_no_other(scene: Scene) -> None:
    names = ["é" * 125 + ".csv", "a\nb.csv", os.fsdecode(b"Unit\xe9.csv"), "lits.csv"]
    for name in names:
        scene.drop(name)
    assert await scene.settle() == len(names)
    ended = [path.name for path in (scene.path / DONE).iterdir()]
    assert len(ended) == 2 * len(names)
    assert all(name.isprintable() and name.endswith((".csv", REPORT_SUFFIX)) for name in ended)


async def test_a_file_that_may_not_be_read_is_rejected_and_stops_no_other() -> None:
    with TemporaryDirectory() as path:  # pytest's own lies below one that only its user enters
        scene = Scene(Path(path))
        scene.drop("secret.csv").chmod(0)
        scene.drop("lits.csv").chmod(0o644)
        with nobody(scene.path):
            assert await scene.settle() == 2
        assert scene.within(REJECTED) == ["secret.csv", f"secret.csv{REPORT_SUFFIX}"]
        assert scene.within(DONE) == ["lits.csv", f"lits.csv{REPORT_SUFFIX}"]


RESTLESS = """
import contextlib, os, sys
while True:
    open(sys.argv[1], "w").close()
    with contextlib.suppress(FileNotFoundError):
        os.remove(sys.argv[1])
"""


async def test_a_file_that_is_gone_when_it_is_looked_at_is_no_trouble_of_the_folder(scene: Scene) -> None:
    path = scene.path / "lits.csv"
    restless = await asyncio.create_subprocess_exec(sys.executable, "-c", RESTLESS, str(path))
    try:
        await until(path.exists, "it comes and goes")
        for _ in range(2000):
            await scene.folder.look()
    finally:
        restless.kill()
        await restless.wait()
    assert "folder-unusable" not in {what for what, _ in scene.noticed}


async def test_while_the_node_is_away_files_wait_in_their_order_and_it_is_said_once(scene: Scene) -> None:
    scene.desk.away = True
    scene.drop("un.csv")
    await scene.settle()
    scene.drop("deux.csv")
    await scene.settle()
    assert scene.noticed == [("node-away", "NODE_UNREACHABLE")]
    scene.desk.away = False
    assert await scene.folder.look() == 2
    assert [name.partition("-")[2] for name, _ in scene.desk.given] == ["un.csv", "deux.csv"]


async def test_what_a_crash_left_half_done_is_told_again_under_its_name(scene: Scene) -> None:
    scene.drop("lits.csv")
    scene.desk.away = True
    await scene.settle()  # taken, and then the process dies
    taken = [path.name for path in (scene.path / TAKEN).iterdir()]
    scene.desk.away = False
    scene.reopened()
    assert await scene.folder.look() == 1
    assert [name for name, _ in scene.desk.given] == taken


async def test_a_folder_that_cannot_be_used_is_said_and_harms_nothing(scene: Scene) -> None:
    (scene.path / TAKEN).write_bytes(b"a file where a folder is to be")
    scene.drop("lits.csv")
    assert await scene.settle() == 0
    assert scene.noticed == [("folder-unusable", "FileExistsError")]
    (scene.path / TAKEN).unlink()
    assert await scene.settle() == 1


async def test_a_crowd_is_taken_in_turns_and_the_oldest_ends_are_forgotten(scene: Scene) -> None:
    for number in range(FILES_A_LOOK_MAX + 10):
        scene.drop(f"{number:03}.csv")
    (scene.path / DONE).mkdir()
    for number in range(KEPT_FILES_MAX):
        (scene.path / DONE / f"19990101T000000-{number}.csv").touch()
        (scene.path / DONE / f"19990101T000000-{number}.csv{REPORT_SUFFIX}").touch()
    assert await scene.settle() == FILES_A_LOOK_MAX
    assert await scene.settle() == 10
    kept = [path.name for path in (scene.path / DONE).iterdir()]
    assert len(kept) == 2 * KEPT_FILES_MAX
    assert sum(not name.startswith("1999") for name in kept) == 2 * (FILES_A_LOOK_MAX + 10)
