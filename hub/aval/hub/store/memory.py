"""The hub's store in memory: for tests and simulations. A work runs inline, and is kept only if it ends well."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from aval.hub.model import Cursor, KnownReservation, OutboxRow, Request, RequestFile, Unit
from aval.hub.ports import Announcement, CommandRecord, Origin, PictureHead, RequestFilter, Transaction

T = TypeVar("T")


@dataclass
class _Tables:
    """All that is stored. Values are frozen, so a copy of the dictionaries is a copy of everything."""

    requests: dict[str, RequestFile] = field(default_factory=dict)
    asks: dict[str, tuple[str, str, datetime]] = field(default_factory=dict)
    outbox: dict[str, OutboxRow] = field(default_factory=dict)
    commands: dict[tuple[str, str], CommandRecord] = field(default_factory=dict)
    heads: dict[str, PictureHead] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    announcements: dict[str, Announcement] = field(default_factory=dict)
    cursors_heard: dict[str, Cursor] = field(default_factory=dict)
    origin: dict[str, Origin] = field(default_factory=dict)
    orphans: dict[str, KnownReservation] = field(default_factory=dict)

    def copy(self) -> "_Tables":
        return _Tables(**{one.name: dict(getattr(self, one.name)) for one in fields(self)})


class MemoryTransaction:
    """`aval.hub.ports.Transaction` over dictionaries."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    def request(self, name: str) -> RequestFile | None:
        """See the port."""
        file = self._tables.requests.get(name)
        if file is None:
            return None
        return RequestFile(file.request, file.asks, tuple(r for r in self._tables.outbox.values() if r.request == name))

    def request_of(self, reservation: str) -> str | None:
        """See the port."""
        ask = self._tables.asks.get(reservation)
        return ask[0] if ask else None

    def requests_asking(self, establishment: str) -> list[str]:
        """See the port."""
        asking = {name for name, house, _ in self._tables.asks.values() if house == establishment}
        return sorted(name for name in asking if not self._tables.requests[name].request.archived)

    def requests(self, wanted: RequestFilter) -> list[RequestFile]:
        """See the port."""
        found = []
        for name in sorted(self._tables.requests):
            request = self._tables.requests[name].request
            file = self.request(name)
            if (
                file is not None
                and name > wanted.after
                and wanted.on_behalf_of in ("", request.on_behalf_of)
                and wanted.reference in ("", request.reference)
                and (not wanted.states or request.state in wanted.states)
                and (_is_live(file) or not wanted.live)
                and (wanted.archived or not request.archived)
            ):
                found.append(file)
        return found[: wanted.limit]

    def save(self, file: RequestFile, before: RequestFile | None) -> None:
        """See the port."""
        name = file.request.name
        self._tables.requests[name] = RequestFile(file.request, file.asks)
        for ask in file.asks:
            self._tables.asks.setdefault(ask.reservation, (name, ask.establishment, ask.asked_at))
        were, are = {row.id for row in before.rows} if before else set(), {row.id for row in file.rows}
        for row_id in were - are:
            self._tables.outbox.pop(row_id, None)
        for row in file.rows:
            if row.goes_ahead and row.id not in were:
                self._tables.outbox = {row.id: row, **self._tables.outbox}
            elif row.id not in were or row.id in self._tables.outbox:
                self._tables.outbox[row.id] = row

    def reference_is_taken(self, reference: str) -> bool:
        """See the port."""
        files = self._tables.requests.values()
        return any(one.request.reference == reference and _is_live(one) for one in files)

    def live_count(self) -> int:
        """See the port."""
        return sum(map(_is_live, self._tables.requests.values()))

    def old_requests(self, before: datetime, limit: int, *, linked: bool) -> list[str]:
        """See the port."""
        old = [
            one.request
            for one in self._tables.requests.values()
            if one.request.archived
            and one.request.change_time < before
            and (one.request.external_reference is not None or not linked)
        ]
        return [one.name for one in sorted(old, key=_change_time)][:limit]

    def forget_request(self, file: RequestFile) -> None:
        """See the port."""
        del self._tables.requests[file.request.name]
        for ask in file.asks:
            del self._tables.asks[ask.reservation]

    def asks_since(self, instant: datetime) -> Mapping[str, int]:
        """See the port."""
        return Counter(establishment for _, establishment, at in self._tables.asks.values() if at >= instant)

    def outbox(self, establishment: str, limit: int) -> list[OutboxRow]:
        """See the port."""
        return [row for row in self._tables.outbox.values() if row.establishment == establishment][:limit]

    def waiting(self) -> Mapping[str, int]:
        """See the port."""
        return Counter(row.establishment for row in self._tables.outbox.values())

    def command(self, caller: str, command_id: str) -> CommandRecord | None:
        """See the port."""
        return self._tables.commands.get((caller, command_id))

    def keep_command(self, record: CommandRecord) -> None:
        """See the port."""
        self._tables.commands[record.caller, record.id] = record

    def forget_answers(self, before: datetime, limit: int) -> int:
        """See the port."""
        commands = self._tables.commands
        old = [key for key, record in commands.items() if record.stored_at < before and record.answer][:limit]
        for key in old:
            commands[key] = replace(commands[key], answer=b"")
        return len(old)

    def forget_commands(self, before: datetime, limit: int) -> int:
        """See the port."""
        old = [key for key, record in self._tables.commands.items() if record.stored_at < before][:limit]
        for key in old:
            del self._tables.commands[key]
        return len(old)

    def pictures(self) -> list[tuple[PictureHead, tuple[Unit, ...]]]:
        """See the port."""
        units = sorted(self._tables.units.items())
        return [
            (head, tuple(unit for _, unit in units if unit.establishment == establishment))
            for establishment, head in sorted(self._tables.heads.items())
        ]

    def save_picture(self, head: PictureHead, changed: Iterable[Unit], removed: Iterable[str], *, whole: bool) -> None:
        """See the port."""
        establishment = head.cursor.establishment
        self._tables.heads[establishment] = head
        if whole:
            removed = [name for name, unit in self._tables.units.items() if unit.establishment == establishment]
        for name in removed:
            self._tables.units.pop(name, None)
        self._tables.units.update((unit.name, unit) for unit in changed)

    def announcements(self) -> list[Announcement]:
        """See the port."""
        return [one for _, one in sorted(self._tables.announcements.items())]

    def save_announcement(self, announcement: Announcement) -> None:
        """See the port."""
        self._tables.announcements[announcement.establishment] = announcement

    def cursors_heard(self) -> list[Cursor]:
        """See the port."""
        return [cursor for _, cursor in sorted(self._tables.cursors_heard.items())]

    def save_cursor_heard(self, cursor: Cursor) -> None:
        """See the port."""
        self._tables.cursors_heard[cursor.establishment] = cursor

    def origin(self) -> Origin | None:
        """See the port."""
        return self._tables.origin.get("")

    def save_origin(self, origin: Origin) -> None:
        """See the port."""
        self._tables.origin[""] = origin

    def orphans(self, after: str, limit: int) -> list[KnownReservation]:
        """See the port."""
        return [self._tables.orphans[name] for name in sorted(self._tables.orphans) if name > after][:limit]

    def save_orphan(self, known: KnownReservation) -> None:
        """See the port."""
        self._tables.orphans[known.name] = known

    def forget_orphan(self, reservation: str) -> None:
        """See the port."""
        self._tables.orphans.pop(reservation, None)


def _change_time(request: Request) -> datetime:
    return request.change_time


def _is_live(file: RequestFile) -> bool:
    return not (file.request.state.is_final or file.request.archived)


class MemoryStore:
    """`aval.hub.ports.Store` in memory."""

    def __init__(self) -> None:
        self._tables = _Tables()

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """See the port."""
        copy = self._tables.copy()
        answer = work(MemoryTransaction(copy))
        self._tables = copy
        return answer

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See the port."""
        return work(MemoryTransaction(self._tables.copy()))

    def close(self) -> None:
        """Nothing to close: what it holds is read on."""
