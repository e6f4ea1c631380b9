"""What is said of a sheet, in French and in English: by line, and of the whole."""

from collections.abc import Sequence

from aval.adapters.counts.rows import LineProblem
from aval.adapters.counts.telling import Outcome
from aval.adapters.french import Language, typeset

SENTENCES: dict[str, tuple[str, str]] = {
    # the file
    "too-large": ("fichier de {bytes} octets, {bytes_max} au plus", "file of {bytes} bytes, at most {bytes_max}"),
    "workbook": (
        "un document qui n’est ni .xlsx ni .ods : dans le tableur, « Enregistrer sous », .xlsx ou « CSV UTF-8 »",
        "a document that is neither .xlsx nor .ods: in the spreadsheet, “Save as”, .xlsx or “CSV UTF-8”",
    ),
    "workbook-broken": (
        "classeur abîmé ou protégé par un mot de passe : enregistrez-le de nouveau, ou en « CSV UTF-8 »",
        "a workbook that is broken or under a password: save it again, or as “CSV UTF-8”",
    ),
    "workbook-large": (
        "classeur trop grand une fois déplié : enregistrez la feuille des lits seule, ou en « CSV UTF-8 »",
        "a workbook too large once unpacked: save the sheet of beds alone, or as “CSV UTF-8”",
    ),
    "several-tables": (
        "un autre tableau commence ici, au-dessus de celui de la ligne {below} : n’en laissez qu’un",
        "another table begins here, above that of line {below}: leave only one",
    ),
    "several-sheets": (
        "plusieurs feuilles ont ces titres ({names}) : n’en laissez qu’une visible",
        "several sheets have such heads ({names}): leave only one of them visible",
    ),
    "binary": (
        "ce n’est pas du texte : enregistrez en « CSV UTF-8 »",
        "this is not text: save as “CSV UTF-8”",
    ),
    "encoding": (
        "octet {byte} illisible : enregistrez en « CSV UTF-8 »",
        "byte {byte} cannot be read: save as “CSV UTF-8”",
    ),
    "empty": ("fichier vide", "empty file"),
    "unreadable": (
        "fichier illisible : le service n’a pas le droit de le lire",
        "file that cannot be read: the service has no right to",
    ),
    "no-rows": ("aucune ligne sous les titres", "no row under the heads"),
    "quotes": (
        "guillemets mal fermés : rien n’est lu au-delà",
        "quotes badly closed: nothing is read beyond",
    ),
    "too-many-rows": ("plus de {rows_max} lignes", "more than {rows_max} rows"),
    "too-many-columns": ("{columns} colonnes, {columns_max} au plus", "{columns} columns, at most {columns_max}"),
    "more-cells-than-heads": (
        "{cells} cases pour {heads} titres : un séparateur dans un texte sans guillemets, ou un titre qui manque",
        "{cells} cells for {heads} heads: a separator in a text without quotes, or a head that is missing",
    ),
    # the heads
    "column-absent": (
        "nommée dans la correspondance ([columns]), absente d’ici ; titres lus : {heads}",
        "named in the mapping ([columns]), absent here; heads read: {heads}",
    ),
    "column-twice": (
        "dit la même chose que « {first} » : nommez celle qui compte dans une correspondance ([columns] {column})",
        "says the same as “{first}”: name the one that counts in a mapping ([columns] {column})",
    ),
    "no-unit": (
        "aucune colonne « unité » : renommez-la, ou nommez-la dans une correspondance ([columns] unit) ; lus : {heads}",
        "no column “unit”: rename it, or name it in a mapping ([columns] unit); heads read: {heads}",
    ),
    "no-figures": (
        "ni colonne « occupés » ni « libres » : renommez-la, ou nommez-la ([columns] occupied, free) ; lus : {heads}",
        "no column “occupied” nor “free”: rename it, or name it ([columns] occupied, free); heads read: {heads}",
    ),
    "figures-by-gender": (
        "chiffres par genre : nommez ces colonnes dans une correspondance ([columns.female] free…) ; lus : {gendered}",
        "figures by gender: name these columns in a mapping ([columns.female] free…); heads read: {gendered}",
    ),
    "gender-in-two-ways": (
        "le genre est dit par une colonne, et par des colonnes de chaque genre dans la correspondance : ôtez l’une",
        "the gender is said by a column, and by columns of each gender in the mapping: remove the one",
    ),
    # a cell
    "unit-absent": ("l’unité n’est pas dite", "the unit is not said"),
    "unit-unmapped": (
        "« {code} » n’est pas dans la correspondance ([units])",
        "“{code}” is not in the mapping ([units])",
    ),
    "gender-unknown": ("« {word} » n’est pas un genre : F, H ou vide", "“{word}” is no gender: F, M or empty"),
    "says-nothing": (
        "ni occupés ni libres : dites l’un des deux, ou ôtez la ligne",
        "neither occupied nor free: say one of them, or remove the line",
    ),
    "does-not-add-up": (
        "{occupied} occupés et {free} libres ne font pas {open} ouverts",
        "{occupied} occupied and {free} free do not make {open} open",
    ),
    "total-differs": (
        "{total} en tout, et {sum} par genre : nommez le genre qui manque ([columns.any]…), ou corrigez",
        "{total} in all, and {sum} by gender: name the gender that is missing ([columns.any]…), or correct",
    ),
    "not-a-number": ("« {word} » n’est pas un nombre", "“{word}” is not a number"),
    "not-a-count": (
        "« {word} » n’est pas un nombre ; une case vide dit « inconnu »",
        "“{word}” is not a number; an empty cell says “unknown”",
    ),
    "not-whole": ("« {word} » n’est pas un nombre entier", "“{word}” is not a whole number"),
    "negative": ("« {word} » est négatif", "“{word}” is negative"),
    "absurd": ("« {word} » : {max} au plus", "“{word}”: at most {max}"),
    "not-a-date": (
        "« {word} » n’est pas une date ; écrivez par exemple 25/11/2026 08:30",
        "“{word}” is not a date; write for instance 25/11/2026 08:30",
    ),
    "hour-without-day": (
        "« {word} » : une heure sans son jour ; ajoutez une colonne « Date »",
        "“{word}”: an hour without its day; add a column “Date”",
    ),
    "in-the-future": ("« {word} » est à venir", "“{word}” is in the future"),
    "too-old": ("« {word} » : relevé de plus de {hours_max} h", "“{word}”: told more than {hours_max} h ago"),
    "title-too-old": (
        "« {word} » : relevé de plus de {hours_max} h ; si cette date est d’autre chose, coupez title_date ([format])",
        "“{word}”: told over {hours_max} h ago; if that date is of something else, switch title_date off ([format])",
    ),
    "title-in-the-future": (
        "« {word} » est à venir ; si cette date est d’autre chose, coupez title_date ([format])",
        "“{word}” is in the future; if that date is of something else, switch title_date off ([format])",
    ),
    "several-houses": (
        "un autre établissement à la ligne {first_line} : gardez le vôtre, ou nommez-les (correspondance, [houses])",
        "another establishment on line {first_line}: leave only yours, or name them (mapping, [houses])",
    ),
    "house-unmapped": (
        "« {word} » n’est pas dans la correspondance ([houses])",
        "“{word}” is not in the mapping ([houses])",
    ),
    "not-a-finess": (
        "« {word} » n’est pas un numéro FINESS : 9 caractères, zéro du début compris",
        "“{word}” is no FINESS number: 9 characters, with the zero at the beginning",
    ),
    "twice": ("déjà dite à la ligne {first_line}", "said already on line {first_line}"),
    # XML and EDXL-HAVE
    "xml": ("XML mal formé (faute {code} de l’analyseur expat)", "malformed XML (fault {code} of the parser expat)"),
    "xml-not": ("ce n’est pas du XML", "this is not XML"),
    "xml-cut": ("XML mal formé : il finit trop tôt", "malformed XML: it ends too early"),
    "xml-token": (
        "XML mal formé : un caractère qui n’a pas sa place",
        "malformed XML: a character that is out of place",
    ),
    "xml-tags": (
        "XML mal formé : la balise qui se ferme n’est pas celle qui est ouverte",
        "malformed XML: the tag that is closed is not the one that is open",
    ),
    "xml-after": (
        "XML mal formé : du texte après la fin du document",
        "malformed XML: text after the end of the document",
    ),
    "xml-entity": ("XML mal formé : une entité inconnue", "malformed XML: an unknown entity"),
    "xml-encoding": (
        "XML : un encodage inconnu, ou qui n’est pas celui des octets",
        "XML: an encoding that is unknown, or not that of the bytes",
    ),
    "xml-prefix": ("XML mal formé : un préfixe sans espace de noms", "malformed XML: a prefix without a namespace"),
    "xml-doctype": (
        "type de document (DOCTYPE) refusé : un message HAVE n’en a pas",
        "document type (DOCTYPE) refused: a HAVE message has none",
    ),
    "xml-depth": ("plus de {depth_max} niveaux", "more than {depth_max} levels"),
    "xml-elements": ("plus de {elements_max} éléments", "more than {elements_max} elements"),
    "have-not": ("aucun hôpital EDXL-HAVE 1.0 ici", "no hospital of EDXL-HAVE 1.0 here"),
    "have-2": (
        "EDXL-HAVE 2.0 : son schéma n’a pu être obtenu, seul 1.0 est lu",
        "EDXL-HAVE 2.0: its schema could not be had, only 1.0 is read",
    ),
    "have-which": (
        "plusieurs hôpitaux : dites lequel dans la correspondance ([hospital] name) ; lus : {names}",
        "several hospitals: say which in the mapping ([hospital] name); read: {names}",
    ),
    "have-hospital": (
        "hôpitaux nommés « {name} » : {count}, il en faut un ; lus : {names}",
        "hospitals named “{name}”: {count}, one is needed; read: {names}",
    ),
    "have-not-actual": (
        "message d’essai ou d’exercice ({word}), ou qui ne dit rien de vrai : seul « Actual » compte",
        "a message for a test or an exercise ({word}), or that says nothing true: only “Actual” counts",
    ),
    "have-no-instant": (
        "« {word} » n’est pas un instant ; écrivez par exemple 2026-11-25T08:30:00+01:00",
        "“{word}” is no instant; write for instance 2026-11-25T08:30:00+01:00",
    ),
    "have-no-time": ("l’heure des chiffres n’est pas dite", "the time of the figures is not said"),
    "have-no-zone": ("« {word} » n’a pas de fuseau", "“{word}” has no time zone"),
    "have-no-figures": (
        "aucun chiffre de lits : c’est inconnu, non zéro",
        "no figures of beds: that is unknown, not zero",
    ),
    "have-shut": (
        "l’établissement se dit « {word} » : ses lits ne sont pas à prendre",
        "the hospital says that it is “{word}”: its beds are not to be had",
    ),
    "have-unmapped": (
        "« {code} » n’est pas dans la correspondance ([units])",
        "“{code}” is not in the mapping ([units])",
    ),
    "have-status": ("statut « {word} » inconnu", "unknown status “{word}”"),
    "have-contradiction": (
        "« NotAvailable » et pourtant {word} disponibles",
        "“NotAvailable” and yet {word} available",
    ),
    # FHIR in the ROR's form
    "fhir-xml": ("XML : FHIR se lit ici en JSON", "XML: FHIR is read as JSON here"),
    "fhir-json": ("n’est plus du JSON à partir de l’octet {byte}", "no JSON any more from byte {byte} on"),
    "fhir-encoding": (
        "pas de l’UTF-8 à partir de l’octet {byte} : FHIR s’écrit en UTF-8",
        "not UTF-8 from byte {byte} on: FHIR is written in UTF-8",
    ),
    "fhir-list": (
        "une liste : mettez les ressources dans un Bundle, ou une par ligne",
        "a list: put the resources into a Bundle, or one on each line",
    ),
    "fhir-depth": ("imbriqué trop profond", "nested too deep"),
    "fhir-no-resource": (
        "pas une ressource FHIR : resourceType manque",
        "not a FHIR resource: resourceType is missing",
    ),
    "fhir-locations": ("plus de {max} Location", "more than {max} Locations"),
    "fhir-no-location": ("aucune Location dans « {kind} »", "no Location in “{kind}”"),
    "fhir-entry": ("Bundle.entry n’est pas une liste", "Bundle.entry is no list"),
    "fhir-entry-empty": (
        "Bundle.entry[{number}] ne contient aucune ressource",
        "Bundle.entry[{number}] holds no resource",
    ),
    "fhir-page": (
        "une page parmi plusieurs : les autres ne sont pas dans ce fichier",
        "one page of several: the others are not in this file",
    ),
    "fhir-code": (
        "« {word} » n’est pas un code de {table} qui s’échange",
        "“{word}” is not a code of {table} that may be exchanged",
    ),
    "fhir-no-code": ("absent, ou sans code", "absent, or without a code"),
    "fhir-no-parts": ("un enregistrement de capacité a des parties", "a record of capacity has parts"),
    "fhir-no-url": ("chaque partie a une url", "each part has a url"),
    "fhir-part-twice": ("dit deux fois", "said twice"),
    "fhir-no-integer": ("absent, ou pas un entier (valueInteger)", "absent, or not an integer (valueInteger)"),
    "fhir-count": ("{word} n’est pas entre 0 et {max}", "{word} is not between 0 and {max}"),
    "fhir-absent": ("absent", "absent"),
    "fhir-no-instant": ("pas un instant avec son fuseau", "not an instant with its zone"),
    "fhir-indicator-twice": ("l’indicateur {key} est dit deux fois", "the indicator {key} is said twice"),
    # the ROR's profiles
    "fhir-kind": ("« {kind} » : seuls sont vérifiés {kinds}", "“{kind}”: only {kinds} are checked"),
    "fhir-no-profile": ("ne nomme pas {profile}", "does not name {profile}"),
    "fhir-required": ("exigé par le profil", "the profile demands it"),
    "fhir-supported": ("à prendre en charge, et n’y est pas", "must be supported, and is not there"),
    "fhir-given-absent": ("donné comme absent ({reason})", "given as absent ({reason})"),
    "fhir-no-value": ("sans valeur", "without a value"),
    "fhir-field": ("« {word} » n’est pas un code de R227", "“{word}” is not a code of R227"),
    "fhir-inactive": (
        "lieu qui ne sert pas en ce moment, ou plus ({word}) : ôtez-le du fichier",
        "a place that is not used now, or no longer ({word}): take it out of the file",
    ),
    "fhir-several": (
        "{count} enregistrements du statut {status}, dont aucun n’est le tout : n’en laissez qu’un",
        "{count} records of status {status}, none of which is the whole: leave one of them",
    ),
    "fhir-no-figures": (
        "ne dit pas combien de places sont occupées (statut 03) : c’est inconnu, non zéro",
        "does not say how many places are occupied (status 03): that is unknown, not zero",
    ),
    # the node
    "other-house": (
        "d’un autre établissement ({finess}) : à ôter de ce fichier",
        "of another establishment ({finess}): take it out of this file",
    ),
    "unit-unknown": (
        "le nœud ne connaît pas l’unité {unit} ; il connaît : {known}",
        "the node does not know unit {unit}; it knows: {known}",
    ),
    "unit-has-beds": (
        "l’unité {unit} a des lits nommés : ses chiffres viennent des mouvements",
        "unit {unit} has named beds: its figures come from movements",
    ),
    "source-unknown": (
        "« {source} » n’est pas une source de l’unité {unit} ; déclarées : {known}",
        "“{source}” is no source of unit {unit}; declared: {known}",
    ),
    "gender-not-counted": (
        "l’unité {unit} ne compte pas ce genre ({gender}) ; elle compte : {known} (I : indifférent)",
        "unit {unit} does not count that gender ({gender}); it counts: {known} (I: either)",
    ),
    "capacity-differs": (
        "{unit} : {capacity} lits, mais au nœud {installed} installés, {open} ouverts : dites-les, colonne « Ouverts »",
        "{unit}: {capacity} beds, but at the node {installed} installed, {open} open: say them, column “Open”",
    ),
    "more-free-than-open": ("{unit} : {free} libres pour {open} ouverts", "{unit}: {free} free of {open} open"),
    "more-taken-than-places": (
        "{unit} : {occupied} occupés pour {places} places",
        "{unit}: {occupied} occupied of {places} places",
    ),
    # the whole
    "line": ("ligne {line}", "line {line}"),
    "location": ("Location n° {line}", "Location no. {line}"),
    "column": ("colonne « {column} »", "column “{column}”"),
    "rejected": (
        "Rien n’a été appliqué : corrigez ce qui suit, puis déposez de nouveau le fichier.",
        "Nothing was applied: correct what follows, then drop the file again.",
    ),
    "applied": ("Appliqué.", "Applied."),
    "figures": ("{unit} : {open} ouverts, {occupied} occupés", "{unit}: {open} open, {occupied} occupied"),
    "outranked": (
        "{unit} : gardé à côté, une meilleure source parle ({outranked_by})",
        "{unit}: kept beside, a better source speaks ({outranked_by})",
    ),
    "older": ("{unit} : plus ancien que les chiffres du nœud", "{unit}: older than the node’s figures"),
    "not-taken": ("{unit} : non appliqué ({reason})", "{unit}: not applied ({reason})"),
}
"""By key, in French and in English. Both are whole: what a parser says is named, and never quoted."""


