"""Where the hub's state rests: three implementations of one port, held to one suite (tests/contract/test_hub_store.py).

`memory` for tests and simulations, `sqlite` for a demonstration or a small territory, `postgres` for production, where
several hubs share it (`leasing` has the rows by which they do). The schema is SQLAlchemy's and
Alembic's (`migrations`), with types that PostgreSQL has too; bodies are JSON of the frozen values of `aval.hub.model`.
"""
