"""A complete census asked of the hospital's own system (IHE ITI-22), over real sockets and real TLS."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from aval.adapters.clock import SystemClock
from aval.adapters.hl7v2 import querying
from aval.adapters.hl7v2.faults import Fault
from aval.adapters.hl7v2.mapping import mapping_of
from aval.adapters.hl7v2.meaning import Said
from aval.adapters.hl7v2.querying import Supplier, ask
from aval.adapters.hl7v2.reconciling import Difference, census_of, compare, correction
from aval.adapters.hl7v2.sending import Sender, Unanswered
from aval.adapters.hl7v2.settings import read_settings
from aval.adapters.pki import issue, make_authority
from aval.kernel.declared import DeclaredFault
from aval.kernel.finess import FinessET
from aval.kernel.identity import Adapter, Node, Territory
from tests.adapters.hl7v2.core import CoreNode
from tests.adapters.hl7v2.days import MAPPING
from tests.adapters.hl7v2.desks import code_of, desk_of, give, stay_of
from tests.adapters.hl7v2.messages import CUSTOMS, Adt, at
from tests.adapters.hl7v2.supplier import Hospital, answering

HERE = Territory("ge-10.aval.internal")
HOUSE = FinessET("540000023")
UNITS = ("1050", "1120")
Bundle = tuple[Path, Path, Path]

PATIENTS = [
    Adt("A01", f"V{n}", at(8), unit="1050", room=f"10{n}", bed="1", departure=at(9, day=25)) for n in range(5)
] + [
    Adt("A01", "V5", at(8), unit="1120", room="101", bed="1"),
    Adt("A01", "V6", at(8), unit="1120", patient_class="O"),
]  # fmt: skip


async def asked(
    hospital: Hospital, units: Sequence[str] = UNITS, server: Bundle | None = None, client: Bundle | None = None
) -> list[Said]:
    async with answering(hospital, server) as port, Sender("127.0.0.1", port, client) as line:
        return await ask(line, Supplier("127.0.0.1", port, "GAM", "CHU"), units, CUSTOMS, at(12))


def bundles(folder: Path) -> tuple[Bundle, Bundle, Bundle]:
    """A server's, a client's that it trusts, and a stranger's that trusts the server."""
    now = SystemClock().now()
    authority, _ = make_authority(HERE, now - timedelta(minutes=5))
    other, _ = make_authority(HERE, now - timedelta(minutes=5))
    issue(authority, Node(HERE, HOUSE), now - timedelta(minutes=1)).write(folder / "gam")
    issue(authority, Adapter(HERE, HOUSE, "mllp"), now - timedelta(minutes=1)).write(folder / "mllp")
    issue(other, Adapter(HERE, HOUSE, "mllp"), now - timedelta(minutes=1)).write(folder / "stranger")
    paths = [tuple(folder / name / file for file in ("cert.pem", "key.pem", "trust.pem"))
             for name in ("gam", "mllp", "stranger")]  # fmt: skip
    gam, mllp, stranger = ((certificate, key, trust) for certificate, key, trust in paths)
    return gam, mllp, (stranger[0], stranger[1], mllp[2])


async def test_a_census_is_asked_page_by_page_compared_and_put_right(tmp_path: Path) -> None:
    gam, mllp, _ = bundles(tmp_path)
    node, hospital, codes = CoreNode(at(12)), Hospital(PATIENTS), mapping_of(MAPPING)
    census = census_of(await asked(hospital, server=gam, client=mllp), codes)
    assert {stay: (one.unit, one.bed, one.departure) for stay, (_, one) in census.items()} == {
        **{stay_of(f"V{n}"): ("U1", f"10{n}-1", at(9, day=25)) for n in range(5)},
        stay_of("V5"): ("U2", "101-1", None),
    }
    assert [query.count("\rDSC|") for query in hospital.asked] == [0, 1, 1, 0]
    controls = [query.split("|")[9] for query in hospital.asked]
    assert len(set(controls)) == len(controls)
    assert all(len(control) <= 20 for control in controls)
    async with desk_of(tmp_path, node) as desk:
        gone, elsewhere = PATIENTS[0].again(visit="V9", room="105", movement="M9"), PATIENTS[5].again(movement="M5")
        await give(desk, [*(one.again(movement=f"M{n}") for n, one in enumerate(PATIENTS[1:5])), gone,
                          elsewhere.again(room="102")])  # fmt: skip
        findings = compare(census, await node.stays(), "gam")
        assert {(one.kind, one.stay) for one in findings} == {
            (Difference.MISSING, stay_of("V0")),
            (Difference.ELSEWHERE, stay_of("V5")),
            (Difference.GONE, stay_of("V9")),
        }
        for number, finding in enumerate(findings):
            assert code_of(await desk.take(correction(finding, at(13), number))) == "AA"
        assert compare(census, await node.stays(), "gam") == []


