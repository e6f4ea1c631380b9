"""A transaction of the hub over SQL: fixed statements, JSON bodies. The engine is the store's matter."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from aval.hub.model import Ask, Cursor, KnownReservation, OutboxRow, Request, RequestFile, Unit
from aval.hub.ports import Announcement, CommandRecord, Origin, PictureHead, RequestFilter
from aval.hub.store import statements as sql
from aval.hub.store.statements import Statement

T = TypeVar("T")


class RequestBody(Struct, frozen=True):
    """What the body of a request's row holds: all but the rows of the outbox, which stand in their own table."""

    request: Request
    asks: tuple[Ask, ...]


def encoded(value: object) -> str:
    """The JSON of a frozen value, as stored."""
    return msgspec.json.encode(value).decode()


_request_body = msgspec.json.Decoder(RequestBody)
_row = msgspec.json.Decoder(OutboxRow)
_record = msgspec.json.Decoder(CommandRecord)
_head = msgspec.json.Decoder(PictureHead)
_unit = msgspec.json.Decoder(Unit)
_cursor = msgspec.json.Decoder(Cursor)
_origin = msgspec.json.Decoder(Origin)
_known = msgspec.json.Decoder(KnownReservation)
_announcement = msgspec.json.Decoder(Announcement)


def stored_instant(instant: datetime) -> int:
    """Milliseconds since 1970: a number sorts and compares alike in every database."""
    return int(instant.timestamp() * 1000)


