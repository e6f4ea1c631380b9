"""What is said of a file that people declare, settings or a mapping, and that cannot be used: in French, in English."""

from pathlib import Path
from typing import TypeVar

from aval.adapters.french import Language, typeset
from aval.kernel.declared import DeclaredFault, declared

Form = TypeVar("Form")

FAULTS: dict[str, tuple[str, str]] = {
    # the file
    "unreadable": ("absent, ou illisible", "absent, or it cannot be read"),
    "utf-8": ("pas de l’UTF-8 à partir de l’octet {byte}", "not UTF-8 from byte {byte} on"),
    "toml": ("TOML mal formé, ligne {line}, colonne {column}", "malformed TOML, line {line}, column {column}"),
    # its form
    "absent": ("il manque : ajoutez cette ligne", "missing: add this line"),
    "field": ("champ inconnu", "unknown field"),
    "word": ("« {word} » n’est pas un des mots possibles", "“{word}” is none of the possible words"),
    "known": ("inconnu ; connus : {known}", "unknown; known are {known}"),
    "type": ("autre chose que ce qui est attendu là", "something else than what is expected there"),
    "type-str": ("un texte est attendu, entre guillemets", "a text is expected, in quotes"),
    "type-int": ("un nombre entier est attendu, sans guillemets", "a whole number is expected, without quotes"),
    "type-float": ("un nombre est attendu, sans guillemets", "a number is expected, without quotes"),
    "type-bool": ("true ou false est attendu, sans guillemets", "true or false is expected, without quotes"),
    "type-array": ("une liste est attendue, entre crochets", "a list is expected, in square brackets"),
    "type-object": ("une table est attendue", "a table is expected"),
    # values
    "above-zero": ("plus de 0", "above 0"),
    "port": ("de 0 (un port libre) à 65535", "0 (any free one) to 65535"),
    "address": ("« {word} » : écrivez hôte:port", "“{word}”: write host:port"),
    "finess": (
        "« {word} » n’est pas un numéro FINESS : 9 caractères, dont le dernier est la clé",
        "“{word}” is no FINESS number: 9 characters, of which the last checks the others",
    ),
    "territory": (
        "« {word} » n’est pas un territoire : un nom DNS en minuscules, comme ge-10.aval.internal",
        "“{word}” is no territory: a lower-case DNS name, such as ge-10.aval.internal",
    ),
    "zone": ("« {word} » n’est pas un fuseau horaire IANA", "“{word}” is no IANA time zone"),
    "hours": ("plus de 0, et 168 au plus", "above 0, and at most 168"),
    "https": (
        "« {word} » : il faut une adresse https ; http seulement vers cette machine",
        "“{word}”: an https address is needed; http only towards this very machine",
    ),
    "identifier": (
        "« {word} » : 1 à 32 caractères parmi A-Z a-z 0-9 -",
        "“{word}”: 1 to 32 characters of A-Z a-z 0-9 -",
    ),
    # of a mapping
    "twice": ("« {word} » veut dire {first} et {second}", "“{word}” means both {first} and {second}"),
    "gender-twice": (
        "le genre se dit dans une colonne, ou dans des colonnes de chaque genre, pas les deux",
        "say the gender in a column, or in columns of each, not both",
    ),
    "rows": ("plus de {max} lignes", "more than {max} rows"),
    "code": ("le code « {word} » est vide, ou dit deux fois", "the code “{word}” is empty, or said twice"),
    "ignored": ("« {word} » est aussi à une unité", "“{word}” belongs to a unit too"),
    # of settings, with each other and with a certificate
    "announce": (
        "à dire : l’adresse que le hub doit appeler, car listen est toute adresse",
        "to be said: what the hub dials, since listen is every address",
    ),
    "password": (
        "sans mot de passe : mettez-le dans un fichier pgpass que seul ce hub peut lire (?passfile=… dans l’adresse)",
        "without the password: put it into a pgpass file that only this hub can read (?passfile=… in the URL)",
    ),
    "tls-absent": (
        "absent : dites-le ; clear_text = true est pour une adresse de bouclage (127.0.0.1) seulement",
        "missing: say it; clear_text = true is for a loopback address (127.0.0.1) only",
    ),
    "tls-and-clear": ("[tls] et clear_text s’excluent", "[tls] and clear_text exclude each other"),
    "clear-text": (
        "en clair, cela traverserait un réseau : une adresse de bouclage (127.0.0.1), ou [tls]",
        "in clear text this would cross a network: a loopback address (127.0.0.1), or [tls]",
    ),
    "client-id": ("absent : token_url en a besoin", "missing: token_url needs it"),
    "hub-or-node": ("dites l’un de hub et node : ce que lit le service", "say one of hub and node: what is read"),
    "identity-differs": (
        "c’est l’identité {identity}, non celle de {wanted} : aval pki issue en fait une, ou corrigez les réglages",
        "that is the identity {identity}, not that of {wanted}: issue one with aval pki issue, or correct the settings",
    ),
    "adapter-differs": (
        "c’est l’identité {identity}, non celle d’un adaptateur de {finess} (aval pki issue)",
        "that is the identity {identity}, not that of an adapter of {finess} (aval pki issue)",
    ),
    "of-no-house": (
        "{identity} n’est pas de l’établissement dont c’est le nœud",
        "{identity} is not of the establishment whose node that is",
    ),
    "certificate": (
        "certificat inutilisable ({folder}) : absent, illisible, ou sans sa clé (cert.pem, key.pem)",
        "a certificate that cannot be used ({folder}): absent, unreadable, or without its key (cert.pem, key.pem)",
    ),
    "territory-differs": (
        "fichier du territoire {said}, certificat de {certified}",
        "a file of the territory {said}, a certificate of {certified}",
    ),
    "replica-differs": (
        "{said} ici, et le certificat est celui de la réplique {certified}",
        "{said} here, and the certificate is that of replica {certified}",
    ),
}
"""By name, in French and in English."""


def read_declared(path: Path, form: type[Form]) -> Form:
    """What a file holds, in its form. Raises `DeclaredFault`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DeclaredFault(path, "", "unreadable") from error
    return declared(path, content, form)


def declared_said(fault: DeclaredFault, language: Language = Language.FRENCH) -> str:
    """What is wrong with a file, with its place in it."""
    french, english = FAULTS[fault.what]
    colon, text = ("\u00a0: ", typeset(french)) if language is Language.FRENCH else (": ", english)
    return colon.join(part for part in (fault.path, fault.where, text.format_map(fault.details)) if part)
