"""Following a node, ages, visibility (what is hidden changes nothing that is told), sums."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aval.hub.matching import Candidate, search
from aval.hub.model import (
    ChangePart,
    Count,
    Cursor,
    Declared,
    Description,
    FreeStep,
    Grantable,
    KnownReservation,
    PlaceClass,
    Progress,
    SnapshotPart,
    SourceAge,
    Unit,
    VisibilityRule,
)
from aval.hub.picture import (
    LinkState,
    Picture,
    Viewpoint,
    apply,
    capacity,
    figure,
    freshness,
    link_state,
    seen,
    shown,
    silence,
    tells_more,
    unit_age,
    view_of,
)
from aval.kernel.disciplines import Discipline
from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Need, Urgency
from aval.kernel.statuses import Audience, Counting, Freshness, Gender, Horizon, Shown, Status
from tests.hub.core.worlds import (
    HOUSES,
    NOW,
    closures,
    conflicts,
    hour,
    needs,
    picture_of,
    source,
    units,
)

HOUSE = HOUSES[0]
HOUSE_UNIT = f"establishments/{HOUSE}/units/A"


def plain(name: str = HOUSE_UNIT, **changes: object) -> Unit:
    """A unit with nothing in it but an information system that was alive a minute ago."""
    unit = Unit(name, "U", Discipline.SMR_GERIATRIC, Counting.PLACES, NOW, sources=(source(1),))
    return replace(unit, **changes)


def cursor(revision: int, incarnation: int = 1) -> Cursor:
    return Cursor(HOUSE, incarnation, revision, revision.to_bytes(8, "big"))


def snapshot(revision: int, *own: Unit, incarnation: int = 1, part: int = 1, last: bool = True) -> SnapshotPart:
    return SnapshotPart(cursor(revision, incarnation), Description("House"), own, part=part, last_part=last)


# --- following -------------------------------------------------------------------------------------------------------


def test_a_snapshot_replaces_all_and_a_change_what_it_names() -> None:
    other = plain(f"establishments/{HOUSE}/units/B")
    first = apply(Picture(HOUSE), snapshot(1, plain(), other), 0.0)
    assert first.whole
    assert first.units == {HOUSE_UNIT, other.name}
    changed = plain(display_name="New")
    second = apply(first.picture, ChangePart(cursor(2), (changed,), (other.name,)), 1.0)
    assert second.units == {HOUSE_UNIT, other.name}
    assert second.picture.units == {HOUSE_UNIT: changed}
    third = apply(second.picture, snapshot(3, other), 2.0)
    assert third.units == {HOUSE_UNIT, other.name}
    assert third.picture.units == {other.name: other}


@pytest.mark.parametrize(
    "old", [ChangePart(cursor(2), (plain(display_name="Old"),)), ChangePart(cursor(1)), snapshot(1)]
)
def test_a_picture_never_goes_back_within_an_incarnation(old: SnapshotPart | ChangePart) -> None:
    now = apply(
        apply(Picture(HOUSE), snapshot(1, plain()), 0.0).picture, ChangePart(cursor(2), (plain(),)), 1.0
    ).picture
    again = apply(now, old, 2.0)
    assert (again.picture.cursor, again.picture.units, again.units) == (now.cursor, now.units, frozenset())


def test_a_history_that_another_has_replaced_is_not_believed_again() -> None:
    now = apply(apply(Picture(HOUSE), snapshot(9, plain()), 0.0).picture, snapshot(1, incarnation=2), 1.0).picture
    assert now.cursor == cursor(1, 2)
    for late in (snapshot(10, plain()), ChangePart(cursor(10), (plain(),)), Progress(cursor(9))):
        assert apply(now, late, 50.0).picture == now


def test_a_change_of_a_history_that_is_not_ours_is_dropped() -> None:
    now = apply(Picture(HOUSE), snapshot(1, plain()), 0.0).picture
    assert apply(now, ChangePart(cursor(2, 7), (plain(display_name="X"),)), 1.0).picture.units == now.units


def test_a_node_speaks_of_its_own_house_only() -> None:
    stranger = plain(f"establishments/{HOUSES[1]}/units/A")
    told = [
        KnownReservation(f"establishments/{house}/reservations/1", ReservationState.CONFIRMED, 1, 1, "", "", NOW, NOW)
        for house in HOUSES[:2]
    ]
    heard = apply(Picture(HOUSE), replace(snapshot(1, plain(), stranger), reservations=tuple(told)), 0.0)
    assert heard.picture.units.keys() == {HOUSE_UNIT}
    assert heard.reservations == (told[0],)
    assert apply(Picture(HOUSES[1]), snapshot(1, plain()), 0.0).picture == Picture(HOUSES[1])


def test_parts_are_applied_when_whole() -> None:
    other = plain(f"establishments/{HOUSE}/units/B")
    half = apply(Picture(HOUSE), snapshot(4, plain(), last=False), 0.0)
    assert (half.picture.cursor, half.units) == (None, frozenset())
    whole = apply(half.picture, snapshot(4, other, part=2), 0.0)
    assert whole.picture.units.keys() == {HOUSE_UNIT, other.name}
    broken = apply(half.picture, snapshot(5, other, part=2), 0.0)
    assert (broken.picture.cursor, broken.picture.parts) == (None, ())
    restarted = apply(half.picture, snapshot(5, other), 0.0)
    assert restarted.picture.units.keys() == {other.name}


@given(units())
def test_what_is_held_survives_the_store(unit: Unit) -> None:
    assert msgspec.json.decode(msgspec.json.encode(unit), type=Unit) == unit


# --- ages ------------------------------------------------------------------------------------------------------------


def test_an_age_grows_with_the_time_elapsed_here_and_starts_again_with_a_proof_of_life() -> None:
    picture = picture_of(HOUSE, [plain()], 1000.0)
    unit = picture.units[HOUSE_UNIT]
    assert unit_age(picture, unit, 1000.0) == timedelta(seconds=60)
    assert unit_age(picture, unit, 1040.0) == timedelta(seconds=100)
    alive = apply(picture, Progress(cursor(1), (SourceAge("his", timedelta(seconds=5)),)), 1050.0).picture
    assert unit_age(alive, unit, 1052.0) == timedelta(seconds=7)
    for_it = apply(alive, Progress(cursor(1), (SourceAge("his", timedelta(0), (HOUSE_UNIT,)),)), 1060.0).picture
    assert unit_age(for_it, unit, 1060.0) == timedelta(0)


def test_a_sources_instant_moves_on_with_its_proofs_of_life() -> None:
    """A quiet night brings ages alone: an instant that stood still beside them would read as a clock that is wrong."""
    told = plain(sources=(replace(source(1), observe_time=NOW - timedelta(minutes=1)),))
    picture = apply(Picture(HOUSE), snapshot(1, told), 1000.0).picture
    alive = apply(picture, Progress(cursor(1), (SourceAge("his", timedelta(seconds=5)),)), 4600.0).picture
    for now, age in ((4600.0, 5), (4660.0, 65)):
        (one,) = seen(alive, Viewpoint(Audience.GHT), now)[0].unit.sources
        assert one.age == timedelta(seconds=age)
        assert one.observe_time == NOW + timedelta(seconds=3600 - 5)


def test_freshness_follows_the_age_and_the_link_comes_first() -> None:
    picture = picture_of(HOUSE, [plain()], 0.0)

    def at(seconds: float, heard: float) -> Freshness:
        return freshness(replace(picture, heard_at=heard), picture.units[HOUSE_UNIT], seconds)

    assert at(14 * 60, 14 * 60) is Freshness.FRESH
    assert at(14 * 60 + 1, 14 * 60) is Freshness.AGEING
    assert at(59 * 60 + 1, 59 * 60) is Freshness.STALE
    assert at(300, 180) is Freshness.FRESH
    assert at(301, 180) is Freshness.UNREACHABLE


def test_after_a_restart_everything_is_unreachable_until_the_node_speaks() -> None:
    restarted = Picture(HOUSE, cursor(3), Description("House"), {HOUSE_UNIT: plain()})
    unit = restarted.units[HOUSE_UNIT]
    assert link_state(restarted, 5.0) is LinkState.UNHEARD
    assert (freshness(restarted, unit, 5.0), unit_age(restarted, unit, 5.0), silence(restarted, 5.0)) == (
        Freshness.UNREACHABLE,
        None,
        None,
    )
    heard = apply(restarted, Progress(cursor(3)), 6.0).picture
    assert (link_state(heard, 6.0), freshness(heard, unit, 6.0)) == (LinkState.CONNECTED, Freshness.STALE)
    alive = apply(heard, Progress(cursor(3), (SourceAge("his", timedelta(0)),)), 7.0).picture
    assert freshness(alive, unit, 7.0) is Freshness.FRESH


# --- visibility ------------------------------------------------------------------------------------------------------

viewpoints = st.builds(Viewpoint, st.sampled_from(Audience), st.sampled_from(("", *HOUSES)))


@given(units(), viewpoints)
def test_a_unit_shows_what_its_rule_says(unit: Unit, viewpoint: Viewpoint) -> None:
    told = shown(unit, viewpoint)
    if viewpoint.establishment == unit.establishment:
        assert told == unit
        return
    rule = (unit.visibility or VisibilityRule()).for_audience(viewpoint.audience)
    if rule is Shown.NOTHING:
        assert told is None
        return
    assert told is not None
    assert told.shown is rule
    assert (told.conflicts, told.disagreements, told.visibility) == ((), (), None)
    assert all(one.reason is None and one.by is None for one in told.closures)
    if rule is Shown.EXACT:
        assert (told.counts, told.classes) == (unit.counts, unit.classes)
    else:
        assert told.closures == ()
        assert {one.count for one in told.counts} | {one.count for one in told.grantable} <= {1}
        assert {step.free for one in told.classes for step in one.steps} <= {0, 1}


def test_the_default_shows_members_all_and_other_territories_yes_or_no() -> None:
    unit = plain(counts=(Count(Status.AVAILABLE, Horizon.NOW, Gender.ANY, 5),))
    told = [shown(unit, Viewpoint(audience)) for audience in Audience]
    assert [one.counts[0].count for one in told if one] == [5, 5, 1]


@st.composite
def twins(draw: st.DrawFn) -> tuple[Unit, Unit, Viewpoint]:
    """A unit, another one that differs from it in what this viewpoint may not see only, and the viewpoint."""
    unit = draw(units(name=f"establishments/{HOUSES[1]}/units/{draw(st.sampled_from('ABC'))}"))
    viewpoint = draw(st.builds(Viewpoint, st.sampled_from(Audience), st.sampled_from(("", HOUSES[0]))))
    rule = (unit.visibility or VisibilityRule()).for_audience(viewpoint.audience)
    if rule is Shown.NOTHING:
        other = draw(units(name=unit.name))
        return unit, replace(other, visibility=VisibilityRule(Shown.NOTHING, Shown.NOTHING, Shown.NOTHING)), viewpoint
    other = replace(
        unit,
        conflicts=tuple(draw(st.lists(conflicts, max_size=2))),
        closures=tuple(replace(one, reason=None, by=None) for one in unit.closures),
        disagreements=(),
        sources=tuple(replace(one, by="someone else") for one in unit.sources),
        visibility=unit.visibility,
    )
    if rule is Shown.EXACT:
        return unit, other, viewpoint
    some = st.integers(1, 9)
    return (
        unit,
        replace(
            other,
            closures=tuple(draw(st.lists(closures, max_size=2))),
            counts=tuple(replace(one, count=draw(some) if one.count else 0) for one in unit.counts),
            grantable=tuple(Grantable(one.horizon, one.gender, draw(some)) for one in unit.grantable if one.count),
            classes=tuple(PlaceClass(one.gender, one.features, _retold(draw, one.steps)) for one in unit.classes),
        ),
        viewpoint,
    )


def _retold(draw: st.DrawFn, steps: tuple[FreeStep, ...]) -> tuple[FreeStep, ...]:
    """Other steps that say the same of none or some, with changes in between that say nothing new."""
    told: list[FreeStep] = []
    for place, step in enumerate(steps):
        kind = st.integers(1, 9) if step.free > 0 else st.integers(-3, 0)
        told.append(FreeStep(step.time, draw(kind)))
        between = step.time + timedelta(minutes=30)
        if draw(st.booleans()) and (place + 1 == len(steps) or between < steps[place + 1].time):
            told.append(FreeStep(between, draw(kind)))
    return tuple(told)


@settings(max_examples=60)
@given(twins(), units(name=f"establishments/{HOUSES[2]}/units/Z"), needs())
def test_what_is_hidden_changes_nothing_that_is_told(
    pair: tuple[Unit, Unit, Viewpoint], neighbour: Unit, need: Need
) -> None:
    """Two territories that differ only in what an audience may not see are the same to it, in every read."""
    unit, twin, viewpoint = pair
    told = []
    for one in (unit, twin):
        pictures = [picture_of(one.establishment, [one]), picture_of(neighbour.establishment, [neighbour])]
        listed = [told for picture in pictures for told in seen(picture, viewpoint, 1001.0)]
        found = search(need, Urgency.PLANNED, [Candidate(told, distance_km=1.0, minutes=2.0) for told in listed], NOW)
        told.append((listed, capacity(listed), found))
    assert told[0] == told[1]


@given(twins())
def test_a_watch_is_not_told_that_hidden_figures_moved(pair: tuple[Unit, Unit, Viewpoint]) -> None:
    unit, twin, viewpoint = pair
    later = replace(twin, as_of=hour(1), sources=tuple(replace(one, age=timedelta(0)) for one in twin.sources))
    before, after = shown(unit, viewpoint), shown(later, viewpoint)
    assert (before is None) == (after is None)
    assert after is None or not tells_more(before, after)
    moved = replace(unit, display_name="Another name")
    told = shown(moved, viewpoint)
    assert told is None or tells_more(before, told)


def test_views_differ_by_audience_house_and_registry() -> None:
    views = {
        view_of(Viewpoint(audience, house), version)
        for audience in Audience
        for house in ("", HOUSE)
        for version in ("1", "2")
    }
    assert len(views) == 12


# --- sums ------------------------------------------------------------------------------------------------------------


def beds(available: int | None, name: str = "A", **changes: object) -> Unit:
    """A unit with so many available beds of ten; None: it does not say."""
    statuses = [Status.INSTALLED] if available is None else [Status.INSTALLED, Status.AVAILABLE]
    unit = plain(
        f"establishments/{HOUSE}/units/{name}",
        declared=tuple(Declared(status, (Horizon.NOW,)) for status in statuses),
        counts=tuple(
            Count(status, Horizon.NOW, Gender.ANY, count)
            for status, count in ((Status.INSTALLED, 10), (Status.AVAILABLE, available or 0))
            if count
        ),
    )
    return replace(unit, **changes)


def test_absent_is_not_zero() -> None:
    assert figure(beds(None), Status.AVAILABLE) is None
    assert figure(beds(0), Status.AVAILABLE) == 0
    assert figure(beds(3), Status.AVAILABLE, Horizon.ONE_DAY) is None


def test_sums_count_sure_stale_and_silent_units_apart() -> None:
    own = [beds(3, "A"), beds(2, "B", sources=(source(70),)), beds(None, "C"), beds(4, "D")]
    own[3] = replace(own[3], discipline=Discipline.DAY_CARE)
    picture = picture_of(HOUSE, own)
    away = picture_of(HOUSES[1], [replace(beds(9), name=f"establishments/{HOUSES[1]}/units/A")], 0.0)
    sums = capacity([*seen(picture, Viewpoint(Audience.GHT), 1000.0), *seen(away, Viewpoint(Audience.GHT), 1000.0)])
    (line, day) = sums.lines
    assert (line.available_sure, line.available_stale, line.installed) == (3, 2, 30)
    assert (line.units, line.stale_units, line.not_reported_units) == (3, 1, 1)
    assert line.age_max == timedelta(minutes=70)
    assert (day.discipline, day.available_sure, day.units) == (Discipline.DAY_CARE, 0, 1)
    assert [replace(one, establishment=HOUSE) for one in sums.totals] == list(sums.lines)


def test_a_unit_that_says_yes_or_no_counts_one_at_most_in_sums() -> None:
    hidden = VisibilityRule(ght=Shown.YES_OR_NO)
    picture = picture_of(HOUSE, [beds(5, "A", visibility=hidden), beds(4, "B"), beds(0, "C", visibility=hidden)])
    (line,) = capacity(seen(picture, Viewpoint(Audience.GHT), 1000.0)).lines
    assert (line.available_sure, line.installed) == (1 + 4, 1 + 10 + 1)


def test_two_genders_of_a_unit_that_says_yes_or_no_are_still_one() -> None:
    both = tuple(Count(Status.AVAILABLE, Horizon.NOW, gender, 4) for gender in (Gender.FEMALE, Gender.MALE))
    unit = beds(0, counts=both)
    assert [figure(one, Status.AVAILABLE) for one in (unit, shown(unit, Viewpoint(Audience.EVERYONE))) if one] == [8, 1]


def test_an_order_of_places_cannot_tell_a_hidden_figure() -> None:
    """The search counts a unit that says yes or no as one place, and its steps as none or some."""
    many = PlaceClass(Gender.ANY, frozenset(), (FreeStep(hour(0), 7),))
    few = PlaceClass(Gender.FEMALE, frozenset(), (FreeStep(hour(0), 2),))
    picture = picture_of(HOUSE, [plain(classes=(many, few), visibility=VisibilityRule(partner=Shown.YES_OR_NO))])
    need = Need(Discipline.SMR_GERIATRIC, Gender.FEMALE, hour(1), hour(2))
    places = [
        search(need, Urgency.PLANNED, [Candidate(one) for one in seen(picture, viewpoint, 1000.0)], NOW).sure_places
        for viewpoint in (Viewpoint(Audience.GHT), Viewpoint(Audience.PARTNER), Viewpoint(Audience.PARTNER, HOUSE))
    ]
    assert places == [9, 1, 9]
