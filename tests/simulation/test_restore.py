"""Directed traces of a node that is put back to an older state, over the real code: R1 to R4 of the model check.

Each lost a promise, or brought one back that was over, in an earlier form of the design.
"""

from __future__ import annotations

import pytest

from aval.v1 import census_pb2 as cs
from aval.v1 import request_pb2 as rq
from aval.v1 import reservation_pb2 as rs
from aval.v1 import terms_pb2 as tm
from tests.simulation.people import length, unit_name
from tests.simulation.stage import A, C, Stage, stage

HOLD, ASK = tm.MODE_HOLD, tm.MODE_ASK


def held_in(on: Stage, house: str = A, unit: str = "ger") -> tuple[str, str]:
    """A request with a hold of two hours."""
    name, (asked,) = on.request((house, unit, ASK))
    on.go(5)
    on.accept(asked)
    on.go(5)
    assert on.known(asked)["state"] == "HELD"
    return name, asked


def states(on: Stage, name: str, reservation: str) -> tuple[str, str | None, str | None]:
    """(of the request, of the reservation at the hub, at its node)."""
    return on.state(name), on.known(reservation).get("state"), on.at_node(reservation).get("state")


def test_r1_a_confirmed_reservation_is_one_again_though_time_ended_the_hold_of_the_backup() -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up(A)
        on.confirm(name, held)
        on.go(5)
        with on.put_back(A, backup):
            on.go(8000)
            assert states(on, name, held) == ("CONFIRMED", "CONFIRMED", "EXPIRED")
        on.go(120)
        assert states(on, name, held) == ("CONFIRMED", "CONFIRMED", "CONFIRMED")
        assert on.file(name)["request"]["events"][-1]["kind"] != "promise_withdrawn"


def test_r1_what_people_did_since_the_restore_is_not_set_back() -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up(A)
        on.confirm(name, held)
        on.go(5)
        with on.put_back(A, backup):
            on.admit(held)
        on.go(120)
        assert states(on, name, held) == ("ADMITTED", "ADMITTED", "ADMITTED")


def test_r1_what_people_ended_since_the_restore_stays_ended_and_is_said() -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up(A)
        on.confirm(name, held)
        on.go(5)
        with on.put_back(A, backup):
            on.staff("WithdrawReservation", held, rs.WithdrawReservationRequest, reason=rs.WITHDRAW_REASON_OTHER)
        on.go(120)
        assert states(on, name, held) == ("OPEN", "RELEASED", "RELEASED")


def test_r1_an_admission_is_live_and_is_put_back() -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up(A)
        on.admit(held)
        on.go(30)
        with on.put_back(A, backup):
            assert on.at_node(held)["state"] == "HELD"
        on.go(120)
        assert states(on, name, held) == ("ADMITTED", "ADMITTED", "ADMITTED")


@pytest.mark.parametrize("confirmed", [False, True])
def test_r1_a_promise_without_a_free_bed_is_a_conflict_and_not_lost(confirmed: bool) -> None:
    with stage() as on:
        backup = on.back_up(C)
        name, held = held_in(on, C, "annexe")
        if confirmed:
            on.confirm(name, held)
            on.go(5)
        with on.put_back(C, backup):
            full = [cs.PlaceCapacity(gender=tm.GENDER_ANY, open=2, occupied=2)]
            on.census("DeclareCounts", C, cs.DeclareCountsRequest(unit=unit_name(C, "annexe"), places=full))
        on.go(60)
        assert on.at_node(held)["state"] == ("CONFIRMED" if confirmed else "HELD")
        conflicts = on.checker.house(C).of("conflict").values()
        assert [one["cause"] for one in conflicts] == ["reinstated"]


