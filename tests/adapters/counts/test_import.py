"""Sheets told to a real node: by the command, and by a process that watches a folder. Real processes, real mTLS."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from aval.adapters.cli.exits import Exit
from aval.adapters.cli.servers import read_ready
from aval.adapters.counts.folder import DONE, REJECTED, REPORT_SUFFIX
from aval.adapters.dial import Caller, Line, ask
from aval.adapters.pki import init_authority, issue
from aval.kernel.finess import FinessET
from aval.kernel.identity import Adapter, Node, Staff, Territory
from aval.v1 import availability_pb2, census_pb2, terms_pb2
from tests.waiting import PATIENCE_SECONDS, until

TERRITORY = Territory("essai.aval.internal")
FINESS = FinessET("540009479")
UNIT = f"establishments/{FINESS}/units/U201"


class House:
    """An EHPAD with its node, its head nurse, and an adapter that tells of its sheet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        now = datetime.now(UTC)
        authority = init_authority(folder / "ca", TERRITORY, now)
        for name, identity in (
            ("node", Node(TERRITORY, FINESS)),
            ("cadre", Staff(TERRITORY, FINESS, "cadre")),
            ("tableur", Adapter(TERRITORY, FINESS, "tableur")),
        ):
            issue(authority, identity, now).write(folder / name)
        (folder / "node.toml").write_text(
            f'territory = "{TERRITORY}"\nfiness = "{FINESS}"\nidentity = "node"\nlisten = "127.0.0.1:0"\n'
            'database = "node.db"\n',
            encoding="utf-8",
        )
        self.children = [self._start("node", "serve", "--config", "node.toml")]
        self.address = ""

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{words[0]}-{len(words)}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "aval.adapters.cli", *words],
                cwd=self.folder, stdout=log, stderr=log, env=self._environment(),
            )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "AVAL_CONTEXTS": str(self.folder / "contexts.toml"),
            "LANG": "fr_FR.UTF-8",
        }

    async def open(self) -> None:
        await until(lambda: read_ready(self.folder / "node.toml") is not None, "the node is ready")
        ready = read_ready(self.folder / "node.toml")
        assert ready is not None
        self.address = f"127.0.0.1:{ready.port}"
        lines = [f'[contexts.{name}]\nidentity = "{name}"\nnode = "{self.address}"\n' for name in ("cadre", "tableur")]
        (self.folder / "contexts.toml").write_text("".join(lines), encoding="utf-8")
        async with Caller(self.folder / "cadre") as caller:
            line = caller.node(self.address, FINESS)
            for unit, counting in (("U201", "PLACES"), ("U202", "PLACES"), ("U203", "PLACES"), ("U300", "BEDS")):
                await ask(line.census.DeclareUnit, self.declared(unit, counting))

    def declared(self, unit: str, counting: str) -> census_pb2.DeclareUnitRequest:
        request = census_pb2.DeclareUnitRequest(
            command_id=str(uuid4()),
            name=f"establishments/{FINESS}/units/{unit}",
            display_name=unit,
            discipline=terms_pb2.DISCIPLINE_EHPAD_TEMPORARY,
            counting=availability_pb2.Counting.Value(f"COUNTING_{counting}"),
        )
        if counting == "PLACES":
            request.places.add(gender=terms_pb2.GENDER_ANY, installed=12, open=12, occupied=12)
            sheet = "carnet" if unit == "U203" else "feuille"
            request.sources.add(id=sheet, kind=availability_pb2.SOURCE_KIND_FILE, adapter="tableur")
        request.sources.add(id="saisie", kind=availability_pb2.SOURCE_KIND_PERSON)
        return request

    def run(self, *words: str, context: str = "cadre") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "aval.adapters.cli", *words, "--context", context],
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def watch(self, drop: Path) -> subprocess.Popen[bytes]:
        child = self._start("node", "import", "folder", str(drop), "--context", "tableur")
        self.children.append(child)
        return child

    async def units(self) -> dict[str, availability_pb2.Unit]:
        async with Caller(self.folder / "cadre") as caller:
            line: Line = caller.node(self.address, FINESS)
            found = await ask(
                line.availability.ListUnits, availability_pb2.ListUnitsRequest(parent=f"establishments/{FINESS}")
            )
            return {unit.name.rpartition("/")[2]: unit for unit in found.units}

    async def available(self) -> dict[str, int]:
        return {
            name: sum(
                count.count
                for count in unit.counts
                if count.status == availability_pb2.CAPACITY_STATUS_AVAILABLE
                and count.horizon == availability_pb2.HORIZON_NOW
            )
            for name, unit in (await self.units()).items()
        }

    def close(self) -> None:
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            child.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("ehpad"))
    try:
        asyncio.run(made.open())
        yield made
    finally:
        made.close()


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return msgspec.json.decode(done.stdout.encode(), type=list[dict[str, Any]])


async def test_a_sheet_is_applied_whole_or_not_at_all(house: House) -> None:
    sheet = house.folder / "lits.csv"
    before = await house.available()
    sheet.write_bytes("Unité;Libres\r\nU201;3\r\nU999;1\r\nU300;1\r\nU202;15\r\n".encode("cp1252"))
    refused = house.run("node", "import", "csv", "lits.csv")
    assert refused.returncode == Exit.USAGE
    assert [text.partition("\u00a0:")[0] for text in refused.stderr.splitlines()[:3]] == [
        "ligne 3",
        "ligne 4",
        "ligne 5",
    ]
    assert "U999" in refused.stderr
    assert await house.available() == before

    dry = house.run("node", "import", "csv", "lits.csv", "--partial", "--dry-run", "--json", "all")
    assert [(one["line"], one.get("occupied")) for one in lines_of(dry) if "unit" in one] == [(2, 9)]
    assert await house.available() == before

    partly = house.run("node", "import", "csv", "lits.csv", "--partial")
    assert partly.returncode == Exit.PARTIAL
    assert await house.available() == {**before, "U201": 3}

    sheet.write_bytes("Unité;Libres\r\nU201;4\r\nU202;1\r\n".encode("utf-8-sig"))
    done = house.run("node", "import", "csv", "lits.csv", "--json", "fate,source")
    assert (done.returncode, lines_of(done)) == (Exit.DONE, [{"fate": "APPLIED", "source": "feuille"}] * 2)
    assert await house.available() == {**before, "U201": 4, "U202": 1}