def said(what: str, language: Language = Language.FRENCH, **details: object) -> str:
    """A sentence; details are filled in as they are."""
    french, english = SENTENCES[what]
    return (typeset(french) if language is Language.FRENCH else english).format_map(_Gaps(details))


class _Gaps(dict[str, object]):
    """A detail that is not known is a dash."""

    def __missing__(self, key: str) -> str:
        return "—"


def problem_said(problem: LineProblem, language: Language = Language.FRENCH, place_word: str = "line") -> str:
    """A problem, with its place. `place_word`: what the format numbers, `line` or `location`."""
    place = [said(problem.place or place_word, language, line=problem.line)] if problem.line else []
    place += [said("column", language, column=problem.column)] if problem.column else []
    sentence = said(problem.what, language, **problem.details)
    colon = "\u00a0: " if language is Language.FRENCH else ": "
    return (", ".join(place) + colon if place else "") + sentence


def outcome_said(outcome: Outcome, language: Language = Language.FRENCH) -> str:
    """What the node did with a row that changed nothing, or not what was meant; empty when it simply stands."""
    unit = outcome.unit.rpartition("/")[2]
    if outcome.details.get("outranked_by"):
        return said("outranked", language, unit=unit, **outcome.details)
    if outcome.details.get("newer"):
        return said("older", language, unit=unit)
    return "" if outcome.is_good else said("not-taken", language, unit=unit, reason=outcome.reason or outcome.fate)


def report_of(
    problems: Sequence[LineProblem], outcomes: Sequence[Outcome], language: Language = Language.FRENCH
) -> str:
    """The report beside a file: each problem on its line, or what was applied and what stands beside."""
    refused = [outcome for outcome in outcomes if not outcome.is_good]
    head = "rejected" if problems else "not-taken" if refused else "applied"
    lines = [said("rejected" if problems else "applied", language)] if head != "not-taken" else []
    lines += [problem_said(problem, language) for problem in problems]
    lines += [sentence for outcome in outcomes if (sentence := outcome_said(outcome, language))]
    return "\r\n".join([*lines, ""])
