"""What the tests of this folder share: one PostgreSQL server a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.servers import Databases


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """A server on which new databases can be made."""
    made = Databases()
    yield made
    made.close()
