"""A desk over a real inbox and a node of the test's choice, and what is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from aval.adapters.hl7v2.desk import Census, Desk
from aval.adapters.hl7v2.inbox import Inbox
from aval.adapters.hl7v2.mapping import mapping_of
from aval.adapters.hl7v2.meaning import Customs, understand
from aval.adapters.hl7v2.meters import Meters
from aval.adapters.hl7v2.reading import parse
from aval.adapters.hl7v2.telling import Teller
from tests.adapters.demo.hand_clock import HandClock
from tests.adapters.hl7v2.core import HOUSE
from tests.adapters.hl7v2.days import MAPPING
from tests.adapters.hl7v2.messages import CUSTOMS, Adt, at


@asynccontextmanager
async def desk_of(
    folder: Path,
    census: Census,
    clock: HandClock | None = None,
    mapping: Mapping[str, object] = MAPPING,
    first_number: int = 1,
    customs: Customs = CUSTOMS,
) -> AsyncIterator[Desk]:
    """A desk at work."""
    inbox = Inbox(folder / "hl7.db", first_number)
    clock = clock or HandClock(at(12))
    meters = Meters(CollectorRegistry())
    desk = Desk(inbox, census, mapping_of(mapping), customs, Teller(f"establishments/{HOUSE}", "gam"), clock, meters)
    working = asyncio.create_task(desk.run())
    try:
        await desk.ready.wait()
        yield desk
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await inbox.close()


def stay_of(visit: str) -> str:
    """The key under which a visit is known at the node."""
    said = understand(parse(Adt("A03", visit, at(1), "M").text()), CUSTOMS).said
    return said[0].visit


async def give(desk: Desk, messages: Iterable[Adt]) -> list[str]:
    """The acknowledgement codes, in order; each message is given once the one before is answered."""
    return [code_of(await desk.take(message.frame())) for message in messages]


async def give_at_once(desk: Desk, messages: Sequence[Adt]) -> list[str]:
    """The same, all given at once: the desk keeps their order for each visit."""
    answers = await asyncio.gather(*(desk.take(message.frame()) for message in messages))
    return [code_of(answer) for answer in answers]


def code_of(answer: bytes | None) -> str:
    """MSA-1."""
    assert answer is not None
    return answer.partition(b"MSA|")[2][:2].decode()
