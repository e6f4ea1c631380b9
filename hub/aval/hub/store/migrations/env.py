"""What Alembic runs for each migration: over the connection that the store gives it, in the store's transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
