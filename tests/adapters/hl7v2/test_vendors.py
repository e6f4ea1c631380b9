"""What vendors and countries write otherwise than our samples, and what it does to the beds of a real node.

Each way stands with the section of the standard that allows it, or the accident that makes it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from aval.adapters.hl7v2.faults import Fault
from aval.adapters.hl7v2.meaning import understand
from aval.adapters.hl7v2.reading import parse
from tests.adapters.hl7v2.core import CoreNode
from tests.adapters.hl7v2.desks import code_of, desk_of, give, stay_of
from tests.adapters.hl7v2.messages import CUSTOMS, Adt, at

IN = Adt("A01", "V1", at(8), "M1", room="101", bed="1")
OUT = IN.again(event="A04", patient_class="O", room="", bed="")
MOVE = IN.again(event="A02", movement="M2", when=at(9), sent=at(9), unit="1120", room="102", bed="2")
GONE = IN.again(event="A03", movement="M3", when=at(10), sent=at(10))
PLAN = IN.again(event="A05", visit="P1", movement="M0", when=at(7), sent=at(7), patient_class="P", room="", bed="")

HERE = ("U1", "101-1", False)
THERE = ("U2", "102-2", False)
BESIDE = ("U1", "102-2", False)
NO_BED = ("U1", None, False)
NOBODY = None

NO_ZBE = {"movement": "", "version": "2.3.1"}

IN_PV1_44 = "V1^^^CHU^VN" + "|" * 26
"""From PV1-19 to the empty PV1-44 and PV1-45."""


def written(message: Adt, *changes: tuple[str, str]) -> bytes:
    """A message with some of its text changed."""
    text = message.text()
    for old, new in changes:
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    return text.encode()


def only_a_responsibility(nature: str, place: str) -> list[bytes]:
    """A02 of a nature that is no accommodation (PAM.FR §6.13.9), in which PV1-3 may be empty (§6.10.2)."""
    return [written(IN), written(MOVE.again(nature=nature), ("|1120^102^2|", f"|{place}|"))]


def discharge_of_the_day(*changes: tuple[str, str], **more: str) -> list[bytes]:
    """Admitted and discharged on one day; of the discharge the movement's time is the day alone."""
    return [written(IN.again(**more)), written(GONE.again(**more), *changes)]


