"""What the ROR is to know, what it knows, and why not: a durable outbox in an SQLite file of its own.

A row is one indicator of one unit: the figure that the ROR is to have (`wanted`, none when the unit no longer declares
it) beside the one that it took last (`sent`). So the outbox is a comparison and no queue: a figure that changed ten
times while the ROR was away is sent once, and nothing grows with the length of an outage. The row is written before
anything is sent, and its `sent` after the ROR's answer; a crash between the two sends the same `replace` again, which
changes nothing.

A trouble that only a person cures holds back a row, or the whole unit where the place of care itself is wrong; it is
tried again on a person's word (`retry`), and every few hours in case somebody has mended it without saying so.

Reading from another process (`aval units show`) is safe beside the one that writes: WAL.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from aval.adapters.fhir.capacity import Capacity, Indicator
from aval.adapters.fhir.codes import Nature
from aval.adapters.fhir.ror import Trouble

SCHEMA_VERSION = 1
"""Of the file's tables; a file of another version is refused, and can be removed: the ROR is then told all again."""

PERSON_RETRY_AFTER = timedelta(hours=6)
"""How soon a trouble that only a person cures is tried again by itself."""

RETRY_FIRST_AFTER = timedelta(seconds=5)
RETRY_LAST_AFTER = timedelta(minutes=15)
"""A ROR that is away is tried again after 5 s, then twice as long each time, at most each quarter of an hour."""

DUE_MAX = 200
"""Rows taken at once: the figures of some ten units."""

_TABLES = MetaData()

_units = Table(
    "unit",
    _TABLES,
    Column("unit", String, primary_key=True),
    Column("withheld", String, nullable=False, default=""),
    Column("trouble", String, nullable=False, default=""),
    Column("words", String, nullable=False, default=""),
    Column("since", String),
    Column("next_time", String),
)