def test_r1_what_was_promised_in_another_unit_and_hour_is_put_back_as_it_was() -> None:
    with stage() as on:
        name, (asked,) = on.request((C, "annexe", ASK))
        on.go(5)
        backup = on.back_up(C)
        fields = {"unit": unit_name(C, "ger"), "arrival": on.hours_from_now(7), "ttl": length(7200)}
        on.staff("AcceptReservation", asked, rs.AcceptReservationRequest, **fields)
        on.go(5)
        on.regulator("RenewHold", name, rq.RenewHoldRequest, reservation=asked, ttl=length(20_000))
        on.go(5)
        promised = on.at_node(asked)
        with on.put_back(C, backup):
            assert on.at_node(asked)["state"] == "ASKED"
        on.go(120)
        now = on.at_node(asked)
        for what in ("state", "expire_time", "renewals"):
            assert now[what] == promised[what]
        for what in ("unit", "start", "end"):
            assert now["claim"][what] == promised["claim"][what]
        assert now["offer"]["tag"] == promised["offer"]["tag"]
        assert on.known(asked)["unverified"]
        on.census("VerifyUnit", C, cs.VerifyUnitRequest(name=unit_name(C, "ger")))
        on.go(5)
        assert not on.known(asked).get("unverified")


def test_a_restored_unit_grants_nothing_alone_until_somebody_has_compared_it() -> None:
    with stage() as on:
        on.request((A, "ger", ASK))
        on.go(5)
        backup = on.back_up(A)
        held_in(on)
        with on.put_back(A, backup):
            pass
        on.go(120)
        _, (asked,) = on.request((A, "ger", HOLD))
        on.go(5)
        assert on.known(asked)["state"] == "ASKED"
        on.census("VerifyUnit", A, cs.VerifyUnitRequest(name=unit_name(A, "ger")))
        _, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        assert on.known(held)["state"] == "HELD"


def test_r2_what_an_answer_alone_has_told_shows_that_the_node_was_put_back() -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up(A)
        with on.slow_watch(500):
            on.confirm(name, held)
            on.go(5)
            assert states(on, name, held) == ("CONFIRMED", "CONFIRMED", "CONFIRMED")
            with on.put_back(A, backup):
                assert on.at_node(held)["state"] == "HELD"
        on.go(700)
        assert states(on, name, held) == ("CONFIRMED", "CONFIRMED", "CONFIRMED")
        assert on.checker.checks["nodes that found themselves put back"] == 1


def test_r2_a_hub_that_starts_again_has_not_forgotten_what_an_answer_alone_has_told() -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up(A)
        with on.slow_watch(500):
            on.confirm(name, held)
            on.go(5)
            on.simulation.kill("hub")
            with on.put_back(A, backup):
                assert on.at_node(held)["state"] == "HELD"
            on.go(1500)
        on.go(700)
        assert states(on, name, held) == ("CONFIRMED", "CONFIRMED", "CONFIRMED")


def test_r2_an_answer_from_before_the_restore_is_not_taken_once_the_other_history_is_told() -> None:
    """The line to the node that was is half open still, and brings its answer when the node that is has spoken."""
    with stage() as on:
        backup = on.back_up(A)
        held_in(on)
        on.network.faults.half_open = 1.0
        with on.slow_answers(12), on.slow_watch(12):
            name, (asked,) = on.request((A, "ger", ASK))
            on.go(1)
            assert on.at_node(asked)["state"] == "ASKED"
            on.cut_watches()
            on.simulation.mishaps.put_back(A, backup)
            on.simulation.start(A)
        on.go(6)
        assert not on.at_node(asked)
        assert on.checker.checks["nodes that found themselves put back"] == 1
        on.go(8)
        on.network.faults.half_open = 0.0
        on.go(120)
        assert states(on, name, asked) == ("OPEN", "ASKED", "ASKED")


def test_r1_a_patient_who_came_into_another_unit_is_in_one_stay() -> None:
    with stage() as on:
        name, held = held_in(on, C, "annexe")
        on.confirm(name, held)
        on.go(5)
        on.comes(C, "ger", "1", reference=on.at_node(held)["reference"])
        on.go(5)
        assert states(on, name, held) == ("ADMITTED", "ADMITTED", "ADMITTED")
        backup = on.back_up(C)
        held_in(on, C, "annexe")
        with on.put_back(C, backup):
            pass
        on.go(120)
        assert states(on, name, held) == ("ADMITTED", "ADMITTED", "ADMITTED")
        assert list(on.checker.house(C).of("stay")) == ["s1"]


