"""A house's books, kept by the checker from the rows that its node stored, and read without the ledger.

Rows are plain JSON here. What a row means is taken from DESIGN §4 and §6; how the ledger finds a free bed is of no
interest, only whether what it granted was there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aval.node.ports import Batch
from tests.simulation.lifecycles import ADVANCE, CLAIMING, FINAL, STARTS, reservation_reachable

Fact = dict[str, Any]

ZONE = ZoneInfo("Europe/Paris")
"""Of the simulated houses: their days begin at its midnight."""

NEVER = datetime.fromisoformat("9999-01-01T00:00:00+00:00")

TICK_ALLOWANCE = timedelta(seconds=2)
"""How late what falls due may be written: the writer's alarm, and a commit."""


def when(text: str | None) -> datetime:
    """An instant as stored; the end of what has none."""
    return NEVER if text is None else datetime.fromisoformat(text)


OFFERED = ("unit", "arrival", "end", "gender", "features")
"""What a requester reads in an offer, and confirms by its tag."""

HISTORY_TOLD_MAX = 8
"""Entries of a bed's history that a failure tells."""


def _bed_of(reservation: Fact | None) -> str | None:
    """The bed, or kind of place, that a reservation takes."""
    claim = reservation["claim"] if reservation and reservation["state"] in CLAIMING else None
    if not claim or (claim["bed"] is None and claim["place"] is None):
        return None
    return f"{claim['unit']}/{claim['bed'] or claim['place']}"