async def test_the_query_is_that_of_the_standard() -> None:
    hospital = Hospital(PATIENTS[:3])
    await asked(hospital, ["1050"])
    first, second = ([segment.split("|") for segment in query.rstrip("\r").split("\r")] for query in hospital.asked)
    assert [segment[0] for segment in first] == ["MSH", "QPD", "RCP"]
    assert first[0][8] == "QBP^ZV1^QBP_Q21"
    assert first[0][4:6] == ["GAM", "CHU"]
    assert first[1] == ["QPD", "IHE PDQ Query", first[1][2], "@PV1.3.1^1050"]
    assert first[2] == ["RCP", "I", f"{querying.PAGE_PATIENTS}^RD"]
    assert second[1:3] == first[1:3]
    assert second[3] == ["DSC", "2", "I"]


async def test_who_has_left_is_not_in_the_census() -> None:
    hospital = Hospital(PATIENTS[:1], spoilt=(("|" * 26 + "\rPV2", "|" * 26 + "20261123100000\rPV2"),))
    assert await asked(hospital) == []
    hospital.spoilt = (("|" * 26 + "\rPV2", "|" * 26 + "20261124100000\rPV2"),)  # tomorrow
    assert [word.visit for word in await asked(hospital)] == [stay_of("V0")]


async def test_nobody_is_no_fault_and_no_census() -> None:
    assert await asked(Hospital([])) == []


@pytest.mark.parametrize(
    ("spoilt", "place"),
    [
        (("RSP^ZV2^RSP_ZV2", "ACK^ZV1^ACK"), "MSH-9"),
        (("MSA|AA|", "MSA|AE|"), "MSA"),
        (("MSA|AA|", "MSA|AA|X"), "MSA-2"),
        (("QAK|", "QAK|X"), "QAK"),
        (("|OK\r", "|AE\r"), "QAK-2"),
        (("DSC|4|", "DSC|2|"), "DSC"),
        (("^^^CHU^VN", "^^^^VN"), ""),
        (("V4^^^CHU^VN", ""), ""),
        (("|1050^104^1|", "||"), "PV1-3"),
        (("MSH|", "ZZZ|"), "MSH"),
    ],
)
async def test_an_answer_that_is_none_is_no_census(spoilt: tuple[str, str], place: str) -> None:
    hospital = Hospital(PATIENTS, spoilt=(spoilt,))
    if not place:  # read by the account's number, or under another authority: still a patient
        assert len(census_of(await asked(hospital), mapping_of(MAPPING))) == 6
        return
    with pytest.raises(Fault) as raised:
        await asked(hospital)
    assert raised.value.place.startswith(place)


async def test_pages_without_end_come_to_one() -> None:
    hospital = Hospital([PATIENTS[0].again(visit=f"W{n}") for n in range(2 * querying.PAGES_MAX + 1)])
    with pytest.raises(Fault) as raised:
        await asked(hospital)
    assert raised.value.place == "DSC-1"
    assert len(hospital.asked) == querying.PAGES_MAX


async def test_an_answer_that_is_too_long_or_never_comes_is_no_answer() -> None:
    with pytest.raises(Unanswered):
        await asked(Hospital(PATIENTS, spoilt=(("QRI|99", "QRI|" + "9" * (1 << 20)),)))
    with pytest.raises(Unanswered):
        await asked(Hospital(PATIENTS, silent=True))


async def test_the_system_hears_nobody_whom_it_does_not_know(tmp_path: Path) -> None:
    gam, mllp, stranger = bundles(tmp_path)
    with pytest.raises((Unanswered, OSError)):
        await asked(Hospital(PATIENTS), server=gam, client=stranger)
    with pytest.raises(ssl.SSLError):  # and we do not tell our mind to whom we do not trust
        await asked(Hospital(PATIENTS), server=gam, client=(mllp[0], mllp[1], stranger[0]))


SETTINGS = """finess = "540000023"
node = "127.0.0.1:5"
identity = "adapter"
source = "sih"
mapping = "m.toml"
listen = "127.0.0.1:2575"
clear_text = true
[query]
application = "GAM"
"""


def test_a_query_in_clear_text_stays_on_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "hl7.toml"
    path.write_text(f'{SETTINGS}address = "127.0.0.1:2576"\n')
    assert read_settings(path).supplier == Supplier("127.0.0.1", 2576, "GAM")
    for address in ("192.0.2.1:2576", "hospital"):
        path.write_text(f'{SETTINGS}address = "{address}"\n')
        with pytest.raises(DeclaredFault, match="query"):
            read_settings(path)
