"""The two recipes of `deploy/postgres` promise the same, and what a hub counts on; their own tools are asked elsewhere.

Both files are a plain subset of YAML, one setting a line, which is all that is read of it here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aval.hub.settings import read_settings
from aval.hub.store.postgres import CONNECTIONS
from tests.conftest import CHECKOUT

RECIPES = CHECKOUT / "deploy" / "postgres"
HUBS = 3


def settings(name: str) -> dict[str, str]:
    """Each setting of a recipe, by its path."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (RECIPES / name).read_text().splitlines():
        match = re.match(r"( *)(?:- )?([A-Za-z_0-9]+): *([^#]*?) *(?:#.*)?$", line)
        if match is None:
            continue
        indent, key, value = len(match[1]), match[2], match[3].strip('"')
        path = [*((at, above) for at, above in path if at < indent), (indent, key)]
        if value:
            found[".".join(above for _, above in path)] = value
    return found


PATRONI, CNPG = settings("patroni.yml"), settings("cloudnative-pg.yaml")


def test_a_slow_etcd_demotes_no_healthy_primary() -> None:
    dcs = "bootstrap.dcs."
    ttl, loop, retry = (int(PATRONI[dcs + key]) for key in ("ttl", "loop_wait", "retry_timeout"))
    assert loop + 2 * retry <= ttl


def test_what_was_answered_is_on_two_machines_or_is_not_answered() -> None:
    assert PATRONI["bootstrap.dcs.synchronous_mode"] == PATRONI["bootstrap.dcs.synchronous_mode_strict"] == "true"
    assert PATRONI["bootstrap.dcs.synchronous_node_count"] == CNPG["spec.postgresql.synchronous.number"] == "1"
    assert CNPG["spec.postgresql.synchronous.dataDurability"] == "required"
    assert PATRONI["bootstrap.dcs.postgresql.parameters.synchronous_commit"] == "on"
    assert CNPG["spec.postgresql.parameters.synchronous_commit"] == "on"


@pytest.mark.parametrize(
    ("recipe", "of"), [(PATRONI, "bootstrap.dcs.postgresql.parameters."), (CNPG, "spec.postgresql.parameters.")]
)
def test_hubs_find_room_and_a_vanished_one_gives_its_locks_back(recipe: dict[str, str], of: str) -> None:
    assert int(recipe[of + "max_connections"]) >= 4 * HUBS * (CONNECTIONS + 1)
    idle, interval, count = (int(recipe[of + f"tcp_keepalives_{key}"]) for key in ("idle", "interval", "count"))
    assert idle + interval * count < 15


def test_both_sort_names_by_their_bytes_and_bear_no_password() -> None:
    assert PATRONI["bootstrap.initdb.locale"] == CNPG["spec.bootstrap.initdb.localeCollate"] == "C"
    for recipe in (PATRONI, CNPG):
        assert not [key for key in recipe if "password" in key and not key.endswith("password_encryption")]


def test_the_hub_s_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text((RECIPES / "hub.toml").read_text())
    read = read_settings(path)
    assert read.is_shared
    assert read.replica == 0
