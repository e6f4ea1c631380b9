"""The desk: answers only after the node's commit, applies nothing twice, loses nothing, keeps what nobody mapped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from aval.adapters.hl7v2.census import NodeAway
from aval.adapters.hl7v2.desk import Census
from aval.adapters.hl7v2.inbox import Inbox, InboxUnusable, house_key, read_visits
from aval.adapters.hl7v2.meters import Meters
from aval.adapters.hl7v2.running import ALIVE_EVERY, stay_alive
from aval.adapters.hl7v2.sending import Sender
from aval.adapters.hl7v2.server import Limits, MllpServer
from aval.adapters.hl7v2.telling import Told
from aval.v1 import census_pb2
from tests.adapters.demo.hand_clock import HandClock
from tests.adapters.hl7v2.core import Choosy, CoreNode
from tests.adapters.hl7v2.days import MAPPING
from tests.adapters.hl7v2.desks import code_of, desk_of, give, stay_of
from tests.adapters.hl7v2.messages import Adt, at
from tests.waiting import PATIENCE_SECONDS, until

IN = Adt("A01", "V1", at(8), "M1", room="101", bed="1")
OTHER = Adt("A01", "V2", at(9), "M2", room="101", bed="1", gender="M")
GONE = IN.again(event="A03", movement="M3", when=at(10), sent=at(10))


class Moody:
    """A node that a test can send away, or have refuse."""

    def __init__(self, node: CoreNode) -> None:
        self.node = node
        self.away = False
        self.refuses = ""
        self.asked = 0

    async def apply(self, movements: list[Told]) -> Mapping[str, census_pb2.ApplyMovementsResponse]:
        self.asked += 1
        if self.away:
            raise NodeAway("down")
        if self.refuses:
            fate = census_pb2.ApplyMovementsResponse.FATE_REFUSED
            return {one.id: census_pb2.ApplyMovementsResponse(fate=fate, reason=self.refuses) for one in movements}
        return await self.node.apply(movements)

    async def stays(self) -> list[census_pb2.Stay]:
        return await self.node.stays()


async def test_an_answer_waits_for_the_nodes_commit(tmp_path: Path) -> None:
    node, clock = Moody(CoreNode(at(12))), HandClock(at(12))
    node.away = True
    async with desk_of(tmp_path, node, clock) as desk:
        waiting = asyncio.ensure_future(desk.take(IN.frame()))
        await until(lambda: node.asked > 0, "the node to be asked")
        clock.advance(clock_step := at(12, 1) - at(12))
        await until(lambda: node.asked > 1, "the node to be asked again")
        assert not waiting.done()
        node.away = False
        clock.advance(clock_step)
        assert code_of(await waiting) == "AA"
    assert node.node.census() == {stay_of("V1"): ("U1", "101-1", False)}


async def test_senders_that_hang_up_leave_nothing_waiting(tmp_path: Path) -> None:
    node = Moody(CoreNode(at(12)))
    node.away = True
    async with desk_of(tmp_path, node) as desk:
        first = asyncio.ensure_future(desk.take(IN.frame()))
        await until(lambda: node.asked > 0, "the node to be asked")
        again = [asyncio.ensure_future(desk.take(OTHER.again(sent=at(9, n)).frame())) for n in range(30)]
        await until(lambda: desk.waiting == len(again), "the rest to wait")
        for one in (first, *again):
            one.cancel()
        await asyncio.gather(first, *again, return_exceptions=True)
        assert desk.waiting == 0


async def test_what_was_stored_before_a_crash_is_told_after_it_and_once(tmp_path: Path) -> None:
    node = Moody(CoreNode(at(12)))
    node.away = True
    async with desk_of(tmp_path, node) as desk:
        waiting = asyncio.ensure_future(desk.take(IN.frame()))
        await until(lambda: node.asked > 0, "the node to be asked")
        waiting.cancel()
    node.away = False
    async with desk_of(tmp_path, node) as desk:
        assert node.node.census() == {stay_of("V1"): ("U1", "101-1", False)}
        assert await give(desk, [IN]) == ["AA"]
    assert len(node.node.sent) == 1


async def test_an_acknowledgement_lost_after_the_commit_changes_nothing(tmp_path: Path) -> None:
    node = Moody(CoreNode(at(12)))

    class Deaf:
        """The node's commit is done, and its word is lost."""

        async def apply(self, movements: list[Told]) -> Mapping[str, census_pb2.ApplyMovementsResponse]:
            await node.node.apply(movements)
            raise NodeAway("cut")

        async def stays(self) -> list[census_pb2.Stay]:
            return []

    async with desk_of(tmp_path, Deaf()) as desk:
        waiting = asyncio.ensure_future(desk.take(IN.frame()))
        await until(lambda: bool(node.node.sent), "the node to commit")
        waiting.cancel()
    before = node.node.census()
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [IN]) == ["AA"]
    assert node.node.census() == before
    assert node.node.fates["APPLIED"] == 1
    assert set(node.node.fates) == {"APPLIED", "ALREADY"}


