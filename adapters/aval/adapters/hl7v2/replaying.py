"""Messages of files sent again, at their own pace or faster: a day of a hospital, for a trial or after an outage."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from aval.adapters.hl7v2.checking import FILE_BYTES_MAX, files_of, frames_of
from aval.adapters.hl7v2.reading import encoded, messages_of
from aval.adapters.hl7v2.sending import Sender, Unanswered, code_of
from aval.kernel.clock import Clock

PAUSE_SECONDS_MAX = 3600.0
"""Longest pause between two messages: a night without any is not waited for."""

ATTEMPTS_MAX = 5
"""How often one message is sent before the replay gives up."""

RETRY_SECONDS = 2.0


def messages_in(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """The messages of files and folders, each with its file's name. Raises OSError, `Fault`."""
    for path in files_of(paths):
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX)
        for frame in frames_of(content):
            texts = messages_of(frame)
            if len(texts) == 1:
                yield path.name, frame
                continue
            for text in texts:
                yield path.name, encoded(text)


async def replay(
    paths: Iterable[Path],
    sender: Callable[[], Sender],
    speed: float,
    clock: Clock,
    told: Callable[[str, str], None] = lambda _file, _code: None,
) -> Counter[str]:
    """Sends the messages; the answers by code. `speed`: times real time by MSH-7; 0: as fast as they are answered.

    `told` hears of each. Raises `Unanswered` when a message has been sent in vain too often, OSError.
    """
    codes: Counter[str] = Counter()
    last: datetime | None = None
    line: Sender | None = None
    for file, message in messages_in(paths):
        stamp = _stamp(message)
        if speed > 0 and last is not None and stamp is not None:
            pause = min((stamp - last).total_seconds() / speed, PAUSE_SECONDS_MAX)
            await clock.sleep_until(clock.monotonic() + max(pause, 0.0))
        last = stamp or last
        code = ""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                line = line or await sender().__aenter__()
                code = code_of(await line.send(message))
                break
            except (Unanswered, ConnectionError):
                if line is not None:
                    await line.__aexit__(None, None, None)
                    line = None
                if attempt == ATTEMPTS_MAX:
                    raise
                await clock.sleep_until(clock.monotonic() + RETRY_SECONDS)
        codes[code] += 1
        told(file, code)
    if line is not None:
        await line.__aexit__(None, None, None)
    return codes


_DATE = re.compile(rb"(\d{8})(\d{4}(?:\d\d)?)?", re.ASCII)


def _stamp(message: bytes) -> datetime | None:
    """MSH-7, for the pace only: without its offset."""
    begin = message.find(b"MSH")
    fields = message[begin : begin + 300].split(message[begin + 3 : begin + 4]) if begin >= 0 else []
    found = _DATE.match(fields[6]) if len(fields) > 6 else None
    if found is None:
        return None
    digits = (found[1] + (found[2] or b"0000")).decode().ljust(14, "0")
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
