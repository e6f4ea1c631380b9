"""Any order of a day's messages gives the same census at a real node's core: the truth of who drew the day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aval.adapters.hl7v2.meaning import Said, understand
from aval.adapters.hl7v2.reading import parse
from aval.adapters.hl7v2.stays import added, presence
from tests.adapters.hl7v2.core import CoreNode
from tests.adapters.hl7v2.days import NODE_UNITS, Day, day
from tests.adapters.hl7v2.desks import desk_of, give_at_once, stay_of
from tests.adapters.hl7v2.messages import CUSTOMS, Adt, at

SEEDS = range(116, 122)
ORDERS = 4
"""Of each day: as sent, and shuffled whole. The allowed window is thus the day itself."""

LEAST = {
    "A07",
    "A11",
    "A12",
    "A13",
    "A13 elsewhere",
    "A17",
    "A12 of a swap",
    "A23",
    "Z99",
    "A42",
    "A40",
    "historic A12",
    "duplicates",
    "A21/A22",
    "A52/A53",
    "A38/A27",
    "A06",
}
"""What the days together must hold."""


def truth(told: Day) -> dict[str, tuple[str, str | None, bool]]:
    return {
        stay_of(visit.number): (NODE_UNITS[visit.unit], visit.bed or None, visit.on_leave)
        for visit in told.visits.values()
        if visit.here
    }


def orders(messages: list[Adt], seed: int) -> list[list[Adt]]:
    shuffled = [list(messages) for _ in range(ORDERS)]
    for number, order in enumerate(shuffled[1:]):
        Random(seed * 100 + number).shuffle(order)
    return shuffled


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_order_of_a_day_gives_the_same_census(seed: int, tmp_path: Path) -> None:
    told = day(seed)
    for number, messages in enumerate(orders(told.messages, seed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        node = CoreNode(at(23))
        async with desk_of(folder, node) as desk:
            assert set(await give_at_once(desk, messages)) == {"AA"}
            assert node.census() == truth(told), f"order {number}"
            # The whole day again, in yet another order, changes nothing: nothing is even told.
            before = len(node.sent)
            Random(seed).shuffle(messages)
            assert set(await give_at_once(desk, messages)) == {"AA"}
            assert len(node.sent) == before


def test_the_days_hold_what_reality_does(figure: Callable[[str], None]) -> None:
    shares: Counter[str] = Counter()
    for seed in SEEDS:
        shares += day(seed).told
    whole = shares.total()
    assert set(shares) >= LEAST
    listed = ", ".join(f"{name} {100 * count / whole:.1f} %" for name, count in shares.most_common())
    figure(f"HL7 days: {len(SEEDS)} days × {ORDERS} orders, {whole} messages a pass: {listed}")


WORDS = [
    word
    for seed in (7, 8, 9)
    for message in day(seed).messages
    for word in understand(parse(message.text()), CUSTOMS).said
    if not word.absorbed
]
BY_VISIT = {visit: [word for word in WORDS if word.visit == visit] for visit in {word.visit for word in WORDS}}


@settings(max_examples=150)
@given(st.sampled_from(sorted(BY_VISIT)), st.randoms(use_true_random=False), st.integers(0, 3))
def test_where_a_patient_is_follows_from_the_set_of_words(visit: str, random: Random, repeats: int) -> None:
    words = BY_VISIT[visit]
    straight: tuple[Said, ...] = ()
    for word in words:
        straight = added(straight, word)
    mixed = words + random.choices(words, k=repeats)
    random.shuffle(mixed)
    log: tuple[Said, ...] = ()
    for word in mixed:
        log = added(log, word)
    assert presence(log) == presence(straight)
    assert len(log) == len(straight)
