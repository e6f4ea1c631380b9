"""Alembic's entry: migrates over the connection that `aval.node.store.schema` gives, in its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
