"""Two hubs on one database: the budgeted runs of every `make test`, and what each kind of fault does, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aval.v1 import request_pb2 as rq
from aval.v1 import reservation_pb2 as rs
from aval.v1 import terms_pb2 as tm
from tests.simulation.checker import request_of
from tests.simulation.running import RUN_SECONDS, assert_a_seed_says_everything, assert_nothing_breaks
from tests.simulation.several import HUBS, SAID_SECONDS_MAX, Several
from tests.simulation.stage import A, Stage, stage
from tests.simulation.wire import EXCHANGE

SEEDS, STEPS, MORE = "1-5", 200, 6
"""About 20 s of one core; seeds are added where these have left a kind of fault unmet."""

MOVED_SECONDS_MAX = 10.0
"""What a hub's death may cost its nodes: a lease of six seconds, and the look of the other."""

HANDED_OVER_SECONDS_MAX = 4.0
"""What a hub's stop in good order may: the grace that it gives its calls, and the look of the other."""


@pytest.mark.timeout(RUN_SECONDS + 10)
def test_nothing_breaks_under_faults_with_two_hubs() -> None:
    """As with one; and what two hubs must hold between them (`together.py`), after every commit and step."""
    assert_nothing_breaks(SEEDS, STEPS, MORE, "--hubs", "2")


def test_a_seed_says_everything_of_two_hubs() -> None:
    assert_a_seed_says_everything(lambda: Several(3), 40)


class Pair:
    """A stage with two hubs."""

    def __init__(self, on: Stage, run: Several) -> None:
        self.on = on
        self.run = run

    def holder(self, house: str) -> int:
        """The number of the hub that follows a house's node."""
        return self.run.disk.rows.leases[house].holder

    def until_held_by(self, hub: int, seconds_max: float) -> None:
        """Until one hub follows all nodes, at most so long."""
        began = self.run.world.time
        while {row.holder for row in self.run.disk.rows.leases.values()} != {hub}:
            self.on.go(0.25)
            assert self.run.world.time - began < seconds_max

    def shown(self, hub: int, name: str) -> int:
        """The revision of a request that the screens at a hub show."""
        calls = (call for call in self.run.network.calls if call.method.endswith("/WatchRequests"))
        (shown,) = {call.base[name] for call in calls if call.server.process.name == HUBS[hub]}
        return int(shown)

    def confirmed(self) -> str:
        """A request that has its bed; its name."""
        name, (held,) = self.on.request((A, "ger", tm.MODE_HOLD))
        self.on.go(5)
        self.on.confirm(name, held)
        self.on.go(5)
        assert self.on.state(name) == "CONFIRMED"
        return name


@contextmanager
def pair() -> Iterator[Pair]:
    """A stage with two hubs that has begun; at the end both must agree with everyone."""
    run = Several(1, faulty=False)
    run.away_seconds = (60.0,)
    with stage(1, run) as on:
        yield Pair(on, run)


def test_two_hubs_share_the_nodes_and_show_the_same() -> None:
    with pair() as both:
        assert {both.holder(house) for house in both.run.disk.rows.leases} == {0, 1}
        name = both.confirmed()
        stored = both.on.file(name)["request"]["revision"]
        assert [both.shown(hub, name) for hub in range(2)] == [stored, stored]


def test_a_hub_that_is_killed_loses_its_nodes_to_the_other_and_nothing_else() -> None:
    """Its command had been sent, and is sent again by the other: one command, with one answer."""
    with pair() as both:
        on, killed = both.on, both.holder(A)
        with on.slow_answers(30):
            name, (held,) = on.request((A, "ger", tm.MODE_HOLD))
            on.go(2)
            both.run.kill(HUBS[killed])
            both.until_held_by(1 - killed, MOVED_SECONDS_MAX)
            on.go(5)
        on.go(60)
        sent = [request_of(EXCHANGE, one.body).command.create.header for one in on.commands("create")]
        assert len({header.command_id for header in sent}) == 1
        assert both.run.network.counts["command sent by two hubs"] == 1
        on.confirm(name, held)
        on.go(5)
        assert (on.state(name), on.at_node(held)["state"]) == ("CONFIRMED", "CONFIRMED")


