"""After a restore: units to compare with reality, `aval units unverified|verify`; reservations without a request,
`aval hub orphans`.
"""

from functools import partial
from uuid import uuid4

import click

from aval.adapters.cli.command import verb
from aval.adapters.cli.needs import enum_name, short_unit, unit_name
from aval.adapters.cli.reservations import row
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Terminal, fields_of, plain
from aval.adapters.cli.words import now, say, speech
from aval.adapters.dial import pages
from aval.v1 import availability_pb2, census_pb2, request_pb2, reservation_pb2


@verb(
    "unverified",
    key="help.units.unverified",
    examples=("aval units unverified", "aval units unverified --json unit,reservations"),
    reads=fields_of(census_pb2.UnverifiedUnit.DESCRIPTOR),
)
def unverified(terminal: Terminal) -> None:
    """Units of the own house that nobody has compared with reality since its node was restored."""

    async def work(session: Session) -> list[census_pb2.UnverifiedUnit]:
        request = census_pb2.ListUnverifiedUnitsRequest(parent=f"establishments/{session.finess}")
        call = partial(session.ask, session.node().census.ListUnverifiedUnits)
        return [one async for page in pages(call, request) for one in page.units]

    units = connected(terminal, work)
    if terminal.is_json:
        terminal.objects([plain(one) for one in units])
        return
    if not units:
        terminal.tell(say("unverified.none"))
    for one in units:
        since = speech().moment(one.since_time.ToDatetime(tzinfo=now().tzinfo), now())
        terminal.line(say("unverified.unit", unit=short_unit(one.unit), moment=since))
        for reservation in one.reservations:
            terminal.line(f"  {_reinstated(reservation)}")
        if one.unheard:
            terminal.line(f"  {say('unverified.unheard', count=len(one.unheard))}")
        terminal.tell(f"  {say('try', command=f'aval units verify {short_unit(one.unit)}')}")


def _reinstated(one: census_pb2.ReinstatedReservation) -> str:
    known, found = _state(one.known), _state(one.found) if one.found else say("unverified.unknown")
    key = "unverified.taken" if one.taken else "unverified.stays"
    said = say(key, reference=one.reference, known=known, found=found)
    return f"{said} {say('unverified.conflict')}" if one.conflict else said


def _state(number: reservation_pb2.Reservation.State.ValueType) -> str:
    return speech().state(enum_name(reservation_pb2.Reservation.State, number, "STATE_"))


@verb(
    "verify",
    key="help.units.verify",
    examples=("aval units verify U107", "aval units verify 540000023/U107 --json name,freshness"),
    reads=fields_of(availability_pb2.Unit.DESCRIPTOR),
    writes=True,
)
@click.argument("unit")
def verify(terminal: Terminal, unit: str) -> None:
    """Says that a unit's beds and reservations have been compared with reality."""

    async def work(session: Session) -> availability_pb2.Unit | None:
        message = census_pb2.VerifyUnitRequest(command_id=str(uuid4()), name=unit_name(unit, session.finess))
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return None
        return await session.ask(session.node().census.VerifyUnit, message)

    verified = connected(terminal, work)
    if verified is None:
        return
    if terminal.is_json:
        terminal.one_object(plain(verified))
    else:
        terminal.line(say("unverified.done", unit=short_unit(verified.name)))


@verb(
    "orphans",
    key="help.hub.orphans",
    examples=("aval hub orphans", "aval hub orphans --json name,reference,state"),
    reads=fields_of(reservation_pb2.Reservation.DESCRIPTOR),
)
def orphans(terminal: Terminal) -> None:
    """Live reservations of nodes that no request of this hub holds. The hub releases none of them by itself."""

    async def work(session: Session) -> list[reservation_pb2.Reservation]:
        call = partial(session.ask, session.hub().requests.ListOrphans)
        return [one async for page in pages(call, request_pb2.ListOrphansRequest()) for one in page.reservations]

    found = connected(terminal, work)
    if terminal.is_json:
        terminal.objects([plain(one) for one in found])
        return
    if not found:
        terminal.tell(say("orphans.none"))
        return
    heads = ("reference", "state", "profile", "unit", "for", "until")
    terminal.table([say(f"col.{head}") for head in heads], [row(one, now()) for one in found])
    terminal.tell(say("orphans.what", count=len(found)))
