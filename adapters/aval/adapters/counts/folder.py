"""A folder into which a house drops its sheet, and which is looked at for as long as the process lives.

A file goes through three folders beside it, always by a rename on the same file system, so that at any moment it is in
one place whole: `en-cours` once taken, then `traites` or `rejetes`, with a report of the same name beside it. What a
crash leaves in `en-cours` is told again under the same key, which the node answers by ALREADY.

A program should write under a name that begins with `.` or ends in `.tmp`, then rename. A person's copy into the
folder is not atomic: a file is taken only once two looks have found it of the same size and time. Looking rather than
being notified, because a house's folder is a network share more often than not, where notifications do not arrive.
"""

import os
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from aval.kernel.clock import Clock

LOOK_EVERY = timedelta(seconds=5)
"""How often the folder is looked at: a sheet is worth hours, and a share is not to be tired."""

FILES_A_LOOK_MAX = 100
"""Files taken in one look; the rest wait for the next, oldest first."""

FILE_BYTES_MAX = 1_048_576
"""Bytes of a file: the largest house has under 1,000 units, and a line of a sheet is about 60 bytes."""

KEPT_FILES_MAX = 2_000
"""Files kept in `traites` and in `rejetes`: a sheet an hour for more than two months. The oldest are removed."""

NAME_BYTES_MAX = 200
"""Bytes of a name that are kept: disks take 255, and our instant, a number and the report's ending come with it."""

TAKEN, DONE, REJECTED = "en-cours", "traites", "rejetes"
REPORT_SUFFIX = ".rapport.txt"
_PARTIAL = re.compile(r"^(\.|~\$).*|.*(\.tmp|\.part|\.crdownload|~)$", re.IGNORECASE)
_STAMP = "%Y%m%dT%H%M%S%f"
"""To the microsecond: what was taken earlier sorts before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a file: `report` is for the person who dropped it. None of `applied`: to be tried again."""

    applied: bool | None
    report: str


Handler = Callable[[bytes | None, str], Awaitable[Verdict]]
"""(content, the name that it was taken under) → what became of it. Applied twice under one name it changes nothing.

No content: a file that this process may not read, which waits for nothing and is to be rejected."""


@dataclass(slots=True)
class DropFolder:
    """One folder. `handle` says what becomes of a file's content; `notice` gets names of what people should know."""

    path: Path
    handle: Handler
    notice: Callable[[str, str], None]
    clock: Clock
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _told: set[tuple[str, str]] = field(default_factory=set)

    async def run(self) -> None:
        """Looks for ever. What a file or the disk does raises nothing: it is noticed, and tried at the next look."""
        while True:
            await self.look()
            await self.clock.sleep_until(self.clock.monotonic() + LOOK_EVERY.total_seconds())

    async def look(self) -> int:
        """One look: first what was left half done, then what is new; how many files came to their end."""
        try:
            for name in (TAKEN, DONE, REJECTED):
                (self.path / name).mkdir(exist_ok=True)
            left = sorted(entry.name for entry in os.scandir(self.path / TAKEN) if entry.is_file())
            left += [
                taken for name in self._ready()[: max(FILES_A_LOOK_MAX - len(left), 0)] if (taken := self._take(name))
            ]
        except OSError as error:
            self._note("folder-unusable", type(error).__name__)
            return 0
        ended = 0
        for name in left:
            if not await self._finish(name):
                break  # the node is away, or the disk: files keep their order
            ended += 1
        return ended

    def _ready(self) -> list[str]:
        """Files that nobody is writing any more, oldest first."""
        found: dict[str, tuple[int, int]] = {}
        for entry in os.scandir(self.path):
            if entry.is_file(follow_symlinks=False) and not _PARTIAL.match(entry.name):
                with suppress(FileNotFoundError):  # its writer has renamed or removed it meanwhile
                    status = entry.stat(follow_symlinks=False)
                    found[entry.name] = (status.st_size, status.st_mtime_ns)
        settled = [name for name, seen in found.items() if self._sizes.get(name) == seen]
        self._sizes = found
        return sorted(settled, key=lambda name: (found[name][1], name))

    def _take(self, name: str) -> str:
        """Moves a file into `en-cours` under a name of its own: the same name may come each morning."""
        stamp = self.clock.now().strftime(_STAMP)
        taken = _free_name(self.path / TAKEN, f"{stamp}-{_plain(name)}")
        try:
            (self.path / name).rename(self.path / TAKEN / taken)
        except OSError as error:
            self._note("file-not-movable", f"{name}: {type(error).__name__}")
            return ""
        self._sizes.pop(name, None)
        return taken

    async def _finish(self, name: str) -> bool:
        """Handles a file of `en-cours`; False to try again at the next look."""
        here = self.path / TAKEN / name
        try:
            verdict = await self.handle(_content(here), name)
        except OSError as error:
            self._note("file-unreadable", f"{name}: {type(error).__name__}")
            return False
        if verdict.applied is None:
            self._note("node-away", verdict.report)
            return False
        folder = self.path / (DONE if verdict.applied else REJECTED)
        try:
            ending = _free_name(folder, name)
            # The report first: a file in its last place has its report beside it, whatever happens in between.
            (folder / f"{ending}{REPORT_SUFFIX}").write_text(verdict.report, encoding="utf-8-sig")
            here.rename(folder / ending)
            _forget_oldest(folder)
        except OSError as error:
            self._note("folder-unusable", f"{folder.name}: {type(error).__name__}")
            return False
        self._told.clear()
        self.notice("applied" if verdict.applied else "rejected", name)
        return True

    def _note(self, what: str, detail: str) -> None:
        """Says a trouble once, until a file comes through again."""
        if (what, detail) not in self._told:
            self._told.add((what, detail))
            self.notice(what, detail)


def _content(path: Path) -> bytes | None:
    """A file's bytes, none where it may not be read. Raises OSError for what another look may cure."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except PermissionError:
        return None


def _plain(name: str) -> str:
    """A name that every disk, report and log takes, with the end that says what it is."""
    printable = "".join(letter if letter.isprintable() else "_" for letter in name)
    return printable.encode()[-NAME_BYTES_MAX:].decode(errors="ignore")


def _free_name(folder: Path, name: str) -> str:
    if not (folder / name).exists():
        return name
    stem, dot, ending = name.rpartition(".")
    base, suffix = (stem, dot + ending) if stem else (name, "")
    return next(made for count in range(2, 10_000) if not (folder / (made := f"{base}-{count}{suffix}")).exists())


def _forget_oldest(folder: Path) -> None:
    files = sorted(
        entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.endswith(REPORT_SUFFIX)
    )
    for name in files[:-KEPT_FILES_MAX]:
        (folder / f"{name}{REPORT_SUFFIX}").unlink(missing_ok=True)
        (folder / name).unlink(missing_ok=True)
