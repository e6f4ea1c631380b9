"""A hospital's system that answers who is in a unit, page by page (IHE ITI-22), and notes what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from aval.adapters.hl7v2.meters import Meters
from aval.adapters.hl7v2.server import Limits, MllpServer
from aval.adapters.hl7v2.settings import server_context
from tests.adapters.hl7v2.messages import Adt


@dataclass
class Hospital:
    """Patients, and how many stand on a page. `spoilt`: texts of each answer, and what stands there instead; a `silent`
    one hangs up without an answer."""

    patients: Sequence[Adt]
    page: int = 2
    spoilt: tuple[tuple[str, str], ...] = ()
    silent: bool = False
    asked: list[str] = field(default_factory=list)

    async def take(self, frame: bytes) -> bytes:
        if self.silent:
            await asyncio.Event().wait()
        query = frame.decode()
        self.asked.append(query)
        segments = {line[:3]: line.split("|") for line in query.rstrip("\r").split("\r")}
        name, _, unit = segments["QPD"][3].partition("^")
        assert name == "@PV1.3.1"
        here = [one for one in self.patients if one.unit == unit]
        begin = int(segments["DSC"][1]) if "DSC" in segments else 0
        shown = here[begin : begin + self.page]
        answer = [
            f"MSH|^~\\&|GAM|CHU|AVAL|AVAL|20261123120000+0000||RSP^ZV2^RSP_ZV2|A{len(self.asked)}|P|2.5||||||8859/15",
            f"MSA|AA|{segments['MSH'][9]}",
            f"QAK|{segments['QPD'][2]}|{'OK' if here else 'NF'}",
            "|".join(segments["QPD"]),
        ]
        for patient in shown:
            of_message = {line[:3]: line for line in patient.text().split("\r")}
            answer += [of_message["PID"], "PD1|||CABINET", of_message["PV1"], of_message["PV2"], "QRI|99"]
        if begin + self.page < len(here):
            answer.append(f"DSC|{begin + self.page}|I")
        text = "\r".join(answer) + "\r"
        for old, new in self.spoilt:
            text = text.replace(old, new)
        return text.encode("iso8859-15")


@asynccontextmanager
async def answering(hospital: Hospital, tls: tuple[Path, Path, Path] | None = None) -> AsyncIterator[int]:
    """The hospital at its port, over real sockets."""
    context = None if tls is None else server_context(tls)
    server = MllpServer(hospital.take, Limits(answer_seconds=1.0), Meters(CollectorRegistry()), context)
    port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop()
