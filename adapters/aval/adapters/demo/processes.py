"""A whole territory as processes of this machine: a hub, a node for each establishment, and what feeds them.

All of it lies under one folder, made by `building`; databases and logs come beside the settings. Each server is `aval …
serve` of its own, in its own session, so that it outlives who started it. A server says in its `.ready.json` that it
serves. Whoever finds the folder later can stop everything (`Territory.open`): a process is known by its number *and* by
the settings file in its command line, so that no stranger's process is ever touched.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import msgspec

from aval.adapters.demo.building import (
    FEED,
    HUB,
    STATE_FILE,
    TERRITORY_FILE,
    WAY,
    Record,
    Server,
    bundle_of,
    write_record,
)
from aval.adapters.demo.ways import Way
from aval.adapters.dial import Caller
from aval.adapters.territory import HousePlan, TerritoryFile, house_plan, load
from aval.kernel.statuses import SourceKind

STARTS_AT_ONCE = 4
"""Servers starting together: twice the cores of a small machine, since each waits for its disk half of the time."""

READY_SECONDS_MAX = 60.0
"""How long a server may take to serve: one takes about a second, forty on two busy cores share them."""

STOP_SECONDS_MAX = 15.0
"""How long a server may take to stop by itself; it drains for 10 s at most. Then it is killed."""

LOOK_SECONDS = 0.02
"""Between two looks at a file or a process."""


class StartFailed(RuntimeError):
    """A server did not start; the text holds the end of its log."""


class Ready(msgspec.Struct, frozen=True):
    """What a server says of itself once it serves."""

    pid: int
    port: int
    metrics_port: int = 0
    certificate_serial: str = ""
    database: str = ""


class Territory:
    """A territory under a folder, with its processes: those that this program starts, and those found running."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder = folder
        self.record = record
        self.file: TerritoryFile = load(folder / TERRITORY_FILE)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The territory that was built there. Raises FileNotFoundError."""
        return cls(folder, msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=Record))

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def hub(self) -> Server:
        """The hub."""
        return self.record.servers[HUB]

    @property
    def houses(self) -> list[str]:
        """FINESS of all establishments, in the file's order."""
        return [establishment.finess for establishment in self.file.establishments]

    def node(self, finess: str) -> Server:
        """The node of an establishment. Raises KeyError."""
        return self.record.servers[finess]

    def person(self, name: str) -> Path:
        """The bundle of someone, by the names of `building`."""
        return bundle_of(self.folder, name)

    def caller(self, name: str) -> Caller:
        """Someone who dials; made and used within a running event loop."""
        return Caller(self.person(name))

    def plan(self, finess: str) -> HousePlan:
        """What a house is to declare. Raises KeyError."""
        plan = house_plan(self.file, finess)
        return replace(plan, source=SourceKind.FILE) if self.record.ways.get(finess) is Way.SHEET else plan

    def save(self) -> None:
        """Writes down what runs."""
        write_record(self.folder, self.record)

    # ------------------------------------------------------------------------------------------------ its processes

    async def start(self, keys: Iterable[str], told: Callable[[Server, Ready], None] | None = None) -> None:
        """Starts servers, a few at a time; returns when all serve. Raises `StartFailed`."""
        gate = asyncio.Semaphore(STARTS_AT_ONCE)

        async def one(key: str) -> None:
            async with gate:
                self.launch(key)
                ready = await self.wait_ready(key)
                if told is not None:
                    told(self.record.servers[key], ready)

        # A few tasks and no group: the first failure is the one to tell, and `down` cleans up whatever runs.
        try:
            await asyncio.gather(*(one(key) for key in keys))
        finally:
            self.save()

    def launch(self, key: str) -> subprocess.Popen[bytes]:
        """Starts one process and does not wait for it."""
        server = self.record.servers[key]
        if (former := self._children.get(key)) is not None:
            former.poll()  # somebody else may have killed it: its status is taken before it is forgotten
        self.ready_path(server).unlink(missing_ok=True)
        with self.log_path(server).open("ab") as log:
            child = subprocess.Popen(
                self.command(server),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "AVAL_CONTEXTS": str(self.folder / "contexts.toml")},
                stdout=log,
                stderr=log,
                start_new_session=True,
                close_fds=True,
            )
        self._children[key] = child
        self.record.servers[key] = msgspec.structs.replace(server, pid=child.pid)
        return child

    def command(self, server: Server) -> list[str]:
        """The command line of a server; its settings come last, by which it is known."""
        return [sys.executable, "-m", "aval.adapters.cli", *server.arguments, server.config]

    async def wait_ready(self, key: str) -> Ready:
        """What a server said of itself once it served. Raises `StartFailed`."""
        server = self.record.servers[key]
        end = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < end:
            ready = self.ready(key)
            if ready is not None:
                return ready
            child = self._children.get(key)
            if child is not None and child.poll() is not None:
                break
            await asyncio.sleep(LOOK_SECONDS)
        raise StartFailed(f"{server.name} ({key}) : {log_end(self.log_path(server))}")

    def ready(self, key: str) -> Ready | None:
        """What a server says of itself now; None if it does not serve."""
        server = self.record.servers[key]
        try:
            ready = msgspec.json.decode(self.ready_path(server).read_bytes(), type=Ready)
        except (OSError, msgspec.DecodeError):
            return None
        return ready if ready.pid == server.pid else None

    def is_alive(self, key: str) -> bool:
        """Whether its process runs."""
        return runs(self.record.servers[key])

    def memory_bytes(self, key: str) -> int | None:
        """What its process holds in memory; None where the system does not say it in /proc."""
        try:
            status = Path(f"/proc/{self.record.servers[key].pid}/status").read_text(encoding="utf-8")
        except OSError:
            return None
        match = re.search(r"^VmRSS:\s*(\d+) kB", status, re.MULTILINE)
        return int(match[1]) * 1024 if match is not None else None

    def signal(self, key: str, number: int) -> None:
        """Sends a signal to its process, if it is still that process."""
        server = self.record.servers[key]
        if runs(server):
            os.kill(server.pid, number)

    async def ended(self, key: str, within_seconds: float) -> int | None:
        """The status with which a process of ours ended (−9 when killed); None if it runs on, or was not our child."""
        end = time.monotonic() + within_seconds
        child = self._children.get(key)
        while time.monotonic() < end:
            if child is not None and child.poll() is not None:
                return child.returncode
            if child is None and not self.is_alive(key):
                return None
            await asyncio.sleep(LOOK_SECONDS)
        return None

    async def kill(self, key: str) -> int | None:
        """kill -9; the status."""
        self.signal(key, signal.SIGKILL)
        return await self.ended(key, STOP_SECONDS_MAX)

    async def stop(self, key: str) -> int | None:
        """SIGTERM, then the status; killed if it does not stop in time."""
        self.signal(key, signal.SIGTERM)
        status = await self.ended(key, STOP_SECONDS_MAX)
        if status is None and self.is_alive(key):
            return await self.kill(key)
        return status

    async def down(self) -> None:
        """Stops all and removes the folder. Nothing remains."""
        ways = [f"{WAY}{finess}" for finess in self.record.ways]
        keys = [key for key in (FEED, *ways, *self.houses, HUB) if key in self.record.servers]
        for key in keys:
            self.signal(key, signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS_MAX
        while any(self.is_alive(key) for key in keys) and time.monotonic() < end:
            self._reap()
            await asyncio.sleep(LOOK_SECONDS)
        for key in keys:
            self.signal(key, signal.SIGKILL)
        while any(self.is_alive(key) for key in keys):
            self._reap()
            await asyncio.sleep(LOOK_SECONDS)
        for child in self._children.values():
            child.wait()
        shutil.rmtree(self.folder)
        if self.folder.parent.name == ".aval":
            with suppress(OSError):  # something else lies in it: it stays
                self.folder.parent.rmdir()

    def ready_path(self, server: Server) -> Path:
        """Where a server says that it serves."""
        if server.key == FEED:
            return self.folder / "feed.ready.json"
        config = Path(server.config)
        return config.with_name(f"{config.stem}.ready.json")

    def log_path(self, server: Server) -> Path:
        """Where what it writes goes."""
        return self.folder / "feed.log" if server.key == FEED else Path(server.config).with_suffix(".log")

    def move_node(self, finess: str, address: str, announce: str | None = None) -> None:
        """Writes where a stopped node listens from its next start, and what it announces, if that is another address.

        Behind a relay it must listen elsewhere: a hub that dials its former address again would go past the relay.
        """
        path = Path(self.node(finess).config)
        text = re.sub(r"^(announce_address|listen) = .*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        line = f'announce_address = "{announce}"\n' if announce else ""
        path.write_text(f'listen = "{address}"\n{line}{text}', encoding="utf-8")
        self.record.servers[finess] = msgspec.structs.replace(self.node(finess), address=address)

    def _reap(self) -> None:
        for child in self._children.values():
            child.poll()


def runs(server: Server) -> bool:
    """Whether the process of that number is the server: its command line ends with its own settings."""
    if server.pid <= 0:
        return False
    try:
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        # No /proc (macOS): the same by ps, which prints nothing for a number that is no process.
        shown = subprocess.run(
            ["/bin/ps", "-o", "command=", "-p", str(server.pid)], capture_output=True, check=False
        ).stdout
        command = shown.strip().split(b" ")
    return command[-1:] == [server.config.encode()]


def log_end(path: Path, length: int = 600) -> str:
    """The end of a log."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")[-length:].strip() or "rien dans son journal"
    except OSError:
        return "pas de journal"
