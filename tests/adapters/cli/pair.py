"""A hub and two houses, as processes with mutual TLS: the real servers that the command line is tried against."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from aval.adapters.cli.exits import Exit
from aval.adapters.demo.building import HUB, Tempo, build
from aval.adapters.demo.cast import Cast, need_of
from aval.adapters.demo.processes import Territory
from aval.adapters.dial import ask
from aval.kernel.disciplines import Discipline
from aval.v1 import availability_pb2, census_pb2, terms_pb2
from tests.typography import faults
from tests.waiting import PATIENCE_SECONDS, until

HOSPITAL, EHPAD = "540001138", "540003043"

_codes = itertools.count(1)


@contextmanager
def running_pair(folder: Path) -> Iterator[Territory]:
    """The two houses and their hub, until the block ends."""
    text = Path(__file__).with_name("pair.toml").read_text(encoding="utf-8")
    build(folder, text, 0, datetime.now(UTC), Tempo(progress_seconds=0.5, link_lost_seconds=8.0), [HOSPITAL])
    pair = Territory.open(folder)

    async def start() -> None:
        await pair.start([HUB])
        await pair.start(pair.houses)

    try:
        asyncio.run(start())
        yield pair
    finally:
        asyncio.run(pair.down())


class Shell:
    """`aval` in a pipe, with the contexts of the two houses."""

    def __init__(self, pair: Territory) -> None:
        self.pair = pair

    def run(
        self, *words: str, exit_code: Exit | None = Exit.DONE, english: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs it, and holds it to an exit code; to none if that is None."""
        contexts = str(self.pair.folder / "contexts.toml")
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AVAL_CONTEXTS": contexts}
        if english:
            environment["LANG"] = "en_GB.UTF-8"
        done = subprocess.run(
            [sys.executable, "-m", "aval.adapters.cli", *words],
            env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS * 2, check=False,
        )  # fmt: skip
        assert exit_code in (None, done.returncode), (words, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words: str) -> Any:
        """The same, with what it wrote."""
        return json.loads(self.run(*words, "--json", "all").stdout)

    def said(self, *words: str, english: bool = False) -> str:
        """What it writes for a person, held to its typography; its no-break spaces made plain."""
        written = self.run(*words, english=english).stdout
        assert english or not faults(written)
        return written.replace("\u00a0", " ").replace("\u202f", " ")

    def declare(self, *, beds: int = 0, places: int = 0, answering: str = "PERSON", sheet: str = "") -> str:
        """A new unit of the EHPAD, by its staff: beds that its system feeds, or places that a person counts; those too
        below a sheet, if one is named, that nobody has told yet."""
        code = f"T{next(_codes)}"
        unit = f"establishments/{EHPAD}/units/{code}"
        request = census_pb2.DeclareUnitRequest(
            command_id=str(uuid4()),
            name=unit,
            display_name=f"Unité {code}",
            discipline=terms_pb2.DISCIPLINE_SMR_GERIATRIC,
            counting=availability_pb2.COUNTING_BEDS if beds else availability_pb2.COUNTING_PLACES,
            policy=census_pb2.UnitPolicy(
                unit=unit,
                answering=availability_pb2.PolicySummary.Answering.Value(f"ANSWERING_{answering}"),
                renewals_max=2,
                notes=census_pb2.NotePolicy(apply_no=True),
            ),
        )
        for number in range(1, beds + 1):
            bed = census_pb2.Bed(name=f"{unit}/beds/{number}", room=str(number), gender=terms_pb2.GENDER_ANY)
            request.rooms.add(id=str(number), rule=census_pb2.ROOM_RULE_SINGLE, beds=[bed])
        if beds:
            request.sources.add(id="sih", kind=availability_pb2.SOURCE_KIND_ADMINISTRATIVE, adapter="sih")
        else:
            request.places.add(gender=terms_pb2.GENDER_ANY, installed=places, open=places, occupied=places)
        if sheet:
            request.sources.add(id=sheet, kind=availability_pb2.SOURCE_KIND_FILE)
        request.sources.add(id="equipe", kind=availability_pb2.SOURCE_KIND_PERSON)

        async def work() -> None:
            people = Cast(self.pair)
            try:
                await ask(people.node(EHPAD).census.DeclareUnit, request)
                if beds:
                    await people.alive(EHPAD)

                async def known() -> bool:
                    found = await people.search(need_of(Discipline.SMR_GERIATRIC, 1, HOSPITAL))
                    names = {one.unit.name for one in found.ranked} | {one.unit for one in found.excluded}
                    return unit in names

                await until(known, "the hub has heard of the unit")
            finally:
                await people.close()

        asyncio.run(work())
        return f"{EHPAD}/{code}"
