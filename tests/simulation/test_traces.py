"""Directed traces over the real code: the ways to go wrong that a model check found in an earlier form of the design.

Each of V1 to V7 leaked a bed, stuck a request, or promised one patient two beds, when the hub reacted to events. The
names are those of that study.
"""

from __future__ import annotations

import pytest

from aval.v1 import census_pb2 as cs
from aval.v1 import request_pb2 as rq
from aval.v1 import reservation_pb2 as rs
from aval.v1 import terms_pb2 as tm
from tests.simulation.books import when
from tests.simulation.compose import REVISIONS_RETAINED
from tests.simulation.people import bed_name, length, stamp, unit_name
from tests.simulation.stage import A, B, C, Refused, stage

HOLD, ASK = tm.MODE_HOLD, tm.MODE_ASK


def test_v1_a_cancelled_request_leaves_no_hold_behind() -> None:
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        assert on.known(held)["state"] == "HELD"
        on.regulator("CancelRequest", name, rq.CancelRequestRequest, reason=rs.RELEASE_REASON_OTHER)
        assert on.state(name) == "CANCELLED"
        on.go(5)
        assert on.at_node(held)["state"] == "RELEASED"


def test_v1_placed_outside_leaves_no_hold_behind() -> None:
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        on.regulator("PlaceOutside", name, rq.PlaceOutsideRequest, reason=rq.OUTSIDE_REASON_HOME)
        on.go(5)
        assert on.state(name) == "CLOSED_ELSEWHERE"
        assert on.at_node(held)["state"] == "RELEASED"


def test_v2_a_late_answer_does_not_overwrite_newer_news() -> None:
    with stage() as on:
        with on.slow_answers(60):
            _, (asked,) = on.request((A, "ger", ASK))
            on.go(5)
            assert on.at_node(asked)["state"] == "ASKED"
            on.accept(asked)
            on.go(5)
            assert on.known(asked)["state"] == "HELD"
        revision = on.known(asked)["revision"]
        on.go(90)
        assert on.known(asked)["state"] == "HELD"
        assert on.known(asked)["revision"] >= revision


def test_v2_a_watch_goes_on_from_where_it_stood_whatever_an_answer_has_told() -> None:
    with stage() as on:
        _, (first,) = on.request((A, "ger", ASK))
        on.go(5)
        with on.slow_watch(30):
            on.accept(first)
            _, (second,) = on.request((A, "ger", ASK))
            on.go(5)
            assert (on.known(first)["state"], on.known(second)["state"]) == ("ASKED", "ASKED")
            on.cut_watches()
        on.go(60)
        assert on.known(first)["state"] == "HELD"


def test_v3_a_changed_offer_does_not_end_a_confirmation_on_its_way() -> None:
    with stage() as on:
        name, (first, second) = on.request((A, "ger", HOLD), (B, "ger", ASK))
        on.go(5)
        on.accept(second)
        on.go(5)
        with on.slow_commands(60):
            on.confirm(name, first)
            on.go(0.5)
        on.reoffer(first, 3)
        on.go(5)
        assert on.state(name) == "CONFIRMING"
        with pytest.raises(Refused, match="CONFIRM_IN_PROGRESS"):
            on.confirm(name, second)
        on.reoffer(first, 1)
        on.go(90)
        assert on.at_node(first)["state"] == "HELD"
        assert on.state(name) == "OPEN"
        on.confirm(name, second)
        on.go(10)
        assert (on.state(name), on.at_node(second)["state"]) == ("CONFIRMED", "CONFIRMED")
        assert on.at_node(first)["state"] == "RELEASED"


def test_v4_a_refused_confirmation_brought_again_confirms_nothing() -> None:
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        first = on.at_node(held)["claim"]["start"]
        # Less than a courier waits for an answer (20 s): the very first copy is refused, none is sent again.
        with on.slow_commands(12):
            on.confirm(name, held)
            on.go(0.5)
        on.reoffer(held, 3)
        on.go(40)
        assert on.state(name) == "OPEN"
        confirm = on.commands("confirm")[0]
        on.staff("ReofferReservation", held, rs.ReofferReservationRequest, arrival=stamp(when(first)))
        assert on.at_node(held)["claim"]["start"] == first
        on.again(confirm)
        assert on.at_node(held)["state"] == "HELD"


def test_v4_an_old_reschedule_brought_again_moves_nothing_back() -> None:
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        on.confirm(name, held)
        on.go(5)
        for hours in (5, 9):
            on.regulator("RescheduleRequest", name, rq.RescheduleRequestRequest, arrival=on.hours_from_now(hours))
            on.go(5)
        moved = on.at_node(held)["claim"]["start"]
        first, *_, second = on.commands("reschedule")
        on.again(first)
        assert on.at_node(held)["claim"]["start"] == moved
        on.again(second)
        assert on.at_node(held)["claim"]["start"] == moved