class SqlTransaction:
    """`aval.hub.ports.Transaction` over one connection, on which a transaction is open. `writes` counts statements."""

    put_row = sql.PUT_ROW
    """Puts a row behind all others; how, differs between engines."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._compiled: dict[str, Statement] = {}
        self.writes = 0

    def take_written(self) -> bool:
        """Whether anything was written since this was last asked."""
        written, self.writes = self.writes > 0, 0
        return written

    # requests

    def request(self, name: str) -> RequestFile | None:
        """See the port."""
        found = self._read(sql.REQUEST, name=name)
        return self._file(name, found[0][0]) if found else None

    def request_of(self, reservation: str) -> str | None:
        """See the port."""
        found = self._read(sql.REQUEST_OF, reservation=reservation)
        return found[0][0] if found else None

    def requests_asking(self, establishment: str) -> list[str]:
        """See the port."""
        return [name for (name,) in self._read(sql.REQUESTS_ASKING, establishment=establishment)]

    def requests(self, wanted: RequestFilter) -> list[RequestFile]:
        """See the port."""
        states = "".join(f"|{state.value}|" for state in sorted(wanted.states))
        found = self._read(
            sql.REQUESTS if wanted.archived else sql.REQUESTS_LISTED,
            after=wanted.after,
            on_behalf_of=wanted.on_behalf_of,
            reference=wanted.reference,
            states=states,
            live=int(wanted.live),
            limit=wanted.limit,
        )
        return [self._file(name, body) for name, body in found]

    def save(self, file: RequestFile, before: RequestFile | None) -> None:
        """See the port."""
        request = file.request
        if before is None or file.request is not before.request or file.asks != before.asks:
            self._write(
                sql.PUT_REQUEST if before is None else sql.SAVE_REQUEST,
                name=request.name,
                state=request.state.value,
                over=int(request.state.is_final or request.archived),
                archived=int(request.archived),
                on_behalf_of=request.on_behalf_of,
                reference=request.reference,
                revision=request.revision,
                changed_at=stored_instant(request.change_time),
                linked=int(request.external_reference is not None),
                body=encoded(RequestBody(request, file.asks)),
            )
        known = {ask.reservation for ask in before.asks} if before else set()
        for ask in file.asks:
            if ask.reservation not in known:
                self._write(
                    sql.SAVE_ASK,
                    reservation=ask.reservation,
                    request=request.name,
                    establishment=ask.establishment,
                    asked_at=stored_instant(ask.asked_at),
                )
        self._save_rows(file.rows, before.rows if before else ())

    def reference_is_taken(self, reference: str) -> bool:
        """See the port."""
        return bool(self._read(sql.REFERENCE_TAKEN, reference=reference))

    def live_count(self) -> int:
        """See the port."""
        return int(self._read(sql.LIVE_COUNT)[0][0])

    def old_requests(self, before: datetime, limit: int, *, linked: bool) -> list[str]:
        """See the port."""
        found = self._read(sql.OLD_REQUESTS, before=stored_instant(before), limit=limit, linked=int(linked))
        return [name for (name,) in found]

    def forget_request(self, file: RequestFile) -> None:
        """See the port."""
        for ask in file.asks:
            self._write(sql.FORGET_ASK, reservation=ask.reservation)
        self._write(sql.FORGET_REQUEST, name=file.request.name)

    def asks_since(self, instant: datetime) -> Mapping[str, int]:
        """See the port."""
        return dict(self._read(sql.ASKS_SINCE, instant=stored_instant(instant)))

    # outbox

    def outbox(self, establishment: str, limit: int) -> list[OutboxRow]:
        """See the port."""
        return self._rows(self._read(sql.OUTBOX, establishment=establishment, limit=limit))

    def waiting(self) -> Mapping[str, int]:
        """See the port."""
        return dict(self._read(sql.WAITING))

    # commands

    def command(self, caller: str, command_id: str) -> CommandRecord | None:
        """See the port."""
        found = self._read(sql.COMMAND, caller=caller, id=command_id)
        return _record.decode(found[0][0]) if found else None

    def keep_command(self, record: CommandRecord) -> None:
        """See the port."""
        self._write(
            sql.KEEP_COMMAND,
            caller=record.caller,
            id=record.id,
            stored_at=stored_instant(record.stored_at),
            body=encoded(record),
        )

    def forget_answers(self, before: datetime, limit: int) -> int:
        """See the port."""
        old = [
            _record.decode(body) for (body,) in self._read(sql.OLD_ANSWERS, before=stored_instant(before), limit=limit)
        ]
        for record in old:
            bare = msgspec.structs.replace(record, answer=b"")
            self._write(sql.FORGET_ANSWER, caller=record.caller, id=record.id, body=encoded(bare))
        return len(old)

    def forget_commands(self, before: datetime, limit: int) -> int:
        """See the port."""
        old = self._read(sql.OLD_COMMANDS, before=stored_instant(before), limit=limit)
        for caller, command_id in old:
            self._write(sql.FORGET_COMMAND, caller=caller, id=command_id)
        return len(old)

    # pictures

    def pictures(self) -> list[tuple[PictureHead, tuple[Unit, ...]]]:
        """See the port."""
        units: dict[str, list[Unit]] = {}
        for establishment, body in self._read(sql.PICTURE_UNITS):
            units.setdefault(establishment, []).append(_unit.decode(body))
        return [
            (_head.decode(body), tuple(units.get(establishment, ())))
            for establishment, body in self._read(sql.PICTURES)
        ]

    def save_picture(self, head: PictureHead, changed: Iterable[Unit], removed: Iterable[str], *, whole: bool) -> None:
        """See the port."""
        establishment = head.cursor.establishment
        self._write(sql.SAVE_PICTURE, establishment=establishment, body=encoded(head))
        if whole:
            self._write(sql.REMOVE_UNITS, establishment=establishment)
        for name in removed:
            self._write(sql.REMOVE_UNIT, name=name)
        for unit in changed:
            self._write(sql.SAVE_UNIT, name=unit.name, establishment=establishment, body=encoded(unit))

    def announcements(self) -> list[Announcement]:
        """See the port."""
        return [_announcement.decode(body) for (body,) in self._read(sql.ANNOUNCEMENTS)]

    def save_announcement(self, announcement: Announcement) -> None:
        """See the port."""
        self._write(sql.SAVE_ANNOUNCEMENT, establishment=announcement.establishment, body=encoded(announcement))

    def cursors_heard(self) -> list[Cursor]:
        """See the port."""
        return [_cursor.decode(body) for (body,) in self._read(sql.CURSORS_HEARD)]

    def save_cursor_heard(self, cursor: Cursor) -> None:
        """See the port."""
        self._write(sql.SAVE_CURSOR_HEARD, establishment=cursor.establishment, body=encoded(cursor))

    # a restore of the hub

    def origin(self) -> Origin | None:
        """See the port."""
        found = self._read(sql.ORIGIN)
        return _origin.decode(found[0][0]) if found else None

    def save_origin(self, origin: Origin) -> None:
        """See the port."""
        self._write(sql.SAVE_ORIGIN, body=encoded(origin))

    def orphans(self, after: str, limit: int) -> list[KnownReservation]:
        """See the port."""
        return [_known.decode(body) for (body,) in self._read(sql.ORPHANS, after=after, limit=limit)]

    def save_orphan(self, known: KnownReservation) -> None:
        """See the port."""
        self._write(sql.SAVE_ORPHAN, reservation=known.name, body=encoded(known))

    def forget_orphan(self, reservation: str) -> None:
        """See the port."""
        self._write(sql.FORGET_ORPHAN, reservation=reservation)

    # the driver

    def _save_rows(self, rows: tuple[OutboxRow, ...], before: tuple[OutboxRow, ...]) -> None:
        were = {row.id: row for row in before}
        for row in rows:
            was = were.pop(row.id, None)
            if was is None:
                self._write(
                    sql.PUT_ROW_AHEAD if row.goes_ahead else self.put_row,
                    id=row.id,
                    request=row.request,
                    reservation=row.reservation,
                    establishment=row.establishment,
                    attempts=row.attempts,
                    last_reason=row.last_reason,
                    body=encoded(row),
                )
            elif was != row:
                self._write(sql.ATTEMPTED, id=row.id, attempts=row.attempts, last_reason=row.last_reason)
        for row_id in were:
            self._write(sql.STRIKE_ROW, id=row_id)

    def _file(self, name: str, body: str) -> RequestFile:
        kept = _request_body.decode(body)
        return RequestFile(kept.request, kept.asks, tuple(self._rows(self._read(sql.REQUEST_ROWS, request=name))))

    def _rows(self, found: Iterable[tuple[Any, ...]]) -> list[OutboxRow]:
        return [_stored_row(*one) for one in found]

    def _statement(self, text: str) -> Statement:
        statement = self._compiled.get(text)
        if statement is None:
            statement = self._compiled[text] = Statement(text, self._connection.dialect)
        return statement

    def _read(self, text: str, **given: Any) -> list[tuple[Any, ...]]:
        statement = self._statement(text)
        result = self._connection.exec_driver_sql(statement.sql, statement.values(given))
        return [tuple(row) for row in result]

    def _write(self, text: str, **given: Any) -> None:
        self.writes += 1
        statement = self._statement(text)
        self._connection.exec_driver_sql(statement.sql, statement.values(given))


def _stored_row(body: str, attempts: int, last_reason: str) -> OutboxRow:
    row = _row.decode(body)
    return msgspec.structs.replace(row, attempts=attempts, last_reason=last_reason) if attempts else row
