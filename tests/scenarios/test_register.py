"""The table of outage scenarios: made from the tests, distinct, told, and printed as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.scenarios.outage import TABLE, Party, registered, table

OUTAGES_MIN = 25
WORDS_MIN = 10
"""A story shorter than this tells nothing."""


def test_each_outage_differs_from_every_other_in_fault_moment_or_party(figure: Callable[[str], None]) -> None:
    outages = registered()
    shared = {kind: count for kind, count in Counter(one.kind for one in outages).items() if count > 1}
    assert not shared
    numbers = Counter(one.number for one in outages)
    assert set(numbers.values()) == {1}
    assert len(outages) >= OUTAGES_MIN
    assert {one.party for one in outages} >= {Party.NODE, Party.HUB, Party.BOTH, Party.LINK}
    faults = Counter(one.fault.value for one in outages)
    listed = ", ".join(f"{fault} {count}" for fault, count in sorted(faults.items()))
    figure(f"{len(outages)} outage scenarios, distinct in fault, moment and party: {listed}")


def test_each_outage_is_told_and_bears_its_number() -> None:
    for one in registered():
        assert one.test.startswith(f"test_{one.number}_"), one.test
        assert len(one.told.split()) >= WORDS_MIN, one.test
        assert one.sees, one.test


def test_the_page_is_what_the_tests_are() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(registered()), "run `python -m tests.scenarios.outage`"
