"""Where the hub's state rests: two implementations of one port, held to one suite (tests/contract/test_hub_store.py).

`memory` for tests and simulations, `sqlite` for a demonstration or a small territory. The schema is SQLAlchemy's and
Alembic's (`migrations`), with types that PostgreSQL has too; bodies are JSON of the frozen values of `aval.hub.model`.
"""
