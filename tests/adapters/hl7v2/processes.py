"""A real node and a real HL7 interface beside it, each a process with its certificate and its database."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

import msgspec

from aval.adapters.clock import SystemClock
from aval.adapters.hl7v2.sending import Sender, code_of
from aval.adapters.pki import issue
from aval.kernel.identity import Adapter
from aval.v1 import availability_pb2, census_pb2, terms_pb2
from tests.adapters.hl7v2.core import BEDS_OF_A_UNIT
from tests.adapters.hl7v2.messages import Adt
from tests.node.shell.processes import HERE, HOUSE, MARIE, NodeProcess, Ready
from tests.scenarios.line import Line
from tests.waiting import PATIENCE_SECONDS, until

UNIT = f"establishments/{HOUSE}/units/U1"
MAPPING = 'unknown_beds = ["ZGEN"]\n[[unit]]\ncodes = ["1050"]\nunit = "U1"\nbed = "{room}-{bed}"\n'


class _Served(msgspec.Struct):
    pid: int
    port: int
    metrics_port: int


class Interface:
    """Both processes. The adapter reaches the node by `line`, which a test can spoil."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "hl7"
        self.folder.mkdir()
        (folder / "node").mkdir()
        self.node = NodeProcess(folder / "node")
        self.process: asyncio.subprocess.Process | None = None
        self.served: _Served | None = None
        self.line: Line | None = None

    async def begin(self, **settings: str) -> None:
        """Starts the node with a unit of beds, and the adapter."""
        ready: Ready = await self.node.start()
        await declare_unit(self.node)
        self.line = Line(f"127.0.0.1:{ready.port}")
        now = SystemClock().now()
        issue(self.node.authority, Adapter(HERE, HOUSE, "gam"), now - timedelta(minutes=1)).write(self.folder / "gam")
        (self.folder / "map.toml").write_text(MAPPING)
        written = {
            "finess": f'"{HOUSE}"', "node": f'"{self.line.address}"', "identity": '"gam"', "source": '"gam"',
            "mapping": '"map.toml"', "listen": '"127.0.0.1:0"', "clear_text": "true", **settings,
        }  # fmt: skip
        (self.folder / "hl7.toml").write_text("".join(f"{name} = {value}\n" for name, value in written.items()))
        await self.start()

    async def start(self) -> None:
        """Starts the adapter, and returns once it listens."""
        with (self.folder / "hl7.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "aval.adapters.cli", "hl7", "serve", "--config", self.folder / "hl7.toml",
                stdout=log, stderr=log,
            )  # fmt: skip
        path = self.folder / "hl7.ready.json"

        def is_ready() -> bool:
            assert self.process is not None
            if self.process.returncode is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self.log()}")
            return path.exists() and msgspec.json.decode(path.read_bytes(), type=_Served).pid == self.process.pid

        await until(is_ready, "the interface to serve")
        self.served = msgspec.json.decode(path.read_bytes(), type=_Served)

    def sender(self) -> Sender:
        assert self.served is not None
        return Sender("127.0.0.1", self.served.port)

    async def send(self, *messages: Adt) -> list[str]:
        """The acknowledgement codes of messages sent on one connection."""
        async with self.sender() as line:
            return [code_of(await line.send(message.frame())) for message in messages]

    async def kill(self) -> None:
        """Ends the adapter as a power cut would."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """Ends the adapter as its operator would; its status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def end(self) -> None:
        await self.stop()
        if self.line is not None:
            self.line.close()
        await self.node.stop()

    def log(self) -> str:
        return (self.folder / "hl7.log").read_text()

    async def census(self) -> tuple[dict[str, str], terms_pb2.Cursor]:
        """Bed → stay key, and where the node's history stands."""
        caller = self.node.caller(MARIE)
        try:
            beds = await caller.census.ListBeds(
                census_pb2.ListBedsRequest(parent=UNIT, page_size=1000), timeout=PATIENCE_SECONDS
            )
            units = await caller.availability.ListUnits(
                availability_pb2.ListUnitsRequest(parent="establishments/-"), timeout=PATIENCE_SECONDS
            )
        finally:
            await caller.close()
        taken = {bed.name.rpartition("/")[2]: bed.stay_key for bed in beds.beds if bed.stay_key}
        return taken, units.cursors[0] if units.cursors else terms_pb2.Cursor()


async def declare_unit(node: NodeProcess, unit: str = "U1", beds: int = BEDS_OF_A_UNIT) -> None:
    """A unit of beds fed by the adapter `gam`."""
    name = f"establishments/{HOUSE}/units/{unit}"
    rooms = [
        census_pb2.Room(
            id=f"{100 + room}",
            rule=census_pb2.ROOM_RULE_MIXED,
            beds=[
                census_pb2.Bed(
                    name=f"{name}/beds/{100 + room}-{bed}", room=f"{100 + room}", gender=terms_pb2.GENDER_ANY
                )
                for bed in (1, 2)
            ],
        )
        for room in range(beds // 2)
    ]
    source = census_pb2.SourceDeclaration(
        id="gam", kind=availability_pb2.SOURCE_KIND_PATIENT_RECORD, adapter="gam"
    )  # fmt: skip
    caller = node.caller(MARIE)
    try:
        await caller.census.DeclareUnit(
            census_pb2.DeclareUnitRequest(
                command_id=f"00000000-0000-4000-8000-{abs(hash(unit)) % 10**12:012d}",
                name=name,
                display_name=unit,
                discipline=terms_pb2.DISCIPLINE_MEDICINE,
                counting=availability_pb2.COUNTING_BEDS,
                rooms=rooms,
                sources=[source],
            ),
            timeout=PATIENCE_SECONDS,
        )
    finally:
        await caller.close()