def test_v5_an_admission_that_ate_a_release_leaks_nothing_when_it_is_cancelled() -> None:
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        with on.slow_watch(30):
            on.admit(held)
            on.regulator("CancelRequest", name, rq.CancelRequestRequest, reason=rs.RELEASE_REASON_OTHER)
            on.go(5)
            assert on.at_node(held)["state"] == "ADMITTED"
            on.cancel_admission(held)
            on.go(0.2)
        on.go(1000)
        assert on.state(name) == "CANCELLED"
        assert on.at_node(held)["state"] == "RELEASED"


def test_v5_a_release_that_meets_an_admission_does_not_stick() -> None:
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        on.confirm(name, held)
        on.go(5)
        with on.slow_watch(30), on.slow_answers(20):
            on.admit(held)
            on.regulator("ReleaseConfirmed", name, rq.ReleaseConfirmedRequest, reason=rs.RELEASE_REASON_OTHER)
            on.go(5)
            on.cancel_admission(held)
            on.go(0.2)
        on.go(1000)
        assert (on.state(name), on.at_node(held)["state"]) in {("OPEN", "RELEASED"), ("CONFIRMED", "CONFIRMED")}


def test_v5_an_admission_made_and_cancelled_unheard_belongs_to_its_request() -> None:
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        with on.cut_off(A):
            on.admit(held)
            on.cancel_admission(held)
            # Until both sides have given the line up: what is told on the next one is how it stands, and no more.
            on.go(60)
        on.go(60)
        assert on.at_node(held)["state"] == "CONFIRMED"
        assert (on.state(name), on.file(name)["request"]["subject"]) == ("CONFIRMED", held)


def test_v6_two_admissions_bear_the_mark_until_one_is_cancelled() -> None:
    with stage() as on:
        name, (first, second) = on.request((A, "ger", HOLD), (B, "ger", ASK))
        on.go(5)
        with on.slow_watch(20):
            on.admit(first)
            on.admit(second)
        on.go(60)
        assert on.state(name) == "ADMITTED"
        assert on.file(name)["request"]["double_admission"]
        on.cancel_admission(on.file(name)["request"]["subject"])
        on.go(60)
        left = next(one for one in (first, second) if on.at_node(one)["state"] == "ADMITTED")
        assert (on.state(name), on.file(name)["request"]["subject"]) == ("ADMITTED", left)
        assert not on.file(name)["request"].get("double_admission")
        assert {on.at_node(first)["state"], on.at_node(second)["state"]} == {"ADMITTED", "RELEASED"}


def test_v7_what_was_taken_back_is_not_confirmed_again_before_it_is_over() -> None:
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        on.go(5)
        with on.slow_commands(30):
            on.confirm(name, held)
            on.regulator("TakeBackConfirm", name, rq.TakeBackConfirmRequest)
            with pytest.raises(Refused, match="RELEASE_PENDING"):
                on.confirm(name, held)
            on.go(0.5)
        on.go(120)
        assert (on.state(name), on.at_node(held)["state"]) == ("OPEN", "RELEASED")


def test_a_node_killed_after_its_commit_gives_the_same_answer() -> None:
    with stage() as on:
        on.simulation.sites[C].faults.crash_after = 1.0
        name, (held,) = on.request((C, "ger", HOLD))
        on.go(1)
        on.simulation.sites[C].faults.crash_after = 0.0
        on.go(2000)
        assert on.network.counts["node killed between commit and answer"] >= 1
        assert on.known(held)["state"] == on.at_node(held)["state"]
        assert on.state(name) == "OPEN"


def test_what_ended_unheard_and_is_past_being_told_is_asked_after() -> None:
    """A day later a node tells of it no more, and its history is compacted: a snapshot leaves it out."""
    with stage() as on:
        name, (held, other) = on.request((A, "ger", HOLD), (B, "ger", ASK))
        _, (busy,) = on.request((A, "ger", ASK))
        on.go(5)
        on.accept(busy)
        with on.cut_off(A):
            on.staff("WithdrawReservation", held, rs.WithdrawReservationRequest, reason=rs.WITHDRAW_REASON_OTHER)
            for number in range(REVISIONS_RETAINED + 5):
                on.reoffer(busy, 2 + number % 3)
            on.go(26 * 3600)
            assert on.known(held)["state"] == "HELD"
        on.go(120)
        assert on.known(held)["state"] == "RELEASED"
        assert (on.state(name), on.known(other)["state"]) == ("OPEN", "ASKED")