async def test_columns_of_each_gender_are_told_to_a_unit_that_counts_them(house: House) -> None:
    declared = house.declared("U210", "PLACES")
    del declared.places[:]
    for gender in (terms_pb2.GENDER_FEMALE, terms_pb2.GENDER_MALE):
        declared.places.add(gender=gender, installed=6, open=6, occupied=6)
    async with Caller(house.folder / "cadre") as caller:
        await ask(caller.node(house.address, FINESS).census.DeclareUnit, declared)
    (house.folder / "genres.toml").write_text(
        '[columns.female]\nfree = "Femmes libres"\n[columns.male]\nfree = "Hommes libres"\n'
        '[columns.any]\nfree = "Indifférents"\n',
        encoding="utf-8",
    )
    sheet = house.folder / "genres.csv"
    before = await house.available()
    sheet.write_text("UF;Femmes libres;Hommes libres;Indifférents\nU210;2;1;1\n", encoding="utf-8")
    refused = house.run("node", "import", "csv", "genres.csv", "--map", "genres.toml")
    assert refused.returncode == Exit.USAGE
    assert "ne compte pas ce genre (I)" in refused.stderr
    assert await house.available() == before
    sheet.write_text("UF;Femmes libres;Hommes libres;Indifférents\nU210;2;1;\n", encoding="utf-8")
    done = house.run("node", "import", "csv", "genres.csv", "--map", "genres.toml", "--json", "fate")
    assert (done.returncode, lines_of(done)) == (Exit.DONE, [{"fate": "APPLIED"}] * 2)
    unit = (await house.units())["U210"]
    free = {
        one.gender: one.count
        for one in unit.counts
        if one.status == availability_pb2.CAPACITY_STATUS_AVAILABLE and one.horizon == availability_pb2.HORIZON_NOW
    }
    assert free == {terms_pb2.GENDER_FEMALE: 2, terms_pb2.GENDER_MALE: 1}


async def test_a_person_beside_a_sheet_is_told_which_of_them_prevails(house: House) -> None:
    (house.folder / "deux.csv").write_text("unité;libres\nU202;2\n", encoding="utf-8")
    assert house.run("node", "import", "csv", "deux.csv").returncode == Exit.DONE
    said = house.run("units", "set", "U202", "--free", "5")
    assert said.returncode == Exit.DONE
    assert "saisie dit 5, ici 2." in said.stdout
    assert "l’emporte « fichier »".replace("« ", "«\u202f").replace(" »", "\u202f»") in said.stderr
    assert "aval units correct U202 --free 5 --reason" in said.stderr
    assert (await house.available())["U202"] == 2
    corrected = house.run("units", "correct", "U202", "--free", "0", "--reason", "gastro-entérite")
    assert "fichier dit 2, corrigé à la main à 0 à " in corrected.stdout
    assert "par cadre (gastro-entérite), jusqu’à" in corrected.stdout
    assert (await house.available())["U202"] == 0


async def test_figures_are_as_old_as_the_sheet_says(house: House) -> None:
    told = datetime.now(UTC) - timedelta(hours=5)
    mapping = house.folder / "heure.toml"
    mapping.write_text('[format]\ntime_zone = "UTC"\n', encoding="utf-8")
    stamp = told.strftime("%d/%m/%Y %H:%M")
    (house.folder / "matin.csv").write_text(f"unité;libres;relevé le\nU203;2;{stamp}\n", encoding="utf-8")
    done = house.run("node", "import", "csv", "matin.csv", "--map", "heure.toml")
    assert done.returncode == Exit.DONE, done.stderr
    unit = (await house.units())["U203"]
    assert unit.sources[0].id == "carnet"
    age = unit.age.ToTimedelta()
    assert timedelta(hours=5) <= age < timedelta(hours=5, minutes=5)


async def test_a_folder_is_watched_by_a_process_that_may_die_at_any_time(house: House, tmp_path: Path) -> None:
    drop = tmp_path / "depot"
    drop.mkdir()
    watcher = house.watch(drop)
    (drop / "lits.csv").write_bytes("unité;ouverts;occupés\nU201;12;7\n".encode())
    (drop / "faux.csv").write_bytes(b"unit;free\nU201;-2\n")
    await until(lambda: _ended(drop) == 2, "both sheets came to their ends")
    assert (await house.available())["U201"] == 5
    report = next((drop / REJECTED).glob(f"*{REPORT_SUFFIX}")).read_text(encoding="utf-8-sig")
    assert "ligne 2" in report
    assert "négatif" in report

    watcher.kill()
    watcher.wait()
    (drop / "lits.csv").write_bytes("unité;ouverts;occupés\nU201;12;6\n".encode())
    house.watch(drop)
    await until(lambda: _ended(drop) == 3, "another process takes what came meanwhile")
    assert (await house.available())["U201"] == 6
    assert len(list((drop / DONE).glob(f"*{REPORT_SUFFIX}"))) == 2


def _ended(drop: Path) -> int:
    return len([path for name in (DONE, REJECTED) for path in (drop / name).glob("*.csv")])
