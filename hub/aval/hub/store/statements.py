"""The statements of the hub's store, each fixed, with named parameters, in the SQL that SQLite and PostgreSQL share.

They are compiled once for the dialect in use and given to its driver: SQLAlchemy's own execution costs half a
millisecond of Python a statement, which is more than the commit (PLATFORM).
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

Values = tuple[Any, ...] | dict[str, Any]


class Statement:
    """One statement, compiled: its text in the dialect's own style of parameters."""

    __slots__ = ("_order", "sql")

    def __init__(self, text: str, dialect: sa.Dialect) -> None:
        compiled = sa.text(text).compile(dialect=dialect)
        self.sql = str(compiled)
        self._order: list[str] | None = getattr(compiled, "positiontup", None)

    def values(self, given: Mapping[str, Any]) -> Values:
        """The parameters as the driver takes them."""
        return dict(given) if self._order is None else tuple(given[name] for name in self._order)


REQUEST = "SELECT body FROM request WHERE name = :name"
REQUEST_ROWS = "SELECT body, attempts, last_reason FROM outbox WHERE request = :request ORDER BY position"
REQUEST_OF = "SELECT request FROM ask WHERE reservation = :reservation"
REQUESTS_ASKING = """
SELECT name FROM request
WHERE archived = 0 AND EXISTS (
  SELECT 1 FROM ask WHERE ask.establishment = :establishment AND ask.request = request.name)
ORDER BY name
"""
"""From the requests that are listed, and not from all that a house was ever asked."""
REQUESTS = """
SELECT name, body FROM request
WHERE name > :after
  AND (:on_behalf_of = '' OR on_behalf_of = :on_behalf_of)
  AND (:reference = '' OR reference = :reference)
  AND (:states = '' OR :states LIKE '%|' || state || '|%')
  AND (:live = 0 OR over = 0)
ORDER BY name LIMIT :limit
"""
REQUESTS_LISTED = """
SELECT name, body FROM request
WHERE archived = 0 AND name > :after
  AND (:on_behalf_of = '' OR on_behalf_of = :on_behalf_of)
  AND (:reference = '' OR reference = :reference)
  AND (:states = '' OR :states LIKE '%|' || state || '|%')
  AND (:live = 0 OR over = 0)
ORDER BY name LIMIT :limit
"""
"""Without those archived, of which a year leaves a hundred times more: their index passes them over."""
SAVE_REQUEST = """
UPDATE request SET state = :state, over = :over, archived = :archived, on_behalf_of = :on_behalf_of,
  reference = :reference, revision = :revision, changed_at = :changed_at, linked = :linked, body = :body
WHERE name = :name
"""
PUT_REQUEST = """
INSERT INTO request (name, state, over, archived, on_behalf_of, reference, revision, changed_at, linked, body)
VALUES (:name, :state, :over, :archived, :on_behalf_of, :reference, :revision, :changed_at, :linked, :body)
"""
OLD_REQUESTS = """
SELECT name FROM request WHERE archived = 1 AND linked >= :linked AND changed_at < :before
ORDER BY changed_at LIMIT :limit
"""
FORGET_ASK = "DELETE FROM ask WHERE reservation = :reservation"
FORGET_REQUEST = "DELETE FROM request WHERE name = :name"
REFERENCE_TAKEN = "SELECT 1 FROM request WHERE over = 0 AND reference = :reference LIMIT 1"
LIVE_COUNT = "SELECT count(*) FROM request WHERE over = 0"
SAVE_ASK = """
INSERT INTO ask (reservation, request, establishment, asked_at)
VALUES (:reservation, :request, :establishment, :asked_at)
"""
ASKS_SINCE = "SELECT establishment, count(*) FROM ask WHERE asked_at >= :instant GROUP BY establishment"
PUT_ROW = """
INSERT INTO outbox (id, position, request, reservation, establishment, attempts, last_reason, body)
VALUES (:id, (SELECT coalesce(max(position), 0) + 1 FROM outbox), :request, :reservation, :establishment, :attempts,
  :last_reason, :body)
"""
PUT_ROW_AHEAD = """
INSERT INTO outbox (id, position, request, reservation, establishment, attempts, last_reason, body)
VALUES (:id, (SELECT coalesce(min(position), 1) - 1 FROM outbox), :request, :reservation, :establishment, :attempts,
  :last_reason, :body)
"""
STRIKE_ROW = "DELETE FROM outbox WHERE id = :id"
OUTBOX = """
SELECT body, attempts, last_reason FROM outbox WHERE establishment = :establishment ORDER BY position LIMIT :limit
"""
ATTEMPTED = "UPDATE outbox SET attempts = :attempts, last_reason = :last_reason WHERE id = :id"
WAITING = "SELECT establishment, count(*) FROM outbox GROUP BY establishment"
COMMAND = "SELECT body FROM command WHERE caller = :caller AND id = :id"
KEEP_COMMAND = """
INSERT INTO command (caller, id, stored_at, bare, body) VALUES (:caller, :id, :stored_at, 0, :body)
"""
OLD_ANSWERS = "SELECT body FROM command WHERE bare = 0 AND stored_at < :before LIMIT :limit"
FORGET_ANSWER = "UPDATE command SET bare = 1, body = :body WHERE caller = :caller AND id = :id"
OLD_COMMANDS = "SELECT caller, id FROM command WHERE stored_at < :before LIMIT :limit"
FORGET_COMMAND = "DELETE FROM command WHERE caller = :caller AND id = :id"
PICTURES = "SELECT establishment, body FROM picture ORDER BY establishment"
PICTURE_UNITS = "SELECT establishment, body FROM picture_unit ORDER BY name"
SAVE_PICTURE = """
INSERT INTO picture (establishment, body) VALUES (:establishment, :body)
ON CONFLICT (establishment) DO UPDATE SET body = excluded.body
"""
SAVE_UNIT = """
INSERT INTO picture_unit (name, establishment, body) VALUES (:name, :establishment, :body)
ON CONFLICT (name) DO UPDATE SET body = excluded.body
"""
REMOVE_UNIT = "DELETE FROM picture_unit WHERE name = :name"
REMOVE_UNITS = "DELETE FROM picture_unit WHERE establishment = :establishment"
ANNOUNCEMENTS = "SELECT body FROM announcement ORDER BY establishment"
CURSORS_HEARD = "SELECT body FROM cursor_heard ORDER BY establishment"
SAVE_CURSOR_HEARD = """
INSERT INTO cursor_heard (establishment, body) VALUES (:establishment, :body)
ON CONFLICT (establishment) DO UPDATE SET body = excluded.body
"""
ORIGIN = "SELECT body FROM origin WHERE id = 1"
SAVE_ORIGIN = "INSERT INTO origin (id, body) VALUES (1, :body) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
ORPHANS = "SELECT body FROM orphan WHERE reservation > :after ORDER BY reservation LIMIT :limit"
SAVE_ORPHAN = """
INSERT INTO orphan (reservation, body) VALUES (:reservation, :body)
ON CONFLICT (reservation) DO UPDATE SET body = excluded.body
"""
FORGET_ORPHAN = "DELETE FROM orphan WHERE reservation = :reservation"
SAVE_ANNOUNCEMENT = """
INSERT INTO announcement (establishment, body) VALUES (:establishment, :body)
ON CONFLICT (establishment) DO UPDATE SET body = excluded.body
"""