def test_an_admission_that_was_undone_unheard_is_asked_after_too() -> None:
    """Met in a run: the hub went on believing that the patient was there, and asked nobody for another bed."""
    with stage() as on:
        name, (held,) = on.request((A, "ger", HOLD))
        _, (busy,) = on.request((A, "ger", ASK))
        on.go(5)
        on.accept(busy)
        on.admit(held)
        on.go(5)
        assert on.state(name) == "ADMITTED"
        with on.cut_off(A):
            on.cancel_admission(held)
            on.staff("WithdrawReservation", held, rs.WithdrawReservationRequest, reason=rs.WITHDRAW_REASON_OTHER)
            for number in range(REVISIONS_RETAINED + 5):
                on.reoffer(busy, 2 + number % 3)
            on.go(26 * 3600)
            assert on.state(name) == "ADMITTED"
        on.go(120)
        # Open again, and past its latest arrival by then.
        assert (on.state(name), on.known(held)["state"]) == ("EXPIRED", "RELEASED")


def test_a_word_that_could_not_be_stored_is_heard_again() -> None:
    with stage() as on:
        _, (asked,) = on.request((A, "ger", ASK))
        on.go(5)
        faults = on.simulation.sites["hub"].faults
        faults.fail = 1.0
        on.accept(asked)
        on.go(2)
        assert on.known(asked)["state"] == "ASKED"
        faults.fail = 0.0
        on.go(60)
        assert on.known(asked)["state"] == "HELD"


def test_a_request_stored_by_a_commit_that_seemed_to_fail_is_kept_like_any_other() -> None:
    """Nobody was told of it; its time comes all the same, though its hub is never started again."""
    with stage() as on:
        faults = on.simulation.sites["hub"].faults
        faults.unknown = 1.0
        with pytest.raises(Refused, match="STORAGE_UNAVAILABLE"):
            on.request()
        faults.unknown = 0.0
        (name,) = on.checker.files
        on.go(21 * 3600)
        assert on.state(name) == "EXPIRED"


def test_a_hold_that_ended_while_the_disk_was_down_is_not_confirmed() -> None:
    """The confirmation comes before time could do its own work: what was due happens first all the same."""
    with stage() as on:
        name, (asked,) = on.request((A, "ger", ASK))
        on.go(5)
        on.staff("AcceptReservation", asked, rs.AcceptReservationRequest, ttl=length(300))
        on.go(5)
        disk = on.simulation.sites[A].faults
        on.go(on.seconds_left(asked) - 8)
        with on.slow_commands(12):
            on.confirm(name, asked)
            on.go(4)
        disk.down = True
        on.go(7)
        assert on.seconds_left(asked) < -2
        disk.down = False
        on.go(60)
        assert (on.state(name), on.at_node(asked)["state"]) == ("OPEN", "EXPIRED")


def test_a_renewal_shortens_no_hold() -> None:
    with stage() as on:
        name, (asked,) = on.request((A, "ger", ASK))
        on.go(5)
        on.accept(asked)
        on.go(5)
        end = on.at_node(asked)["expire_time"]
        on.regulator("RenewHold", name, rq.RenewHoldRequest, reservation=asked, ttl=length(600))
        on.go(5)
        assert on.at_node(asked)["renewals"] == 1
        assert on.at_node(asked)["expire_time"] == end


def test_a_hold_without_its_bed_is_not_confirmed_and_settled_in_another_unit_is_another_offer() -> None:
    with stage() as on:
        name, (asked,) = on.request((C, "annexe", ASK))
        on.go(5)
        on.accept(asked)
        full = [cs.PlaceCapacity(gender=tm.GENDER_ANY, open=2, occupied=2)]
        on.census("DeclareCounts", C, cs.DeclareCountsRequest(unit=unit_name(C, "annexe"), places=full))
        (conflict,) = on.checker.house(C).of("conflict").values()
        on.go(5)
        on.confirm(name, asked)
        on.go(5)
        assert (on.state(name), on.at_node(asked)["state"]) == ("OPEN", "HELD")
        settled = cs.SettleConflictRequest(
            name=f"{unit_name(C, 'annexe')}/conflicts/{conflict['id']}", bed=bed_name(C, "ger", "1")
        )
        on.census("SettleConflict", C, settled)
        on.go(5)
        assert on.known(asked)["offer"]["unit"] == unit_name(C, "ger")
        on.confirm(name, asked)
        on.go(5)
        assert (on.state(name), on.at_node(asked)["claim"]["unit"]) == ("CONFIRMED", "ger")


def test_nobody_is_asked_about_a_claim_that_left_the_unit() -> None:
    with stage() as on:
        name, (asked,) = on.request((C, "ger", ASK))
        on.go(5)
        on.accept(asked)
        on.comes(C, "ger", "1")
        (doubt,) = on.checker.house(C).of("doubt").values()
        assert doubt["answered"] is None
        on.staff("ReofferReservation", asked, rs.ReofferReservationRequest, unit=unit_name(C, "annexe"))
        on.regulator("CancelRequest", name, rq.CancelRequestRequest, reason=rs.RELEASE_REASON_OTHER)
        on.go(5)
        assert on.at_node(asked)["state"] == "RELEASED"
        assert all(one["answered"] for one in on.checker.house(C).of("doubt").values())
