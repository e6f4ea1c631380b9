"""Each parser of what strangers send, some seconds long; `make fuzz` goes on for as long as one likes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fuzz.campaign import REACH_MIN, SLOW_SECONDS, Parser, run
from tests.fuzz.parsers import PARSERS

SECONDS = 4.0
"""Of the processor, for each parser, in every `make test`."""

INPUTS_MIN = 1_000
"""Tried on a slow machine too: fewer miss what a parser can do."""

SEED = 20261124


@pytest.mark.parametrize("parser", PARSERS, ids=[parser.name for parser in PARSERS])
def test_whatever_comes_is_read_or_refused(parser: Parser, figure: Callable[[str], None]) -> None:
    findings = run(parser, SEED, SECONDS, most=100_000, least=INPUTS_MIN)
    figure(str(findings))
    assert not findings.failures, "\n".join(f"{why}: {content[:400]!r}" for content, why in findings.failures)
    assert findings.slowest_seconds < SLOW_SECONDS, findings.slowest[:400]
    assert findings.reach >= REACH_MIN
    taken, all_of = findings.branches
    assert taken * 2 > all_of, "the inputs miss most of what the parser can do"


def test_the_same_seed_gives_the_same_run() -> None:
    parser = PARSERS[0]
    one, again = (run(parser, 5, 60.0, most=200) for _ in range(2))
    assert one.counts == again.counts
    assert one.counts.total() > 0
