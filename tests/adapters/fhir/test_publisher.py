"""Told once: the ROR has each declared figure, by replace and add; what no retry cures waits for a person, by name."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DatabaseError

from aval.adapters.fhir.capacity import capacities_of, instant
from aval.adapters.fhir.outbox import Outbox, OutboxUnusable, UnitTold
from aval.adapters.fhir.publisher import Publisher, PublisherMeter
from aval.adapters.fhir.ror import Ror, Step, Trouble, verdict_of
from aval.adapters.fhir.settings import (
    PublisherSettings,
    ReadingSettings,
    RorSettings,
    Wins,
    read_publisher,
)
from aval.kernel.declared import DeclaredFault
from aval.kernel.statuses import Horizon, Status
from aval.v1 import availability_pb2, terms_pb2
from tests.adapters.fhir import node
from tests.adapters.fhir.register import Register, serving
from tests.adapters.fhir.units import HOUSE, NOW, UNIT, unit
from tests.waiting import until

PLACE = "1540000023/U107"
A = availability_pb2


@dataclass
class Stage:
    """A node, a ROR, an outbox on disk, and the publisher between them; time stands still."""

    served: node.Serving
    register: Register
    clock: node.Clock
    outbox: Outbox
    publisher: Publisher
    ror: Ror

    async def round(self) -> int:
        """The node is read, and all that is due is sent; how many were tried."""
        await self.publisher.read()
        return await self.publisher.push(self.ror)

    def told(self, name: str = UNIT) -> UnitTold:
        found = self.outbox.told(name)
        assert found is not None
        return found


class Stages:
    """Makes stages over one folder, so that a publisher can be started anew."""

    def __init__(self, folder: Path, closing: AsyncExitStack) -> None:
        self.folder = folder
        self.closing = closing
        self.served = node.Serving()
        self.register = Register(places={PLACE: {}})
        self.clock = node.Clock()
        self.url = ""

    async def open(self, **ror: object) -> Stage:
        if not self.url:
            self.url = await self.closing.enter_async_context(serving(self.register))
        line = await self.closing.enter_async_context(node.serving(self.served))
        units = ror.pop("units", {})
        assert isinstance(units, dict)
        told = msgspec.convert({"url": f"{self.url}/sync", **ror}, RorSettings)
        settings = PublisherSettings(identity="-", node="-", ror=told, units=units)
        outbox = Outbox.open(self.folder / "ror.db")
        self.closing.callback(outbox.close)
        register = await self.closing.enter_async_context(Ror(told, self.folder, self.clock))
        publisher = Publisher(settings, outbox, line, self.clock)
        return Stage(self.served, self.register, self.clock, outbox, publisher, register)


@pytest_asyncio.fixture
async def stages(tmp_path: Path) -> AsyncIterator[Stages]:
    async with AsyncExitStack() as closing:
        yield Stages(tmp_path, closing)


def free(count: int) -> A.Unit:
    return unit(free={terms_pb2.GENDER_ANY: count})


# --- told once -------------------------------------------------------------------------------------------------------


async def test_each_declared_figure_reaches_the_ror_by_replace_then_add(stages: Stages) -> None:
    stage = await stages.open()
    stage.served.put(unit())
    assert await stage.round() == 9
    assert stage.register.counts(PLACE) == {
        "01/01/": 20,
        "02/01/01": 1,
        "02/01/02": 0,
        "02/01/03": 1,
        "03/01/": 15,
        "04/01/": 1,
        "05/01/": 2,
    }
    kinds = [kind for kind, _, _ in stage.register.calls]
    assert kinds == ["replace", "add"] * 9
    assert not any(key[0] == "07" for key in stage.register.places[PLACE])


async def test_what_the_ror_has_is_not_told_again_and_a_change_is_told_by_replace_alone(stages: Stages) -> None:
    stage = await stages.open()
    stage.served.put(free(2))
    await stage.round()
    stage.register.calls.clear()
    assert await stage.round() == 0
    stage.served.put(free(1))
    assert await stage.round() == 1
    assert stage.register.calls == [("replace", PLACE, "02/01/03")]
    assert stage.register.counts(PLACE)["02/01/03"] == 1


async def test_only_two_headers_of_ours_and_the_date_is_the_sources(stages: Stages) -> None:
    stage = await stages.open(statuses=["03"])
    stage.served.put(unit(age=timedelta(minutes=6)))
    await stage.round()
    assert "Authorization" not in stage.register.headers[0]
    ((record),) = stage.register.places[PLACE].values()
    dates = [part["valueDateTime"] for part in record["extension"] if part["url"] == "capacityUpdateDate"]
    assert dates == [instant(NOW - timedelta(minutes=6))]


async def test_an_outage_is_one_message_whatever_changed_meanwhile(stages: Stages) -> None:
    stage = await stages.open(statuses=["02"])
    stage.served.put(free(2))
    await stage.round()
    stage.register.calls.clear()
    for count in (1, 0, 3, 4):
        stage.served.put(free(count))
        stage.register.down = 1
        await stage.round()
        stage.clock.forward(timedelta(hours=1))
    await stage.round()
    assert stage.register.counts(PLACE)["02/01/03"] == 4
    assert len(stage.register.calls) == 5


async def test_a_figure_no_longer_declared_is_taken_away(stages: Stages) -> None:
    stage = await stages.open()
    other = unit(f"{HOUSE}/units/U900")
    stage.served.put(unit(), other)
    await stage.round()
    shrunk = unit()
    del shrunk.declared[:]
    shrunk.declared.add(status=A.CAPACITY_STATUS_AVAILABLE, horizons=[A.HORIZON_NOW])
    stage.served.put(shrunk)
    await stage.round()
    assert set(stage.register.counts(PLACE)) == {"02/01/01", "02/01/02", "02/01/03"}
    stage.served.units.clear()
    await stage.round()
    assert len(stage.register.counts(PLACE)) == 3, "a node that shows nothing takes nothing away"
    stage.served.put(other)
    await stage.round()
    assert stage.register.counts(PLACE) == {}
    await stage.round()
    assert stage.outbox.told(UNIT) is None


async def test_a_crash_between_sending_and_writing_sends_the_same_again_and_changes_nothing(stages: Stages) -> None:
    stage = await stages.open(statuses=["03"])
    stage.served.put(unit())
    await stage.publisher.read()
    (due,) = stage.outbox.due(stage.clock.now())
    assert due.capacity is not None
    assert (await stage.ror.tell(PLACE, due.capacity)).step is Step.DONE
    stage.outbox.close()  # the process dies here
    again = await stages.open(statuses=["03"])
    assert await again.publisher.push(again.ror) == 1
    assert [kind for kind, _, _ in again.register.calls] == ["replace", "add", "replace"]
    assert again.register.counts(PLACE) == {"03/01/": 15}
    assert again.told().waiting == 0


async def test_an_unchanged_figure_is_said_again_when_its_time_has_come(stages: Stages) -> None:
    stage = await stages.open(statuses=["03"], repeat_every_hours=12)
    stage.served.put(unit())
    await stage.round()
    stage.clock.forward(timedelta(hours=11))
    assert await stage.round() == 0
    stage.clock.forward(timedelta(hours=1))
    assert await stage.round() == 1


async def test_units_are_named_as_the_settings_say_and_an_empty_name_is_not_sent(stages: Stages) -> None:
    stage = await stages.open(units={"U107": "HEB38888", "U108": ""}, statuses=["03"])
    stage.register.places = {"1540000023/HEB38888": {}}
    stage.served.put(unit(), unit(f"{HOUSE}/units/U108"), unit(f"{HOUSE}/units/U109"))
    await stage.round()
    assert stage.register.counts("1540000023/HEB38888") == {"03/01/": 15}
    assert stage.told(f"{HOUSE}/units/U108").withheld == "NOT_MAPPED"
    assert stage.told(f"{HOUSE}/units/U109").trouble is Trouble.LOCATION_UNKNOWN


async def test_figures_that_nobody_stands_for_are_withheld_and_say_why(stages: Stages) -> None:
    stage = await stages.open()
    masked = unit(f"{HOUSE}/units/U2")
    masked.shown = A.SHOWN_YES_OR_NO
    stale = unit(freshness=A.FRESHNESS_STALE)
    stage.served.put(stale, masked, unit(f"{HOUSE}/units/U3", age=None))
    assert await stage.round() == 0
    withheld = {one.unit.rpartition("/")[2]: one.withheld for one in stage.outbox.all_told()}
    assert withheld == {"U107": "STALE", "U2": "NOT_EXACT", "U3": "NEVER_HEARD"}


# --- what the ROR answers --------------------------------------------------------------------------------------------


async def test_a_place_that_the_ror_does_not_know_goes_to_a_person_once(stages: Stages) -> None:
    stage = await stages.open()
    stage.register.places = {}
    stage.served.put(unit())
    assert await stage.round() == 1
    told = stage.told()
    assert told.trouble is Trouble.LOCATION_UNKNOWN
    assert "n'a pas été trouvée" in told.words
    assert told.waiting == 9
    assert await stage.round() == 0
    stage.register.places = {PLACE: {}}
    stage.outbox.retry(UNIT, stage.clock.now())
    await stage.round()
    assert (stage.told().waiting, stage.told().trouble) == (0, Trouble.NONE)


async def test_twins_go_to_a_person_and_are_tried_again_by_themselves_some_hours_later(stages: Stages) -> None:
    stage = await stages.open()
    stage.register.twins = {PLACE}
    stage.served.put(unit())
    await stage.round()
    assert stage.told().trouble is Trouble.LOCATION_NOT_UNIQUE
    stage.register.twins = set()
    stage.clock.forward(timedelta(hours=6))
    await stage.round()
    assert stage.told().waiting == 0


async def test_what_waits_and_what_waits_for_a_person_is_measured(stages: Stages) -> None:
    registry = CollectorRegistry()
    stage = await stages.open()
    stage.publisher.meter = PublisherMeter(registry)
    stage.register.rules_broken = {"04"}
    stage.served.put(unit())
    await stage.round()
    assert registry.get_sample_value("aval_ror_sent_total", {"outcome": "done"}) == 8
    assert registry.get_sample_value("aval_ror_sent_total", {"outcome": "person"}) == 1
    assert registry.get_sample_value("aval_ror_waiting") == 1
    assert registry.get_sample_value("aval_ror_units_troubled") == 1


async def test_a_broken_rule_holds_its_own_figure_only(stages: Stages) -> None:
    stage = await stages.open()
    stage.register.rules_broken = {"04"}
    stage.served.put(unit())
    await stage.round()
    told = stage.told()
    assert (told.trouble, told.waiting) == (Trouble.RULE_BROKEN, 1)
    assert "indicateur valide" in told.words
    assert len(stage.register.counts(PLACE)) == 6


async def test_a_ror_that_is_away_is_tried_again_later_and_later(stages: Stages) -> None:
    stage = await stages.open(statuses=["03"])
    stage.register.down = 3
    stage.served.put(unit())
    waits = []
    for _ in range(3):
        assert await stage.round() == 1
        assert stage.told().trouble is Trouble.UNREACHABLE
        before = stage.clock.now()
        while not stage.outbox.due(stage.clock.now()):
            stage.clock.forward(timedelta(seconds=1))
        waits.append((stage.clock.now() - before).total_seconds())
    assert waits == [5, 10, 20]
    await stage.round()
    assert stage.told().waiting == 0


async def test_a_ror_that_is_away_is_left_alone_by_all_figures(stages: Stages) -> None:
    stage = await stages.open()
    stage.register.down = 1_000
    stage.served.put(unit(), unit(f"{HOUSE}/units/U108"))
    for _ in range(24):  # two minutes, as the publisher looks
        await stage.round()
        stage.clock.forward(timedelta(seconds=5))
    assert len(stage.register.calls) == 5, "at 0, 5, 15, 35 and 75 s"
    stage.register.down = 0
    stage.clock.forward(timedelta(minutes=15))
    await stage.round()
    assert stage.told().waiting == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("120", 120), ("Tue, 24 Nov 2026 09:32:00 GMT", 120), ("Tue, 24 Nov 2026 09:00:00 GMT", 5), ("bientôt", 5)],
)
async def test_a_busy_ror_is_given_the_time_that_it_asks_for(stages: Stages, said: str, seconds: int) -> None:
    stage = await stages.open(statuses=["03"])
    stage.register.busy, stage.register.retry_after = 1, said
    stage.served.put(unit())
    await stage.round()
    stage.clock.forward(timedelta(seconds=seconds - 1))
    assert await stage.round() == 0
    stage.clock.forward(timedelta(seconds=1))
    assert await stage.round() == 1


async def test_a_ror_that_cannot_be_reached_at_all_is_waited_for(stages: Stages) -> None:
    stage = await stages.open(statuses=["03"])
    stage.served.put(unit())
    await stage.publisher.read()
    (due,) = stage.outbox.due(NOW)
    nobody = RorSettings(url="http://127.0.0.1:9/sync")
    assert due.capacity is not None
    async with Ror(nobody, stages.folder, stage.clock) as ror:
        verdict = await ror.tell(PLACE, due.capacity)
    assert (verdict.step, verdict.trouble) == (Step.LATER, Trouble.UNREACHABLE)


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (400, {"error": "invalid_client"}, "invalid_client"),
        (401, {"error": "invalid_client"}, "HTTP 401"),
        (200, {"access_token": "jeton\r\nX-Evil: 1"}, "no token"),
        (200, {"access_token": ""}, "no token"),
        (200, ["jeton"], "no token"),
        (200, {"access_token": "jeton", "expires_in": "bientôt"}, "no token"),
    ],
)
async def test_an_authorisation_server_that_gives_no_token_is_quoted(
    stages: Stages, status: int, said: Any, words: str
) -> None:
    await stages.open()  # the server's address is known from here
    stage = await stages.open(token_url=f"{stages.url}/token", client_id="aval-test", statuses=["03"])
    stage.register.tokens_status, stage.register.tokens_say = status, said
    stage.served.put(unit())
    await stage.round()
    (told,) = stage.outbox.all_told()
    assert (told.waiting, told.trouble) == (1, Trouble.NOT_ALLOWED)
    assert words in told.words
    assert stage.register.calls == []


async def test_a_token_is_had_once_and_renewed_when_it_is_refused_or_old(stages: Stages) -> None:
    first = await stages.open()
    del first
    stage = await stages.open(token_url=f"{stages.url}/token", client_id="aval-test", statuses=["03"])
    stage.served.put(unit())
    await stage.round()
    assert stage.register.tokens_given == 1
    assert stage.register.headers[-1]["Authorization"] == "Bearer jeton-1"
    stage.register.token = "revoked meanwhile"
    stage.served.put(unit(figures={A.CAPACITY_STATUS_OCCUPIED: 14}))
    await stage.round()
    assert stage.register.tokens_given == 2
    stage.clock.forward(timedelta(minutes=5))
    stage.served.put(unit(figures={A.CAPACITY_STATUS_OCCUPIED: 13}))
    await stage.round()
    assert stage.register.tokens_given == 3
    assert stage.register.counts(PLACE) == {"03/01/": 13}


@pytest.mark.parametrize(
    ("status", "body", "step", "trouble"),
    [
        (200, b"", Step.DONE, Trouble.NONE),
        (204, b"", Step.DONE, Trouble.NONE),
        (404, b"", Step.PERSON, Trouble.LOCATION_UNKNOWN),
        (404, b"<html>", Step.PERSON, Trouble.LOCATION_UNKNOWN),
        (412, b"{}", Step.PERSON, Trouble.LOCATION_NOT_UNIQUE),
        (400, b'{"resourceType": "OperationOutcome", "issue": 7}', Step.PERSON, Trouble.RULE_BROKEN),
        (401, b"", Step.TOKEN, Trouble.NOT_ALLOWED),
        (403, b"", Step.PERSON, Trouble.NOT_ALLOWED),
        (405, b"", Step.PERSON, Trouble.REFUSED),
        (302, b"", Step.PERSON, Trouble.REFUSED),
        (409, b"", Step.LATER, Trouble.BUSY),
        (429, b"<html>", Step.LATER, Trouble.BUSY),
        (502, b"Bad Gateway", Step.LATER, Trouble.UNREACHABLE),
        (500, b"[" * 100_000, Step.LATER, Trouble.UNREACHABLE),
    ],
)
def test_every_answer_has_a_meaning(status: int, body: bytes, step: Step, trouble: Trouble) -> None:
    verdict = verdict_of(status, body)
    assert (verdict.step, verdict.trouble) == (step, trouble)
    assert verdict.text == ("" if status < 300 else f"HTTP {status}"), "no words: a person sees what was answered"


def test_the_words_of_an_answer_may_stand_in_its_details() -> None:
    body = b'{"resourceType": "OperationOutcome", "issue": [{"details": {"text": "Lit en trop"}}, {"details": 7}]}'
    assert verdict_of(400, body).text == "Lit en trop"


@pytest.mark.parametrize(
    ("name", "status", "step", "trouble"),
    [
        ("OperationOutcome-404-indicateur", 404, Step.ADD, Trouble.INDICATOR_UNKNOWN),
        ("OperationOutcome-404-location", 404, Step.PERSON, Trouble.LOCATION_UNKNOWN),
        ("OperationOutcome-400-business-rule", 400, Step.PERSON, Trouble.RULE_BROKEN),
    ],
)
def test_the_published_errors_are_understood(
    shared_dir: Path, name: str, status: int, step: Step, trouble: Trouble
) -> None:
    verdict = verdict_of(status, (shared_dir / f"samples/fhir_ror/{name}.json").read_bytes())
    assert (verdict.step, verdict.trouble) == (step, trouble)
    assert verdict.text


# --- when the ROR says otherwise -------------------------------------------------------------------------------------


async def disagreeing(stages: Stages, wins: Wins) -> Stage:
    first = await stages.open()
    del first
    reading = {"url": f"{stages.url}/fhir"}
    stage = await stages.open(statuses=["03"], wins=wins.value, reading=reading)
    stage.served.put(unit())
    await stage.round()
    stage.clock.forward(timedelta(minutes=10))
    assert await stage.publisher.compare(stage.ror) == 0
    stage.register.type_by_hand(PLACE, "03/01/", 12, instant(stage.clock.now()))
    assert await stage.publisher.compare(stage.ror) == 1
    return stage


async def test_where_aval_wins_ours_is_sent_again(stages: Stages) -> None:
    stage = await disagreeing(stages, Wins.AVAL)
    ((indicator, ours, theirs, until_when),) = stage.told().disputed
    assert (indicator.status, indicator.horizon, ours, theirs, until_when) == (
        Status.OCCUPIED, Horizon.NOW, 15, 12, None,
    )  # fmt: skip
    assert await stage.round() == 1
    assert stage.register.counts(PLACE) == {"03/01/": 15}
    assert stage.told().disputed == ()


async def test_where_the_ror_wins_its_word_stands_for_four_hours(stages: Stages) -> None:
    stage = await disagreeing(stages, Wins.ROR)
    assert stage.told().disputed[0][3] == stage.clock.now() + timedelta(hours=4)
    assert await stage.round() == 0
    stage.clock.forward(timedelta(hours=3, minutes=59))
    assert await stage.round() == 0
    assert stage.register.counts(PLACE) == {"03/01/": 12}
    stage.clock.forward(timedelta(minutes=1))
    assert await stage.round() == 1
    assert stage.register.counts(PLACE) == {"03/01/": 15}
    assert stage.told().disputed == ()


async def test_a_reader_has_a_way_in_of_its_own_where_one_is_said(stages: Stages) -> None:
    first = await stages.open()
    del first
    reading = {"url": f"{stages.url}/fhir", "token_url": f"{stages.url}/token", "client_id": "aval-test"}
    stage = await stages.open(statuses=["03"], reading=reading)
    stage.served.put(unit())
    await stage.round()
    assert stage.register.tokens_given == 0
    await stage.publisher.compare(stage.ror)
    assert stage.register.tokens_given == 1


async def test_a_redirection_is_not_followed(stages: Stages) -> None:
    stage = await stages.open(statuses=["03"])
    stage.register.moved = True
    stage.served.put(unit())
    await stage.round()
    assert stage.told().trouble is Trouble.REFUSED
    assert len(stage.register.calls) == 1


async def test_an_older_word_of_the_ror_is_no_disagreement(stages: Stages) -> None:
    stage = await disagreeing(stages, Wins.AVAL)
    await stage.round()
    stage.register.type_by_hand(PLACE, "03/01/", 3, instant(NOW - timedelta(days=1)))
    assert await stage.publisher.compare(stage.ror) == 0


# --- following, dry run, settings ------------------------------------------------------------------------------------


class Hurrying(node.Clock):
    """Time that passes as soon as somebody waits for it."""

    async def sleep_until(self, monotonic: float) -> None:
        self.forward(timedelta(seconds=max(monotonic - self.monotonic(), 0)))
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn


async def test_what_changes_at_the_node_is_followed(stages: Stages) -> None:
    stages.clock = Hurrying()
    stage = await stages.open(statuses=["03"], repeat_every_hours=1e6)
    stage.served.put(unit())
    running = asyncio.create_task(stage.publisher.run(stage.ror))
    try:
        await until(lambda: stage.register.counts(PLACE) == {"03/01/": 15}, "the first figure")
        stage.served.put(unit(figures={A.CAPACITY_STATUS_OCCUPIED: 11}))
        stage.served.tell()
        await until(lambda: stage.register.counts(PLACE) == {"03/01/": 11}, "the second figure")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_dry_run_says_what_would_be_sent_and_touches_nothing(stages: Stages) -> None:
    stage = await stages.open(statuses=["03"])
    stage.served.put(unit())
    await stage.round()
    stage.served.put(unit(figures={A.CAPACITY_STATUS_OCCUPIED: 14}))
    before = stage.told()
    rehearsal = Publisher(
        PublisherSettings(
            identity="-", node="-", ror=RorSettings(url="http://127.0.0.1:9", statuses=(Status.OCCUPIED,))
        ),
        stage.outbox.copy(),
        stage.publisher.line,
        stage.clock,
    )
    await rehearsal.read()
    (due,) = rehearsal.outbox.due(stage.clock.now())
    assert due.capacity is not None
    assert (due.unit, due.capacity.count) == (UNIT, 14)
    assert stage.told() == before
    assert stage.outbox.due(stage.clock.now()) == []


def test_a_reading_that_finds_nothing_new_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ror.db"
    outbox, twelve = Outbox.open(path), timedelta(hours=12)
    outbox.want(UNIT, capacities_of(unit(), NOW), NOW, twelve)
    for due in outbox.due(NOW):
        outbox.done(due, NOW)
    with closing(sqlite3.connect(path)) as watching:
        before = watching.execute("PRAGMA data_version").fetchone()
        later = NOW + timedelta(minutes=5)
        outbox.want(UNIT, capacities_of(unit(), later), later, twelve)
        assert watching.execute("PRAGMA data_version").fetchone() == before
        outbox.want(UNIT, capacities_of(free(7), later), later, twelve)
        assert watching.execute("PRAGMA data_version").fetchone() != before
    outbox.close()


def test_another_source_of_the_same_figure_is_told(tmp_path: Path) -> None:
    outbox, twelve = Outbox.open(tmp_path / "ror.db"), timedelta(hours=12)
    outbox.want(UNIT, capacities_of(unit(), NOW), NOW, twelve)
    for due in outbox.due(NOW):
        outbox.done(due, NOW)
    typed = unit()
    typed.sources[0].kind = A.SOURCE_KIND_PERSON
    outbox.want(UNIT, capacities_of(typed, NOW), NOW, twelve)
    assert {due.capacity.source for due in outbox.due(NOW) if due.capacity} == {"01"}
    outbox.close()


def test_an_outbox_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ror.db"
    with pytest.raises(OutboxUnusable, match="no such file"):
        Outbox.readable(path)
    path.write_bytes(b"this is no database, but it is long enough to look like one" * 20)
    with pytest.raises(OutboxUnusable, match="cannot be used"):
        Outbox.open(path)


def test_what_one_process_writes_another_reads(tmp_path: Path) -> None:
    writing = Outbox.open(tmp_path / "ror.db")
    writing.want(UNIT, capacities_of(unit(), NOW), NOW, timedelta(hours=12))
    reading = Outbox.readable(tmp_path / "ror.db")
    told = reading.told(UNIT)
    assert told is not None
    assert told.waiting == 20
    with pytest.raises(DatabaseError, match="readonly"):
        reading.retry(None, NOW)
    writing.close()
    reading.close()


def test_an_outbox_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ror.db"
    Outbox.open(path).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")
    for opening in (Outbox.open, Outbox.readable):
        with pytest.raises(OutboxUnusable, match="version 2"):
            opening(path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "identity"),
        ('identity = "i"\nnode = "n"\n[ror]\nurl = "http://ror.example"', "https"),
        ('identity = "i"\nnode = "n"\n[ror]\nurl = "https://ror.example"\nstatuses = ["07"]', "07"),
        ('identity = "i"\nnode = "n"\n[ror]\nurl = "https://ror.example"\nwins = "nobody"', "wins"),
        ('identity = "i"\nnode = "n"\n[ror]\nurl = "https://r.example"\ntoken_url = "https://r.example"', "client_id"),
        ('identity = "i"\nnode = "n"\nmore = 1\n[ror]\nurl = "https://ror.example"', "more"),
    ],
)
def test_settings_that_cannot_be_used_say_what_to_mend(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "ror.toml"
    path.write_text(text)
    with pytest.raises(DeclaredFault, match=named):
        read_publisher(path)


def test_good_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ror.toml"
    path.write_text(
        'identity = "i"\nnode = "127.0.0.1:1"\n[ror]\nurl = "https://ror.example"\nwins = "ror"\n'
        '[ror.reading]\nurl = "https://ror.example/fhir"\n[units]\nU107 = "HEB1"\n'
    )
    settings = read_publisher(path)
    assert settings.ror.wins is Wins.ROR
    assert settings.ror.reading == ReadingSettings(url="https://ror.example/fhir")
    assert settings.units == {"U107": "HEB1"}
    assert Status.SUPPLEMENTARY not in settings.ror.statuses
