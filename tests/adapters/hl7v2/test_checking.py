"""Messages in files: a dry run says what each would do; a replay sends them; a census is compared and put right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.root import root
from aval.adapters.clock import SystemClock
from aval.adapters.hl7v2.checking import Outcome, check, practice
from aval.adapters.hl7v2.faults import Fault
from aval.adapters.hl7v2.framing import framed
from aval.adapters.hl7v2.mapping import mapping_of
from aval.adapters.hl7v2.meaning import Place
from aval.adapters.hl7v2.meters import Meters
from aval.adapters.hl7v2.reconciling import Difference, Finding, census_of, compare, correction, said_in
from aval.adapters.hl7v2.replaying import replay
from aval.adapters.hl7v2.sending import Sender
from aval.adapters.hl7v2.server import Limits, MllpServer
from aval.adapters.hl7v2.stays import Phase
from tests.adapters.hl7v2.core import CoreNode
from tests.adapters.hl7v2.days import MAPPING
from tests.adapters.hl7v2.desks import code_of, desk_of, give, stay_of
from tests.adapters.hl7v2.messages import CANARIES, CUSTOMS, Adt, at

IN = Adt("A01", "V1", at(8), "M1", room="101", bed="1")
OTHER = Adt("A01", "V2", at(9), "M2", room="101", bed="2", gender="M")


def write(folder: Path, **messages: Adt) -> Path:
    for name, message in messages.items():
        (folder / f"{name}.hl7").write_bytes(message.frame())
    return folder


def test_without_a_mapping_all_is_unmapped(tmp_path: Path) -> None:
    gone = IN.again(event="A03", movement="M3", when=at(10), sent=at(10))
    findings = check([write(tmp_path, a=IN, b=OTHER, c=gone, d=gone)], None, practice())
    assert [one.outcome for one in findings.checked] == [
        Outcome.UNMAPPED, Outcome.UNMAPPED, Outcome.NO_BED, Outcome.ALREADY,
    ]  # fmt: skip
    assert findings.unmapped_units == {"1050": 2}


def test_with_a_mapping_it_says_which_bed(tmp_path: Path) -> None:
    ignored = OTHER.again(unit="9000")
    codes = mapping_of({**MAPPING, "ignored": ["9*"]})
    findings = check([write(tmp_path, a=IN, b=ignored)], codes, practice())
    assert [(one.outcome, one.unit, one.bed) for one in findings.checked] == [
        (Outcome.TOLD, "U1", "101-1"),
        (Outcome.IGNORED, "", ""),
    ]


def test_what_changes_nothing_is_told_apart(tmp_path: Path) -> None:
    doctor = IN.again(event="A54", movement="M5", when=at(9), sent=at(9))
    unknown = IN.again(event="A12", movement="M6", action="CANCEL", original="A02", when=at(9), sent=at(10))
    leaves = IN.again(event="A16", movement="M7", when=at(9), sent=at(9), departure=at(9, day=25))
    findings = check([write(tmp_path, a=IN, b=doctor, c=unknown, d=leaves)], mapping_of(MAPPING), practice())
    assert [one.outcome for one in findings.checked] == [
        Outcome.TOLD, Outcome.UNCHANGED, Outcome.UNHEARD_OF, Outcome.TOLD,
    ]  # fmt: skip


def test_a_cancellation_under_a_number_of_its_own_takes_back_nothing_and_is_told_apart(tmp_path: Path) -> None:
    """By such a feed beds would be told free whose patients have stayed: it is to be seen before it is connected."""
    gone = IN.again(event="A03", movement="M3", when=at(10), sent=at(10))
    back = gone.again(event="A13", movement="M4", sent=at(11))
    findings = check([write(tmp_path, a=IN, b=gone, c=back, d=gone.again(event="A13", sent=at(11)))],
                     mapping_of(MAPPING), practice())  # fmt: skip
    assert [(one.outcome, one.phase) for one in findings.checked[1:]] == [
        (Outcome.NO_BED, Phase.GONE),
        (Outcome.UNHEARD_OF, Phase.GONE),
        (Outcome.TOLD, Phase.PRESENT),
    ]


def test_a_stay_that_changes_its_number_is_one_stay(tmp_path: Path) -> None:
    after = IN.again(event="A07", visit="V2", movement="M7", when=at(9), sent=at(9), patient_class="O", absorbed="V1")
    other = OTHER.again(visit="V3")
    merged = after.again(event="A42", movement="", absorbed="V3", sent=at(10))
    findings = check([write(tmp_path, a=IN, b=other, c=after, d=merged, e=merged)], mapping_of(MAPPING), practice())
    assert [(one.outcome, one.phase) for one in findings.checked] == [
        (Outcome.TOLD, Phase.PRESENT),
        (Outcome.TOLD, Phase.PRESENT),
        (Outcome.NO_BED, Phase.OUTPATIENT),
        (Outcome.NO_BED, Phase.OUTPATIENT),
        (Outcome.ALREADY, Phase.OUTPATIENT),
    ]


def test_what_comes_late_under_a_number_that_is_no_more_is_said_of_the_other(tmp_path: Path) -> None:
    merged = IN.again(event="A42", movement="", absorbed="V7", sent=at(9))
    late = IN.again(visit="V7", event="A02", movement="M7", when=at(10), sent=at(10), room="102")
    findings = check([write(tmp_path, a=IN, b=merged, c=merged, d=late)], mapping_of(MAPPING), practice())
    assert [(one.outcome, one.bed) for one in findings.checked] == [
        (Outcome.TOLD, "101-1"), (Outcome.UNCHANGED, "101-1"), (Outcome.ALREADY, "101-1"), (Outcome.TOLD, "102-1"),
    ]  # fmt: skip


def test_with_an_interfaces_settings_it_reads_as_the_interface_does(tmp_path: Path) -> None:
    message = tmp_path / "a.hl7"
    message.write_text(IN.again(unit="").text().replace("CHU^UF^^^|", "CHU^UF^^^1050|"), newline="")
    (tmp_path / "map.toml").write_text('[[unit]]\ncodes = ["1050"]\nunit = "U1"\n')
    (tmp_path / "hl7.toml").write_text(
        'finess = "540000023"\nnode = "127.0.0.1:5"\nidentity = "a"\nsource = "sih"\nmapping = "map.toml"\n'
        'listen = "127.0.0.1:2575"\nclear_text = true\nward_fields = ["ZBE-7"]\n'
    )
    for more, outcome in (((), "refused"), (("--config", str(tmp_path / "hl7.toml")), "told")):
        shown = CliRunner().invoke(root, ["hl7", "check", str(message), "--json", "outcome", *more])
        assert shown.exit_code == 0, shown.output
        assert json.loads(shown.stdout) == [{"outcome": outcome}]
    assert not (tmp_path / "hl7.key").exists()
    shown = CliRunner().invoke(root, ["hl7", "check", str(message), "--config", str(tmp_path / "none.toml")])
    assert isinstance(shown.exception, Failure)
    assert shown.exception.code is Exit.USAGE


def test_a_mapping_that_cannot_be_used_is_said_in_french(tmp_path: Path) -> None:
    write(tmp_path, a=IN)
    (tmp_path / "map.toml").write_text('[[unit]]\ncodes = ["1050"]\nunit = "U 1"\n')
    for name, said in (
        ("map.toml", "unit U 1, unit : « U 1 » : 1 à 32 caractères parmi A-Z a-z 0-9 -"),
        ("none.toml", "absent, ou illisible"),
        ("a.hl7", "TOML mal formé, ligne 1, colonne 4"),
    ):
        shown = CliRunner().invoke(root, ["hl7", "check", str(tmp_path / "a.hl7"), "--map", str(tmp_path / name)])
        assert isinstance(shown.exception, Failure)
        assert shown.exception.code is Exit.USAGE
        why = shown.exception.why.replace("\u00a0", " ").replace("\u202f", " ")
        assert why == f"{tmp_path / name} : {said}"


def test_a_folder_is_read_with_those_below_and_says_what_holds_no_message(tmp_path: Path) -> None:
    write(tmp_path, a=IN.again(departure=at(9, day=25)))
    spoilt = (tmp_path / "a.hl7").read_bytes().replace(b"20261125100000+0100", b"00000000")
    (tmp_path / "a.hl7").write_bytes(spoilt)
    (tmp_path / "november").mkdir()
    write(tmp_path / "november", b=OTHER)
    (tmp_path / ".hidden").mkdir()
    write(tmp_path / ".hidden", h=OTHER)
    (tmp_path / "empty.hl7").write_bytes(b"")
    (tmp_path / "scan.jpg").write_bytes(bytes(range(256)) * 40)
    shown = CliRunner().invoke(root, ["hl7", "check", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    rows = [line.split("\t") for line in shown.stdout.splitlines() if "\t" in line]
    assert [row[0] for row in rows] == ["a.hl7", "empty.hl7", "b.hl7", "scan.jpg"]
    assert "PV2-9" in rows[0][2]
    assert "MSH" in rows[1][2]
    assert rows[1][2] == rows[3][2]
    assert "utf-8 2" in shown.output


@pytest.mark.parametrize("json_wanted", [False, True])
def test_the_command_checks_and_succeeds_and_names_nobody(tmp_path: Path, json_wanted: bool) -> None:
    write(tmp_path, a=IN, b=IN.again(visit="", movement=""))
    arguments = ["hl7", "check", str(tmp_path), *(["--json", "all"] if json_wanted else [])]
    shown = CliRunner().invoke(root, arguments)
    assert shown.exit_code == 0, shown.output
    assert not any(canary in shown.output for canary in CANARIES)
    if json_wanted:
        assert [one["outcome"] for one in json.loads(shown.stdout)] == ["unmapped", "refused"]
    else:
        assert "1050 (1)" in shown.output


def test_what_a_system_always_leaves_out_is_told_with_what_to_do_about_it(tmp_path: Path) -> None:
    bare = IN.again(movement="")
    write(tmp_path, a=bare, b=bare.again(visit="V2"), c=IN.again(unit="", room="", bed=""))
    shown = CliRunner().invoke(root, ["hl7", "check", str(tmp_path)])
    told = shown.output.replace("\u00a0", " ")
    assert "ZBE absent (2) :" in told
    assert "activez zbe_optional" in told
    assert "(ward_fields)" in told
    assert "visit_fields" not in told


def test_a_batch_that_was_cut_off_is_read_and_told(tmp_path: Path) -> None:
    """HL7 v2.5 §2.10.3. What came is true; what did not come should not go unnoticed."""
    (tmp_path / "b.hl7").write_text(f"FHS|^~\\&\rBHS|^~\\&\r{IN.text()}{OTHER.text()}BTS|5\rFTS|1\r", newline="")
    findings = check([tmp_path], mapping_of(MAPPING), practice())
    assert [one.outcome for one in findings.checked] == [Outcome.TOLD, Outcome.TOLD]
    assert [(file, cut.place) for file, cut in findings.cut_off] == [("b.hl7", "BTS-1")]
    shown = CliRunner().invoke(root, ["hl7", "check", str(tmp_path)])
    assert "Lot incomplet dans b.hl7 (BTS-1)" in shown.output.replace("\u00a0", " ")


def test_a_file_of_frames_is_read_frame_by_frame(tmp_path: Path) -> None:
    (tmp_path / "stream.bin").write_bytes(framed(IN.frame()) + framed(OTHER.frame()))
    findings = check([tmp_path / "stream.bin"], mapping_of(MAPPING), practice())
    assert [one.bed for one in findings.checked] == ["101-1", "101-2"]


async def test_a_replay_sends_each_message_and_counts_the_answers(tmp_path: Path) -> None:
    (tmp_path / "messages").mkdir()
    write(tmp_path / "messages", a=IN, b=OTHER, c=IN.again(visit="", movement=""))
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        server = MllpServer(desk.take, Limits(), Meters(CollectorRegistry()), None)
        port = await server.start("127.0.0.1", 0)
        try:
            codes = await replay([tmp_path / "messages"], lambda: Sender("127.0.0.1", port), 0, SystemClock())
        finally:
            await server.stop()
    assert codes == Counter({"AA": 2, "AE": 1})
    assert len(node.census()) == 2


def test_clear_text_does_not_leave_the_machine(tmp_path: Path) -> None:
    write(tmp_path, a=IN)
    shown = CliRunner().invoke(root, ["hl7", "replay", str(tmp_path), "--to", "192.0.2.1:2575"])
    assert shown.exit_code != 0


async def test_a_census_is_compared_and_put_right(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    (tmp_path / "census").mkdir()
    codes = mapping_of(MAPPING)
    third = Adt("A01", "V3", at(9), "M3", room="102", bed="1")
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [IN, OTHER])
        # In truth V1 is gone, V2 lies elsewhere, and V3 came unheard.
        write(tmp_path / "census", b=OTHER.again(room="103", bed="1"), c=third)
        hospital = census_of(said_in([tmp_path / "census"], CUSTOMS), codes)
        findings = compare(hospital, await node.stays(), "gam")
        assert {(one.kind, one.stay) for one in findings} == {
            (Difference.GONE, stay_of("V1")),
            (Difference.ELSEWHERE, stay_of("V2")),
            (Difference.MISSING, stay_of("V3")),
        }
        for number, finding in enumerate(findings):
            message = correction(finding, at(13), number)
            assert not any(canary.encode() in message for canary in CANARIES)
            assert code_of(await desk.take(message)) == "AA"
        assert node.census() == {
            stay_of("V2"): ("U1", "103-1", False),
            stay_of("V3"): ("U1", "102-1", False),
        }
        assert compare(hospital, await node.stays(), "gam") == []


async def test_of_two_corrections_within_a_second_the_later_one_holds(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    moved = Finding(Difference.ELSEWHERE, stay_of("V1"), Place("1050", "103", "1"), "U1", "103-1")
    again = replace(moved, place=Place("1050", "102", "1"), bed="102-1")
    async with desk_of(tmp_path, node) as desk:
        await give(desk, [IN])
        for number, finding in enumerate((moved, again, moved)):
            now = at(11) + timedelta(milliseconds=number)
            assert code_of(await desk.take(correction(finding, now, 0))) == "AA"
            assert node.census() == {stay_of("V1"): ("U1", finding.bed, False)}


TWO_SITES = {
    "ignored": ["9*"],
    "unit": [
        {"codes": ["1050"], "unit": "U1", "bed": "{room}-{bed}"},
        {"facility": "540001286", "codes": ["1050", "9050"], "unit": "U2", "bed": "{room}-{bed}"},
    ],
}


@pytest.mark.parametrize("field", ["PV1-3.4", "MSH-4", "ZBE-7"])
async def test_two_sites_with_the_same_codes_are_told_apart_by_the_facility(field: str, tmp_path: Path) -> None:
    """On the way of messages, in a census, and in the messages that put a difference right."""
    declared = replace(CUSTOMS, facility={"PV1-3.4": ("PV1", 3, 4), "MSH-4": ("MSH", 4, 1)}.get(field, ("ZBE", 7, 6)))
    there = OTHER.again(room="103", bed="1").text()
    old, new = {
        "PV1-3.4": ("1050^103^1|", "1050^103^1^540001286|"),
        "MSH-4": ("|GAM|CHU|", "|GAM|540001286|"),
        "ZBE-7": ("^^^^^CHU^UF", "^^^^^540001286^UF"),
    }[field]
    assert there.count(old) == 1
    there = there.replace(old, new)
    codes = mapping_of(TWO_SITES)
    node = CoreNode(at(12))
    (tmp_path / "b.hl7").write_text(there, newline="")
    async with desk_of(tmp_path, node, mapping=TWO_SITES, customs=declared) as desk:
        assert [code_of(await desk.take(one)) for one in (IN.frame(), there.encode())] == ["AA", "AA"]
        assert node.census() == {stay_of("V1"): ("U1", "101-1", False), stay_of("V2"): ("U2", "103-1", False)}
        assert code_of(await desk.take(OTHER.again(event="A03", movement="M9", sent=at(11)).frame())) == "AA"
        hospital = census_of(said_in([tmp_path / "b.hl7"], declared), codes)
        (missing,) = (one for one in compare(hospital, await node.stays(), "gam") if one.stay == stay_of("V2"))
        assert code_of(await desk.take(correction(missing, at(13), 1))) == "AA"
    assert node.census()[stay_of("V2")] == ("U2", "103-1", False)
    checked = check([tmp_path / "b.hl7"], codes, declared).checked
    assert [(one.unit, one.bed) for one in checked] == [("U2", "103-1")]


async def test_a_code_with_accents_is_put_right_as_it_is_written(tmp_path: Path) -> None:
    mapping = {"unit": [{"codes": ["PÉDIATRIE"], "unit": "U1"}]}
    finding = Finding(Difference.MISSING, stay_of("V1"), Place("PÉDIATRIE"), "U1", "")
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node, mapping=mapping) as desk:
        assert code_of(await desk.take(correction(finding, at(11), 0))) == "AA"
    assert node.census() == {stay_of("V1"): ("U1", None, False)}


def test_a_code_that_only_another_site_has_is_shown_with_its_facility(tmp_path: Path) -> None:
    text = IN.text().replace("1050^101^1|", "9060^101^1^540000486|")
    (tmp_path / "a.hl7").write_text(text, newline="")
    for codes, name in (({**TWO_SITES, "ignored": []}, "9060 @ 540000486"), (MAPPING, "9060")):
        assert check([tmp_path], mapping_of(codes), practice()).unmapped_units == {name: 1}


@pytest.mark.parametrize(
    ("begin", "end", "place"),
    [
        ("BHS|^~\\&|GAM\r", "", "BTS"),
        ("FHS|^~\\&|GAM\rBHS|^~\\&|GAM\r", "BTS|2\r", "BTS"),
        ("BHS|^~\\&|GAM\r", "BTS|3\r", "BTS-1"),
        ("BHS|^~\\&|GAM\r", "BTS\r", ""),
        ("FHS|^~\\&|GAM\rBHS|^~\\&|GAM\r", "BTS|2\rFTS|1\r", ""),
    ],
)
def test_a_census_that_was_cut_off_is_none(tmp_path: Path, begin: str, end: str, place: str) -> None:
    """HL7 v2.5 §2.10.3: a batch says how many messages it holds. Who is missing in a census would be told as gone."""
    (tmp_path / "census.hl7").write_text(f"{begin}{IN.text()}{OTHER.text()}{end}", newline="")
    if not place:
        assert len(list(said_in([tmp_path], CUSTOMS))) == 2
        return
    with pytest.raises(Fault) as raised:
        list(said_in([tmp_path], CUSTOMS))
    assert raised.value.place == place


REFUSED_SAMPLES = {
    "ans_consentement_A01_utf8.er7": "PV1-3",
    "ans_sgl_A01_admission.er7": "PV1-3",
    "au_python-hl7_FHS-BHS_batch_A04.hl7": "PV1-19",
    "derived_A02_missing-PV1-3.hl7": "PV1-3",
    "derived_truncated_A01.hl7": "ZBE",
    "vendorfr_easily_A02_unit-room-bed_prior_no-ZBE.hl7": "ZBE",
    "vendorfr_easily_A08_unit-room-bed_no-ZBE.hl7": "PV1-19",
}
"""Each lacks what the census needs: a unit, a number of the visit (in these two files it stands one field late), the
movement segment that its own profile requires."""


def test_the_published_samples_are_understood(shared_dir: Path, figure: Callable[[str], None]) -> None:
    samples = sorted(path for path in (shared_dir / "samples" / "hl7v2").iterdir() if path.suffix != ".md")
    assert len(samples) > 100
    findings = check(samples, None, practice())
    assert {path.name for path in samples} == {one.file for one in findings.checked}
    assert {one.file: one.fault.place for one in findings.checked if one.fault} == REFUSED_SAMPLES
    last = {one.file: (one.phase.value, one.place.unit if one.place else "") for one in findings.checked}
    assert last["pamfr_v4159668_14_A13_CANCEL_A03.hl7"] == ("present", "1050")
    assert last["pamfr_v4159647_04_A12_CANCEL_A02.hl7"] == ("present", "1050")
    assert last["pamfr_v4159647_05_A11_CANCEL_A01.hl7"] == ("expected", "1050")
    assert last["pamfr_v4159677_06_Z99_UPDATE_A03.hl7"] == ("gone", "3000")
    shown = CliRunner().invoke(root, ["hl7", "check", *map(str, samples)])
    assert shown.exit_code == 0
    told = ", ".join(f"{name} {count}" for name, count in sorted(findings.outcomes.items()))
    figure(f"HL7 samples: {len(samples)} files, {len(findings.checked)} messages: {told}")
