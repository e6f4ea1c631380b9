"""Retention, over each store: what is dropped when, what is kept, and a database that stops growing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from aval.hub.files import Act
from aval.hub.model import RequestFile
from aval.hub.ports import RequestFilter, Store, Transaction
from aval.hub.retention import ANSWERS_KEPT, KEPT, LINKS_KEPT
from aval.hub.store.sqlite import SqliteStore
from aval.kernel.reasons import Reason, Refusal
from tests.contract.test_hub_store import SilentMeters, store
from tests.hub.shell.years import CALLER, MONTH, Years

__all__ = ["store"]

REQUESTS_A_MONTH = 6
MONTHS = 18


def everything(transaction: Transaction) -> dict[str, int]:
    """How much there is: requests, of them with a patient's number, asks, acts, commands on their way."""
    files = transaction.requests(RequestFilter(archived=True, limit=100_000))
    return {
        "requests": len(files),
        "linked": sum(file.request.external_reference is not None for file in files),
        "archived": sum(file.request.archived for file in files),
        "on their way": sum(transaction.waiting().values()),
    }


async def test_what_is_over_loses_its_link_after_a_month_and_is_gone_after_four_hundred_days(store: Store) -> None:
    years = Years(store)
    await years.month(REQUESTS_A_MONTH)
    assert await store.read(everything) == {
        "requests": REQUESTS_A_MONTH, "linked": REQUESTS_A_MONTH, "archived": REQUESTS_A_MONTH, "on their way": 0,
    }  # fmt: skip
    years.clock.set_wall(timedelta(days=1).total_seconds())
    assert MONTH + timedelta(days=1) > LINKS_KEPT
    await years.retention.sweep(years.clock.now())
    found = await store.read(everything)
    assert (found["requests"], found["linked"]) == (REQUESTS_A_MONTH, 0)
    (file, *_) = await store.read(lambda transaction: transaction.requests(RequestFilter(archived=True)))
    assert len(file.asks) == 2
    years.clock.set_wall((KEPT - MONTH).total_seconds())
    await years.retention.sweep(years.clock.now())
    assert (await store.read(everything))["requests"] == 0
    assert not await store.read(lambda transaction: transaction.request_of(file.asks[0].reservation))
    assert await store.read(lambda transaction: transaction.command(CALLER, file.request.name[9:])) is None


async def test_an_act_said_again_gets_its_answer_for_a_month_and_is_never_done_again(store: Store) -> None:
    years = Years(store)
    await years.month(2)
    name = (await store.read(lambda transaction: transaction.requests(RequestFilter(archived=True))))[0].request.name
    act = Act(CALLER, name[9:], b"content")

    async def again() -> bytes:
        def never(_: RequestFile) -> RequestFile:
            raise AssertionError("done again")

        return await years.files.act(act, name, lambda _: True, never, years.encode)

    first = await again()
    assert first
    years.clock.set_wall((ANSWERS_KEPT - MONTH + timedelta(seconds=1)).total_seconds())
    await years.retention.sweep(years.clock.now())
    with pytest.raises(Refusal) as refused:
        await again()
    assert refused.value.reason is Reason.COMMAND_TOO_OLD
    with pytest.raises(Refusal) as other:
        await years.files.act(act._replace(content=b"other"), name, lambda _: True, lambda file: file, years.encode)
    assert other.value.reason is Reason.ID_REUSED


async def test_what_is_not_over_is_kept_however_old_it_is(store: Store) -> None:
    """Only what is archived is dropped: a request that has come back to life since is not."""
    years = Years(store)
    await years.month(2)
    (file, other) = await store.read(lambda transaction: transaction.requests(RequestFilter(archived=True)))
    await years.files.change(file.request.name, back_in_the_lists)
    years.clock.set_wall((KEPT + MONTH).total_seconds())
    await years.retention.sweep(years.clock.now())
    kept = await store.read(lambda transaction: transaction.requests(RequestFilter(archived=True)))
    assert [one.request.name for one in kept] == [file.request.name]
    assert kept[0].request.external_reference == file.request.external_reference
    assert other.request.name != file.request.name


def back_in_the_lists(file: RequestFile) -> RequestFile:
    """As when a house has said something new of it."""
    return replace(file, request=replace(file.request, archived=False))


async def test_a_database_stops_growing(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A year and a half of a small territory: after fourteen months as much is dropped as comes."""
    path = tmp_path / "hub.db"
    store = SqliteStore(path, SilentMeters())
    years = Years(store)
    held: list[int] = []
    pages: list[int] = []
    for _ in range(MONTHS):
        await years.month(REQUESTS_A_MONTH)
        held.append((await store.read(everything))["requests"])
        with closing(sqlite3.connect(path)) as reader:
            (used,) = reader.execute(
                "SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)"
            ).fetchone()
            pages.append(used)
    store.close()
    months = KEPT // MONTH + 1
    assert held[: months - 1] == [REQUESTS_A_MONTH * (month + 1) for month in range(months - 1)]
    assert set(held[months:]) == {held[months]}
    assert max(pages[months:]) <= 1.1 * pages[months]
    each = 4096 * pages[-1] / held[-1]
    figure(
        f"hub database after {MONTHS} months of {REQUESTS_A_MONTH} requests each: {4096 * pages[-1] / 1e6:.1f} MB,"
        f" {held[-1]} requests held; it has not grown since month {months} ({each / 1000:.1f} kB a request held)"
    )