async def test_what_the_node_refuses_is_an_error_and_leaves_no_trace(tmp_path: Path) -> None:
    node = Moody(CoreNode(at(12)))
    node.refuses = "NOT_YOUR_UNIT"
    async with desk_of(tmp_path, node) as desk:
        answer = await desk.take(IN.frame())
        assert answer is not None
        assert code_of(answer) == "AE"
        assert b"NOT_YOUR_UNIT" in answer
        node.refuses = ""
        assert await give(desk, [GONE]) == ["AA"]
        assert not node.node.census()
        assert await give(desk, [IN]) == ["AA"]
    assert not node.node.census()  # the departure is known by now


async def test_a_message_of_which_the_node_refuses_a_part_leaves_the_stay_where_it_was(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    moved = IN.again(event="A02", movement="M2", when=at(9), sent=at(9), room="102", departure=at(9, day=25))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [IN])
    async with desk_of(tmp_path, Choosy(node, "departure_announced")) as desk:
        assert await give(desk, [moved]) == ["AE"]
    assert node.census() == {stay_of("V1"): ("U1", "101-1", False)}
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [moved]) == ["AA"]
    assert node.census() == {stay_of("V1"): ("U1", "102-1", False)}


class Dying:
    """A node whose word on what it has heard is lost, and that is not there any more."""

    def __init__(self, node: Census) -> None:
        self.node = node
        self.dead = False

    async def apply(self, movements: list[Told]) -> Mapping[str, census_pb2.ApplyMovementsResponse]:
        if not self.dead:
            await self.node.apply(movements)
        self.dead = True
        raise NodeAway("cut")

    async def stays(self) -> Sequence[census_pb2.Stay]:
        return await self.node.stays()


async def test_a_crash_before_such_a_message_is_told_back_leaves_the_stay_where_it_was(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    moved = IN.again(event="A02", movement="M2", when=at(9), sent=at(9), room="102", departure=at(9, day=25))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [IN])
    dying = Dying(Choosy(node, "departure_announced"))
    async with desk_of(tmp_path, dying) as desk:
        waiting = asyncio.ensure_future(desk.take(moved.frame()))
        await until(lambda: dying.dead, "the node to die")
        waiting.cancel()
    assert node.census() == {stay_of("V1"): ("U1", "102-1", False)}
    async with desk_of(tmp_path, Choosy(node, "departure_announced")) as desk:
        assert node.census() == {stay_of("V1"): ("U1", "101-1", False)}
        assert await give(desk, [moved]) == ["AE"]
    async with desk_of(tmp_path, node) as desk:
        assert node.census() == {stay_of("V1"): ("U1", "101-1", False)}
        assert await give(desk, [moved]) == ["AA"]
    assert node.census() == {stay_of("V1"): ("U1", "102-1", False)}


@pytest.mark.parametrize("known", [[], [IN]], ids=["a number that is new", "two stays"])
async def test_a_crash_before_a_merge_that_is_refused_is_told_back_leaves_both_as_they_were(
    known: list[Adt], tmp_path: Path
) -> None:
    node = CoreNode(at(12))
    double = OTHER.again(visit="V7", movement="M7", room="103")
    merge = IN.again(event="A42", movement="", absorbed="V7", sent=at(11))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [*known, double])
        before = node.census()
    no = "stay_merged", "cancellation", "transfer"
    dying = Dying(Choosy(node, *no))
    async with desk_of(tmp_path, dying) as desk:
        waiting = asyncio.ensure_future(desk.take(merge.frame()))
        await until(lambda: dying.dead, "the node to die")
        waiting.cancel()
    async with desk_of(tmp_path, Choosy(node, *no)) as desk:
        assert await give(desk, [merge]) == ["AE"]
    assert node.census() == before
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [merge]) == ["AA"]
    assert set(node.census()) == {stay_of("V1")}


