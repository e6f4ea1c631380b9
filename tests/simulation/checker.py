"""The checker: DESIGN §8, recomputed from what was stored and what was said, after every commit and every message.

It sees three things: the rows that a node commits (`books.House`), the files that the hub commits, and each message
that a server sends, before the network does anything to it. It shares no code with ledger, brokerage or picture, and it
never asks them anything.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import unified_diff
from typing import Any

import msgspec
from google.protobuf import descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from aval.node.ports import Batch
from aval.v1 import availability_pb2 as availability
from aval.v1 import census_pb2, link_pb2, membership_pb2, request_pb2, reservation_pb2, territory_pb2
from tests.simulation.books import NEVER, Fact, House, when
from tests.simulation.coverage import Coverage
from tests.simulation.lifecycles import CLAIMING, FINAL, REQUEST_FINAL, request_reachable, reservation_reachable
from tests.simulation.setbacks import Setbacks, plain_need
from tests.simulation.wire import EXCHANGE, Call, Server

T = "sim.aval.internal"
"""The simulated territory."""

Words = dict[str, dict[int, Fact]]
"""Reservation → revision → what its node said of it then."""

ASKS_MAX = 3
"""Houses asked at once for one patient (DESIGN §7)."""

CAUGHT_UP = ""
"""Among the requests told on a watch: all that were live when it began have been."""

SAID_SECONDS_MAX = 5.0
"""A change that was stored so long ago has been told on every watch that is served."""

PUBLISHED_SECONDS_MAX = 0.05
"""Until a node knows that its commit is stored, and publishes it, it tells what was before."""

LISTED_MAX = timedelta(hours=74)
"""An admission leaves the lists after 72 hours, what else is over after a day."""

KEPT = timedelta(days=400)
"""For so long a request that is over can be looked at (CONTRACT 19, docs of the hub's retention)."""

TOLD_WITHIN = timedelta(minutes=1)
"""How long what was read may take to be told."""

LAPSE_ALLOWANCE = timedelta(minutes=5)
"""How long after its time a request may stand open: the hub may have begun a moment ago."""

MODULES = (availability, census_pb2, link_pb2, membership_pb2, request_pb2, reservation_pb2, territory_pb2)


def _methods() -> dict[str, descriptor.MethodDescriptor]:
    return {
        f"/{service.full_name}/{method.name}": method
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


METHODS = _methods()
"""Every RPC of the contract, by its path."""


def request_of(method: str, body: bytes) -> Any:
    """A request message, decoded."""
    return GetMessageClass(METHODS[method].input_type).FromString(body)


def answer_of(method: str, body: bytes) -> Any:
    """An answer, decoded."""
    return GetMessageClass(METHODS[method].output_type).FromString(body)


def _name_of(states: Any, state: int) -> str:
    return str(states.Name(state)).removeprefix("STATE_")


def _state_name(reservation: Any) -> str:
    return _name_of(reservation_pb2.Reservation.State, reservation.state)


def _figures(unit: Any) -> bytes:
    """What the hub must show of a unit as its node said it: everything but ages, and what only the own hub sees.

    `as_of` and the first step, which is of that instant, are left out: a node that looks again and finds the same
    figures says so without a revision.
    """
    shown = type(unit)()
    shown.CopyFrom(unit)
    for name in (
        "sources",
        "freshness",
        "age",
        "closures",
        "conflicts",
        "shown",
        "disagreements",
        "visibility",
        "as_of",
    ):
        shown.ClearField(name)
    for one in shown.classes:
        if one.steps and one.steps[0].time == unit.as_of:
            one.steps[0].ClearField("time")
    for unordered in (shown.policy.modes, shown.features, *(one.features for one in shown.classes)):
        unordered.sort()
    return bytes(shown.SerializeToString(deterministic=True))


@dataclass
class _Told:
    """What one node has told of its units on watches: at each revision all figures, as a fold of what was sent."""

    at: dict[int, dict[str, bytes]] = field(default_factory=dict)
    lost: list[dict[int, dict[str, bytes]]] = field(default_factory=list)
    """What was told before the node was put back to before it: its hub may show that until it hears of the node."""


@dataclass
class _Stream:
    """A watch being served: the units as its follower has them, and a message that came in parts."""

    incarnation: int = 0
    revision: int = 0
    units: dict[str, bytes] | None = None
    parts: dict[str, bytes] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)


class Checker:
    """`problem` is told each breach; `houses` by FINESS; `files` are the hub's requests as stored, plain."""

    def __init__(self, problem: Callable[[str], None]) -> None:
        self._problem = problem
        self.houses: dict[str, House] = {}
        self.files: dict[str, Fact] = {}
        self.rows_ever: set[str] = set()
        self.checks: Counter[str] = Counter()
        self.coverage = Coverage()
        self.said_seconds_max = SAID_SECONDS_MAX
        self.archived_are_said = True
        self._told: dict[tuple[str, int], _Told] = {}
        self._words: dict[tuple[str, int], Words] = {}
        self._lost_words: dict[tuple[str, int], list[Words]] = {}
        self._reinstates: dict[str, Any] = {}
        """Reinstatements sent, by their row."""
        self._shown: dict[tuple[str, str, int], int] = {}
        self.unheard: set[str] = set()
        """Requests saved by a hub that does not know that they were: it tells nobody before they are read again."""
        self._unsaid: dict[tuple[Call, str, int], float] = {}
        self.setbacks = Setbacks(self.houses, self.checks)
        self._dropped_at: dict[str, datetime] = {}
        self._hub_was_put_back = False
        self._ended: dict[str, tuple[int, float]] = {}
        """By house: the history of its node that ended last, and when."""
        self.time: Callable[[], float] = lambda: 0.0
        """What the world's clock says, in seconds."""
        self.hub_time: Callable[[], datetime] = lambda: NEVER
        """What the hub's clock says."""

    def house(self, finess: str) -> House:
        """A house's books."""
        return self.houses.setdefault(finess, House(finess))

    def put_back(self, finess: str, house: House) -> None:
        """A node was put back to an older state: its books too, and what it told since is told anew."""
        now = self.houses[finess]
        house.was_put_back = True
        house.put_back, house.policies_changed, house.takings = True, now.policies_changed, now.takings
        house.offers = now.offers
        house.forgotten = now.forgotten | {now.incarnation}
        self.houses[finess] = house
        self.setbacks.node_put_back(finess)
        told = self._told.get((finess, house.incarnation))
        if told is not None:
            told.lost.append({revision: units for revision, units in told.at.items() if revision > house.revision})
            told.at = {revision: units for revision, units in told.at.items() if revision <= house.revision}
        words = self._words.get((finess, house.incarnation), {})
        self._lost_words.setdefault((finess, house.incarnation), []).append(words)
        self._words[finess, house.incarnation] = {
            key: {revision: fact for revision, fact in line.items() if revision <= house.revision}
            for key, line in words.items()
        }

    def put_hub_back(self, files: dict[str, Fact], *, by_command: bool) -> None:
        """The hub was put back to an older state: what it stored since is forgotten, what it showed may go back."""
        self.setbacks.put_back(self.files, files, by_command=by_command)
        self.files = files
        self._hub_was_put_back = True
        self._shown.clear()

    # What is stored

    def node_committed(self, finess: str, batch: Batch) -> None:
        """A node has committed."""
        self.checks["node commits"] += 1
        self.checks["commits of several acts on one reservation"] += _shared(batch)
        house = self.house(finess)
        if batch.incarnation is not None:
            self.checks["nodes that found themselves put back"] += 1
            self._ended[finess] = (house.incarnation, self.time())
        for problem in (*house.committed(batch), *self._put_back_as_known(house)):
            self._problem(f"{finess} at revision {batch.revision.number}: {problem}")
        words = self._words.setdefault((finess, house.incarnation), {})
        for row in batch.rows:
            if row.kind.value == "reservation" and row.body is not None:
                words.setdefault(row.key, {})[house.revision] = house.of("reservation")[row.key]
        for key in house.reinstated:
            fact = house.of("reinstated")[key]
            self.checks[f"reinstated: {fact['known']} where it was {fact['found']}"] += 1
        moves = {key: (was, now) for key, was, now in house.moves}
        for key in {*moves, *(key for key, _, _ in house.acts if house.of("reservation").get(key))}:
            unmoved = house.of("reservation").get(key, {}).get("state")
            acts = [(act, refused) for one, act, refused in house.acts if one == key]
            was, now = moves.get(key, (unmoved, unmoved))
            left = self.coverage.reservation(was, now, acts)
            if left and now and key not in house.reinstated and not reservation_reachable(left, now):
                self._problem(f"{finess}: what was done to {key}, {was}, leaves it {left}, and {now} is stored")

    def _put_back_as_known(self, house: House) -> Iterator[str]:
        """What is reinstated is what the lost history had said last, as far as the hub had heard it."""
        for key, act, _ in house.acts:
            told = self._reinstates.get(act)
            if told is None or key not in house.reinstated or not house.of("reinstated")[key]["taken"]:
                continue
            history = (house.finess, told.heard.incarnation)
            lines = [words.get(key, {}) for words in (self._words.get(history, {}), *self._lost_words.get(history, ()))]
            fact = house.of("reservation")[key]
            said = [line[told.known.revision] for line in lines if told.known.revision in line]
            said = [one for one in said if not _lapsed_since(one, fact, house.as_of)]
            # Who says a request again that its hub has forgotten gives it another reference.
            again = {"reference"} if self.setbacks.was_said_again(f"requests/{fact['request']}") else set()
            differing = [{what for what, was, now in _promised(one, fact) if was != now} - again for one in said]
            self.checks["reinstatements compared"] += bool(said)
            if differing and all(differing):
                yield f"{key} is reinstated with other {', '.join(sorted(differing[-1]))} than was said"

    def hub_committed(self, saved: Sequence[tuple[Any, Any]], acts: Sequence[str], listed: Sequence[str]) -> None:
        """The hub has committed these files, each as it was (None for a new one) and is, by these acts (their ids).

        It is None where it was dropped. `listed`: the houses of which it has stored a whole snapshot.
        """
        for finess in listed:
            self.setbacks.listed(finess)
        self.checks["hub commits"] += bool(saved)
        for was, file in saved:
            if file is None:
                self._dropped(was.request.name)
                continue
            after = msgspec.to_builtins(file, builtin_types=(bytes,))
            name = after["request"]["name"]
            before = self.files.get(name)
            self.files[name] = after
            self.unheard.discard(name)
            for problem in (*self.setbacks.committed(before, after, acted=bool(acts)), *self._file(before, after)):
                self._problem(f"{name}: {problem}")
            if before is not None:
                self.coverage.request(_standing(before), _standing(after), acts)

    def _dropped(self, name: str) -> None:
        """A request leaves the store: over, out of the lists, nothing on its way, as old as people look back."""
        self.checks["requests dropped"] += 1
        file = self.files.pop(name)
        self._dropped_at[name] = self.hub_time()
        until = when(file["request"]["change_time"]) + KEPT
        if not file["request"].get("archived") or file["rows"] or self.hub_time() < until:
            self._problem(f"{name} is dropped at {self.hub_time()}, and is to be kept until {until}")

    def _file(self, before: Fact | None, after: Fact) -> Iterator[str]:
        request = after["request"]
        state = request.get("state", "OPEN")
        was = "OPEN" if before is None else before["request"].get("state", "OPEN")
        if not request_reachable(was, state):
            yield f"{was} → {state}"
        if before is not None and request.get("revision", 1) < before["request"].get("revision", 1):
            yield "its revision goes back"
        self.rows_ever |= {row["id"] for row in after["rows"]}
        yield from self._rows(after)
        asks = {ask["reservation"]: ask for ask in after["asks"]}
        proposed = request.get("proposed_next", "")
        if proposed and any(
            _may_live(ask) and ask["unit"].split("/")[1] == proposed.split("/")[1] for ask in after["asks"]
        ):
            yield f"{proposed} is proposed, and its house is asked already"
        subject = asks.get(request.get("subject", ""))
        known = (subject or {}).get("known") or {}
        if state == "CONFIRMED" and known.get("state") != "CONFIRMED":
            yield f"CONFIRMED without its node's word: {request.get('subject')} is known {known.get('state')}"
        if state == "ADMITTED" and known.get("state") != "ADMITTED":
            yield f"ADMITTED without its node's word: {request.get('subject')} is known {known.get('state')}"
        for name, ask in asks.items():
            yield from self._known(name, ask, before)
            yield from self._let_go(state, ask, after)

    def _rows(self, file: Fact) -> Iterator[str]:
        """At most one confirmation without a release behind it; CONFIRMING has its confirm on the way."""
        verbs: dict[str, list[str]] = {}
        for row in file["rows"]:
            verbs.setdefault(row["reservation"], []).append(row["body"]["type"])
        for one, line in verbs.items():
            if "release" in line[:-1]:
                yield f"{one} is let go, and more is queued behind its release: {line}"
        wanted = [one for one, line in verbs.items() if "confirm" in line and "release" not in line]
        request = file["request"]
        over = {ask["reservation"] for ask in file["asks"] if (ask.get("known") or {}).get("state") in FINAL}
        if request.get("state", "OPEN") == "OPEN" and set(wanted) - over:
            yield f"OPEN, and a confirmation of {wanted} is on its way"
        if len(wanted) > 1:
            yield f"two confirmations are wanted at once: {wanted}"
        yield from self._limits(file, verbs)
        if request.get("state") == "CONFIRMING" and "confirm" not in verbs.get(request.get("subject", ""), ()):
            yield "CONFIRMING, and no confirm is on its way"

    def _limits(self, file: Fact, verbs: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Three houses at once, one of them with a hold, and no house twice."""
        lives = [ask for ask in file["asks"] if _may_live(ask) and not ask.get("over")]
        wanted = [ask for ask in lives if "release" not in verbs.get(ask["reservation"], ())]
        houses = [ask["reservation"].split("/")[1] for ask in lives]
        if len(wanted) > ASKS_MAX:
            yield f"{len(wanted)} houses are asked at once"
        # Of a hub that was put back: what it finds was asked before, and may be a second one, in sight.
        if sum(ask["mode"] == "hold" for ask in wanted if ask["reservation"] not in self.setbacks.found) > 1:
            yield "two holds are asked at once"
        if len(set(houses)) < len(houses):
            yield f"a house is asked twice: {houses}"

    def _known(self, name: str, ask: Fact, before: Fact | None) -> Iterator[str]:
        """What the hub takes for its node's word was the node's word, and is not older than what it had."""
        known = ask.get("known")
        if known is None:
            return
        house = self.house(name.split("/")[1])
        if known["incarnation"] == house.incarnation and not house.put_back:
            said = self._state_at(house, name, known["revision"])
            if said is not None and said != known["state"]:
                yield f"{name} is known {known['state']} at revision {known['revision']}; its node says {said}"
            if known["revision"] > house.revision:
                yield f"{name} is known at revision {known['revision']}, which its node has not reached"
        was = next((one.get("known") for one in (before or {"asks": ()})["asks"] if one["reservation"] == name), None)
        # Put back to before a release, a node may find that time has ended it meanwhile; to before its answer, its
        # people may say no.
        ends = was and (known["state"] == "DECLINED" or {was["state"], known["state"]} <= FINAL)
        over = was and was["incarnation"] != known["incarnation"] and ends
        if was and not (reservation_reachable(was["state"], known["state"]) or ask.get("over") or over):
            yield f"{name} was known {was['state']}, and is {known['state']} now: nothing said leads there"
        if was and was["incarnation"] == known["incarnation"] and was["revision"] > known["revision"]:
            yield f"{name}: older news ({known['revision']}) replaced newer ({was['revision']})"

    @staticmethod
    def _let_go(state: str, ask: Fact, file: Fact) -> Iterator[str]:
        """A final request has a release behind each reservation that may live, in the transaction that ended it."""
        known = (ask.get("known") or {}).get("state")
        over = known in FINAL or known == "ADMITTED" or (known is None and ask.get("refused_reason"))
        if state not in REQUEST_FINAL or over or ask.get("release_refusal"):
            return
        if not any(r["reservation"] == ask["reservation"] and r["body"]["type"] == "release" for r in file["rows"]):
            yield f"{state}, and {ask['reservation']} ({known}) is let go by nobody"

    @staticmethod
    def _state_at(house: House, name: str, revision: int) -> str | None:
        key = name.rsplit("/", 1)[1]
        states = next((line for one, line in house.states.items() if one.endswith(key)), {})
        return states.get(revision)

    # What is said

    def heard(self, server: Server, call: Call, body: bytes) -> None:
        """A server has sent a message."""
        if call.method not in METHODS:
            return
        self.checks["messages"] += 1
        message = answer_of(call.method, body)
        finess = server.finess
        problems = self._of_hub(call, message) if finess is None else self._of_node(self.house(finess), call, message)
        for problem in problems:
            self._problem(f"{server.process.name} says in {call.method.rsplit('/', 1)[1]}: {problem}")

    def _of_node(self, house: House, call: Call, message: Message) -> Iterator[str]:
        for cursor in _cursors(message):
            if cursor.revision:
                yield from self._stands(house, cursor)
        for reservation in _reservations(message):
            said, state = self._state_at(house, reservation.name, reservation.revision), _state_name(reservation)
            kept = house.reservation(f"{reservation.territory}/{reservation.name.rsplit('/', 1)[1]}")
            if reservation.revision > house.revision:
                yield f"{reservation.name} at revision {reservation.revision}: {house.revision} is the last committed"
            elif said is not None and said != state:
                yield f"{reservation.name} is {state} at revision {reservation.revision}; committed: {said}"
            elif said is None and (kept is None or kept["state"] != state):
                yield f"{reservation.name} is {state}; committed: {kept and kept['state']}"
        if isinstance(message, link_pb2.ExchangeResponse):
            refusal = message.answer.refusal
            self.coverage.refused("reservation", message.answer.command_id, refusal.reason, refusal.metadata)
        if isinstance(message, availability.WatchAvailabilityResponse):
            yield from self._watched(house, call, message)
        if isinstance(message, availability.ListUnitsResponse):
            for cursor in message.cursors:
                yield from self._same_as_told(cursor, message.units)

    def _stands(self, house: House, cursor: Any) -> Iterator[str]:
        """A cursor is of what is stored; of the history before, where that was stored a moment ago."""
        former, ended = self._ended.get(house.finess, (0, 0.0))
        published = cursor.incarnation != former or self.time() - ended > PUBLISHED_SECONDS_MAX
        if cursor.revision > house.revision:
            yield f"revision {cursor.revision}, and {house.revision} is the last committed"
        elif cursor.incarnation != house.incarnation and published:
            yield f"a cursor of history {cursor.incarnation:016x}; {house.incarnation:016x} is stored"
        elif house.tags.get(cursor.revision) != cursor.tag:
            yield f"tag {cursor.tag.hex()} of revision {cursor.revision}"

    def _watched(self, house: House, call: Call, message: Any) -> Iterator[str]:
        """Folds what a watch brings; two watches must tell the same of one revision."""
        stream = call.base
        if stream is None:
            stream = call.base = _Stream()
            # Of two cursors the watch goes on from the lower; the other is what the hub heard by an answer.
            for cursor in sorted(request_of(call.method, call.first).cursors, key=lambda one: -one.revision):
                stream.incarnation, stream.revision = cursor.incarnation, cursor.revision
                told = self._told.get((house.finess, cursor.incarnation))
                stream.units = told.at.get(cursor.revision) if told else None
        kind = message.WhichOneof("event")
        if kind == "progress":
            return
        event = getattr(message, kind)
        cursor = event.establishment.cursor if kind == "snapshot" else event.cursor
        stream.parts |= {unit.name: _figures(unit) for unit in event.units}
        if kind == "change":
            stream.removed += event.removed_units
        if not event.last_part:
            return
        parts, removed, stream.parts, stream.removed = stream.parts, stream.removed, {}, []
        if kind == "snapshot":
            stream.units = parts
        elif stream.units is not None:
            stream.units = {n: u for n, u in stream.units.items() if n not in removed} | parts
        if kind == "change" and (cursor.incarnation, cursor.revision) <= (stream.incarnation, stream.revision):
            yield f"revision {cursor.revision} after {stream.revision} on one watch"
        stream.incarnation, stream.revision = cursor.incarnation, cursor.revision
        if stream.units is None:
            return
        told = self._told.setdefault((house.finess, cursor.incarnation), _Told())
        before = told.at.setdefault(cursor.revision, stream.units)
        self.checks["revisions told"] += 1
        if before != stream.units:
            yield f"revision {cursor.revision} is told in two ways: {_differing(before, stream.units)}"

    def _of_hub(self, call: Call, message: Message) -> Iterator[str]:
        requests = [message] if isinstance(message, request_pb2.Request) else []
        if isinstance(message, request_pb2.ListRequestsResponse):
            requests = list(message.requests)
        if isinstance(message, request_pb2.WatchRequestsResponse) and message.HasField("request"):
            requests = [message.request]
        if isinstance(message, request_pb2.WatchRequestsResponse):
            self._said_on_a_screen(call, message)
        for request in requests:
            stored = self.files.get(request.name)
            if stored is None:
                # Read before it was dropped, and told after.
                dropped = self._dropped_at.get(request.name)
                if dropped is None or self.hub_time() - dropped > TOLD_WITHIN:
                    yield f"{request.name}, which is stored nowhere"
            elif request.revision > stored["request"].get("revision", 1):
                yield f"{request.name} at revision {request.revision}, not stored yet"
            elif request.revision == stored["request"].get("revision", 1):
                yield from self._shown_as_stored(request, stored)
        if isinstance(message, request_pb2.ListOrphansResponse):
            self.setbacks.orphans = [one.name for one in message.reservations]
        if isinstance(message, availability.ListUnitsResponse):
            for cursor in message.cursors:
                units = [u for u in message.units if u.name.startswith(f"{cursor.establishment}/")]
                yield from self._figures_shown(call.server.address, cursor, units)

    def _said_on_a_screen(self, call: Call, message: Any) -> None:
        """Keeps, of a watch of requests that has caught up, the revision that it told last of each."""
        said: dict[str, int] = call.base or {}
        if message.HasField("request"):
            said[message.request.name] = message.request.revision
        if message.caught_up:
            said = {CAUGHT_UP: 0} | {name: _revision(file) for name, file in self.files.items()} | said
        call.base = said

    def unsaid(self, calls: Iterable[Call], now: float) -> Iterator[str]:
        """A watch of requests that is read says each change within moments; `now` in seconds of the world."""
        waiting, self._unsaid = self._unsaid, {}
        for call in calls:
            if not call.method.endswith("/WatchRequests") or not call.is_served or CAUGHT_UP not in (call.base or ()):
                continue
            if call.is_full:
                continue
            for name, file in self.files.items():
                if file["request"].get("archived") and not self.archived_are_said:
                    continue
                if call.base.get(name, 0) < _revision(file) and name not in self.unheard:
                    key = (call, name, _revision(file))
                    self._unsaid[key] = waiting.get(key, now)
                    if now - self._unsaid[key] > self.said_seconds_max:
                        yield f"{name} is at revision {key[2]}, and a screen still shows {call.base.get(name)}"

    def _shown_as_stored(self, request: Any, stored: Fact) -> Iterator[str]:
        """Of one revision people are shown what is stored."""
        self.checks["requests compared"] += 1
        kept = stored["request"]
        state, subject = _standing(stored)
        of_subject: Fact = next((ask for ask in stored["asks"] if ask["reservation"] == subject), {})
        told = {
            "state": (_name_of(request_pb2.Request.State, request.state), state),
            "subject": (request.subject, subject),
            "double admission": (request.double_admission, kept.get("double_admission", False)),
            "unanswered": (request.unanswered, kept.get("unanswered", False)),
            "unverified": (request.unverified, (of_subject.get("known") or {}).get("unverified", False)),
            "proposal": (request.proposed_next, kept.get("proposed_next", "")),
            "asks": ([one.reservation for one in request.asks], [ask["reservation"] for ask in stored["asks"]]),
        }
        for one, ask in zip(request.asks, stored["asks"], strict=False):
            known = (ask.get("known") or {}).get("state")
            said = _state_name(one.known) if one.HasField("known") else None
            pending = [row["body"]["type"] for row in stored["rows"] if row["reservation"] == ask["reservation"]]
            told[f"{one.reservation}"] = (
                (said, [row.verb for row in one.pending], one.release_pending, list(one.alternatives)),
                (known, pending, "release" in pending, list(ask.get("alternatives", ()))),
            )
        for what, (shown, kept_so) in told.items():
            if shown != kept_so:
                yield f"{request.name} at revision {request.revision}: its {what} is {shown}; stored: {kept_so}"

    def _figures_shown(self, hub: str, cursor: Any, units: Sequence[Any]) -> Iterator[str]:
        """What the hub shows of a node is what that node said at that cursor, and the cursor never goes back."""
        finess = cursor.establishment.rsplit("/", 1)[1]
        last = self._shown.get((hub, finess, cursor.incarnation), 0)
        if cursor.revision < last:
            yield f"{finess} at revision {cursor.revision}, after {last} was shown"
        self._shown[hub, finess, cursor.incarnation] = max(last, cursor.revision)
        yield from self._same_as_told(cursor, [unit for unit in units if unit.shown == availability.SHOWN_EXACT])

    def _same_as_told(self, cursor: Any, units: Iterable[Any]) -> Iterator[str]:
        finess = cursor.establishment.rsplit("/", 1)[1]
        told = self._told.get((finess, cursor.incarnation))
        truths = [at[cursor.revision] for at in (told.at, *told.lost) if cursor.revision in at] if told else []
        # A node that was put back may have come to that revision anew, and have told nobody on a watch.
        untold = told is not None and cursor.revision not in told.at and cursor.revision <= self.houses[finess].revision
        if not truths or untold:
            self.checks["figures not comparable"] += 1
            return
        for unit in units:
            self.checks["figures compared"] += 1
            if all(truth.get(unit.name) != _figures(unit) for truth in truths):
                how = _differing({unit.name: truths[0].get(unit.name, b"")}, {unit.name: _figures(unit)})
                yield f"figures at revision {cursor.revision} are not what the node said on its watch: {how}"

    def sent(self, call: Call, body: bytes) -> None:
        """A client has sent a message: a command must be a row of the outbox, and the first one of its reservation."""
        if call.method != EXCHANGE or call.ghost:
            return
        command = request_of(call.method, body).command
        verb = getattr(command, command.WhichOneof("verb"))
        row = verb.header.command_id
        self.checks["commands sent"] += 1
        if row not in self.rows_ever:
            self._problem(f"command {row} was sent, and no outbox ever held it")
        if command.WhichOneof("verb") == "create":
            name = f"{verb.parent}/reservations/{row}"
        else:
            name = verb.known.name if command.WhichOneof("verb") == "reinstate" else verb.name
        if command.WhichOneof("verb") == "reinstate":
            self._reinstates[row] = verb
        for problem in self.setbacks.sent_to(name.split("/")[1]):
            self._problem(problem)
        self.coverage.said(row, str(command.WhichOneof("verb")))
        lines = [r for file in self.files.values() for r in file["rows"] if r["reservation"] == name]
        if lines and row in {line["id"] for line in lines} and lines[0]["id"] != row:
            # A reinstatement stored since the rows were read: the cursor is of the history that is over, and with such
            # a one nothing is decided.
            over = verb.header.cursor.incarnation != self.house(name.split("/")[1]).incarnation
            if lines[0]["body"]["type"] != "reinstate" or not over:
                self._problem(f"command {verb.header.number} of {name} was sent before {lines[0]['number']}")

    def unended(self, now: datetime) -> Iterator[str]:
        """What is not over weeks after the last word of anybody: every request and every hold must be."""
        for name, file in self.files.items():
            state = file["request"].get("state", "OPEN")
            if state in ("OPEN", "CONFIRMING", "RELEASING"):
                yield f"{name} is still {state}"
            elif state != "CONFIRMED" and not file["request"].get("archived"):
                changed = when(file["request"]["change_time"])
                if changed + LISTED_MAX < now:
                    yield f"{name} is {state} since {changed}, and listed still"
        for finess, house in self.houses.items():
            for key, fact in house.of("reservation").items():
                # No hub lets an orphan go: if nobody answers, it waits as long as its demand stands.
                waits = self.setbacks.is_orphan(finess, fact) and now < when(fact["valid_until"])
                if fact["state"] == "HELD" or (fact["state"] in ("ASKED", "WAITLISTED") and not waits):
                    yield f"{finess}: {key} is still {fact['state']}"

    def unforgotten(self) -> Iterator[str]:
        """What is in the hub's store longer than anybody looks back."""
        for name, file in self.files.items():
            until = when(file["request"]["change_time"]) + KEPT
            if file["request"].get("archived") and not file["rows"] and until < self.hub_time():
                yield f"{name} was to be kept until {until}, and is there still"

    # When all is quiet

    def quiet(self, now: datetime) -> Iterator[str]:
        """What must hold once faults have stopped and everything had time to arrive; `now` by the hub's clock."""
        yield from self.setbacks.quiet(self.files)
        for name, file in self.files.items():
            request = file["request"]
            state = request.get("state", "OPEN")
            live: list[str] = []
            if state == "OPEN" and not request.get("set_back"):
                yield from _open(name, file, now)
            if file["rows"]:
                yield f"{name} has unsent commands: {[(r['reservation'], r['body']['type']) for r in file['rows']]}"
            if state in ("CONFIRMING", "RELEASING"):
                yield f"{name} is still {state}"
            for ask in file["asks"]:
                yield from self._agree(name, ask, state, live)
            if live and state == "OPEN":
                yield f"{name} is OPEN, and {live} is confirmed or admitted: nobody knows of it"
            # Until somebody has looked at it nothing of it is let go, be it confirmed twice.
            if len(live) > 1 and not request.get("double_admission") and not request.get("set_back"):
                yield f"{name} ({state}) has {len(live)} reservations confirmed or admitted: {live}"

    def _agree(self, name: str, ask: Fact, state: str, live: list[str]) -> Iterator[str]:
        known = ask.get("known") or {}
        house = self.house(ask["reservation"].split("/")[1])
        ending = ask["reservation"].rsplit("/", 1)[1]
        found = next(
            (f for t in ("reservation", "tombstone") for k, f in house.of(t).items() if k.endswith(ending)), None
        )
        if found is None:
            # An admission is closed, and its request archived, after 72 h: the census alone speaks of the patient then.
            closed = known.get("state") in FINAL or self.files[name]["request"].get("archived")
            forgotten = house.was_put_back and closed
            if not ask.get("refused_reason") and not forgotten:
                yield f"{name}: {ask['reservation']} is unknown at its node, and not refused"
            return
        # What the hub let go, and only a restored unit that nobody has compared says to be there, moves no request; and
        # people may have changed the request since.
        doubtful = ask.get("over") and known.get("unverified")
        # Put back to before a release, a node whose time ends it has nothing to tell of it a day later: it is over.
        both_over = house.was_put_back and {found["state"], known.get("state")} <= FINAL
        # A hub that was put back asks again what was over long ago, and is refused: it is over.
        both_over |= (
            self._hub_was_put_back and not known and found["state"] in FINAL and bool(ask.get("refused_reason"))
        )
        # An admission is closed by then, and archived: nobody asks after what ended in the time that is forgotten.
        archived = known.get("state") == "ADMITTED" and self.files[name]["request"].get("archived")
        both_over |= self._hub_was_put_back and bool(archived) and found["state"] in FINAL
        # Over in two histories, of which each side has forgotten one: a day later nothing is told of it.
        twice_over = house.was_put_back and self._hub_was_put_back and found["state"] in FINAL
        if found["state"] != known.get("state") and not both_over:
            yield f"{name}: {ask['reservation']} is {found['state']} at its node, {known.get('state')} at the hub"
        elif found["state"] == known.get("state") and "claim" in found and not (ask.get("over") or twice_over):
            said_again = self.setbacks.was_said_again(name)
            yield from _in_full(house, ask, self.files[name]["request"], known, found, said_again=said_again)
        # Let go once, and brought back by a node that was put back: until somebody has looked, it is not let go again.
        waits = ask.get("over") and self.files[name]["request"].get("set_back")
        if (found["state"] == "CONFIRMED" and not waits) or (found["state"] == "ADMITTED" and not doubtful):
            live.append(ask["reservation"])
        if state in REQUEST_FINAL and found["state"] not in FINAL and found["state"] != "ADMITTED":
            yield f"{name} is {state}, and {ask['reservation']} is {found['state']}: a bed is lost"


def _open(name: str, file: Fact, now: datetime) -> Iterator[str]:
    """An open request waits for something, and people are told of each loss."""
    latest = when(file["request"]["need"]["arrival_latest"])
    if latest + LAPSE_ALLOWANCE < now and not any(map(_may_live, file["asks"])):
        yield f"{name} is still OPEN, nothing of it lives, and its latest arrival was at {latest}"
    for ask in file["asks"]:
        lost = ask.get("refused_reason") or (ask.get("known") or {}).get("state") in ("DECLINED", "EXPIRED")
        if lost and not ask.get("followed"):
            yield f"{name} is OPEN, {ask['reservation']} came to nothing, and nobody was told what is left"


def _shared(batch: Batch) -> bool:
    records = [json.loads(row.body) for row in batch.rows if row.kind.value == "command" and row.body]
    acts = [one["reservation"] for one in records if one["reservation"]]
    return len(acts) > len(set(acts))


def _lapsed_since(was: Fact, now: Fact, at: datetime) -> bool:
    """Whether time ended it in the very commit that put it back."""
    return now["state"] == "EXPIRED" and when(was["expire_time"] or was["valid_until"]) <= at


def _promised(was: Fact, now: Fact) -> Iterator[tuple[str, Any, Any]]:
    """What a promise is: (what, before, after)."""
    if was["claim"] and was["state"] in (*CLAIMING, "ADMITTED"):
        yield from ((what, was["claim"][what], now["claim"][what]) for what in ("unit", "start", "end"))
    yield "offer", was["offer"] and was["offer"]["tag"], now["offer"] and now["offer"]["tag"]
    yield from (
        (what, was[what], now[what]) for what in ("state", "expire_time", "valid_until", "urgency", "reference")
    )
    yield "renewals", was["renewals"], min(was["renewals"], now["renewals"])


def _in_full(house: House, ask: Fact, request: Fact, known: Fact, found: Fact, *, said_again: bool) -> Iterator[str]:
    """Each side took the other's word in full: the node what was asked, the hub what was made of it, and until when.

    A request that its hub had forgotten and that was `said_again`, before any node had told of it, is known to people
    by a new reference, and to the house by the former one.
    """
    claim, unit, state = found["claim"] or {}, (found["claim"] or found)["unit"], found["state"]
    line = [
        one for one in house.of("reservation").values() if one["state"] == "WAITLISTED" and one["unit"] == found["unit"]
    ]
    rank = sum(one["waiting"] <= found["waiting"] for one in line) if state == "WAITLISTED" else 0
    offer, granted = known.get("offer") or {}, found["offer"] or {}
    sides = {
        "arrival": (when(known["arrival"]), when(claim.get("start") or found["need"]["arrival_earliest"])),
        "end": (when(known.get("end")), when(claim.get("end"))),
        "offer": (offer.get("tag"), b64decode(granted["tag"]) if granted else None),
        "rank": (known.get("waiting_rank", 0), rank),
        "renewals": (known.get("renewals", 0), found["renewals"]),
        "verification": (known.get("unverified", False), state not in FINAL and unit in house.of("reconciling")),
    }
    if state not in FINAL or not house.was_put_back:  # what was over by then is not said to it again
        notes = [[note["fate"] for note in side] for side in (known.get("notes", ()), found["notes"])]
        sides["notes"] = (notes[0], notes[1])
    if state not in FINAL:
        sides |= {
            "reference": (request["reference"], request["reference"] if said_again else found["reference"]),
            "urgency": (request["urgency"], found["urgency"]),
            "need": (plain_need(request["need"]), plain_need(found["need"])),
            "mode": (ask["mode"], found["mode"]),
            "number": (known.get("last_command_number", 0), found["last_number"]),
            "unit": (known["unit"].rsplit("/", 1)[1], found["unit"]),
            "end of the hold": ((known.get("expire") or {}).get("expire_time"), found["expire_time"]),
            "time to answer": ((known.get("answer_by") or {}).get("expire_time"), found["answer_by"]),
            "validity": ((known.get("valid_until") or {}).get("expire_time"), found["valid_until"]),
            "questions": (list(known.get("marks", {}).get("open_questions", ())), found["questions"]),
        }
    for what, (ours, theirs) in sides.items():
        if ours != theirs:
            yield f"{ask['reservation']}: its {what} is {ours} at the hub, {theirs} at its node"


def _may_live(ask: Fact) -> bool:
    known = ask.get("known")
    return known["state"] not in FINAL if known else not ask.get("refused_reason")


def _revision(file: Fact) -> int:
    return int(file["request"].get("revision", 1))


def _standing(file: Fact) -> tuple[str, str]:
    request = file["request"]
    return request.get("state", "OPEN"), request.get("subject", "")


def _cursors(message: Any) -> Iterator[Any]:
    if isinstance(message, link_pb2.ExchangeResponse):
        yield message.answer.cursor
    elif isinstance(message, availability.WatchAvailabilityResponse):
        kind = message.WhichOneof("event")
        yield message.snapshot.establishment.cursor if kind == "snapshot" else getattr(message, str(kind)).cursor
    elif isinstance(message, availability.ListUnitsResponse):
        yield from message.cursors
    elif "cursor" in message.DESCRIPTOR.fields_by_name and message.HasField("cursor"):
        yield message.cursor


def _reservations(message: Any) -> Iterator[Any]:
    if isinstance(message, reservation_pb2.Reservation):
        yield message
    elif isinstance(message, link_pb2.ExchangeResponse) and message.answer.HasField("reservation"):
        yield message.answer.reservation
    elif isinstance(message, reservation_pb2.ListReservationsResponse):
        yield from message.reservations
    elif isinstance(message, availability.WatchAvailabilityResponse):
        kind = message.WhichOneof("event")
        if kind in ("snapshot", "change"):
            yield from getattr(message, kind).reservations


def _differing(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> str:
    """Which units differ, and in what."""
    told = []
    for name in sorted({*one, *other}):
        texts = [str(availability.Unit.FromString(side.get(name, b""))).splitlines() for side in (one, other)]
        if texts[0] != texts[1]:
            lines = [
                line
                for line in unified_diff(texts[0], texts[1], n=1, lineterm="")
                if not line.startswith(("---", "+++"))
            ]
            told.append(f"{name}: {' / '.join(lines[:24])}")
    return "; ".join(told)