@pytest.mark.parametrize("again", [0, 1])
def test_r2_late_words_of_histories_that_are_over_begin_no_other_one(again: int) -> None:
    """A node is put back twice: to the same backup, and to one of the history that began with the first restore."""
    with stage() as on:
        name, held = held_in(on)
        backups = [on.back_up(A)]
        on.confirm(name, held)
        on.go(5)
        with on.put_back(A, backups[0]):
            pass
        on.go(120)
        backups.append(on.back_up(A))
        other, _ = held_in(on)
        with on.put_back(A, backups[again]):
            pass
        on.go(120)
        for carried in (*on.commands("create"), *on.commands("confirm"), *on.commands("reinstate")):
            on.again(carried)
        assert on.checker.checks["nodes that found themselves put back"] == 2
        assert states(on, name, held) == ("CONFIRMED", "CONFIRMED", "CONFIRMED")
        assert on.state(other) == "OPEN"


def test_r3_what_was_forgotten_is_put_back_before_what_is_queued() -> None:
    with stage() as on:
        backup = on.back_up(A)
        name, held = held_in(on)
        with on.put_back(A, backup):
            on.confirm(name, held)
            on.go(30)
            assert not on.at_node(held)
        on.go(120)
        assert states(on, name, held) == ("CONFIRMED", "CONFIRMED", "CONFIRMED")


def test_r4_what_was_released_and_lives_again_at_the_node_is_released_again() -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up(A)
        on.regulator("CancelRequest", name, rq.CancelRequestRequest, reason=rs.RELEASE_REASON_OTHER)
        on.go(10)
        assert on.at_node(held)["state"] == "RELEASED"
        with on.put_back(A, backup):
            assert on.at_node(held)["state"] == "HELD"
        on.go(120)
        assert states(on, name, held) == ("CANCELLED", "RELEASED", "RELEASED")


def reinstated_without_a_place(on: Stage) -> str:
    """A patient admitted in C's annexe, whose node is put back to before that and has filled all places since."""
    backup = on.back_up(C)
    _, held = held_in(on, C, "annexe")
    on.admit(held)
    on.go(30)
    with on.put_back(C, backup):
        full = [cs.PlaceCapacity(gender=tm.GENDER_ANY, open=2, occupied=2)]
        on.census("DeclareCounts", C, cs.DeclareCountsRequest(unit=unit_name(C, "annexe"), places=full))
    on.go(60)
    assert [one["cause"] for one in on.checker.house(C).of("conflict").values()] == ["reinstated"]
    return held


def test_an_admission_put_back_without_a_bed_and_then_cancelled_is_in_one_conflict_which_can_end() -> None:
    """Met in a run: the second conflict of the same claim stayed for ever, and blocked the unit."""
    with stage() as on:
        held = reinstated_without_a_place(on)
        on.cancel_admission(held)
        assert [one["cause"] for one in on.checker.house(C).of("conflict").values()] == ["admission_cancelled"]
        free = [cs.PlaceCapacity(gender=tm.GENDER_ANY, open=2, occupied=0)]
        on.census("DeclareCounts", C, cs.DeclareCountsRequest(unit=unit_name(C, "annexe"), places=free))
        on.go(5)
        assert not on.checker.house(C).of("conflict")


def test_r2_a_node_put_back_again_before_it_has_told_anew_is_shown_again_what_was_heard() -> None:
    """Its hub would drop all that it tells for ever, as older than what it has heard, and never show it that."""
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up(A)
        on.confirm(name, held)
        on.go(5)
        with on.slow_watch(100.0):
            with on.put_back(A, backup):
                pass
            on.go(150)
            assert not on.file(name)["rows"], "no command goes, which would show it too"
            on.simulation.mishaps.put_back(A, backup)
            on.go(1200)
        on.go(1200)
        assert states(on, name, held) == ("CONFIRMED", "CONFIRMED", "CONFIRMED")


def test_the_conflict_of_a_patient_ends_with_what_is_known_of_the_reservation() -> None:
    """Met in a run: after a month it was of nothing, and nobody could say any more whose it was."""
    with stage() as on:
        held = reinstated_without_a_place(on)
        for _ in range(2):
            on.simulation.mishaps.dark(34 * 86_400.0)
            on.go(120)
        assert on.at_node(held) == {}
        assert not on.checker.house(C).of("conflict")
        on.network.carried.clear()  # of the census nothing is remembered for two months