@pytest.mark.parametrize("known", [[], [IN]], ids=["a number that is new", "two stays"])
async def test_a_merge_that_the_node_refuses_leaves_both_numbers_as_they_were(known: list[Adt], tmp_path: Path) -> None:
    node = CoreNode(at(12))
    double = OTHER.again(visit="V7", movement="M7", room="103")
    merge = IN.again(event="A42", movement="", absorbed="V7", sent=at(11))
    gone = double.again(event="A03", movement="M8", when=at(11, 30), sent=at(11, 30))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [*known, double])
        before = node.census()
    async with desk_of(tmp_path, Choosy(node, "stay_merged", "cancellation", "transfer")) as desk:
        assert await give(desk, [merge]) == ["AE"]
    assert node.census() == before
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [merge]) == ["AA"]
        assert set(node.census()) == {stay_of("V1")}
        assert await give(desk, [gone]) == ["AA"]
    assert not node.census()


async def test_an_unmapped_unit_waits_for_a_person_and_is_told_anew_once_mapped(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    nothing: dict[str, object] = {"unit": []}
    async with desk_of(tmp_path, node, mapping=nothing) as desk:
        assert await give(desk, [IN]) == ["AA"]
        assert node.fates == {"PARKED UNIT_UNKNOWN": 1}
    assert not node.census()
    async with desk_of(tmp_path, node, mapping=MAPPING):
        assert node.census() == {stay_of("V1"): ("U1", "101-1", False)}
    assert not node.ledger.parked_count()


async def test_a_bed_that_another_still_holds_is_given_once_it_is_free(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [IN, OTHER]) == ["AA", "AA"]
        assert node.census()[stay_of("V1")] == ("U1", "101-1", False)
        assert node.census()[stay_of("V2")] == ("U1", None, False)
        await give(desk, [GONE])
        assert node.census() == {stay_of("V2"): ("U1", "101-1", False)}


async def test_two_patients_change_beds_in_two_messages(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    there = OTHER.again(bed="2")
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [IN, there])
        await give(desk, [IN.again(event="A02", movement="M5", when=at(10), sent=at(10), bed="2")])
        await give(desk, [there.again(event="A02", movement="M6", when=at(10), sent=at(10), bed="1")])
    assert node.census() == {stay_of("V1"): ("U1", "101-2", False), stay_of("V2"): ("U1", "101-1", False)}


async def test_an_old_word_of_an_unknown_stay_is_acknowledged_and_passed_over(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    old = Adt("A02", "V9", at(8).replace(month=6), "M9", room="101", bed="1")
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [old]) == ["AA"]
    assert not node.sent


async def test_a_batch_is_answered_message_by_message(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    batch = f"BHS|^~\\&|GAM\r{IN.text()}{GONE.text()}{IN.again(visit='').text()}BTS|3\r"
    async with desk_of(tmp_path, node) as desk:
        answer = await desk.take(batch.encode())
    assert answer is not None
    assert [part[:2] for part in answer.split(b"MSA|")[1:]] == [b"AA", b"AA", b"AA"]
    assert answer.endswith(b"BTS|3\r")


async def test_a_message_that_is_too_long_is_refused_and_the_next_one_taken(tmp_path: Path) -> None:
    """A sender that gets no answer sends the same again, and nothing after it."""
    node = CoreNode(at(12))
    long = IN.text() + "OBX|1|ED|PHOTO||^image^jpeg^Base64^" + "A" * 20_000 + "\r"
    async with desk_of(tmp_path, node) as desk:
        server = MllpServer(desk.take, Limits(message_bytes=10_000), Meters(CollectorRegistry()), None)
        port = await server.start("127.0.0.1", 0)
        try:
            async with Sender("127.0.0.1", port) as line:
                answer = await line.send(long.encode())
                assert b"MSA|AR|V1-A01-M1-" in answer
                assert b"ERR||MSH^1|207^" in answer
                assert not node.census()
                assert code_of(await line.send(IN.frame())) == "AA"
        finally:
            await server.stop()
    assert node.census() == {stay_of("V1"): ("U1", "101-1", False)}


async def test_an_inbox_that_was_lost_is_taken_up_from_the_node(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    third = IN.again(visit="V3", movement="M7", room="102")
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [IN, OTHER.again(bed="2"), third])
    (tmp_path / "new").mkdir()
    async with desk_of(tmp_path / "new", node, first_number=1_000):
        pass
    inbox = Inbox(tmp_path / "new" / "hl7.db")
    assert await inbox.purge(at(12).replace(year=2028)) == 0  # nobody has said that they are gone
    await inbox.close()
    async with desk_of(tmp_path / "new", node, first_number=1_000) as desk:
        moved = OTHER.again(event="A02", movement="M8", when=at(11), sent=at(11), room="103", bed="1")
        mistaken = third.again(event="A11", action="CANCEL", original="A01", sent=at(11))
        assert await give(desk, [GONE, moved, mistaken]) == ["AA", "AA", "AA"]
    assert not [fate for fate in node.fates if fate != "APPLIED"], node.fates
    assert node.census() == {stay_of("V2"): ("U1", "103-1", False)}


async def test_the_same_movement_under_another_message_id_and_time_is_known(tmp_path: Path) -> None:
    """Engines stamp what they send again: MSH-7 and MSH-10 are new, ZBE-1 and ZBE-4 are not."""
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [IN, GONE])
        before = len(node.sent)
        assert await give(desk, [IN.again(sent=at(13), control="again-1")]) == ["AA"]
        assert len(node.sent) == before
    assert not node.census()


async def test_an_open_connection_is_a_proof_of_life_and_a_closed_one_is_not() -> None:
    clock, said, open_now = HandClock(at(3)), asyncio.Semaphore(0), 1
    told = 0

    async def alive() -> None:
        nonlocal told
        told += 1
        said.release()

    telling = asyncio.create_task(stay_alive(lambda: open_now, alive, clock))
    await asyncio.wait_for(said.acquire(), PATIENCE_SECONDS)
    clock.advance(ALIVE_EVERY)
    await asyncio.wait_for(said.acquire(), PATIENCE_SECONDS)
    open_now = 0
    for _ in range(20):
        clock.advance(ALIVE_EVERY)
        await until(lambda: True, "the loop to turn")
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    assert told <= 3


async def test_an_acknowledgement_is_not_answered(tmp_path: Path) -> None:
    async with desk_of(tmp_path, CoreNode(at(12))) as desk:
        assert await desk.take(b"MSH|^~\\&|A|B|C|D|20261123||ACK^A01^ACK|1|P|2.5\rMSA|AA|1\r") is None


async def test_stays_that_are_over_are_forgotten_and_others_kept(tmp_path: Path) -> None:
    async with desk_of(tmp_path, CoreNode(at(12))) as desk:
        await give(desk, [IN, GONE, OTHER])
    inbox = Inbox(tmp_path / "hl7.db")
    try:
        assert await inbox.purge(at(12)) == 0
        assert await inbox.purge(at(12).replace(year=2027)) == 1
    finally:
        await inbox.close()
    assert [visit.key for visit in read_visits(tmp_path / "hl7.db")] == [stay_of("V2")]


async def test_a_number_that_was_merged_is_remembered_for_what_comes_late(tmp_path: Path) -> None:
    """A day that is sent again holds the admission under the number that is no more."""
    node = CoreNode(at(12))
    double = IN.again(visit="V7", movement="M7")
    merge = IN.again(event="A42", movement="", absorbed="V7", sent=at(11))
    async with desk_of(tmp_path, node) as desk:
        assert set(await give(desk, [double, merge])) == {"AA"}
    inbox = Inbox(tmp_path / "hl7.db")
    assert await inbox.purge(at(12)) == 0
    await inbox.close()
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [double]) == ["AA"]
    assert node.census() == {stay_of("V1"): ("U1", "101-1", False)}


def test_the_key_of_the_hashes_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    key = house_key(tmp_path / "k")
    assert house_key(tmp_path / "k") == key
    assert (tmp_path / "k").stat().st_mode & 0o077 == 0
    (tmp_path / "k").write_bytes(b"short")
    with pytest.raises(InboxUnusable):
        house_key(tmp_path / "k")


def test_an_inbox_that_is_none_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "hl7.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(InboxUnusable):
        Inbox(tmp_path / "hl7.db")
