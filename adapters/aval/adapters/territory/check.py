"""What may be wrong with a territory file, all of it at once.

Each check is a generator of problems over one part of the file; `check` runs them all. What would make a node or the
hub wrong is an error; what only looks odd, or changes when an establishment is taken out, is a warning.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from aval.adapters.territory.model import (
    FORMAT,
    Assumptions,
    Capacities,
    EntityOrigin,
    Establishment,
    House,
    Practice,
    TerritoryFile,
    Unit,
    activity_of,
)
from aval.adapters.territory.plan import ANSWERING, GENDERS, open_hours, practice_lines
from aval.adapters.territory.problems import Lines, Problem, error, warning
from aval.kernel.disciplines import DISCIPLINES, Discipline, discipline_of
from aval.kernel.finess import LENGTH, FinessEJ, FinessET
from aval.kernel.identity import Territory
from aval.kernel.need import Feature
from aval.kernel.reasons import Refusal
from aval.kernel.statuses import Audience, RoomRule

ESTABLISHMENTS_MAX = 2_000
"""A région has fewer: more is a file of another kind."""

INSTALLED_MAX = 5_000
"""No site of France has as many beds (the largest has some 1,900): a slip of the keyboard."""

UNIT_CAPACITY_MAX = 400
"""No care unit is that large (the largest EHPAD is one whole house): a slip of the keyboard."""

AGE_MAX = 130
"""In years; as a need's (kernel)."""

_CODE = re.compile(r"[A-Za-z0-9-]{1,32}", re.ASCII)
_PHONE = re.compile(r"\+?[0-9][0-9 .]{7,18}", re.ASCII)
_DAY_CARE = re.compile(r"accueil de jour|h[ôo]pital de jour|\bHD?J\b|ambulatoire", re.IGNORECASE)
_SHARES = ("single_share", "closed_share", "female_share", "announced_share", "expected_share", "leave_share")
_POSITIVE = ("stay_days", "stay_spread", "announced_hours", "cleaning_minutes")

# Latitude and longitude bounds of the Republic, generous by some 20 km: Metropolitan France with Corsica, the Antilles,
# Guyane, La Réunion with Mayotte, Saint-Pierre-et-Miquelon, Nouvelle-Calédonie with Wallis-et-Futuna, Polynésie.
_FRANCE = (
    (41.2, 51.3, -5.4, 9.8),
    (14.2, 18.3, -63.4, -60.6),
    (2.0, 6.0, -54.8, -51.4),
    (-21.6, -12.4, 44.8, 56.0),
    (46.6, 47.3, -56.6, -56.0),
    (-23.0, -13.0, 163.0, 184.0),
    (-28.0, -7.5, -155.0, -134.0),
)


def check(file: TerritoryFile, lines: Lines | None = None) -> list[Problem]:
    """All that is wrong with a file, in the order of its lines; `lines` says where things stand in its text."""
    lines = lines or Lines()
    problems = [*_heading(file), *_totals(file, lines), *_practice_tables(file.assumptions, lines)]
    for index, establishment in enumerate(file.establishments):
        where = f"{establishment.finess} {establishment.name}"
        problems += _establishment(file, establishment, lines.establishment(index), where)
    problems += _twins(file, lines)
    members = {establishment.finess: establishment for establishment in file.establishments}
    for finess, house in file.assumptions.houses.items():
        member = members.get(finess)
        if member is None:
            what = "des unités sont supposées d’un établissement absent du fichier"
            problems.append(warning(lines.house(finess), finess, what, "Retirez-les, ou remettez l’établissement."))
        problems += _house(file.assumptions, finess, house, member, lines)
    problems += _claimed_twice(file, lines)
    return sorted(problems)


# --------------------------------------------------------------------------------------------------- the whole file


