"""What `aval units show` and `aval ror status` say of a unit: when it was sent, or why not, for every reason."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from aval.adapters.cli.ror import told_said
from aval.adapters.cli.words import ALL_WORDS, now
from aval.adapters.fhir import publisher
from aval.adapters.fhir.capacity import Indicator
from aval.adapters.fhir.outbox import UnitTold
from aval.adapters.fhir.ror import Trouble
from aval.adapters.fhir.settings import Wins
from aval.kernel.statuses import Horizon, Status
from tests.adapters.fhir.units import UNIT

WITHHELD = (publisher.STALE, publisher.NOT_EXACT, publisher.NEVER_HEARD, publisher.NOT_MAPPED)


def told(
    *,
    sent: timedelta | None = None,
    waiting: int = 0,
    trouble: Trouble = Trouble.NONE,
    withheld: str = "",
    until: datetime | None = None,
    disputed: bool = False,
) -> list[str]:
    at = now()
    figures = ((Indicator(Status.OCCUPIED, Horizon.NOW), 15, 12, until),) if disputed else ()
    sent_time = None if sent is None else at - sent
    since = at - timedelta(minutes=12) if waiting else None
    return list(told_said(UnitTold(UNIT, sent_time, waiting, since, trouble, "", withheld, figures)))


def test_a_unit_that_was_sent_says_how_long_ago() -> None:
    (line,) = told(sent=timedelta(minutes=6))
    assert line in ("envoyé au ROR il y a 6\u00a0min", "sent to the ROR 6\u00a0min ago")


@pytest.mark.parametrize("trouble", [one for one in Trouble if one is not Trouble.NONE])
def test_every_trouble_has_its_words_and_what_was_taken_before_is_said(trouble: Trouble) -> None:
    assert f"ror.{trouble}" in ALL_WORDS
    why, before = told(sent=timedelta(hours=2), waiting=3, trouble=trouble)
    assert "3" in why
    assert "12\u00a0min" in why
    assert "2\u00a0h" in before


@pytest.mark.parametrize("reason", WITHHELD)
def test_every_reason_to_withhold_has_its_words(reason: str) -> None:
    (line,) = told(sent=timedelta(hours=2), withheld=reason)
    assert "ROR" in line


def test_a_disagreement_says_both_figures_and_who_wins() -> None:
    assert {f"ror.wins.{one}" for one in Wins} <= set(ALL_WORDS)
    ours = told(sent=timedelta(minutes=6), disputed=True)[1]
    theirs = told(sent=timedelta(minutes=6), disputed=True, until=now() + timedelta(hours=4))[1]
    for line in (ours, theirs):
        assert "15" in line
        assert "12" in line
        assert "Occupé" in line
    assert ours != theirs


def test_a_unit_under_way_says_so() -> None:
    (line,) = told(waiting=4)
    assert "4" in line
