"""Each event of the table: a message as the standard describes it, and what it does to the beds of a real node."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from aval.adapters.hl7v2.events import EVENTS, SWAP, Action
from tests.adapters.hl7v2.core import CoreNode
from tests.adapters.hl7v2.desks import desk_of, give, stay_of
from tests.adapters.hl7v2.messages import CANCELLING, Adt, at
from tests.conftest import CHECKOUT

IN = Adt("A01", "V1", at(8), "M1", room="101", bed="1")
GONE = IN.again(event="A03", movement="M9", when=at(11), sent=at(11))
HERE = ("U1", "101-1", False)
AWAY = ("U1", "101-1", True)
THERE = ("U2", "102-2", False)
MOVE = IN.again(event="A02", movement="M2", when=at(9), sent=at(9), unit="1120", room="102", bed="2")
LEAVE = IN.again(event="A21", movement="M3", when=at(9), sent=at(9))
RETURN = IN.again(event="A22", movement="M4", when=at(10), sent=at(10))
OUT = IN.again(event="A04", patient_class="O", movement="M0", when=at(7), sent=at(7), room="", bed="")
PLAN = IN.again(event="A05", movement="M5", when=at(7), sent=at(7), arrival=at(18), bed="", room="")
NOBODY = None
EXPECTED = "expected"


def cancel(event: str, told: Adt, **more: object) -> Adt:
    return told.again(event=event, sent=at(12), original=CANCELLING.get(event, ""), action="CANCEL", **more)


# event → what is told in order, and where the stay is then
STORIES: dict[str, tuple[list[Adt], object]] = {
    "A01": ([IN], HERE),
    "A02": ([IN, MOVE], THERE),
    "A03": ([IN, GONE], NOBODY),
    "A04": ([OUT], NOBODY),
    "A05": ([PLAN], EXPECTED),
    "A06": ([OUT, IN.again(event="A06")], HERE),
    "A07": ([IN, IN.again(event="A07", patient_class="O", movement="M7", when=at(9), sent=at(9))], NOBODY),
    "A08": ([IN, IN.again(event="A08", movement="", version="2.5", sent=at(9), departure=at(9, day=25))], HERE),
    "A11": ([IN, cancel("A11", IN)], NOBODY),
    "A12": ([IN, MOVE, cancel("A12", MOVE)], HERE),
    "A13": ([IN, GONE, cancel("A13", GONE)], HERE),
    "A14": ([PLAN.again(event="A14")], EXPECTED),
    "A15": ([IN, MOVE.again(event="A15")], HERE),
    "A16": ([IN, IN.again(event="A16", movement="M6", when=at(9), sent=at(9), departure=at(9, day=25))], HERE),
    "A21": ([IN, LEAVE], AWAY),
    "A22": ([IN, LEAVE, RETURN], HERE),
    "A23": ([IN, IN.again(event="A23", movement="", version="2.5", sent=at(9))], NOBODY),
    "A25": ([IN, IN.again(event="A16", movement="M6", when=at(9), sent=at(9), departure=at(9, day=25)),
             cancel("A25", IN.again(movement="M6", when=at(9)))], HERE),
    "A26": ([IN, MOVE.again(event="A15"), cancel("A26", MOVE)], HERE),
    "A27": ([PLAN.again(event="A14"), cancel("A27", PLAN)], NOBODY),
    "A28": ([IN, IN.again(event="A28", movement="")], HERE),
    "A31": ([IN, IN.again(event="A31", movement="")], HERE),
    "A38": ([PLAN, cancel("A38", PLAN)], NOBODY),
    "A40": ([IN, IN.again(event="A40", movement="", absorbed="V7")], HERE),
    "A42": ([IN.again(visit="V7"), IN.again(event="A42", movement="", absorbed="V7", sent=at(9))], HERE),
    "A44": ([IN, IN.again(event="A44", movement="")], HERE),
    "A45": ([IN.again(visit="V7"), IN.again(event="A45", movement="", absorbed="V7", sent=at(9))], HERE),
    "A47": ([IN, IN.again(event="A47", movement="")], HERE),
    "A50": ([IN.again(visit="V7"), IN.again(event="A50", movement="", absorbed="V7", sent=at(9))], HERE),
    "A52": ([IN, LEAVE, cancel("A52", LEAVE)], HERE),
    "A53": ([IN, LEAVE, RETURN, cancel("A53", RETURN)], AWAY),
    "A54": ([IN, IN.again(event="A54", movement="M8", when=at(9), sent=at(9))], HERE),
    "A55": ([IN, IN.again(event="A54", movement="M8", when=at(9), sent=at(9)),
             cancel("A55", IN.again(movement="M8"))], HERE),
    "Z99": ([IN, MOVE, MOVE.again(event="Z99", original="A02", sent=at(10), unit="1050", room="103", bed="2")],
            ("U1", "103-2", False)),
}  # fmt: skip


@pytest.mark.parametrize("event", sorted(set(EVENTS) - {SWAP}))
async def test_each_event_does_what_the_table_says(event: str, tmp_path: Path) -> None:
    messages, where = STORIES[event]
    assert messages[-1].event == event
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        assert set(await give(desk, messages)) == {"AA"}
    stay = stay_of("V1")
    assert node.census().get(stay) == (where if isinstance(where, tuple) else None)
    assert (stay in node.expected()) is (where == EXPECTED)
    assert not [fate for fate in node.fates if fate.startswith(("PARKED", "REFUSED"))], node.fates


def test_every_event_has_its_section_of_the_standard() -> None:
    for code, event in EVENTS.items():
        assert "§" in event.section, code
    undoing = {code for code, event in EVENTS.items() if event.action is Action.CANCEL}
    assert undoing == set(CANCELLING)
    for code, undone in CANCELLING.items():
        assert EVENTS[code].kind is EVENTS[undone].kind


@pytest.mark.parametrize("event", ["A09", "A10", "A24", "A33", "A60", "Z98"])
async def test_any_other_event_is_acknowledged_without_effect(event: str, tmp_path: Path) -> None:
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [IN.again(event=event)]) == ["AA"]
    assert not node.sent


NO_ZBE = {"movement": "", "version": "2.5"}


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ([IN.again(**NO_ZBE), MOVE.again(**NO_ZBE), MOVE.again(event="A12", sent=at(10), **NO_ZBE)], HERE),
        ([IN.again(**NO_ZBE), GONE.again(**NO_ZBE), GONE.again(event="A13", sent=at(12), **NO_ZBE)], HERE),
        ([IN.again(**NO_ZBE), IN.again(event="A11", sent=at(12), **NO_ZBE)], NOBODY),
        ([MOVE.again(**NO_ZBE)], THERE),
    ],
)
async def test_feeds_without_the_movement_segment_are_understood(
    messages: list[Adt], where: object, tmp_path: Path
) -> None:
    node = CoreNode(at(13))
    async with desk_of(tmp_path, node) as desk:
        assert set(await give(desk, messages)) == {"AA"}
    assert node.census().get(stay_of("V1")) == where


def history(*rows: tuple[str, str, int, str]) -> list[Adt]:
    """Rows of the standard's own examples (PAM.FR §5.3.7): event, ZBE-1, hour, unit."""
    return [
        IN.again(event=event, movement=name, when=at(hour), sent=at(hour), unit=unit)
        for event, name, hour, unit in rows
    ]