STORIES: dict[str, tuple[list[bytes], object]] = {
    "a care unit changes, no place is told": (only_a_responsibility("S", ""), HERE),
    "a medical unit changes, the place is of empty components": (only_a_responsibility("M", "^^^"), HERE),
    "a status changes, the place is null": (only_a_responsibility("D", '""'), HERE),
    "the bed is deleted, the unit stays (HL7 §2.5.3.1)": (
        [written(IN), written(MOVE, ("1120^102^2", '1050^""^""'))], NO_BED,
    ),
    "the facility is repeated with the unit, and the bed is not": (
        [written(IN), written(IN.again(event="Z99", original="A01", sent=at(9)), ("1050^101^1", "1050^^^CHU"))], HERE,
    ),
    "the same unit is told of another site, and no bed": (
        [written(IN, ("1050^101^1", "1050^101^1^A")), written(MOVE, ("1120^102^2", "1050^^^B"))], NO_BED,
    ),
    "two movements whose identifier is null are two": (
        [written(IN.again(movement='""')), written(MOVE.again(movement='""')),
         written(MOVE.again(movement='""', event="A12", sent=at(10)))], HERE,
    ),
    "an identifier is told by its namespace, then by its OID (HL7 §2.A.28)": (
        [written(IN), written(IN.again(event="A11", sent=at(9)), ("M1^GAM^1.2.250.1.99", "M1^^1.2.250.1.99"))], NOBODY,
    ),
    "two identifiers of one movement, in another order": (
        [written(IN, ("M1^GAM^1.2.250.1.99^ISO", "M1^GAM~X1^LITS")),
         written(IN.again(event="A11", sent=at(9)), ("M1^GAM^1.2.250.1.99^ISO", "X1^LITS~M1^GAM"))], NOBODY,
    ),
    "the admission is cancelled before the move that followed it": (
        [written(IN), written(MOVE), written(IN.again(event="A11", sent=at(11)))], NOBODY,
    ),
    "the same, of a feed without ZBE": (
        [written(IN.again(**NO_ZBE)), written(MOVE.again(**NO_ZBE)),
         written(IN.again(event="A11", sent=at(11), when=at(11), **NO_ZBE))], NOBODY,
    ),
    "admitted anew after a cancelled admission, with the move of before": (
        [written(IN), written(MOVE), written(IN.again(event="A11", sent=at(11))),
         written(IN.again(movement="M7", sent=at(11)))], THERE,
    ),
    "a discharge is cancelled, into another bed (HL7 §3.3.13)": (
        [written(IN), written(GONE), written(GONE.again(event="A13", sent=at(11), room="102", bed="2"))], BESIDE,
    ),
    "the same, of a feed without ZBE ": (
        [written(IN.again(**NO_ZBE)), written(GONE.again(**NO_ZBE)),
         written(GONE.again(event="A13", sent=at(11), when=at(11), room="102", bed="2", **NO_ZBE))], BESIDE,
    ),
    "a cancelled discharge repeats the bed, which is corrected afterwards": (
        [written(IN), written(GONE), written(GONE.again(event="A13", sent=at(11))),
         written(IN.again(event="Z99", original="A01", sent=at(12), room="102", bed="2"))], BESIDE,
    ),
    "a class of the site's own: under observation, in a bed (HL7 table 0004 is the user's)": (
        [written(IN.again(patient_class="OBS", **NO_ZBE))], HERE,
    ),
    "a class in small letters": ([written(IN.again(patient_class="o"))], NOBODY),
    "an outpatient whose transfer says: inpatient": ([written(OUT), written(MOVE)], THERE),
    "an outpatient whose transfer says nothing of the class": (
        [written(OUT), written(MOVE.again(patient_class=""))], NOBODY,
    ),
    "a patient of the emergencies goes to another box": (
        [written(OUT.again(patient_class="E")), written(MOVE.again(patient_class="E"))], NOBODY,
    ),
    "the hour of a departure told by its day is that of the message (PV1-45, ZBE-2)": (
        discharge_of_the_day(("|20261123110000+0100||INSERT", "|20261123||INSERT")), NOBODY,
    ),
    "a plan that cannot be read does not keep an admission out": (
        [written(IN.again(departure=at(15, day=25)), ("20261125160000+0100", "00000000"))], HERE,
    ),
    "an inpatient becomes an outpatient under another number (HL7 §3.3.7: MRG-5)": (
        [written(IN), written(IN.again(event="A07", visit="V2", movement="M7", sent=at(9), when=at(9),
                                       patient_class="O", absorbed="V1"))], NOBODY,
    ),
    "an outpatient becomes an inpatient under another number (HL7 §3.3.6: MRG-5)": (
        [written(OUT.again(visit="V7")), written(IN.again(event="A06", movement="M7", sent=at(9), absorbed="V7"))],
        HERE,
    ),
    "the event of a departure says CANCEL, names no event in ZBE-6, and another bed": (
        [written(IN), written(GONE), written(GONE.again(action="CANCEL", sent=at(11), room="102", bed="2"))], BESIDE,
    ),
    "the event of a transfer that nobody knows says CANCEL, of one whose admission was never told": (
        [written(MOVE), written(MOVE.again(action="CANCEL", movement="M8", sent=at(11)))], THERE,
    ),
    "a visit is deleted (HL7 §3.3.23)": (
        [written(IN), written(MOVE), written(IN.again(event="A23", movement="", version="2.5", sent=at(11)))], NOBODY,
    ),
    "the event stands in small letters, in MSH-9 and ZBE-6": (
        [written(IN, ("ADT^A01^ADT_A01", "adt^a01^adt_a01")),
         written(MOVE, ("ADT^A02^ADT_A02", "adt^a02^adt_a02")),
         written(MOVE.again(event="Z99", original="a02", sent=at(10), unit="1050"), ("ADT^Z99^", "adt^z99^"))], BESIDE,
    ),
    "what is done, and with what, is null (ZBE-4, ZBE-6)": (
        [written(IN, ("||INSERT|N||", '||""|N|""|')), written(MOVE, ("||INSERT|N||", '||""|N|""|'))], THERE,
    ),
    "the event stands alone in MSH-9": (
        [written(IN, ("ADT^A01^ADT_A01", "A01")), written(MOVE, ("ADT^A02^ADT_A02", "ADT"), ("EVN||", "EVN|A02|"))],
        THERE,
    ),
    "a structure that is another event's": ([written(IN, ("ADT_A01", "ADT_A05"))], HERE),
    "codes are escaped in hexadecimal (HL7 §2.7.6), and hold what no code holds": (
        [written(IN, ("|1050^101^1|", "|10\\X35\\\\X30\\^1\0\x1b01^1\\X0D0A\\|"))], HERE,
    ),
    "the admission's own time is filled with zeros (PV1-44)": (
        [written(IN.again(**NO_ZBE), (IN_PV1_44, IN_PV1_44[:-1] + "000000000000|"))], HERE,
    ),
    "the departure's own time is none (PV1-45)": (
        [written(IN.again(**NO_ZBE)), written(GONE.again(**NO_ZBE), (IN_PV1_44, IN_PV1_44 + "demain"))], NOBODY,
    ),
    "what is cancelled or corrected is told as MSH-9 tells it (ZBE-6)": (
        [written(IN), written(IN.again(event="Z99", original="ADT^A01", sent=at(9), room="102", bed="2"))], BESIDE,
    ),
    "the nature stands in small letters (ZBE-9)": ([written(IN), written(MOVE.again(nature="hms"))], THERE),
    "the state of processing stands in small letters (MSH-11)": ([written(IN, ("|P|2.5", "|p|2.5"))], HERE),
    "times that nobody has written are zeros (ZBE-2, EVN-6)": (
        [written(IN, ("|20261123090000+0100||INSERT", "|00000000000000||INSERT"),
                 ("|||20261123090000+0100\rPID", "|||0\rPID"))], HERE,
    ),
    "times stand as in ISO 8601": (
        [written(IN), written(MOVE, ("|20261123100000+0100||INSERT", "|2026-11-23T10:00:00.123+01:00||INSERT")),
         written(GONE.again(event="A02", unit="1050", when=at(9, 30)),
                 ("|20261123103000+0100||INSERT", "|2026-11-23 10:30||INSERT"))], ("U1", "101-1", False),
    ),
    "the day ends at 24 h": (
        [written(IN, ("|20261123090000+0100||INSERT", "|20261122240000+0100||INSERT"))], HERE,
    ),
    "a visit is deleted, and told anew": (
        [written(IN), written(IN.again(event="A23", movement="", version="2.5", sent=at(9))),
         written(MOVE.again(event="A01", sent=at(10)))], THERE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
async def test_it_is_read_as_it_is_meant(story: str, tmp_path: Path) -> None:
    messages, where = STORIES[story]
    node = CoreNode(at(12))
    async with desk_of(tmp_path, node) as desk:
        assert [code_of(await desk.take(message)) for message in messages] == ["AA"] * len(messages)
    assert list(node.census().values()) == ([where] if where else [])
    assert not [fate for fate in node.fates if fate.startswith(("PARKED", "REFUSED"))], node.fates


async def test_who_was_expected_under_a_preadmissions_number_is_not_expected_any_more(tmp_path: Path) -> None:
    """HL7 §3.4.3.5: PV1-5 of the admission is the number of the preadmission."""
    node = CoreNode(at(12))
    other = IN.again(visit="V2", movement="M9", room="101", bed="2")
    async with desk_of(tmp_path, node) as desk:
        assert await give(desk, [PLAN]) == ["AA"]
        assert node.expected() == {stay_of("P1"): "U1"}
        assert code_of(await desk.take(written(IN, ("|R||", "|R|P1^^^CHU|")))) == "AA"
        assert not node.expected()
        # Another sender fills the field, and means nothing: who is here under a number is not taken over by it.
        assert code_of(await desk.take(written(other, ("|R||", "|R|V1^^^CHU|")))) == "AA"
    assert node.census() == {stay_of("V1"): HERE, stay_of("V2"): ("U1", "101-2", False)}


async def test_a_preadmission_may_have_its_own_number_alone(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    plan = written(PLAN, ("P1^^^CHU^VN", ""), ("|R||", "|R|P1^^^CHU|"))
    async with desk_of(tmp_path, node) as desk:
        assert code_of(await desk.take(plan)) == "AA"
        assert node.expected() == {stay_of("P1"): "U1"}


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-23T09:15:00", "2026-11-23 09:15", "2026-11-23T08:15:00Z", "2026-11-23T09:15:00.000+01:00",
        "20261123T091500", "20261123 0915", "20261123081500Z", "20261123091500+01:00", "20261123091500+01",
        "20261123091500000", "20261123091500,0000001+0100", "202611230915",
    ],
)  # fmt: skip
def test_a_time_whose_meaning_is_one_is_read_however_it_is_written(stamp: str) -> None:
    message = parse(written(IN, ("|20261123090000+0100||INSERT", f"|{stamp}||INSERT")).decode())
    assert understand(message, CUSTOMS).said[0].time == at(8, 15)


@pytest.mark.parametrize("stamp", ["20261123091500250", "20261123091500.25", "2026-11-23T09:15:00,250+01:00"])
def test_a_part_of_a_second_counts(stamp: str) -> None:
    """Of two words within a second the later one is so."""
    message = parse(written(IN, ("|20261123090000+0100||INSERT", f"|{stamp}||INSERT")).decode())
    assert understand(message, CUSTOMS).said[0].time == at(8, 15) + timedelta(milliseconds=250)


@pytest.mark.parametrize("stamp", ["23/11/2026 09:15", "2026112309150", "20261123091560", "2026-11-23T25:00", "hier"])
def test_a_time_that_may_mean_two_things_or_none_is_named(stamp: str) -> None:
    message = parse(written(IN, ("|20261123090000+0100||INSERT", f"|{stamp}||INSERT")).decode())
    with pytest.raises(Fault, match="ZBE-2"):
        understand(message, CUSTOMS)


def test_who_has_only_zeros_for_a_number_has_none() -> None:
    """All of them would be one stay."""
    other = parse(written(IN, ("V1^^^CHU^VN", "0000000")).decode())
    assert (
        understand(other, CUSTOMS).said[0].visit
        == understand(parse(written(IN, ("V1^^^CHU^VN", "")).decode()), CUSTOMS).said[0].visit
    ), "PID-18, the number of the account"
    with pytest.raises(Fault, match="PV1-19"):
        understand(parse(written(IN, ("V1^^^CHU^VN", "0"), ("NDAV1^^^CHU^AN", "")).decode()), CUSTOMS)


def test_a_correction_of_a_correction_is_not_acknowledged_as_if_it_had_no_effect() -> None:
    message = parse(written(IN.again(event="Z99", original="Z99", room="102")).decode())
    with pytest.raises(Fault, match="ZBE-6"):
        understand(message, CUSTOMS)


async def test_visits_of_two_authorities_known_by_their_oids_are_two(tmp_path: Path) -> None:
    node = CoreNode(at(12))
    first = written(IN, ("V1^^^CHU^VN", "V1^^^&1.2.250.1&ISO^VN"))
    second = written(IN.again(movement="M9", bed="2"), ("V1^^^CHU^VN", "V1^^^&1.2.250.2&ISO^VN"))
    async with desk_of(tmp_path, node) as desk:
        assert [code_of(await desk.take(one)) for one in (first, second)] == ["AA", "AA"]
    assert len(node.census()) == 2