_rows = Table(
    "indicator",
    _TABLES,
    Column("unit", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("wanted", Integer),
    Column("nature", String, nullable=False),
    Column("source", String, nullable=False),
    Column("update_time", String, nullable=False),
    Column("changed_time", String, nullable=False),
    Column("sent", Integer),
    Column("sent_time", String),
    Column("next_time", String),
    Column("attempts", Integer, nullable=False, default=0),
    Column("trouble", String, nullable=False, default=""),
    Column("words", String, nullable=False, default=""),
    Column("ror", Integer),
    Column("ror_time", String),
    Column("ror_until", String),
)


class OutboxUnusable(RuntimeError):
    """The file is not an outbox of this version."""


@dataclass(frozen=True, slots=True)
class Due:
    """A figure to send now; `capacity` is None for one to take away. `attempts` counts those that failed."""

    unit: str
    indicator: Indicator
    capacity: Capacity | None
    attempts: int


@dataclass(frozen=True, slots=True)
class UnitTold:
    """What the ROR knows of a unit. `sent_time`: when it last took a figure; `waiting`: how many it has not taken;
    `since`: since when the oldest waits; `trouble` and `words`: why; `withheld`: why nothing is sent; `disputed`: the
    figures that the ROR gives otherwise, as (indicator, ours, the ROR's, until when the ROR's stands)."""

    unit: str
    sent_time: datetime | None
    waiting: int
    since: datetime | None
    trouble: Trouble
    words: str
    withheld: str
    disputed: tuple[tuple[Indicator, int | None, int, datetime | None], ...]


class Outbox:
    """The file. One process writes it; others may read it with `readable`."""

    def __init__(self, engine: Engine) -> None:
        """Over an engine whose tables are there; see `open`, `in_memory`, `readable`."""
        self._engine = engine

    @classmethod
    def in_memory(cls) -> "Outbox":
        """A new one that nobody else sees."""
        return cls(_engine_in_memory())

    @classmethod
    def open(cls, path: Path, *, make: bool = True) -> "Outbox":
        """Opens the file; makes it if it is not there, unless told otherwise. Raises `OutboxUnusable`."""
        if not make and not path.is_file():
            raise OutboxUnusable(f"{path}: no such file; the publisher has not run yet")
        engine = create_engine(f"sqlite:///{path}")
        event.listen(engine, "connect", _prepare)
        with _usable(path), engine.begin() as connection:
            _check_version(connection, path)
            _TABLES.create_all(connection)
            connection.exec_driver_sql("PRAGMA user_version = 1")
        return cls(engine)

    @classmethod
    def readable(cls, path: Path) -> "Outbox":
        """Opens an existing file to read it only: whoever may read the file may ask. Raises `OutboxUnusable`."""
        if not path.is_file():
            raise OutboxUnusable(f"{path}: no such file; the publisher has not run yet")
        engine = create_engine(f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro&uri=true")
        with _usable(path), engine.connect() as connection:
            _check_version(connection, path)
            connection.execute(select(_units.c.unit).limit(1))
        return cls(engine)

    def copy(self) -> "Outbox":
        """The same rows in memory: what a dry run may change."""
        engine = _engine_in_memory()
        with self._engine.connect() as here, engine.begin() as there:
            for table in _TABLES.sorted_tables:
                if rows := [dict(row) for row in here.execute(select(table)).mappings()]:
                    there.execute(insert(table), rows)
        return Outbox(engine)

    def close(self) -> None:
        """Closes the file."""
        self._engine.dispose()

    # --- what is to be known

    def want(
        self, unit: str, capacities: Iterable[Capacity], now: datetime, repeat_every: timedelta, withheld: str = ""
    ) -> None:
        """States all figures of a unit as they are now, or why none are to be sent. A figure that differs from what the
        ROR took last, or that it took long ago, becomes due."""
        with self._engine.begin() as connection:
            _unit_row(connection, unit, withheld)
            if withheld:
                return
            known = _known(connection, unit)
            for capacity in capacities:
                _want_one(connection, unit, capacity, known.pop(capacity.indicator.key, None), now, repeat_every)
            for key, row in known.items():
                _forget_one(connection, unit, key, row, now)

    def forget(self, keep: Iterable[str], now: datetime) -> None:
        """Takes away the figures of units that are no more."""
        kept = set(keep)
        with self._engine.begin() as connection:
            for (unit,) in connection.execute(select(_units.c.unit)).all():
                if unit in kept:
                    continue
                known = _known(connection, unit)
                for key, row in known.items():
                    _forget_one(connection, unit, key, row, now)
                if not known:
                    connection.execute(delete(_units).where(_units.c.unit == unit))

    # --- what is sent

    def due(self, now: datetime, limit: int = DUE_MAX) -> list[Due]:
        """Figures to send now, the longest waiting first. None of units that are withheld or held by a trouble."""
        stamp = _stamp(now)
        query = (
            select(_rows)
            .join(_units, _units.c.unit == _rows.c.unit)
            .where(
                _rows.c.next_time <= stamp,
                _units.c.withheld == "",
                or_(_units.c.trouble == "", _units.c.next_time <= stamp),
                or_(_rows.c.ror_until.is_(None), _rows.c.ror_until <= stamp),
            )
            .order_by(_rows.c.next_time, _rows.c.unit, _rows.c.key)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [_due(row) for row in connection.execute(query).mappings()]

    def done(self, due: Due, now: datetime) -> None:
        """The ROR took it. If another figure is wanted meanwhile, the row stays due."""
        with self._engine.begin() as connection:
            connection.execute(
                update(_units).where(_units.c.unit == due.unit).values(trouble="", words="", since=None, next_time=None)
            )
            if due.capacity is None:
                connection.execute(delete(_rows).where(*_at(due), _rows.c.wanted.is_(None)))
                return
            took = due.capacity.count
            taken = {"sent": took, "sent_time": _stamp(now), "attempts": 0, "trouble": "", "words": ""}
            agreed = {"ror": None, "ror_time": None, "ror_until": None}
            connection.execute(update(_rows).where(*_at(due)).values(**taken, **agreed))
            as_sent = (
                _rows.c.wanted == took,
                _rows.c.nature == due.capacity.nature.value,
                _rows.c.source == due.capacity.source,
            )
            connection.execute(update(_rows).where(*_at(due), *as_sent).values(next_time=None))

    def later(self, due: Due, trouble: Trouble, words: str, now: datetime, after: timedelta | None) -> None:
        """It failed, and is to be tried again: after what the ROR asks for, else by the back-off."""
        next_time = _stamp(now + max(after or timedelta(0), back_off(due.attempts)))
        values = {"trouble": trouble.value, "words": words, "attempts": due.attempts + 1, "next_time": next_time}
        with self._engine.begin() as connection:
            connection.execute(update(_rows).where(*_at(due)).values(**values))

    def to_a_person(self, due: Due, trouble: Trouble, words: str, now: datetime) -> None:
        """No retry cures it: the row, or the whole unit, waits for a person."""
        again = _stamp(now + PERSON_RETRY_AFTER)
        with self._engine.begin() as connection:
            if trouble.is_of_location:
                connection.execute(
                    update(_units)
                    .where(_units.c.unit == due.unit)
                    .values(trouble=trouble.value, words=words, since=_stamp(now), next_time=again)
                )
            else:
                connection.execute(
                    update(_rows)
                    .where(*_at(due))
                    .values(trouble=trouble.value, words=words, next_time=again, attempts=due.attempts + 1)
                )

    def retry(self, unit: str | None, now: datetime) -> int:
        """A person says that it is mended: what waits of a unit, or of all, is due now. How many figures."""
        stamp = _stamp(now)
        of_unit = [] if unit is None else [_units.c.unit == unit]
        of_rows = [] if unit is None else [_rows.c.unit == unit]
        with self._engine.begin() as connection:
            connection.execute(update(_units).where(_units.c.trouble != "", *of_unit).values(next_time=stamp))
            waiting = update(_rows).where(_rows.c.next_time.is_not(None), *of_rows).values(next_time=stamp)
            return connection.execute(waiting).rowcount

    # --- what the ROR says otherwise

    def sent_of(self, unit: str) -> dict[Indicator, tuple[int, datetime]]:
        """The figures that the ROR took last, with when."""
        query = select(_rows.c.key, _rows.c.sent, _rows.c.sent_time).where(
            _rows.c.unit == unit, _rows.c.sent.is_not(None), _rows.c.next_time.is_(None)
        )
        with self._engine.connect() as connection:
            return {
                Indicator.of_key(key): (sent, _instant(sent_time))
                for key, sent, sent_time in connection.execute(query).all()
            }

    def disputed(
        self, unit: str, indicator: Indicator, count: int, said: datetime, until: datetime | None, now: datetime
    ) -> None:
        """The ROR gives another figure, said since ours. With `until` the ROR's word stands until then; without, ours
        is due again."""
        values: dict[str, Any] = {"ror": count, "ror_time": _stamp(said), "next_time": _stamp(until or now)}
        values["ror_until"] = _stamp(until) if until else None
        with self._engine.begin() as connection:
            connection.execute(
                update(_rows).where(_rows.c.unit == unit, _rows.c.key == indicator.key).values(**values, attempts=0)
            )

    # --- what a person reads

    def told(self, unit: str) -> UnitTold | None:
        """What the ROR knows of a unit; None if the publisher does not know the unit."""
        with self._engine.connect() as connection:
            of_unit = connection.execute(select(_units).where(_units.c.unit == unit)).mappings().first()
            rows = connection.execute(select(_rows).where(_rows.c.unit == unit)).mappings().all()
        return None if of_unit is None else _told(of_unit, rows)

    def all_told(self) -> list[UnitTold]:
        """What the ROR knows of each unit, in the order of names."""
        with self._engine.connect() as connection:
            names = [unit for (unit,) in connection.execute(select(_units.c.unit).order_by(_units.c.unit)).all()]
        return [told for name in names if (told := self.told(name)) is not None]


def back_off(failures: int) -> timedelta:
    """How long to wait after so many failures in a row."""
    return min(RETRY_FIRST_AFTER * (1 << min(failures, 20)), RETRY_LAST_AFTER)


def _engine_in_memory() -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    _TABLES.create_all(engine)
    return engine


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise OutboxUnusable(f"{path} cannot be used as an outbox: {error.orig}") from error


def _check_version(connection: Connection, path: Path) -> None:
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version not in (0, SCHEMA_VERSION):
        raise OutboxUnusable(f"{path} is of version {version}, not {SCHEMA_VERSION}: remove it, or upgrade")


def _prepare(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()


def _stamp(moment: datetime) -> str:
    """An instant as text that sorts in the order of time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _instant(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)


def _maybe(stamp: str | None) -> datetime | None:
    return None if stamp is None else _instant(stamp)


def _at(due: Due) -> tuple[Any, ...]:
    return (_rows.c.unit == due.unit, _rows.c.key == due.indicator.key)


def _known(connection: Connection, unit: str) -> dict[str, Any]:
    rows = connection.execute(select(_rows).where(_rows.c.unit == unit)).mappings()
    return {row["key"]: row for row in rows}


def _unit_row(connection: Connection, unit: str, withheld: str) -> None:
    row = connection.execute(select(_units.c.withheld).where(_units.c.unit == unit)).first()
    if row is None:
        connection.execute(insert(_units).values(unit=unit, withheld=withheld, trouble="", words=""))
    elif row[0] != withheld:
        connection.execute(update(_units).where(_units.c.unit == unit).values(withheld=withheld))


def _want_one(
    connection: Connection, unit: str, capacity: Capacity, row: Any, now: datetime, repeat_every: timedelta
) -> None:
    """States one figure. A quiet reading writes nothing: each write is a flush of the disk."""
    said: dict[str, Any] = {
        "wanted": capacity.count,
        "nature": capacity.nature.value,
        "source": capacity.source,
        "update_time": _stamp(capacity.update_time),
    }
    stamp = _stamp(now)
    if row is None:
        new = {"changed_time": stamp, "next_time": stamp, "attempts": 0, "trouble": "", "words": ""}
        connection.execute(insert(_rows).values(unit=unit, key=capacity.indicator.key, **said, **new))
        return
    told_otherwise = row["nature"] != capacity.nature.value or row["source"] != capacity.source
    differs = row["sent"] != capacity.count or told_otherwise
    old = row["sent_time"] is not None and _instant(row["sent_time"]) + repeat_every <= now
    settled = row["next_time"] is None
    if settled and not differs and not old:
        return
    if settled:
        said |= {"next_time": stamp, "changed_time": stamp}
    elif not differs and not old and row["ror"] is None:
        said |= {"next_time": None, "trouble": "", "words": "", "attempts": 0}
    connection.execute(update(_rows).where(_rows.c.unit == unit, _rows.c.key == row["key"]).values(**said))


def _forget_one(connection: Connection, unit: str, key: str, row: Any, now: datetime) -> None:
    here = (_rows.c.unit == unit, _rows.c.key == key)
    if row["sent"] is None:
        connection.execute(delete(_rows).where(*here))
    elif row["wanted"] is not None:
        values: dict[str, Any] = {"wanted": None, "next_time": _stamp(now), "changed_time": _stamp(now), "attempts": 0}
        connection.execute(update(_rows).where(*here).values(**values))


def _due(row: Any) -> Due:
    indicator = Indicator.of_key(row["key"])
    capacity = None
    if row["wanted"] is not None:
        capacity = Capacity(
            indicator, Nature(row["nature"]), row["wanted"], _instant(row["update_time"]), row["source"]
        )
    return Due(row["unit"], indicator, capacity, row["attempts"])


def _told(of_unit: Any, rows: Iterable[Any]) -> UnitTold:
    found = list(rows)
    waiting = [row for row in found if row["next_time"] is not None and row["ror_until"] is None]
    sent = [_instant(row["sent_time"]) for row in found if row["sent_time"] is not None]
    since = [_instant(row["changed_time"]) for row in waiting]
    trouble, words = of_unit["trouble"], of_unit["words"]
    if not trouble:
        trouble, words = next(((row["trouble"], row["words"]) for row in waiting if row["trouble"]), ("", ""))
    return UnitTold(
        of_unit["unit"],
        max(sent, default=None),
        len(waiting),
        min(since, default=None),
        Trouble(trouble),
        words,
        of_unit["withheld"],
        tuple(
            (Indicator.of_key(row["key"]), row["wanted"], row["ror"], _maybe(row["ror_until"]))
            for row in found
            if row["ror"] is not None
        ),
    )
