"""What a hub that was put back to an older state does about what it has forgotten, as the checker sees it (DESIGN §5).

Nothing silently freed, nothing silently invented: until a person has acted on a request of which something may be
forgotten, the hub lets nothing of it go, asks nobody more, and does not let it lapse over what lives. What a node tells
and no request here has asked for is placed in its request, or makes it again, or is an orphan that people are shown;
and it is at its node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from tests.simulation.books import Fact, House
from tests.simulation.lifecycles import FINAL, REQUEST_FINAL


class Setbacks:
    """`houses` by FINESS, `files` by name: those of the checker, which replaces none of the two."""

    def __init__(self, houses: Mapping[str, House], checks: Counter[str]) -> None:
        self._houses = houses
        self._checks = checks
        self._unmarked: set[str] = set()
        """Requests not over when the hub was put back by command: each is marked before anything else befalls it."""
        self._looked_at: set[str] = set()
        """Requests that were marked, and that somebody has looked at since the hub was put back."""
        self._unlisted: set[str] = set()
        """Houses of which no whole snapshot was stored since: nothing is sent to them, by any hub."""
        self._due: dict[str, str] = {}
        """Reservations that lived when the hub was put back by command, of requests forgotten then: which."""
        self._forgotten: set[str] = set()
        """Requests that the hub forgot, ever."""
        self._said_again: set[str] = set()
        """Those of them that people have made anew since, under the same id."""
        self.found: set[str] = set()
        """Reservations that a request came to hold when their nodes had them: asked in time that is forgotten."""
        self.orphans: list[str] = []
        """What people were shown last of reservations that no request holds."""

    def put_back(self, forgotten: Mapping[str, Fact], files: Mapping[str, Fact], *, by_command: bool) -> None:
        """The hub has `files` now, and had `forgotten`."""
        self._unmarked.clear()
        self._looked_at.clear()
        self._unlisted.clear()
        self._due.clear()
        self._forgotten |= set(forgotten) - set(files)
        self._said_again &= set(files)
        if not by_command:
            return
        self._unmarked.update(name for name, file in files.items() if _state(file) not in REQUEST_FINAL)
        self._unlisted.update(self._houses)
        for name in set(forgotten) - set(files):
            asked = (ask["reservation"] for ask in forgotten[name]["asks"])
            self._due.update((one, name) for one in asked if self._at_node(one))

    def node_put_back(self, finess: str) -> None:
        """A node has forgotten what it had told: what it does not know is not made again from it."""
        self._due = {one: name for one, name in self._due.items() if _house(one) != finess}

    def listed(self, finess: str) -> None:
        """All reservations of a house, as its node has told them, are stored."""
        self._unlisted.discard(finess)

    def sent_to(self, finess: str) -> Iterator[str]:
        """A command leaves for that node."""
        if finess in self._unlisted:
            yield f"a command is sent to {finess}, whose reservations nobody has stored since the hub was put back"

    # What is stored

    def committed(self, before: Fact | None, after: Fact, *, acted: bool) -> Iterator[str]:
        """The hub has stored a request; `acted`: a person's act did it."""
        name, over = after["request"]["name"], _state(after) in REQUEST_FINAL or after["request"].get("archived")
        new = [ask for ask in after["asks"] if ask["reservation"] not in _asks(before)]
        if before is None and acted and name in self._forgotten:
            self._checks["forgotten requests said again"] += 1
            self._said_again.add(name)
        found = [
            ask
            for ask in new
            if not acted and (not _has_row(after, ask, "create") or self._is_told(ask["reservation"]))
        ]
        self.found.update(ask["reservation"] for ask in new if self._is_told(ask["reservation"]))
        for ask in found:
            yield from self._found(name, ask)
        if found and not after["request"].get("set_back"):
            yield f"{[one['reservation'] for one in found]} is found, and nobody is told to look"
        self._checks["requests made again from what nodes told"] += bool(found) and before is None
        self._checks["reservations placed in requests that had forgotten them"] += bool(found) and before is not None
        marked = name in self._unmarked or (before is not None and before["request"].get("set_back"))
        self._unmarked.discard(name)
        if acted:
            self._checks["requests looked at after the hub was put back"] += bool(marked)
            self._looked_at |= {name} if marked else set()
            return
        if marked and not over and not after["request"].get("set_back"):
            yield "the hub was put back, nobody has looked at it since, and it counts as looked at"
        if before is not None and self._is_only_marked(before, after) and name in self._looked_at:
            yield "somebody has looked at it, and it is marked again as if nobody had"
        if not over and self._never_given(before, after) and not after["request"].get("set_back"):
            yield "a node has decided a command that was never given here, and nobody is told to look"
        if after["request"].get("set_back"):
            self._checks["requests changed before somebody looked at them"] += 1
            yield from self._by_itself(before, after, [ask for ask in new if ask not in found])

    def _by_itself(self, before: Fact | None, after: Fact, asked: list[Fact]) -> Iterator[str]:
        """What the hub must not do to a request of which it may have forgotten something."""
        kept = {row["id"] for row in (before or after)["rows"]}
        releases = {row["id"]: row["reservation"] for row in after["rows"] if row["body"]["type"] == "release"}
        let_go = sorted(one for row, one in releases.items() if row not in kept)
        if let_go:
            yield f"{let_go} is let go by itself, and something may be forgotten"
        if asked:
            yield f"{[one['reservation'] for one in asked]} is asked by itself, and something may be forgotten"
        lapses = before is not None and _state(before) == "OPEN" and _state(after) == "EXPIRED"
        lives = [ask["reservation"] for ask in after["asks"] if self._at_node(ask["reservation"])]
        if lapses and set(lives) - set(releases.values()):
            yield f"it lapses over {lives}, and something may be forgotten"
        if after["request"].get("archived") and _state(after) not in REQUEST_FINAL:
            others = [one for one in lives if one != after["request"].get("subject")]
            if others:
                yield f"it leaves the lists, {others} live, and nobody has looked at it"

    @staticmethod
    def _is_only_marked(before: Fact, after: Fact) -> bool:
        """Whether it is to be looked at from now on, and no word of a node has brought that."""
        began = after["request"].get("set_back") and not before["request"].get("set_back")
        return bool(began) and (before["asks"], before["rows"]) == (after["asks"], after["rows"])

    @staticmethod
    def _never_given(before: Fact | None, after: Fact) -> bool:
        """Whether a node's word bears a command's number above all that this hub has given."""
        given = {ask["reservation"]: ask.get("last_number", 0) for ask in (before or {"asks": ()})["asks"]}
        return any(
            (ask.get("known") or {}).get("last_command_number", 0) > given[ask["reservation"]]
            for ask in after["asks"]
            if ask["reservation"] in given
        )

    def _found(self, name: str, ask: Fact) -> Iterator[str]:
        """What no person asked for here was asked for all the same: its node has it, of that request."""
        house = self._houses[_house(ask["reservation"])]
        key = ask["reservation"].rsplit("/", 1)[1]
        facts = (f for t in ("reservation", "tombstone") for k, f in house.of(t).items() if k.endswith(key))
        fact = next(facts, None)
        # A node that was put back since may not know it any more.
        if fact is None and not house.was_put_back:
            yield f"{ask['reservation']} is placed here, and its node has none of that name"
        elif fact is not None and f"requests/{fact.get('request', name.rsplit('/', 1)[1])}" != name:
            yield f"{ask['reservation']} is placed here, and is of requests/{fact['request']}"

    # When all is quiet

    def quiet(self, files: Mapping[str, Fact]) -> Iterator[str]:
        """Whatever lives at a node is held by a request or shown as an orphan, and not both."""
        held = {one: name for name, file in files.items() for one in _asks(file)}
        self._checks["orphans shown"] += len(self.orphans)
        for finess, house in self._houses.items():
            for fact in house.of("reservation").values():
                one = f"establishments/{finess}/reservations/{fact['id']}"
                if fact["state"] not in FINAL and one not in held and one not in self.orphans:
                    yield f"{one} is {fact['state']}, no request holds it, and nobody is shown it"
        for one in self.orphans:
            if one in held:
                yield f"{one} is shown as an orphan, and {held[one]} holds it"
            elif not self._at_node(one):
                yield f"{one} is shown as an orphan, and does not live at its node"
            elif one in self._due and self._due[one] not in files:
                yield f"{one} is an orphan, and {self._due[one]} was not made again from it"
            elif self._has_place(one, files):
                yield f"{one} is an orphan, and its request is here, and open"

    def _has_place(self, reservation: str, files: Mapping[str, Fact]) -> bool:
        """Whether it could be held by its request: that is not over, has the same need, and never asked that house."""
        key, house = reservation.rsplit("/", 1)[1], self._houses[_house(reservation)]
        fact = next(fact for one, fact in house.of("reservation").items() if one.endswith(key))
        file = files.get(f"requests/{fact['request']}")
        if file is None or _state(file) in REQUEST_FINAL:
            return False
        asked = {_house(one) for one in _asks(file)}
        return house.finess not in asked and plain_need(file["request"]["need"]) == plain_need(fact["need"])

    def was_said_again(self, name: str) -> bool:
        """Whether people have made a request anew that the hub had forgotten."""
        return name in self._said_again

    def is_orphan(self, finess: str, fact: Fact) -> bool:
        """Whether people were shown that reservation as one that no request holds."""
        return f"establishments/{finess}/reservations/{fact['id']}" in self.orphans

    def _at_node(self, reservation: str) -> bool:
        """Whether it lives at its node."""
        return any(fact["state"] not in FINAL for fact in self._facts(reservation))

    def _is_told(self, reservation: str) -> bool:
        """Whether it is no new one: its node has it, or people were shown it as an orphan."""
        return any(self._facts(reservation)) or reservation in self.orphans

    def _facts(self, reservation: str) -> Iterator[Fact]:
        """What its node has of it."""
        key = reservation.rsplit("/", 1)[1]
        return (fact for one, fact in self._houses[_house(reservation)].of("reservation").items() if one.endswith(key))


def plain_need(need: Fact) -> Fact:
    """A need as stored, whatever the order of what it lists."""
    return {key: sorted(value) if isinstance(value, list) else value for key, value in need.items()}


def _state(file: Fact) -> str:
    return str(file["request"].get("state", "OPEN"))


def _house(reservation: str) -> str:
    return reservation.split("/")[1]


def _asks(file: Fact | None) -> frozenset[str]:
    return frozenset(ask["reservation"] for ask in file["asks"]) if file else frozenset()


def _has_row(file: Fact, ask: Fact, verb: str) -> bool:
    return any(row["reservation"] == ask["reservation"] and row["body"]["type"] == verb for row in file["rows"])
