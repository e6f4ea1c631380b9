"""Counts that a file or another system states: heard, outranked, late, or of a unit that is not declared yet."""

from dataclasses import replace
from datetime import datetime

import pytest

from aval.kernel.statuses import Counting, Gender, Horizon, SourceKind, Status
from aval.node import commands as c
from aval.node import model as m
from tests.node.core import oracle
from tests.node.core.house import ADAPTER, BEDS, DAY, HAND, HIS, HOUR, MONDAY, PLACES, STAFF, House, house

FILE = m.Source("file", SourceKind.FILE, HAND.fresh_max, HAND.stale_min, "hl7")


def counted(open_: int, occupied: int, gender: Gender = Gender.ANY, unit: str = PLACES) -> m.CountsReported:
    """Counts of one gender."""
    return m.CountsReported(unit, (m.CountedPlaces(gender, open_, occupied),))


def tell(made: House, change: m.MovementChange, at: datetime | None = None, **fields: object) -> c.Verdict:
    """What the file says, counted at that time."""
    number = next(made.ids)
    movement = m.Movement("file", f"f{number}", change, event_time=at)
    values = {"caller": ADAPTER, "command_id": "", "content": repr(movement).encode(), **fields}
    return made.say(c.ApplyMovement, movement=movement, **values)


@pytest.fixture
def fed() -> House:
    """The house, whose places a file counts, below its information system."""
    made = house()
    unit = made.ledger.unit(PLACES)
    assert unit is not None
    places = (c.DeclaredPlaces(Gender.ANY, 4, 1, 4),)
    made.say(c.DeclareUnit, unit=m_replace(unit, (HIS, FILE, HAND)), places=places)
    return made


def m_replace(unit: m.Unit, sources: tuple[m.Source, ...]) -> m.Unit:
    """The unit, fed by those."""
    return m.Unit(unit.id, unit.display_name, unit.discipline, unit.counting, sources)


STALE = frozenset({"his"})


def free(made: House) -> int:
    """Free places now."""
    counts = made.figures(PLACES).counts
    return sum(one.count for one in counts if one.status is Status.AVAILABLE and one.horizon is Horizon.NOW)


def test_counts_of_the_best_source_alive_are_the_figures(fed: House) -> None:
    """The source is heard: its word is proof of life, and no movement of a patient is needed."""
    verdict = tell(fed, counted(4, 3), stale_sources=STALE)
    assert (verdict.fate, verdict.metadata) == (m.Fate.APPLIED, {})
    assert free(fed) == 1
    assert not fed.figures(PLACES).disagreements
    oracle.check(fed.ledger, fed.now)


def test_counts_below_a_better_source_are_shown_beside_its_figures(fed: House) -> None:
    """Never parked: applied as far as truth allows, and said to be outranked."""
    before = free(fed)
    verdict = tell(fed, counted(4, 4))
    assert (verdict.fate, verdict.metadata) == (m.Fate.APPLIED, {"outranked_by": "his"})
    assert free(fed) == before
    (shown,) = fed.figures(PLACES).disagreements
    assert (shown.source, shown.free) == ("file", 0)


def test_files_out_of_order_do_no_harm(fed: House) -> None:
    """Counts older than the last of their source change nothing, whatever was said in between by others."""
    assert tell(fed, counted(4, 2), MONDAY, stale_sources=STALE).fate is m.Fate.APPLIED
    late = tell(fed, counted(4, 0), MONDAY - HOUR, stale_sources=STALE)
    assert (late.fate, late.metadata) == (m.Fate.ALREADY, {"newer": MONDAY.isoformat()})
    assert free(fed) == 2
    assert tell(fed, counted(4, 1), MONDAY + HOUR, stale_sources=STALE).fate is m.Fate.APPLIED
    assert free(fed) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (counted(3, 5), "COUNT_OUT_OF_RANGE"),
        (counted(1_000_000, 0), "COUNT_OUT_OF_RANGE"),
        (counted(1, 0, Gender.FEMALE), "COUNT_OUT_OF_RANGE"),
    ],
)
def test_counts_that_cannot_be_are_refused(fed: House, change: m.CountsReported, reason: str) -> None:
    """By name, and again when they are said again."""
    before = free(fed)
    verdict = tell(fed, change, stale_sources=STALE)
    assert (verdict.fate, verdict.reason) == (m.Fate.REFUSED, reason)
    assert free(fed) == before