class House:
    """One establishment. `committed` gives the problems that a batch makes."""

    def __init__(self, finess: str) -> None:
        self.finess = finess
        self.incarnation = 0
        self.put_back = False
        """Whether its node was put back to an older state, and has not noticed yet."""
        self.forgotten: set[int] = set()
        """Histories that it has told and, put back, has forgotten: a hub that was put back too may remember one,
        and a word of one may come late."""
        self.was_put_back = False
        """Whether that ever happened: what was over by then may be forgotten."""
        self.facts: dict[str, dict[str, Fact]] = {}
        self.states: dict[str, dict[int, str]] = {}
        """Reservation → revision → state, as committed."""
        self.tags: dict[int, bytes] = {}
        self.revision = 0
        self.as_of = datetime.min.replace(tzinfo=NEVER.tzinfo)
        self.moves: list[tuple[str, str | None, str | None]] = []
        """(reservation, state before, state after) of the last commit, for coverage."""
        self.policies_changed = 0
        """How often a policy changed while reservations of its unit lived."""
        self.reinstated: set[str] = set()
        """Reservations that the last commit reinstated."""
        self.takings = 0
        """How often a bed or place was taken, left or changed hands, and was followed."""
        self.offers: set[str] = set()
        """Tags of all offers ever made: a new one bears none of them."""
        self.histories: dict[str, list[str]] = {}
        """Bed or place → what became of it, as told in a failure."""
        self.acts: list[tuple[str, str, bool]] = []
        """(reservation, id of the act, whether it was refused) of the last commit, in order."""

    def of(self, kind: str) -> Mapping[str, Fact]:
        """All facts of a kind, by key."""
        return self.facts.get(kind, {})

    def reservation(self, key: str) -> Fact | None:
        """A reservation, or what is left of it."""
        return self.of("reservation").get(key) or self.of("tombstone").get(key)

    def committed(self, batch: Batch) -> Iterator[str]:
        """Takes up a batch; tells what is wrong with it, or with what it leads to."""
        revision = batch.revision
        if revision.number != self.revision + 1:
            yield f"revision {revision.number} follows {self.revision}"
        if revision.as_of < self.as_of:
            yield f"time goes back from {self.as_of} to {revision.as_of}"
        conflicts_before, unsure = dict(self.of("conflict")), set(self.of("reconciling"))
        if batch.incarnation is not None:
            if not self.put_back and not self._forgot(batch):
                yield f"history {batch.incarnation:016x} begins, and nobody has put this node back"
            self.incarnation, self.put_back = batch.incarnation, False
        self.reinstated = {row.key for row in batch.rows if row.kind.value == "reinstated" and row.body is not None}
        self.revision, self.as_of = revision.number, max(self.as_of, revision.as_of)
        self.tags[revision.number] = revision.digest[:8]
        self.moves, self.acts = [], []
        changed = list(self._written(batch))
        for key, before, after in changed:
            if key in self.reinstated:
                yield from self._reinstated(key, before, after)
                continue
            yield from self._moved(key, before, after, conflicts_before)
            yield from self._taken(key, before, after)
            yield from self._offered(key, before, after)
            yield from self._kept(key, before, after)
            yield from self._alone(key, before, after, unsure)
        yield from self._conflicts()
        yield from self._arrivals()
        for unit, fact in self.of("unit").items():
            yield from self._beds(unit, fact) if fact["counting"] == "beds" else self._places(unit)

    def _forgot(self, batch: Batch) -> bool:
        """Whether what its hub has heard, and shows it, is a history of its own that it has forgotten."""
        told = [json.loads(row.body) for row in batch.rows if row.kind.value == "restore" and row.body]
        return any(one["past"][-1] in self.forgotten for one in told)

    def _written(self, batch: Batch) -> Iterator[tuple[str, Fact | None, Fact | None]]:
        """Takes the rows up; gives the reservations among them, as they were and are."""
        for row in batch.rows:
            table = self.facts.setdefault(row.kind.value, {})
            before = table.pop(row.key, None)
            after: Fact | None = None if row.body is None else json.loads(row.body)
            if row.kind.value == "unit" and before and after and before["policy"] != after["policy"]:
                lives = (r for r in self.of("reservation").values() if r["unit"] == row.key)
                self.policies_changed += any(r["state"] not in FINAL for r in lives)
            if after is not None:
                table[row.key] = after
            if row.kind.value == "command" and after is not None:
                self.acts.append((after["reservation"], row.key.rsplit("/", 1)[1], after["refused"]))
            if row.kind.value == "reservation":
                if after is not None:
                    self.states.setdefault(row.key, {})[batch.revision.number] = after["state"]
                yield row.key, before, after

    # A reservation's life

    def _moved(self, key: str, before: Fact | None, after: Fact | None, conflicts: Mapping[str, Fact]) -> Iterator[str]:
        was: str | None = before["state"] if before else None
        now: str | None = after["state"] if after else None
        self.moves.append((key, was, now))
        if after is None or now is None:
            if was not in FINAL and was != "ADMITTED":
                yield f"{key}: {was} is dropped"
            return
        if before is None or was is None:
            if now not in STARTS and not any(reservation_reachable(start, now) for start in STARTS):
                yield f"{key} begins {now}"
        elif not reservation_reachable(was, now):
            yield f"{key}: {was} → {now}"
        elif was == "CONFIRMED" and now == "EXPIRED":
            yield f"{key}: time took a confirmed reservation"
        yield from self._ended(key, after)
        if was == "HELD" and now == "CONFIRMED" and before:
            yield from self._late_confirm(key, before, after)
            if _bed_of(after) is None and any(act[0] == key and not act[2] for act in self.acts):
                yield f"{key} is confirmed, and no bed is behind it"
        if now == "EXPIRED" and was != "EXPIRED":
            yield from self._lapsed(key, before, after)
        claim = after["claim"]
        granted = now == "HELD" and (before is None or was != "HELD" or before["claim"] != claim)
        if granted and claim and before is not None and was in ("ASKED", "WAITLISTED"):
            yield from self._grant(key, claim, conflicts)

    def _reinstated(self, key: str, before: Fact | None, after: Fact | None) -> Iterator[str]:
        """What its hub knew takes the place of nothing, of less, or of what time alone ended; people's word stands."""
        was: str | None = before["state"] if before else None
        now: str | None = after["state"] if after else None
        if now is None:
            yield f"{key}: {was} is dropped by a reinstatement"
        elif was in ("RELEASED", "DECLINED") and now != was:
            yield f"{key}: {was} by people, and {now} by a reinstatement"
        elif was == "EXPIRED" and now not in ("EXPIRED", "CONFIRMED", "ADMITTED"):
            yield f"{key}: EXPIRED, and {now} by a reinstatement"
        elif was in ADVANCE and now in ADVANCE and ADVANCE.index(was) > ADVANCE.index(now):
            yield f"{key}: {was} is set back to {now} by a reinstatement"
        elif now in CLAIMING and _bed_of(after) is None and not self._in_conflict_itself(key):
            yield f"{key} is reinstated {now}, no bed is behind it, and no conflict says so"

    def _in_conflict_itself(self, key: str) -> bool:
        return any(one["reservation"] == key for one in self.of("conflict").values())

    def _conflicts(self) -> Iterator[str]:
        """A conflict is of a claim without a bed, or of a patient reinstated where none was left."""
        for name, one in self.of("conflict").items():
            fact = self.of("reservation").get(one["reservation"])
            if fact is None or (fact["state"] not in CLAIMING and fact["state"] != "ADMITTED"):
                yield f"conflict {name} is of {one['reservation']}, which is {fact and fact['state']}"
            elif _bed_of(fact) is not None:
                yield f"conflict {name} is of {one['reservation']}, which has {_bed_of(fact)}"
            elif fact["state"] == "ADMITTED" and one["cause"] != "reinstated":
                yield f"conflict {name} is of {one['reservation']}, whose patient has come"
        named = {one["reservation"] for one in self.of("conflict").values()} | self._presumed()
        for key, fact in self.of("reservation").items():
            bare = fact["state"] in CLAIMING and _bed_of(fact) is None and when(fact["claim"]["end"]) > self.as_of
            if bare and key not in named:
                yield f"{key} ({fact['state']}) has no bed, and no conflict says so"

    def _presumed(self) -> set[str]:
        """Reservations that open doubts take for one with a stay."""
        return {doubt["presumed"] for doubt in self.of("doubt").values() if doubt["answered"] is None}

    def _arrivals(self) -> Iterator[str]:
        """A patient is in one stay, and nobody is asked whether somebody has come whose reservation is over."""
        linked = [stay["reservation"] for stay in self.of("stay").values() if stay["reservation"]]
        yield from (f"the patient of {key} is in two stays" for key in set(linked) if linked.count(key) > 1)
        for key in linked:
            state = self.of("reservation").get(key, {"state": "ADMITTED"})["state"]
            if state != "ADMITTED":
                yield f"the patient of {key} is in a stay, and it is {state}"
        for name, doubt in self.of("doubt").items():
            for key in () if doubt["answered"] else doubt["candidates"]:
                state = self.of("reservation").get(key, {}).get("state")
                if state not in CLAIMING:
                    yield f"doubt {name} asks about {key}, which is {state}"

    # What is offered

    def _offered(self, key: str, before: Fact | None, after: Fact | None) -> Iterator[str]:
        """Each offer has a tag of its own, and what is offered is what is claimed."""
        was, now = (before or {}).get("offer"), (after or {}).get("offer")
        if now is None or after is None:
            return
        claim = after["claim"]
        if after["state"] in CLAIMING and (now["unit"], now["arrival"]) != (claim["unit"], claim["start"]):
            yield f"{key} is offered {now['unit']}, {now['arrival']}; its claim is on {claim['unit']}, {claim['start']}"
        if was is not None and was["tag"] == now["tag"]:
            one, other = ({**offer, "features": sorted(offer["features"])} for offer in (was, now))
            changed = sorted(name for name in OFFERED if one[name] != other[name])
            if changed:
                yield f"{key} is offered something else ({changed}) under the tag of the former offer"
        elif now["tag"] in self.offers and not self.put_back:
            yield f"{key} is offered anew under the tag of an earlier offer"
        self.offers.add(now["tag"])

    def _alone(self, key: str, before: Fact | None, after: Fact | None, unsure: set[str]) -> Iterator[str]:
        """What a policy holds by itself: not in a unit that nobody has compared yet, and so many a day."""
        if after is None or not after["automatic"] or (before and before["automatic"]):
            return
        unit = after["claim"]["unit"]
        if unit in unsure and unit in self.of("reconciling"):
            yield f"{key} is held by policy in {unit}, which nobody has compared yet"
        most = self.of("unit")[unit]["policy"]["automatic"]["per_day_max"]
        if before is None and most and self._granted_alone(unit, when(after["granted"])) > most:
            yield f"{key} is held by policy in {unit}, which holds no more than {most} a day so"

    def _granted_alone(self, unit: str, at: datetime) -> int:
        facts = self.of("reservation").values()
        alone = [fact for fact in facts if fact["automatic"] and fact["claim"] and fact["claim"]["unit"] == unit]
        day = at.astimezone(ZONE).date()
        return sum(when(fact["granted"]).astimezone(ZONE).date() == day for fact in alone if fact["granted"])

    def _kept(self, key: str, before: Fact | None, after: Fact | None) -> Iterator[str]:
        """A renewal shortens no hold, and who waits keeps the rank."""
        if before is None or after is None or before["state"] != after["state"]:
            return
        if before["renewals"] < after["renewals"] and before["granted"] == after["granted"]:
            ends = [when(one["expire_time"]) for one in (before, after)]
            if after["state"] == "HELD" and ends[1] < ends[0]:
                yield f"{key} is renewed, and ends at {ends[1]} instead of {ends[0]}"
        if after["state"] == "WAITLISTED" and before["waiting"] != after["waiting"]:
            yield f"{key} loses its rank on the waiting list"

    # The history of a bed or place

    def _taken(self, key: str, before: Fact | None, after: Fact | None) -> Iterator[str]:
        """A bed is let go by its reservation's end or admission, for another bed, or with a conflict; not silently."""
        was, now = _bed_of(before), _bed_of(after)
        state = after["state"] if after else "dropped"
        for bed in {was, now} - {None}:
            told = self.histories.setdefault(str(bed), [])
            told.append(f"{self.revision}: {key[-6:]} {state}{'' if bed == now else ' leaves it'}")
            del told[:-HISTORY_TOLD_MAX]
        if was is None and now is None:
            return
        self.takings += 1
        claims = after is not None and state in CLAIMING
        if was is not None and now is None and claims and not self._in_conflict_itself(key):
            yield f"{was} is taken from {key} ({state}), and no conflict says so: {self.histories[was]}"
        if before is not None and before["state"] == "CONFIRMED" and state == "HELD":
            yield f"{was} was confirmed to {key} and is only held now: {self.histories[str(was)]}"

    def _late_confirm(self, key: str, before: Fact, after: Fact) -> Iterator[str]:
        over = when(before["expire_time"]) + TICK_ALLOWANCE < self.as_of
        if over and before["renewals"] == after["renewals"] and before["granted"] == after["granted"]:
            yield f"{key} is confirmed at {self.as_of}, its hold was over at {before['expire_time']}"

    def _ended(self, key: str, after: Fact) -> Iterator[str]:
        ending = after["ending"] or {}
        state = after["state"]
        if state == "RELEASED" and not (ending.get("release") or ending.get("withdraw")):
            yield f"{key} is RELEASED and nobody's reason is named"
        if state == "DECLINED" and not ending.get("decline"):
            yield f"{key} is DECLINED without a reason"
        if state in CLAIMING and not after["claim"]:
            yield f"{key} is {state} without a claim"
        if state == "HELD" and not after["expire_time"]:
            yield f"{key} is held without an end"

    def _lapsed(self, key: str, before: Fact | None, after: Fact) -> Iterator[str]:
        if before is None:
            return
        due = when(before["expire_time"] if before["state"] == "HELD" else before["valid_until"])
        if due > self.as_of + TICK_ALLOWANCE:
            yield f"{key} expires at {self.as_of}, its time is {due}"

    def _grant(self, key: str, claim: Fact, conflicts: Mapping[str, Fact]) -> Iterator[str]:
        if claim["bed"] is None and claim["place"] is None:
            yield f"{key} is held, and no bed is behind it"
        start, end = when(claim["start"]), when(claim["end"])
        for name, one in conflicts.items():
            still = name in self.of("conflict") and one["unit"] == claim["unit"] and one["reservation"] != key
            if still and when(one["start"]) < end and start < when(one["end"]):
                yield f"{key} is held in {claim['unit']} over its open conflict {name}"

    def overdue(self, now: datetime) -> Iterator[str]:
        """Holds that should have resolved by then."""
        for key, fact in self.of("reservation").items():
            if fact["state"] == "HELD" and when(fact["expire_time"]) + TICK_ALLOWANCE < now:
                yield f"{key} is still HELD at {now}, its hold was over at {fact['expire_time']}"

    # What takes the beds of a unit

    def _claims(self, unit: str) -> Iterator[tuple[str, datetime, datetime, Fact]]:
        """Claims with a bed or place behind them, save those that an open doubt takes for one with a stay."""
        presumed = self._presumed()
        for key, fact in self.of("reservation").items():
            claim = fact["claim"]
            if fact["state"] not in CLAIMING or not claim or claim["unit"] != unit or key in presumed:
                continue
            if claim["bed"] is not None or claim["place"] is not None:
                yield key, when(claim["start"]), when(claim["end"]), claim

    def _stays(self, unit: str) -> Iterator[tuple[str, datetime, Fact]]:
        """Patients who take a bed, and until when at least."""
        for key, stay in self.of("stay").items():
            if stay["unit"] == unit and (stay["keep_bed"] or not stay["on_leave"]):
                planned = stay["departure"] or stay["stay_end"]
                slipped = stay.get("slipped") or planned is None
                yield key, NEVER if slipped else max(when(planned), self.as_of), stay

    def _expected(self, unit: str) -> Iterator[tuple[str, datetime, datetime, Fact]]:
        for key, one in self.of("expected").items():
            if one["unit"] == unit:
                yield key, when(one["arrival"]), when(one["departure"]), one

    def _closed(self, unit: str) -> Iterator[Fact]:
        return (one for one in self.of("closure").values() if one["unit"] == unit)

    def _in_conflict(self, unit: str, start: datetime, end: datetime) -> bool:
        return any(
            one["unit"] == unit and when(one["start"]) < end and start < when(one["end"])
            for one in self.of("conflict").values()
        )

    def _beds(self, unit: str, fact: Fact) -> Iterator[str]:
        """No bed with two of {occupant, claim} at an instant, unless a conflict is recorded."""
        claims = list(self._claims(unit))
        for place, (key, start, end, claim) in enumerate(claims):
            for other, start2, end2, claim2 in claims[place + 1 :]:
                if claim["bed"] == claim2["bed"] and start < end2 and start2 < end:
                    yield f"bed {unit}/{claim['bed']} is claimed by {key} and by {other}"
            if f"{unit}/{claim['bed']}" not in self.of("bed"):
                yield f"{key} claims {unit}/{claim['bed']}, which is no bed"
            for what in self._others(unit, fact, claim, key):
                yield f"bed {unit}/{claim['bed']} {what}, and is claimed by {key} from {start} to {end}"

    def _others(self, unit: str, fact: Fact, claim: Fact, key: str) -> Iterator[str]:
        """What else takes a claim's bed during the claim."""
        start, end, bed = max(when(claim["start"]), self.as_of), when(claim["end"]), claim["bed"]
        turnover = timedelta(minutes=fact["policy"]["turnover_minutes"]) + timedelta(minutes=2)
        for stay, until, one in self._stays(unit):
            if one["bed"] == bed and one["reservation"] != key.partition("/")[2]:
                planned = when(one["departure"] or one["stay_end"])
                # A claim whose own time has passed takes nothing any more from who is there.
                overrun = when(claim["start"]) <= self.as_of < end and self.as_of > planned + turnover
                if overrun or start < min(until, end):
                    yield f"is taken by {stay} until {until}"
        for stay, arrival, departure, one in self._expected(unit):
            if one["bed"] == bed and max(start, arrival) < min(departure, end):
                yield f"awaits {stay} from {arrival} to {departure}"
        for closure in self._closed(unit):
            closed, opened = when(closure["start"]), when(closure["end"])
            if bed in closure["beds"] and max(start, closed) < min(end, opened):
                yield f"is closed from {closed} to {opened}"

    def _places(self, unit: str) -> Iterator[str]:
        """No more claims on a kind of place than it has free, at any instant, unless a conflict is recorded then."""
        for fact in self.of("places").values():
            if fact["unit"] != unit:
                continue
            gender = fact["gender"]
            claims = [(start, end) for _, start, end, claim in self._claims(unit) if claim["place"] == gender]
            stays = [until for _, until, stay in self._stays(unit) if stay["place"] == gender]
            expected = [(a, d) for _, a, d, one in self._expected(unit) if one["place"] == gender]
            closures = [
                (when(one["start"]), when(one["end"]), sum(n for g, n in one["places"] if g == gender))
                for one in self._closed(unit)
            ]
            instants = {self.as_of} | {start for start, _ in claims if start > self.as_of}
            instants |= {start for start, _, _ in closures if start > self.as_of}
            instants |= {start for start, _ in expected if start > self.as_of}
            for instant in instants:
                claimed = sum(start <= instant < end for start, end in claims)
                occupied = max(0, fact["unnamed"] + sum(instant < until for until in stays))
                awaited = sum(start <= instant < end for start, end in expected)
                closed = sum(count for start, end, count in closures if start <= instant < end)
                free = fact["open"] - closed - occupied - awaited - claimed
                if claimed and free < 0 and not self._in_conflict(unit, instant, instant + timedelta(seconds=1)):
                    yield f"{unit}: {free} places of gender {gender} are free at {instant}, {claimed} are claimed"