def test_a_hub_that_stood_still_for_longer_than_its_lease_is_refused() -> None:
    """It wakes and believes that it follows its nodes: what it writes then is refused, and nothing of it is lost."""
    with pair() as both:
        on, asleep = both.on, both.holder(A)
        name = both.confirmed()
        (held,) = (ask["reservation"] for ask in on.file(name)["asks"])
        with on.slow_watch(4.0):
            on.admit(held)
            on.go(1.0)
            both.run.suspend(HUBS[asleep], 20.0)
            both.until_held_by(1 - asleep, MOVED_SECONDS_MAX)
            on.go(20.0)
        assert both.run.network.counts["write of a hub without its lease refused"] > 0
        on.go(SAID_SECONDS_MAX)
        assert on.state(name) == "ADMITTED"
        assert both.shown(asleep, name) == on.file(name)["request"]["revision"]


@pytest.mark.parametrize("by_command", [True, False])
def test_two_hubs_whose_database_is_put_back_show_what_was_confirmed_since(by_command: bool) -> None:
    with pair() as both:
        on = both.on
        name, (held,) = on.request((A, "ger", tm.MODE_HOLD))
        on.go(5)
        backup = on.back_up(HUBS[0])
        on.confirm(name, held)
        on.go(5)
        on.put_hub_back(backup, by_command=by_command)
        assert (on.state(name), on.at_node(held)["state"]) == ("CONFIRMED", "CONFIRMED")
        assert on.file(name)["request"]["set_back"]
        assert [both.shown(hub, name) for hub in range(2)] == [on.file(name)["request"]["revision"]] * 2


def test_what_one_hub_has_listed_after_a_restore_is_carried_by_the_other() -> None:
    """The first marks, lists and dies; the second begins then, marks nothing anew and waits for nobody."""
    with pair() as both:
        on = both.on
        on.request((A, "ger", tm.MODE_ASK))
        on.go(5)
        backup = on.back_up(HUBS[0])
        name = both.confirmed()
        both.run.mishaps.put_hub_back(backup, by_command=True)
        both.run.start(HUBS[0])
        both.until_held_by(0, MOVED_SECONDS_MAX)
        on.go(5)
        assert on.file(name)["request"]["set_back"]
        on.regulator("TakeOver", name, rq.TakeOverRequest)
        both.run.kill(HUBS[0])
        both.run.start(HUBS[1])
        both.until_held_by(1, MOVED_SECONDS_MAX)
        on.go(5)
        assert not on.file(name)["request"].get("set_back")
        (held,) = (ask["reservation"] for ask in on.file(name)["asks"])
        on.regulator("CancelRequest", name, rq.CancelRequestRequest, reason=rs.RELEASE_REASON_OTHER)
        on.go(5)
        assert on.at_node(held)["state"] == "RELEASED"


def test_a_hub_that_is_told_to_stop_hands_its_nodes_over_at_once() -> None:
    with pair() as both:
        stopped = both.holder(A)
        both.run.stop(HUBS[stopped])
        both.until_held_by(1 - stopped, HANDED_OVER_SECONDS_MAX)
        both.confirmed()


def test_what_becomes_of_a_request_that_is_over_is_heard_by_a_hub_that_was_told_nothing() -> None:
    """Met in a run: only what was not over was compared, and a screen there showed a release that was long done."""
    with pair() as both:
        on, follows = both.on, both.holder(A)
        name = both.confirmed()
        with on.slow_answers(8.0):
            on.regulator("CancelRequest", name, rq.CancelRequestRequest, reason=rs.RELEASE_REASON_OTHER)
            on.go(4.0)
            cancelled = on.file(name)["request"]["revision"]
            assert both.shown(1 - follows, name) == cancelled
            both.run.cut_from_database(HUBS[1 - follows], 15.0, hangs=False)
            on.go(10.0)
        released = on.file(name)["request"]["revision"]
        assert released > cancelled
        on.go(5.0 + SAID_SECONDS_MAX)
        assert both.shown(1 - follows, name) == released


def test_a_work_that_was_stored_and_is_run_again_changes_nothing_more() -> None:
    """As where the connection is lost at COMMIT: each work of the hubs, in turn."""
    with pair() as both:
        for faults in both.run.faults.values():
            faults.stored_again = 1.0
        name = both.confirmed()
        assert [ask["reservation"] for ask in both.on.file(name)["asks"]] == [both.on.file(name)["request"]["subject"]]
        assert len(both.on.checker.files) == 1
