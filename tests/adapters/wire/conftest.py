"""The fixtures of the wire's tests."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog

from aval.adapters.clock import SystemClock
from aval.adapters.telemetry import Telemetry, configure_logs
from tests.adapters.wire.house import House


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A territory of its own for each test; what it opened is closed after it."""
    opened = House.of(tmp_path)
    yield opened
    await opened.close()


class LogLines:
    """What is logged while a test runs, as it would be printed."""

    def __init__(self) -> None:
        self.telemetry = Telemetry(SystemClock())
        self._stream = StringIO()
        configure_logs(self.telemetry, "test", self._stream)

    @property
    def text(self) -> str:
        """All of it."""
        return self._stream.getvalue()

    def of(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        lines = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    """The logs, from now to the end of the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield LogLines()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
