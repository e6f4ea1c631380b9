"""Alembic's entry: it migrates the database of the connection that `aval.node.store.schema` gives, in its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
