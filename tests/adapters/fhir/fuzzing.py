"""FHIR in the ROR's form, for the fuzz run: good Bundles of Locations with one to three faults, and their bytes."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from random import Random
from typing import Any

from aval.adapters.counts.rows import COUNT_MAX
from aval.adapters.fhir import capacity, counting, profile, reading, resources, ror
from aval.adapters.fhir.codes import PROFILES
from aval.adapters.fhir.reading import Unreadable
from aval.v1 import availability_pb2
from tests.adapters.fhir.units import HOUSE, NOW, establishment, unit
from tests.fuzz.campaign import Parser

A = availability_pb2
STRANGE = (
    "null", "true", "-1", "0", "2147483648", "1" * 30, "1.5", "1e308", '""', '"07"', '"\u0663"', '"\\u0000"',
    '"' + "a" * 5_000 + '"', '"2026-11-24"', "[]", "{}", "[[]]", "[{}]", '{"url": ""}', '{"coding": [null]}',
    '{"coding": 3}', "[null]", '"9999-12-31T23:59:59Z"', '"0001-01-01T00:00:00+23:59"', '"\\ud800"',
)  # fmt: skip
"""Values that no element expects, as JSON."""

NDJSON = 0.05
"""The share of files with a resource on each line."""

FREE_OF_FAULTS = 0.2
"""The share of inputs with no fault at all."""


def structured(random: Random) -> bytes:
    """A file of one to three units as our endpoint would serve them, then spoilt with knowledge of its form."""
    held = [_location(random) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    held += [{"resourceType": "Organization", "id": "540000023"}] * random.randrange(2)
    made: Any = {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": random.choice(("self", "self", "next")), "url": "https://a.example"}],
        "entry": [{"resource": one} for one in held],
    }
    if random.random() < 0.1:
        made = held[0]
    if random.random() >= FREE_OF_FAULTS:
        for _ in range(random.randrange(1, 4)):
            _spoil(random, made)
    if random.random() < NDJSON:
        lines = (json.dumps(one) for one in (made, *held))
        return "\n".join(lines).encode("utf-8", "replace")
    return json.dumps(made, ensure_ascii=random.random() < 0.5).encode("utf-8", "replace")


def _pool() -> list[str]:
    """Locations as our endpoint serves them, of several figures and ages."""
    random = Random(1)
    made = []
    for number in range(40):
        figures = {
            A.CAPACITY_STATUS_INSTALLED: random.randrange(30),
            A.CAPACITY_STATUS_OCCUPIED: random.randrange(30),
            A.CAPACITY_STATUS_CLOSED: random.randrange(3),
        }
        age = timedelta(minutes=random.choice((1, 1, 6, 6, 600, 3000, -30)))
        held = unit(f"{HOUSE}/units/U{number % 9}", figures=figures, horizons=(A.HORIZON_NOW,), age=age)
        made.append(json.dumps(resources.location(held, establishment(), NOW)))
    return made


POOL = _pool()
RECORDS_KEPT = 5
"""Extensions left of a Location's twelve: an input is some kilobytes."""


def _location(random: Random) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(random.choice(POOL))
    kept = random.sample(made["extension"], RECORDS_KEPT)
    occupied = [one for one in made["extension"] if '"Occup' in json.dumps(one)]
    made["extension"] = kept + [one for one in occupied if one not in kept]
    return made


def _spoil(random: Random, whole: Any) -> None:
    """One fault, somewhere in the tree: a value replaced, a part left out, said twice or moved, a code changed."""
    if not whole:
        return
    parent, key = _somewhere(random, whole)
    match random.randrange(6):
        case 0:
            parent[key] = json.loads(random.choice(STRANGE))
        case 1:
            del parent[key]
        case 2:
            other, at = _somewhere(random, whole)
            parent[key] = deepcopy(other[at])
        case 3 if isinstance(parent, list):
            parent.insert(key, parent[key])
        case 4 if isinstance(parent, dict):
            parent[random.choice(("code", "url", "extension", "valueInteger", "resourceType"))] = parent.pop(key)
        case _:
            for _ in range(20):
                if key == "code":
                    parent[key] = random.choice(("01", "03", "05", "06", "07", "99", "26", PROFILES))
                    break
                parent, key = _somewhere(random, whole)


STOP_HERE = 0.15
"""How likely a walk down the tree ends at a branch: most faults are near the leaves, some near the root."""


def _somewhere(random: Random, whole: Any) -> tuple[Any, Any]:
    """A place in the tree, by a random walk from its root: the object or list, and the key or index in it."""
    parent: Any = {"whole": whole}
    key: Any = "whole"
    while True:
        below = parent[key]
        if not isinstance(below, dict | list) or not below or (parent is not whole and random.random() < STOP_HERE):
            return (parent, key) if "whole" not in parent else (whole, next(iter(whole)))
        parent, key = below, random.choice(list(below)) if isinstance(below, dict) else random.randrange(len(below))


def feed(content: bytes) -> bool:
    """Reads it as a file of counts, as an instance to check, and as a ROR's answer; whether places were found in it."""
    rows, problems = counting.read_fhir(content, counting.Mapping(), NOW)
    for row in rows:
        assert row.occupied is not None
        assert 0 <= row.occupied <= COUNT_MAX
        assert row.told_at is not None
        assert abs(NOW - row.told_at) <= timedelta(hours=24)
    assert len({row.unit for row in rows}) == len(rows)
    assert rows or problems
    ror.verdict_of(404, content)
    try:
        resource = reading.resource_of(content)
    except Unreadable:
        return False
    profile.problems_of(resource)
    return not any(one.what == "fhir-unreadable" for one in problems)


PARSER = Parser("fhir", structured, feed, (reading, capacity, counting, profile))
