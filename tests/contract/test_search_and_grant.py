"""What a search at the hub finds is what a grant at the node takes: through the published unit, over the wire's bytes.

Of counted places a unit fits a need exactly if its node would hold one now; of beds, the published function is an upper
bound (CONTRACT 6): what is held was found. Admission hours and closed days are part of it, for the whole window.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aval.hub.matching import Candidate, Fit, judge
from aval.hub.model import Unit
from aval.hub.picture import Seen
from aval.hub.translate.figures import unit as read_unit
from aval.kernel.finess import FinessET
from aval.kernel.hours import WeekHours, windows, zone_of
from aval.kernel.need import Mode, Need
from aval.kernel.statuses import Freshness, Gender
from aval.node.model import Policy
from aval.node.ports import Stored
from aval.node.published import Published
from aval.node.translate.outward import Reader
from aval.node.translate.units import UnitWriter
from aval.node.translate.words import Names
from aval.v1 import availability_pb2 as pb
from tests.node.core.house import AUTOMATIC, BEDS, DAY, HOUR, MONDAY, PLACES, House, house

NAMES = Names(FinessET("540000023"))
PARIS = zone_of("Europe/Paris")

week_hours = st.builds(
    lambda day, start, length: WeekHours(day, start * 30, min(start * 30 + length * 30, 1440)),
    st.integers(1, 7), st.integers(0, 47), st.integers(1, 24),
)  # fmt: skip
policies = st.builds(
    lambda hours, closed, holidays: replace(
        AUTOMATIC,
        admission_hours=tuple(hours),
        closed_days=frozenset((MONDAY + number * DAY).date().isoformat() for number in closed),
        closed_on_public_holidays=holidays,
    ),
    st.lists(week_hours, max_size=4),
    st.frozensets(st.integers(0, 9), max_size=3),
    st.booleans(),
)
genders = st.sampled_from((Gender.FEMALE, Gender.MALE, Gender.ANY))


@st.composite
def needs(draw: st.DrawFn, of: House, unit: str) -> Need:
    """A need for some days within a fortnight."""
    earliest = draw(st.integers(1, 12 * 24))
    return of.need(
        unit,
        gender=draw(genders),
        arrival_earliest=of.now + earliest * HOUR,
        arrival_latest=of.now + (earliest + draw(st.integers(0, 4 * 24))) * HOUR,
        stay_max=draw(st.none() | st.integers(1, 10 * 24).map(lambda hours: hours * HOUR)),
    )


def published(made: House, unit: str) -> Unit:
    """The unit as a hub reads it from the node's own bytes."""
    state = Published(Stored(made.ledger.incarnation, made.ledger.facts, (), {}, {}))
    state.figures[unit] = made.figures(unit)
    message = UnitWriter(state, NAMES, Reader(inside=True, staff=False, territory="t.test"), made.now).message(unit)
    return read_unit(pb.Unit.FromString(message.SerializeToString()))


def held(made: House, unit: str, need: Need, name: str) -> datetime | None:
    """The arrival that the node holds for that need, if it holds."""
    made.create(
        name,
        unit,
        mode=Mode.HOLD,
        gender=need.gender,
        arrival_earliest=need.arrival_earliest,
        arrival_latest=need.arrival_latest,
        stay_max=need.stay_max,
    )
    claim = made.reservation(name).claim
    return None if claim is None else claim.start


def check_hours(policy: Policy, arrival: datetime) -> None:
    """An arrival lies in the admission hours."""
    closed = policy.closed_days
    holidays = {"2026-12-25"} if policy.closed_on_public_holidays else set()
    opening = next(windows(arrival, policy.admission_hours, lambda day: day.isoformat() in closed | holidays, PARIS))
    assert opening[1] <= arrival < opening[2]


@settings(max_examples=60, deadline=None)
@given(st.data(), policies, st.sampled_from((PLACES, BEDS)))
def test_a_unit_is_found_if_and_only_if_its_node_would_hold(data: st.DataObject, policy: Policy, unit: str) -> None:
    made = house(policy)
    for number in range(data.draw(st.integers(0, 5))):
        held(made, unit, data.draw(needs(made, unit)), f"r{number}")
    made.later(data.draw(st.integers(0, 30)) * HOUR)
    need = data.draw(needs(made, unit))
    verdict = judge(need, Candidate(Seen(published(made, unit), Freshness.FRESH)), made.now)
    arrival = held(made, unit, need, "probe")
    if arrival is not None:
        check_hours(policy, arrival)
        assert need.arrival_earliest <= arrival <= need.arrival_latest
        assert isinstance(verdict, Fit)
    elif unit == PLACES:
        assert not isinstance(verdict, Fit)
    if isinstance(verdict, Fit):
        check_hours(policy, verdict.arrival)


def test_a_saturday_is_nobody_s_day_on_either_side() -> None:
    weekdays = tuple(WeekHours(day, 9 * 60, 17 * 60) for day in range(1, 6))
    saturday = datetime(2026, 11, 28, 7, tzinfo=UTC)
    for days, found in ((1, False), (2, True)):
        made = house(replace(AUTOMATIC, admission_hours=weekdays))
        need = made.need(PLACES, arrival_earliest=saturday, arrival_latest=saturday + timedelta(days=days, hours=10))
        verdict = judge(need, Candidate(Seen(published(made, PLACES), Freshness.FRESH)), made.now)
        assert isinstance(verdict, Fit) is found
        assert held(made, PLACES, need, "probe") == (datetime(2026, 11, 30, 8, tzinfo=UTC) if found else None)