def _heading(file: TerritoryFile) -> Iterator[Problem]:
    where = "l’en-tête du fichier"
    if file.format != FORMAT:
        yield error(0, where, f"format {file.format}, inconnu de cette version", f"Écrivez `format = {FORMAT}`.")
    try:
        Territory(file.territory)
    except Refusal:
        what = f"« {file.territory} » n’est pas un nom de territoire"
        yield error(0, where, what, "C’est un nom DNS en minuscules, par exemple ge-10.aval.internal.")
    if not file.establishments:
        yield error(0, where, "aucun établissement", "Ajoutez au moins un tableau [[establishments]].")
    if len(file.establishments) > ESTABLISHMENTS_MAX:
        yield error(0, where, f"plus de {ESTABLISHMENTS_MAX} établissements", "Découpez-le en territoires.")
    if file.assumptions.road_factor < 1 or file.assumptions.speed_kmh <= 0:
        what = "une route est au moins aussi longue que le vol d’oiseau, et une vitesse est positive"
        yield error(0, "[assumptions]", what, "Corrigez `road_factor` (1,3) et `speed_kmh`.")
    try:
        ZoneInfo(file.assumptions.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        what = f"le fuseau « {file.assumptions.time_zone} » n’existe pas"
        yield error(0, "[assumptions]", what, "C’est un nom IANA, par exemple Europe/Paris.")
    for number in file.legal_entities:
        if fault := _finess_fault(number, FinessEJ):
            yield error(0, f"[legal_entities] {number}", *fault)
    if file.assumptions.houses:
        if file.hours is None:
            yield error(0, where, "des unités sont supposées sans la forme d’une journée", "Ajoutez [hours].")
        elif any(len(c) != 24 or min(c) < 0 or sum(c) == 0 for c in (file.hours.admissions, file.hours.discharges)):
            yield error(0, "[hours]", "il faut 24 comptes, de 0 h à 23 h, non tous nuls", "Complétez-les.")


def _totals(file: TerritoryFile, lines: Lines) -> Iterator[Problem]:
    """Stated sums against the establishments. A warning: an establishment may be taken out of the file."""
    line = lines.tables.get("totals", 0)
    for group, stated in file.totals.items():
        if group not in ("all", Audience.GHT, Audience.PARTNER):
            yield error(line, "[totals]", f"« {group} » n’est pas un groupe", "Écrivez all, ght ou partner.")
            continue
        members = [e for e in file.establishments if group in ("all", e.membership)]
        for name in Capacities.__struct_fields__:
            found = sum(1 if name == "establishments" else getattr(e.installed or Capacities(), name) for e in members)
            said = getattr(stated, name)
            if said != found:
                what = f"{name} de « {group} » : {said} annoncés, {found} trouvés"
                yield warning(line, "[totals]", what, "Corrigez l’un ou l’autre.")


def _practice_tables(assumptions: Assumptions, lines: Lines) -> Iterator[Problem]:
    """Each table by itself, over the default: else one slip would be told once for each unit."""
    if not assumptions.houses and not assumptions.practice:
        return
    known = {"default", *Discipline, *(activity_of(discipline) for discipline in Discipline)}
    for name, table in {"default": {}, **assumptions.practice}.items():
        line, where = lines.tables.get(f"assumptions.practice.{name}", 0), f"[assumptions.practice.{name}]"
        if name not in known:
            what = "ni une discipline, ni une activité, ni `default`"
            yield error(line, where, what, f"Écrivez l’un de : {', '.join(sorted(known))}.")
        yield from _practice(assumptions.practice.get("default", {}) | table, line, where)


def _twins(file: TerritoryFile, lines: Lines) -> Iterator[Problem]:
    rows = list(enumerate(file.establishments))
    for index, establishment in _repeated(rows, lambda row: row[1].finess):
        what = "ce FINESS est déjà celui d’un autre établissement du fichier"
        where = f"{establishment.finess} {establishment.name}"
        yield error(lines.establishment(index), where, what, "Gardez une seule des deux lignes.")
    for index, establishment in _repeated(rows, lambda row: row[1].name.casefold()):
        where = f"{establishment.finess} {establishment.name}"
        what = "ce nom est déjà celui d’un autre établissement"
        yield warning(lines.establishment(index), where, what, "Ajoutez la commune : on lit des noms, non des numéros.")


def _claimed_twice(file: TerritoryFile, lines: Lines) -> Iterator[Problem]:
    """Unit codes are numbered by legal entity: two of its sites with one code claim one unit."""
    entities = {e.finess: e.legal_entity or e.finess for e in file.establishments}
    owners: dict[tuple[str, str], str] = {}
    for finess, house in file.assumptions.houses.items():
        for index, unit in enumerate(house.units):
            owner = owners.setdefault((entities.get(finess, finess), unit.code), finess)
            if owner != finess:
                what = f"l’unité {unit.code} est déjà celle de {owner}, de la même entité juridique"
                where = f"{finess}, unité {unit.code}"
                yield error(
                    lines.unit(finess, index), where, what, "Une unité n’a qu’un établissement : changez de code."
                )


# ----------------------------------------------------------------------------------------------- one establishment


def _establishment(file: TerritoryFile, here: Establishment, line: int, where: str) -> Iterator[Problem]:
    if fault := _finess_fault(here.finess, FinessET):
        yield error(line, where, *fault)
    yield from _legal_entity(file, here, line, where)
    if not here.name.strip():
        yield error(line, where, "sans nom", "Écrivez le nom que les gens lisent.")
    if here.membership is Audience.EVERYONE:
        yield error(line, where, "un membre est du GHT ou partenaire", "Écrivez `ght` ou `partner`.")
    if not _in_france(here.latitude, here.longitude):
        swapped = _in_france(here.longitude, here.latitude)
        what = f"coordonnées {here.latitude:g}, {here.longitude:g} hors de France"
        remedy = "Latitude et longitude sont échangées : remettez-les." if swapped else "Relevez-les à nouveau."
        yield error(line, where, what, remedy)
    house = file.assumptions.houses.get(here.finess)
    phones = [phone for phone in (here.phone, house.phone if house else "") if phone]
    if file.assumptions.houses and not phones:
        yield warning(line, where, "sans téléphone", "Ajoutez `phone` : quand rien ne répond, on appelle.")
    for phone in phones:
        if not _PHONE.fullmatch(phone):
            yield error(line, where, f"« {phone} » n’est pas un téléphone", "Écrivez des chiffres, par exemple +33 3 …")
    yield from _installed(file, here, line, where)
    for activity in here.occupancy.__struct_fields__:
        rate, stay = here.occupancy.of(activity), here.stay_days.of(activity)
        if rate is not None and rate < 0:
            yield error(line, where, f"occupation {activity} négative", "Elle va de 0 à 1.")
        if rate is not None and rate > 1:
            what = f"occupation {activity} de {rate * 100:.0f} %, au-delà de 100 %"
            yield warning(line, where, what, "Si c’est bien la source, elle sera prise pour 100 %.")
        if stay is not None and stay <= 0:
            yield error(line, where, f"séjour moyen {activity} de {stay:g} jour", "Il est positif.")


def _legal_entity(file: TerritoryFile, here: Establishment, line: int, where: str) -> Iterator[Problem]:
    if not here.legal_entity:
        if here.legal_entity_from is not EntityOrigin.ABSENT:
            yield warning(line, where, "sans entité juridique", 'Ajoutez-la, ou `legal_entity_from = "absent"`.')
        return
    if fault := _finess_fault(here.legal_entity, FinessEJ):
        yield error(line, f"{where}, entité juridique {here.legal_entity}", *fault)
    elif here.legal_entity not in file.legal_entities:
        what = f"l’entité juridique {here.legal_entity} n’est pas dans [legal_entities]"
        yield error(line, where, what, "Ajoutez-la avec son nom, ou corrigez le numéro.")
    if here.legal_entity == here.finess:
        what = "le même numéro pour l’établissement et pour son entité juridique"
        yield warning(
            line, where, what, "L’un des deux est faux : FINESS géographique (ET) et juridique (EJ) diffèrent."
        )


def _installed(file: TerritoryFile, here: Establishment, line: int, where: str) -> Iterator[Problem]:
    installed = here.installed or Capacities()
    counts = {name: getattr(installed, name) for name in Capacities.__struct_fields__}
    for name, count in counts.items():
        if not 0 <= count <= INSTALLED_MAX:
            yield error(line, where, f"{name} = {count}", f"Un nombre de lits va de 0 à {INSTALLED_MAX}.")
    if any(e.installed is not None for e in file.establishments) and installed.total == 0 and not here.no_beds:
        yield warning(line, where, "aucun lit installé", 'Si c’est voulu, dites pourquoi : `no_beds = "…"`.')
    if installed.total and here.no_beds:
        yield error(line, where, "dit sans lit, mais en a", "Retirez `no_beds` ou `installed`.")
    parts = installed.medicine + installed.surgery + installed.obstetrics
    if parts and parts != installed.mco:
        what = f"médecine, chirurgie et obstétrique font {parts}, mco dit {installed.mco}"
        yield error(line, where, what, "`mco` est leur somme.")
    if installed.critical_care > installed.mco:
        what = f"{installed.critical_care} lits critiques pour {installed.mco} lits de MCO"
        yield error(line, where, what, "Les soins critiques sont une partie du MCO.")


def _in_france(latitude: float, longitude: float) -> bool:
    return any(s <= latitude <= n and w <= longitude <= e for s, n, w, e in _FRANCE)


def _finess_fault(text: str, kind: type[FinessET] | type[FinessEJ]) -> tuple[str, str] | None:
    """What is wrong with a FINESS and what to do, or None."""
    try:
        kind.parse(text)
    except Refusal:
        pass
    else:
        return None
    if len(text) == LENGTH - 1 and not _finess_fault("0" + text, kind):
        return f"« {text} » a perdu son zéro initial", f"Écrivez « 0{text} » : un FINESS est un texte."
    if len(text) != LENGTH:
        return f"« {text} » a {len(text)} caractères au lieu de {LENGTH}", "Recopiez-le du répertoire FINESS."
    if text != text.strip().upper():
        return f"« {text} » a une minuscule ou un espace", "La Corse s’écrit 2A ou 2B, en capitales."
    return f"« {text} » n’est pas un FINESS : sa clé est fausse", "Un chiffre est faux, ou deux sont échangés."


# ------------------------------------------------------------------------------------------------ one house's units


def _house(
    assumptions: Assumptions, finess: str, house: House, member: Establishment | None, lines: Lines
) -> Iterator[Problem]:
    rows = list(enumerate(house.units))
    for index, unit in _repeated(rows, lambda row: row[1].code):
        what = "ce code est déjà celui d’une autre unité de l’établissement"
        yield error(lines.unit(finess, index), f"{finess}, unité {unit.code}", what, "Donnez-lui le sien.")
    for index, unit in _repeated(rows, lambda row: row[1].name.casefold()):
        what = f"« {unit.name} » est déjà le nom d’une autre unité"
        yield warning(lines.unit(finess, index), f"{finess}, unité {unit.code}", what, "Distinguez-les (A, B…).")
    known = True
    for index, unit in rows:
        line, where = lines.unit(finess, index), f"{finess}, unité {unit.code}"
        try:
            discipline = discipline_of(unit.discipline)
        except ValueError as fault:
            near = str(fault).partition("known: ")[2]
            known = False
            yield error(line, where, f"discipline « {unit.discipline} » inconnue", f"Écrivez l’une de : {near}.")
            continue
        yield from _unit(assumptions, unit, discipline, line, where)
    if member is not None and member.installed is not None and house.units and known:
        yield from _added_up(member.installed, house, lines.house(finess), f"{finess} {member.name}")


def _unit(assumptions: Assumptions, unit: Unit, discipline: Discipline, line: int, where: str) -> Iterator[Problem]:
    if not _CODE.fullmatch(unit.code):
        yield error(
            line, where, f"« {unit.code} » n’est pas un code", "Lettres sans accent, chiffres et -, au plus 32."
        )
    if (unit.beds is None) == (unit.places is None):
        yield error(line, where, "il faut des lits ou des places, l’un ou l’autre", "Écrivez `beds` ou `places`.")
    if unit.beds is not None and not DISCIPLINES[discipline].is_bed:
        yield error(line, where, "un accueil de jour n’est jamais un lit", "Écrivez `places` au lieu de `beds`.")
    if unit.beds is not None and discipline is Discipline.HAD:
        yield error(line, where, "l’HAD a des places, au domicile", "Écrivez `places` au lieu de `beds`.")
    if DISCIPLINES[discipline].is_bed and _DAY_CARE.search(unit.name):
        what = f"« {unit.name} » semble être de jour, mais compte pour des lits"
        yield warning(line, where, what, "Écrivez `accueil-de-jour`, ou changez le nom.")
    if not 0 <= unit.capacity <= UNIT_CAPACITY_MAX or (unit.beds or 0) < 0:
        yield error(line, where, f"capacité {unit.capacity}", f"Elle va de 1 à {UNIT_CAPACITY_MAX}.")
    elif unit.capacity == 0:
        yield warning(line, where, "aucun lit ni place", "Retirez l’unité, ou dites sa capacité.")
    yield from _rooms(unit, line, where)
    if unit.own:
        yield from _practice(practice_lines(assumptions, discipline, unit.own), line, where)


def _rooms(unit: Unit, line: int, where: str) -> Iterator[Problem]:
    if not unit.rooms:
        return
    for room in _repeated(list(unit.rooms), lambda room: room.code):
        yield error(line, where, f"la chambre {room.code} est écrite deux fois", "Réunissez ses lits.")
    beds = [bed for room in unit.rooms for bed in room.beds]
    for bed in _repeated(beds, lambda bed: bed):
        yield error(line, where, f"le lit {bed} est écrit deux fois", "Un lit n’a qu’une chambre.")
    for code in (*(room.code for room in unit.rooms), *beds):
        if not _CODE.fullmatch(code):
            yield error(line, where, f"« {code} » n’est pas un code", "Lettres sans accent, chiffres et -, au plus 32.")
    for room in unit.rooms:
        if room.rule is RoomRule.SINGLE and len(room.beds) != 1:
            what = f"la chambre {room.code}, individuelle, a {len(room.beds)} lits"
            yield error(line, where, what, "Elle en a un ; sinon, sa règle est one_gender ou mixed.")
    if unit.beds != len(beds):
        yield error(line, where, f"{unit.beds} lits annoncés, {len(beds)} dans les chambres", "Accordez-les.")


def _practice(raw: dict[str, object], line: int, where: str) -> Iterator[Problem]:
    try:
        practice = msgspec.convert(raw, Practice)
    except msgspec.ValidationError as fault:
        yield error(line, where, f"une ligne ne convient pas ({fault})", "Voyez les commentaires de [assumptions].")
        return
    yield from _practice_numbers(practice, line, where)
    if practice.shared_rooms is RoomRule.SINGLE:
        yield error(line, where, "une chambre partagée n’est pas individuelle", "Écrivez one_gender ou mixed.")
    if practice.gender not in GENDERS:
        yield error(line, where, f"genre « {practice.gender} »", f"Écrivez l’un de : {', '.join(GENDERS)}.")
    if practice.answering not in ANSWERING:
        yield error(line, where, f"réponse « {practice.answering} »", f"Écrivez l’un de : {', '.join(ANSWERING)}.")
    for hours in filter(None, (practice.answer_hours, practice.admission_hours)):
        try:
            open_hours(hours)
        except ValueError:
            yield error(line, where, f"heures « {hours} »", "Écrivez par exemple « mon-fri 08:30-18:00 ».")


def _practice_numbers(practice: Practice, line: int, where: str) -> Iterator[Problem]:
    for name in _SHARES:
        if not 0 <= getattr(practice, name) <= 1:
            yield error(line, where, f"`{name}` = {getattr(practice, name):g}", "Une part va de 0 à 1.")
    for name in _POSITIVE:
        if (getattr(practice, name) or 0) < 0:
            yield error(line, where, f"`{name}` = {getattr(practice, name):g}", "C’est une durée.")
    for name, share in practice.features.items():
        if name not in set(Feature) or not 0 <= share <= 1:
            known = ", ".join(Feature)
            yield error(line, where, f"équipement `{name} = {share:g}`", f"Une part de 0 à 1, de l’un de : {known}.")
    youngest, oldest = practice.age_min or 0, AGE_MAX if practice.age_max is None else practice.age_max
    if not 0 <= youngest <= oldest <= AGE_MAX:
        yield error(line, where, f"âges de {youngest} à {oldest}", f"De 0 à {AGE_MAX}, le plus jeune d’abord.")


def _added_up(installed: Capacities, house: House, line: int, where: str) -> Iterator[Problem]:
    """Units against what is installed. Critical care belongs to MCO, taken from medicine or surgery."""
    found: Counter[str] = Counter()
    for unit in house.units:
        discipline = discipline_of(unit.discipline)
        found[activity_of(discipline)] += unit.capacity
        found[_PARTS.get(discipline, "")] += unit.capacity
    names = ["mco", "critical_care", "smr", "usld", "had", "psy", "ehpad"]
    if installed.medicine + installed.surgery + installed.obstetrics:
        names.append("obstetrics")
        for name in ("medicine", "surgery"):
            if found[name] > getattr(installed, name):
                what = f"{name} : {getattr(installed, name)} lits installés, {found[name]} dans les unités"
                yield error(line, where, what, "Accordez les unités aux lits installés.")
    for name in names:
        if found[name] != getattr(installed, name):
            what = f"{name} : {getattr(installed, name)} lits ou places installés, {found[name]} dans les unités"
            yield error(line, where, what, "Accordez les unités aux lits installés.")


_PARTS = {
    Discipline.MEDICINE: "medicine",
    Discipline.UHCD: "medicine",
    Discipline.PALLIATIVE_CARE: "medicine",
    Discipline.SURGERY: "surgery",
    Discipline.OBSTETRICS: "obstetrics",
    Discipline.INTENSIVE_CARE: "critical_care",
    Discipline.INTERMEDIATE_CARE: "critical_care",
}

_T = TypeVar("_T")


def _repeated(items: Sequence[_T], key: Callable[[_T], Hashable]) -> Iterator[_T]:
    """The items whose key an earlier one had."""
    seen: set[Hashable] = set()
    for item in items:
        if key(item) in seen:
            yield item
        seen.add(key(item))
