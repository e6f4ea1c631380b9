"""A restore of a hub's PostgreSQL: refused while a hub runs on it; what is then written in what was put back."""

import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from aval.hub.ports import Origin
from aval.hub.store import statements as sql
from aval.hub.store.backup import COUNT
from aval.hub.store.schema import DatabaseUnusable, is_current, upgrade
from aval.hub.store.transaction import encoded

RUNNING = "SELECT count(*) FROM replica WHERE until > clock_timestamp()"
EXISTS = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename IN ('request', 'replica')"
LEASES_ANEW = """
UPDATE lease SET until = '-infinity',
  epoch = greatest(epoch + 1, CAST(1000 * extract(epoch FROM clock_timestamp()) AS bigint))
"""
"""No hub that still runs somewhere holds a lease by luck: an epoch goes on from the instant of the restore, in
milliseconds, so that one copy that is put back twice does not bring the same epochs twice. (Hands change every few
seconds at most: none has counted that far.)"""
NOBODY = "UPDATE replica SET until = '-infinity'"


def requests_there(url: str) -> int:
    """How many requests the database holds. Raises `DatabaseUnusable` while a hub runs on it."""
    try:
        with psycopg.connect(url) as connection:
            (tables,) = connection.execute(EXISTS).fetchone() or (0,)
            if tables < len(("request", "replica")):
                return 0
            (running,) = connection.execute(RUNNING).fetchone() or (0,)
            if running:
                raise DatabaseUnusable(f"{running} hub(s) run on this database: stop them all first")
            (requests,) = connection.execute(COUNT).fetchone() or (0,)
            return int(requests)
    except psycopg.Error as error:
        raise DatabaseUnusable(f"the PostgreSQL database cannot be used: {error}") from error


def begin_anew(url: str, origin: Origin) -> None:
    """Makes what was put back know what it is, in the newest schema; whatever held a lease holds it no more."""
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            if not is_current(connection, "the copy"):
                upgrade(connection)
            connection.execute(sa.text(sql.SAVE_ORIGIN), {"body": encoded(origin)})
            connection.exec_driver_sql(LEASES_ANEW)
            connection.exec_driver_sql(NOBODY)
    except sa.exc.DBAPIError as error:
        raise DatabaseUnusable(f"the PostgreSQL database cannot be used: {error.orig}") from error