CARDIOLOGY = ("A01", "1", 5, "1050"), ("A02", "2", 6, "1120"), ("A02", "3", 7, "1050")


@pytest.mark.parametrize(
    ("rows", "late", "where"),
    [
        # A movement too many is taken back after the departure.
        ((*CARDIOLOGY, ("A03", "4", 9, "1050")), ("A12", "3", 7, True), NOBODY),
        # A movement forgotten is inserted between others: the last one still stands.
        (CARDIOLOGY, ("A02", "5", 6, True), ("U1", "101-1", False)),
        # The last movement is taken back: the patient is where the one before had brought her.
        (CARDIOLOGY, ("A12", "3", 7, False), ("U2", "101-1", False)),
        # Sessions under one number: the last one is here, one in between never was.
        ((("A01", "1", 5, "1050"), ("A03", "2", 6, "1050"), ("A01", "3", 7, "1050")), ("A13", "2", 6, True), HERE),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
async def test_the_standards_own_histories(
    rows: tuple[tuple[str, str, int, str], ...],
    late: tuple[str, str, int, bool],
    where: object,
    first: bool,
    tmp_path: Path,
) -> None:
    event, name, hour, historic = late
    after = IN.again(
        event=event, movement=name, when=at(hour, 30 if event == "A02" else 0), sent=at(20), historic=historic
    )
    messages = [after, *history(*rows)] if first else [*history(*rows), after]
    node = CoreNode(at(20))
    async with desk_of(tmp_path, node) as desk:
        assert set(await give(desk, messages)) == {"AA"}
    assert node.census().get(stay_of("V1")) == where


async def test_a_cancelled_admission_leaves_the_preadmission(tmp_path: Path) -> None:
    """PAM.FR §5.4.1: A05, A01, A11: the patient is expected again."""
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [PLAN, IN, MOVE, cancel("A12", MOVE), cancel("A11", IN)])
        assert node.expected() == {stay_of("V1"): "U1"}
        assert not node.census()
        await give(desk, [cancel("A38", PLAN)])
        assert not node.expected()


async def test_a_newborn_lies_beside_the_mother_save_where_the_house_says_otherwise(tmp_path: Path) -> None:
    child = IN.again(admission_type="N")
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [child])
    assert not node.census()
    neonatology = {"unit": [{"codes": ["1050"], "unit": "U1", "bed": "{room}-{bed}", "newborns_take_beds": True}]}
    (tmp_path / "n").mkdir()
    async with desk_of(tmp_path / "n", node, mapping=neonatology) as desk:
        await give(desk, [child])
    assert node.census() == {stay_of("V1"): HERE}


async def test_a_planned_departure_feeds_the_horizons(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    leaves = at(15, day=24)
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [IN.again(departure=leaves)])
        stay = next(iter(node.ledger.book("U1").stays.values()))
        assert stay.departure == leaves
        later = leaves + timedelta(days=1)
        await give(desk, [IN.again(event="A16", movement="M6", sent=at(9), when=at(9), departure=later)])
        assert next(iter(node.ledger.book("U1").stays.values())).departure == later


@pytest.mark.parametrize("keeps", [True, False])
async def test_whether_a_bed_stays_taken_during_leave_is_the_units_policy(keeps: bool, tmp_path: Path) -> None:
    node = CoreNode(at(12))
    mapping = {"unit": [{"codes": ["1050"], "unit": "U1", "bed": "{room}-{bed}", "leave_keeps_bed": keeps}]}
    async with desk_of(tmp_path, node, mapping=mapping) as desk:
        await give(desk, [IN, LEAVE])
    assert next(iter(node.ledger.book("U1").stays.values())).keep_bed is keeps


def test_the_documents_table_is_this_one() -> None:
    text = (CHECKOUT / "docs" / "hl7.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([A-Z]\d\d) \| .* \| (.*) \|$", text, re.MULTILINE))
    assert rows == {code: event.section for code, event in EVENTS.items()}