def test_a_unit_of_beds_is_not_counted(fed: House) -> None:
    """Its beds have identity."""
    verdict = fed.move(counted(3, 1, unit=BEDS))
    assert (verdict.fate, verdict.reason) == (m.Fate.REFUSED, "UNIT_COUNTS_BEDS")


def test_an_adapter_counts_its_declared_units_only(fed: House) -> None:
    """Another adapter's certificate speaks for nobody here."""
    other = replace(ADAPTER, uri=ADAPTER.uri + "2")
    verdict = tell(fed, counted(4, 1), caller=other)
    assert (verdict.fate, verdict.reason) == (m.Fate.REFUSED, "NOT_YOUR_UNIT")


def test_counts_are_not_cancelled(fed: House) -> None:
    """The next ones stand."""
    fed.move(counted(4, 1), name="count")
    verdict = fed.move(m.Cancellation("count"))
    assert (verdict.fate, verdict.reason) == (m.Fate.PARKED, "CANCELLED_UNKNOWN")


def test_counts_of_an_unknown_unit_wait_until_it_is_declared(fed: House) -> None:
    """Nothing is lost, and nobody has to say it again."""
    verdict = tell(fed, counted(6, 2, unit="later"))
    assert (verdict.fate, verdict.reason) == (m.Fate.PARKED, "UNIT_UNKNOWN")
    discipline = fed.ledger.unit(PLACES)
    assert discipline is not None
    unit = m.Unit("later", "Plus tard", discipline.discipline, Counting.PLACES, (FILE,))
    fed.say(c.DeclareUnit, unit=unit, places=(c.DeclaredPlaces(Gender.ANY, 6, 0, 6),))
    assert not fed.ledger.all(m.Kind.PARKED)
    assert fed.book("later").places[Gender.ANY.value].unnamed == 2
    fed.later(DAY)
    oracle.check(fed.ledger, fed.now)


def test_old_counts_are_an_old_proof_of_life(fed: House) -> None:
    """A sheet of this morning told at noon; and told again an hour later it is an hour older."""
    movement = m.Movement("file", "sheet", m.CountsReported(PLACES, (m.CountedPlaces(Gender.ANY, 4, 1),), 3 * HOUR))
    command = c.ApplyMovement(caller=ADAPTER, command_id="", content=b"sheet", movement=movement, stale_sources=STALE)
    first = fed.decide(command)
    assert (first.proofs, first.proof_age) == (("file",), 3 * HOUR)
    fed.now += HOUR
    again = fed.decide(command)
    assert (again.verdict.fate, again.proof_age) == (m.Fate.ALREADY, 4 * HOUR)


def test_who_last_spoke_for_a_unit_is_kept(fed: House) -> None:
    """By counts, by « rien n'a changé », by a correction; shown with the source of kind person."""

    def word() -> m.Word:
        return fed.book(PLACES).words["hand"]

    fed.say(c.DeclareCounts, unit=PLACES, places=(c.DeclaredPlaces(Gender.ANY, 4, 2),), stale_sources=STALE | {"file"})
    assert (word().by, word().said) == ("Anne", fed.now)
    fed.now += HOUR
    luc = replace(STAFF, mandate=m.Mandate(actor="luc"))
    fed.say(c.ConfirmUnit, units=(PLACES,), caller=luc)
    assert (word().by, word().said) == ("luc", fed.now)
    assert not fed.figures(PLACES).disagreements
    fed.now += HOUR
    fed.say(c.CorrectFigures, unit=PLACES, free=0, reason="vu", ttl=HOUR)
    assert (word().by, word().said) == ("Anne", fed.now)
    (shown,) = fed.figures(PLACES).disagreements
    assert shown.made == fed.now
