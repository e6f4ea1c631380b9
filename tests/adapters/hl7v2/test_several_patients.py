"""Messages of several patients: the swap of two (A17, HL7 §3.3.17), and merges of several visits (HL7 §3.3.42)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from aval.adapters.cli.root import root
from aval.adapters.hl7v2.census import NodeAway
from aval.adapters.hl7v2.checking import Outcome, check, practice
from aval.adapters.hl7v2.desk import Census
from aval.adapters.hl7v2.faults import Fault, Severity
from aval.adapters.hl7v2.mapping import mapping_of
from aval.adapters.hl7v2.meaning import understand
from aval.adapters.hl7v2.reading import parse
from aval.adapters.hl7v2.telling import Told
from aval.v1 import census_pb2
from tests.adapters.hl7v2.core import Choosy, CoreNode
from tests.adapters.hl7v2.days import MAPPING
from tests.adapters.hl7v2.desks import code_of, desk_of, give, give_at_once, stay_of
from tests.adapters.hl7v2.messages import CUSTOMS, Adt, at, of_several, without
from tests.waiting import until

ANNE = Adt("A01", "V1", at(8), "M1", room="101", bed="1")
BRUNO = Adt("A01", "V2", at(8), "M2", unit="1120", room="102", bed="2", gender="M")
ANNE_THERE = Adt("A17", "V1", at(10), "M3", unit="1120", room="102", bed="2")
BRUNO_HERE = Adt("A17", "V2", at(10), "M4", unit="1050", room="101", bed="1", gender="M")
BOTH = of_several(ANNE_THERE, BRUNO_HERE)

BEFORE = {stay_of("V1"): ("U1", "101-1", False), stay_of("V2"): ("U2", "102-2", False)}
SWAPPED = {stay_of("V1"): ("U2", "102-2", False), stay_of("V2"): ("U1", "101-1", False)}

WAYS = {
    "a movement of each": BOTH,
    "both movements at the end": without(BOTH, "ZBE") + BOTH.split("\r")[5] + "\r" + BOTH.split("\r")[10] + "\r",
    "one movement of both": without(BOTH, "ZBE", keep=1),
    "no movement": without(BOTH, "ZBE"),
    "within one unit, of HL7 2.3": without(BOTH, "ZBE").replace("2.5^FRA^2.11", "2.3"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_two_patients_change_places_in_one_message_and_a_replay_changes_nothing(way: str, tmp_path: Path) -> None:
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [ANNE, BRUNO]) == ["AA", "AA"]
        assert code_of(await desk.take(WAYS[way].encode())) == "AA"
        assert node.census() == SWAPPED
        told = len(node.sent)
        for again in (WAYS[way], WAYS[way].replace("|V1-A17-", "|again-")):
            assert code_of(await desk.take(again.encode())) == "AA"
        assert len(node.sent) == told
    assert not [fate for fate in node.fates if fate.startswith("REFUSED")], node.fates


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("way", WAYS)
async def test_a_swap_means_the_same_in_any_order(way: str, order: Sequence[int], tmp_path: Path) -> None:
    node = CoreNode(at(12))
    told = [ANNE.frame(), BRUNO.frame(), WAYS[way].encode()]
    async with desk_of(tmp_path, node) as desk:
        assert [code_of(await desk.take(told[number])) for number in order] == ["AA"] * 3
    assert node.census() == SWAPPED


@pytest.mark.parametrize("way", ["a movement of each", "one movement of both", "no movement"])
async def test_a_swap_is_taken_back_by_a_cancellation_of_each(way: str, tmp_path: Path) -> None:
    one = "M3" if way == "one movement of both" else "M4"
    none = {"movement": "", "version": "2.5"} if way == "no movement" else {}
    back = [
        ANNE_THERE.again(event="A12", action="CANCEL", original="A17", sent=at(11), when=at(10), **none),
        BRUNO_HERE.again(event="A12", action="CANCEL", original="A17", sent=at(11), when=at(10),
                         **{"movement": one, **none}),
    ]  # fmt: skip
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, BRUNO])
        assert code_of(await desk.take(WAYS[way].encode())) == "AA"
        assert await give(desk, back) == ["AA", "AA"]
    assert node.census() == BEFORE


async def test_a_swap_that_says_cancel_takes_itself_back(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    cancelled = of_several(ANNE_THERE.again(action="CANCEL", sent=at(11)), BRUNO_HERE.again(action="CANCEL"))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, BRUNO])
        for message in (BOTH, cancelled):
            assert code_of(await desk.take(message.encode())) == "AA"
    assert node.census() == BEFORE


class Counting:
    """A node that dies after so many movements, and hears nothing more."""

    def __init__(self, node: Census, movements: int) -> None:
        self.node = node
        self.left = movements
        self.dead = False

    async def apply(self, movements: list[Told]) -> Mapping[str, census_pb2.ApplyMovementsResponse]:
        await self.node.apply(movements[: self.left])
        self.left -= min(len(movements), self.left)
        self.dead = True
        raise NodeAway("cut")

    async def stays(self) -> Sequence[census_pb2.Stay]:
        return await self.node.stays()


@pytest.mark.parametrize("movements", [0, 1, 2])
async def test_a_crash_within_a_swap_leaves_it_to_be_told_whole(movements: int, tmp_path: Path) -> None:
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, BRUNO])
    dying = Counting(node, movements)
    async with desk_of(tmp_path, dying) as desk:
        waiting = asyncio.ensure_future(desk.take(BOTH.encode()))
        await until(lambda: dying.dead, "the node to die")
        waiting.cancel()
    async with desk_of(tmp_path, node) as desk:  # nobody sends it again
        assert node.census() == SWAPPED
        assert code_of(await desk.take(BOTH.encode())) == "AA"
    assert node.census() == SWAPPED


class Refusing:
    """A node that refuses what is told of one stay."""

    def __init__(self, node: CoreNode, stay: str) -> None:
        self.node = node
        self.stay = stay

    async def apply(self, movements: list[Told]) -> Mapping[str, census_pb2.ApplyMovementsResponse]:
        fate = census_pb2.ApplyMovementsResponse.FATE_REFUSED
        refused = [one for one in movements if one.id.startswith(self.stay)]
        answers = await self.node.apply([one for one in movements if one not in refused])
        no = {one.id: census_pb2.ApplyMovementsResponse(fate=fate, reason="NOT_YOUR_UNIT") for one in refused}
        return {**answers, **no}

    async def stays(self) -> list[census_pb2.Stay]:
        return await self.node.stays()


@pytest.mark.parametrize("visit", ["V1", "V2"])
async def test_a_swap_of_which_the_node_refuses_one_half_leaves_both_where_they_were(
    visit: str, tmp_path: Path
) -> None:
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, BRUNO])
    async with desk_of(tmp_path, Refusing(node, stay_of(visit))) as desk:
        answer = await desk.take(BOTH.encode())
        assert code_of(answer) == "AE"
        assert b"NOT_YOUR_UNIT" in (answer or b"")
    assert node.census() == BEFORE
    async with desk_of(tmp_path, node) as desk:
        assert code_of(await desk.take(BOTH.encode())) == "AA"
    assert node.census() == SWAPPED


@pytest.mark.parametrize("visit", ["V1", "V2"])
@pytest.mark.parametrize("movements", [0, 1, 2])
async def test_a_crash_within_a_swap_that_the_node_refuses_in_part_leaves_both_where_they_were(
    movements: int, visit: str, tmp_path: Path
) -> None:
    """What undoes it was stored with it."""
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, BRUNO])
    dying = Counting(Refusing(node, stay_of(visit)), movements)
    async with desk_of(tmp_path, dying) as desk:
        waiting = asyncio.ensure_future(desk.take(BOTH.encode()))
        await until(lambda: dying.dead, "the node to die")
        waiting.cancel()
    for _ in range(2):  # of the second life nothing is left to the third
        async with desk_of(tmp_path, Refusing(node, stay_of(visit))) as desk:
            assert node.census() == BEFORE
            assert code_of(await desk.take(BOTH.encode())) == "AE"
        assert node.census() == BEFORE
    async with desk_of(tmp_path, node) as desk:
        assert node.census() == BEFORE
        assert code_of(await desk.take(BOTH.encode())) == "AA"
    assert node.census() == SWAPPED


THIRD = Adt("A17", "V3", at(10), "M5", room="103", bed="1")


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        (ANNE_THERE.text(), "PID", "100"),
        (of_several(ANNE_THERE, BRUNO_HERE, THIRD), "PID", "100"),
        (of_several(ANNE_THERE, BRUNO_HERE.again(visit="V1")), "PV1[2]-19", "205"),
        (of_several(ANNE_THERE, BRUNO_HERE.again(unit="", room="", bed="")), "PV1[2]-3", "101"),
        (of_several(ANNE_THERE.again(unit="", room="", bed=""), BRUNO_HERE), "PV1-3", "101"),
        (without(BOTH, "PV1", keep=1), "PV1[2]-3", "101"),
        (of_several(ANNE_THERE, BRUNO_HERE.again(action="MOVE")), "ZBE[2]-4", "103"),
    ],
)
async def test_a_swap_that_is_none_is_an_error_that_names_the_field_of_the_patient(
    text: str, place: str, code: str, tmp_path: Path
) -> None:
    with pytest.raises(Fault) as raised:
        understand(parse(text), CUSTOMS)
    assert (raised.value.place, raised.value.code, raised.value.severity) == (place, code, Severity.ERROR)
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, BRUNO])
        answer = await desk.take(text.encode())
    assert code_of(answer) == "AE"
    if "[2]" in place:
        assert f"\rERR||{place.replace('[2]-', '^2^')}^1^1|{code}^".encode() in (answer or b"")
    assert node.census() == BEFORE


def test_a_check_shows_what_becomes_of_each_patient_of_a_swap(tmp_path: Path) -> None:
    for name, text in (("a", ANNE.text()), ("b", BRUNO.text()), ("c", BOTH), ("d", BOTH)):
        (tmp_path / f"{name}.hl7").write_text(text, newline="")
    findings = check([tmp_path], mapping_of(MAPPING), practice())
    assert [(one.event, one.patient, one.outcome, one.unit, one.bed) for one in findings.checked[2:]] == [
        ("A17", 1, Outcome.TOLD, "U2", "102-2"),
        ("A17", 2, Outcome.TOLD, "U1", "101-1"),
        ("A17", 1, Outcome.ALREADY, "U2", "102-2"),
        ("A17", 2, Outcome.ALREADY, "U1", "101-1"),
    ]
    shown = CliRunner().invoke(root, ["hl7", "check", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "A17[2]" in shown.output
    assert "Messages lus : 4" in shown.output.replace("\u00a0", " ")


# --- merges -----------------------------------------------------------------------------------------------------------

DOUBLE = Adt("A01", "V7", at(7), "M7", room="101", bed="1")
OTHER_DOUBLE = Adt("A01", "V8", at(7), "M8", unit="1120", room="102", bed="2", gender="M")
THIRD_DOUBLE = Adt("A01", "V9", at(7, 30), "M9", room="103", bed="1")
MERGE = {"movement": "", "sent": at(11), "when": at(11)}


@pytest.mark.parametrize("event", ["A42", "A50"])
async def test_each_merge_of_a_message_of_several_patients_is_made(event: str, tmp_path: Path) -> None:
    """ADT_A39 repeats PID, MRG and PV1 (HL7 §3.3.42)."""
    merges = of_several(
        ANNE.again(event=event, absorbed="V7", **MERGE), BRUNO.again(event=event, absorbed="V8", **MERGE)
    )
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [DOUBLE, OTHER_DOUBLE, ANNE, BRUNO])
        assert len(node.census()) == 4
        for _ in range(2):
            assert code_of(await desk.take(merges.encode())) == "AA"
            assert node.census() == BEFORE
        # What comes late under a number that is no more is said of the other.
        gone = OTHER_DOUBLE.again(event="A03", movement="M10", when=at(11), sent=at(11))
        assert await give(desk, [gone]) == ["AA"]
    assert set(node.census()) == {stay_of("V1")}


async def test_each_number_that_one_visit_had_is_merged_into_it(tmp_path: Path) -> None:
    text = ANNE.again(event="A42", absorbed="V7", **MERGE).text()
    several = text.replace("\rPV1|", "\rMRG|IPPV9||||V9^^^CHU^VN\rPV1|")
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [DOUBLE, THIRD_DOUBLE, ANNE])
        for _ in range(2):
            assert code_of(await desk.take(several.encode())) == "AA"
            assert node.census() == {stay_of("V1"): ("U1", "101-1", False)}


async def test_merges_of_one_message_may_follow_from_each_other(tmp_path: Path) -> None:
    chain = of_several(
        DOUBLE.again(event="A42", absorbed="V9", **MERGE), ANNE.again(event="A42", absorbed="V7", **MERGE)
    )
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [DOUBLE, THIRD_DOUBLE])
        assert code_of(await desk.take(chain.encode())) == "AA"
    assert node.census() == {stay_of("V1"): ("U1", "103-1", False)}


async def test_a_move_to_another_account_says_a_new_number_or_none(tmp_path: Path) -> None:
    """ADT_A45 has one PID, and an MRG with a PV1 for each visit (HL7 §3.3.45)."""
    one = ANNE.again(event="A45", absorbed="V7", **MERGE).text()
    other = BRUNO.again(event="A45", absorbed="V8", **MERGE).text().partition("\rMRG|")[2]
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [DOUBLE, OTHER_DOUBLE])
        silent = one.replace("V7^^^CHU^VN", "")
        assert code_of(await desk.take(silent.encode())) == "AA"
        assert set(node.census()) == {stay_of("V7"), stay_of("V8")}
        assert code_of(await desk.take(f"{one}MRG|{other}".encode())) == "AA"
    assert node.census() == BEFORE


async def test_two_numbers_that_are_one_stay_do_not_change_places(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    merge = ANNE.again(event="A42", absorbed="V2", **MERGE)
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, BRUNO, merge])
        before = node.census()
        answer = await desk.take(BOTH.encode())
        assert code_of(answer) == "AE"
        assert b"merged into one" in (answer or b"")
    assert node.census() == before
    assert set(before) == {stay_of("V1")}


async def test_words_under_two_numbers_of_one_stay_that_come_at_once_all_count(tmp_path: Path) -> None:
    """One of them is refused: what is undone of it takes nothing from the other."""
    node = CoreNode(at(12))
    merge = ANNE.again(event="A42", absorbed="V7", **MERGE)
    away = ANNE.again(visit="V7", event="A21", movement="M20", when=at(11, 10), sent=at(11, 10))
    moved = ANNE.again(event="A02", movement="M21", when=at(11, 20), sent=at(11, 20), room="104")
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, DOUBLE, merge])
    async with desk_of(tmp_path, Choosy(node, "leave")) as desk:
        assert await give_at_once(desk, [away, moved]) == ["AE", "AA"]
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [moved.again(sent=at(11, 30))]) == ["AA"]
    assert node.census() == {stay_of("V1"): ("U1", "104-1", False)}


async def test_a_merge_that_lacks_a_number_leaves_the_others_undone(tmp_path: Path) -> None:
    text = of_several(ANNE.again(event="A42", absorbed="V7", **MERGE), BRUNO.again(event="A42", **MERGE))
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [DOUBLE, OTHER_DOUBLE, ANNE, BRUNO])
        answer = await desk.take(text.encode())
        assert code_of(answer) == "AE"
        assert b"ERR||MRG^2^5^1^1|101^" in (answer or b"")
    assert len(node.census()) == 4


async def test_a_merge_of_identities_has_no_effect_in_any_number(tmp_path: Path) -> None:
    text = of_several(ANNE.again(event="A40", absorbed="V7", **MERGE), BRUNO.again(event="A40", **MERGE))
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [ANNE, BRUNO])
        told = len(node.sent)
        assert code_of(await desk.take(text.encode())) == "AA"
        assert len(node.sent) == told
