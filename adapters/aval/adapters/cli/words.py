"""What the command line says: one catalogue, each key in French and in English.

French is written here with plain spaces; `say` sets the no-break spaces of its typography. `{names}` are filled in
after that, so that a path or a command is never touched.
"""

import difflib
from collections.abc import Iterable
from datetime import datetime
from functools import cache

from aval.adapters.cli.act_words import ACT_WORDS
from aval.adapters.cli.backup_words import BACKUP_WORDS
from aval.adapters.cli.command_words import COMMAND_WORDS
from aval.adapters.cli.fhir_words import FHIR_WORDS
from aval.adapters.cli.hl7_words import HL7_WORDS
from aval.adapters.cli.import_words import IMPORT_WORDS
from aval.adapters.cli.reason_words import REASON_WORDS
from aval.adapters.clock import SystemClock
from aval.adapters.declared import declared_said
from aval.adapters.french import Language, Speech, language_of, typeset
from aval.kernel.declared import DeclaredFault

WORDS: dict[str, tuple[str, str]] = {
    "error": ("Erreur : {what}", "Error: {what}"),
    "try": ("Essayez : {command}", "Try: {command}"),
    "why.reason": ("{why} ({reason})", "{why} ({reason})"),
    "did.you.mean": ("Vouliez-vous dire « {word} » ?", "Did you mean “{word}”?"),
    "usage.missing": ("il manque {name}", "{name} is missing"),
    "usage.unknown": ("l’option {name} n’existe pas", "there is no option {name}"),
    "usage.wants": ("l’option {name} veut une valeur", "option {name} wants a value"),
    "usage.wants-none": ("l’option {name} ne prend pas de valeur", "option {name} takes no value"),
    "usage.bad": ("ce qui est donné pour {name} ne convient pas", "what is given for {name} will not do"),
    "usage.extra": ("de trop : {words}", "too much: {words}"),
    "usage.whole": ("Il faut un nombre entier", "A whole number is needed"),
    "usage.number": ("Il faut un nombre", "A number is needed"),
    "usage.path": ("Il faut un fichier ou un dossier", "A file or a folder is needed"),
    "usage.least": ("au moins {bound}", "at least {bound}"),
    "usage.most": ("au plus {bound}", "at most {bound}"),
    "usage": ("Utilisation :", "Usage:"),
    "examples": ("Exemples :", "Examples:"),
    "options": ("Options :", "Options:"),
    "commands": ("Commandes :", "Commands:"),
    "unexpected": ("erreur inattendue", "unexpected error"),
    "interrupted": ("Interrompu.", "Interrupted."),
    "secret.argv": (
        "un secret ne se donne pas en argument",
        "a secret is not given as an argument",
    ),
    "secret.argv.why": (
        "« {word} » se lirait dans l’historique et dans la liste des processus.",
        "“{word}” would be read in the history and in the list of processes.",
    ),
    "command.unknown": ("commande inconnue « {word} »", "unknown command “{word}”"),
    "json.fields": ("Champs de --json (ou « all ») :", "Fields of --json (or “all”):"),
    "json.unknown": ("champ inconnu « {name} »", "unknown field “{name}”"),
    "json.known": ("Champs connus : {names}.", "Known fields: {names}."),
    "choice.unknown": ("« {word} » n’est pas connu ici", "“{word}” is not known here"),
    "choice.known": ("Connus : {names}.", "Known: {names}."),
    "confirm": ("{question} [o/N] ", "{question} [y/N] "),
    "not.confirmed": ("rien n’a été fait", "nothing was done"),
    "not.confirmed.why": (
        "Ce verbe demande un accord : --yes quand personne n’est devant l’écran.",
        "This verb asks for an agreement: --yes when nobody is at the screen.",
    ),
    "dry.run": ("À blanc : rien n’a été envoyé.", "Dry run: nothing was sent."),
    "partial": ("Sans réponse de : {names}.", "No answer from: {names}."),
    "partial.count": (
        "{answered} établissements sur {all} ; hors liaison : {names}.",
        "{answered} of {all} establishments; offline: {names}.",
    ),
    "nothing": ("Rien à montrer.", "Nothing to show."),
    "date.unknown": ("date « {word} » illisible", "unreadable date “{word}”"),
    "date.known": (
        "Écrivez 2026-11-25, 2026-11-25T14:30, aujourdhui ou demain.",
        "Write 2026-11-25, 2026-11-25T14:30, today or tomorrow.",
    ),
    "duration.unknown": ("durée « {word} » illisible", "unreadable duration “{word}”"),
    "duration.known": ("Écrivez 90s, 30m, 2h ou 14d.", "Write 90s, 30m, 2h or 14d."),
    "unit.form": ("Une unité s’écrit 540000023/U107.", "A unit is written 540000023/U107."),
    "context.unreadable": ("le fichier de contextes {path} est illisible", "the contexts file {path} is unreadable"),
    "context.none": ("aucun contexte choisi", "no context chosen"),
    "context.none.why": (
        "Un contexte dit qui vous êtes et où est le hub ; {path} n’en nomme pas.",
        "A context says who you are and where the hub is; {path} names none.",
    ),
    "context.unknown": ("contexte « {name} » inconnu", "unknown context “{name}”"),
    "context.known": ("Contextes connus : {names}.", "Known contexts: {names}."),
    "context.used": ("Contexte courant : {name}", "Current context: {name}"),
    "context.no.hub": ("le contexte « {name} » ne nomme pas de hub", "context “{name}” names no hub"),
    "context.no.node": ("le contexte « {name} » ne nomme pas de nœud", "context “{name}” names no node"),
    "context.no.server.why": (
        "Cette commande s’adresse à lui ; ajoutez sa ligne au contexte.",
        "This command calls it; add its line to the context.",
    ),
    "bundle.bad": ("le certificat de {folder} n’est pas utilisable", "the certificate in {folder} cannot be used"),
    "bundle.expired": ("certificat expiré le {date}", "certificate expired on {date}"),
    "bundle.early": ("certificat valable seulement à partir du {date}", "certificate valid only from {date}"),
    "bundle.expired.why": (
        "Aucun pair ne l’accepte plus. Faites-le renouveler, ou mettez l’horloge à l’heure.",
        "No peer accepts it any more. Have it renewed, or set the clock.",
    ),
    "unreachable": ("{address} ne répond pas", "{address} does not answer"),
    "unreachable.why": (
        "Rien n’a été fait de notre côté ; la même commande peut être relancée.",
        "Nothing was done on our side; the same command can be run again.",
    ),
    "handshake": ("{address} a refusé la connexion chiffrée", "{address} refused the encrypted connection"),
    "handshake.why": (
        "L’un des deux certificats n’est pas accepté par l’autre.",
        "One of the two certificates is not accepted by the other.",
    ),
    "refused": ("refusé : {text}", "refused: {text}"),
    "simulation": (
        "SIMULATION : vrais établissements, chiffres et patients inventés.",
        "SIMULATION: real establishments, invented figures and patients.",
    ),
    # find, units
    "find.head": ("{places} sûres · {stale} à confirmer", "{places} sure · {stale} unconfirmed"),
    "find.sort": (
        "Tri : sûr d’abord, puis réponse à temps, souhaits, trajet, équité.",
        "Order: sure first, then an answer in time, wishes, distance, fairness.",
    ),
    "find.none": ("Aucune place ne correspond.", "No match."),
    "find.relax": ("Avec {what} : {count}.", "With {what}: {count}."),
    "find.excluded": ("Écartées :", "Excluded:"),
    "find.immediate": ("⚡ immédiate", "⚡ immediate"),
    "find.person": ("sur réponse", "on answer"),
    "bed": ("lit", "bed"),
    "beds": ("lits", "beds"),
    "place": ("place", "place"),
    "places": ("places", "places"),
    "unit": ("unité", "unit"),
    "units": ("unités", "units"),
    "relax.arrival_plus_1_day": ("un jour de plus", "one more day"),
    "relax.distance_plus_half": ("un trajet de moitié plus long", "half as far again"),
    "relax.without_feature": ("sans « {value} »", "without “{value}”"),
    "relax.smr_polyvalent": ("SMR polyvalent", "SMR polyvalent"),
    "col.unit": ("unité", "unit"),
    "col.name": ("nom", "name"),
    "col.establishment": ("établissement", "establishment"),
    "col.places": ("places", "places"),
    "col.distance": ("trajet", "distance"),
    "col.answer": ("réponse", "answer"),
    "col.age": ("âge", "age"),
    "col.source": ("source", "source"),
    "col.state": ("état", "state"),
    "col.why": ("pourquoi", "why"),
    "col.discipline": ("discipline", "discipline"),
    "col.installed": ("installés", "installed"),
    "col.available": ("disponibles", "available"),
    "col.stale": ("à confirmer", "unconfirmed"),
    "col.occupied": ("occupés", "occupied"),
    "col.reserved": ("réservés", "reserved"),
    "col.closed": ("fermés", "closed"),
    "col.tomorrow": ("demain", "tomorrow"),
    "col.reference": ("réf.", "ref."),
    "col.profile": ("profil", "profile"),
    "col.for": ("pour le", "for"),
    "col.asked": ("sollicités", "asked"),
    "col.until": ("échéance", "deadline"),
    "col.address": ("adresse", "address"),
    "col.silence": ("silence", "silence"),
    "col.pending": ("en attente", "pending"),
    "col.version": ("version", "version"),
    "col.identity": ("identité", "identity"),
    "col.hub": ("hub", "hub"),
    "col.node": ("nœud", "node"),
    "col.caller": ("qui peut appeler", "who may call"),
    "col.method": ("méthode", "method"),
    "col.code": ("code", "code"),
    "col.meaning": ("sens", "meaning"),
    "unit.confirmed": ("Confirmé : {names}.", "Confirmed: {names}."),
    "unit.declared": ("Enregistré : {unit}, {free}.", "Saved: {unit}, {free}."),
    "unit.would.be.confirmed": ("Serait confirmé : {names}.", "Would be confirmed: {names}."),
    "unit.would.be.declared": ("Serait enregistré : {unit}, {free}.", "Would be saved: {unit}, {free}."),
    "unit.outranked": (
        "Gardé à côté : l’emporte « {source} ». Pour corriger : aval units correct {unit} --free {free} --reason …",
        "Kept beside: “{source}” prevails. To correct it: aval units correct {unit} --free {free} --reason …",
    ),
    "unit.none.given": ("aucune unité donnée", "no unit given"),
    "unit.gender.not.counted": ("l’unité ne compte pas ce genre", "the unit does not count that gender"),
    "unit.other.genders": (
        "Elle compte : {genders} ; dites --female et --male, ou --free.",
        "It counts: {genders}; say --female and --male, or --free.",
    ),
    "unit.nothing.given": ("aucun chiffre donné", "no figure given"),
    "unit.nothing.given.why": (
        "Dites --free, ou --female et --male pour une unité qui compte par sexe.",
        "Say --free, or --female and --male for a unit that counts by gender.",
    ),
    "unit.too.many": ("{free} pour {open} ouvertes", "{free} of {open} open"),
    "unit.too.many.open": (
        "Donnez --open si l’ouverture a changé.",
        "Give --open if what is open has changed.",
    ),
    "unit.too.many.why": (
        "{claims} sont retenues ou réservées et comptent comme prises. Donnez --open si l’ouverture a changé.",
        "{claims} are held or reserved and count as taken. Give --open if what is open has changed.",
    ),
    # requests and reservations
    "request.created": ("Demande {reference} créée : {name}", "Request {reference} created: {name}"),
    "request.state": ("Demande {reference} : {state}", "Request {reference}: {state}"),
    "request.ask": ("  {unit} : {state}{more}", "  {unit}: {state}{more}"),
    "request.nothing.found": ("aucune unité à solliciter", "no unit to ask"),
    "request.nothing.found.why": (
        "La recherche n’a rien trouvé pour ce besoin ; `aval find` dit pourquoi.",
        "The search found nothing for this need; `aval find` says why.",
    ),
    "request.no.held": ("aucun lit retenu pour la demande {reference}", "no bed held for request {reference}"),
    "request.no.held.why": (
        "On confirme une retenue ; aucune maison n’en a accordé pour l’instant.",
        "A hold is confirmed; no house has granted one yet.",
    ),
    "request.already": ("la demande {reference} a déjà son lit", "request {reference} already has its bed"),
    "request.several.held": ("plusieurs lits retenus pour {reference}", "several beds held for {reference}"),
    "request.several.held.why": ("Dites lequel : {names}.", "Say which: {names}."),
    "request.confirm.question": (
        "Confirmer le lit à {unit} ? Les autres demandes seront retirées et les établissements prévenus.",
        "Confirm the bed at {unit}? The other asks will be withdrawn and the establishments told.",
    ),
    "request.ask.unknown": (
        "la demande {reference} n’a pas de réservation « {word} »",
        "request {reference} has no reservation “{word}”",
    ),
    "request.cancel.question": ("Annuler la demande {reference} ?", "Cancel request {reference}?"),
    "watch.timed.out": ("toujours « {state} » après {duration}", "still “{state}” after {duration}"),
    "watch.timed.out.why": ("Rien n’a changé entre-temps.", "Nothing changed meanwhile."),
    "reservation.state": ("Réservation {reference} : {state}", "Reservation {reference}: {state}"),
    "reference.unknown": ("aucune réservation {word} ici", "no reservation {word} here"),
    "reference.unknown.request": ("aucune demande {word}", "no request {word}"),
    "reference.why": (
        "On donne une référence (K7-3F9), un nom ou un UUID.",
        "Give a reference (K7-3F9), a name or a UUID.",
    ),
    "until": ("jusqu’à {moment}", "until {moment}"),
    # pki, certificates, files
    "pki.made": ("Autorité de {territory} créée dans {folder}.", "Authority of {territory} made in {folder}."),
    "pki.offline": (
        "Mettez {path} hors ligne : elle ne sert qu’à refaire l’autorité émettrice.",
        "Take {path} offline: it only serves to make the issuing authority again.",
    ),
    "pki.exists": ("{folder} contient déjà une autorité", "{folder} already holds an authority"),
    "pki.exists.why": (
        "La remplacer couperait tous ses membres. Choisissez un autre dossier.",
        "Replacing it would cut off all its members. Choose another folder.",
    ),
    "pki.absent": ("pas d’autorité utilisable dans {folder}", "no usable authority in {folder}"),
    "pki.issued": (
        "Certificat de {identity} écrit dans {folder}, jusqu’au {date}.",
        "Certificate of {identity} written to {folder}, until {date}.",
    ),
    "cert.line": ("{identity}\n  série {serial}\n  jusqu’au {end}", "{identity}\n  serial {serial}\n  until {end}"),
    "file.exists": ("{path} existe déjà", "{path} already exists"),
    "file.exists.why": ("Il n’a pas été touché. --force le remplace.", "It was not touched. --force replaces it."),
    "file.absent": ("{path} est introuvable", "{path} is not there"),
    "file.written": ("Écrit : {path}", "Written: {path}"),
    "territory.sound": (
        "{path} : {establishments}, {units}, aucune erreur.",
        "{path}: {establishments}, {units}, no error.",
    ),
    "territory.bad": ("{path} : {errors}", "{path}: {errors}"),
    "territory.assumed": ("Supposé, non mesuré :", "Assumed, not measured:"),
    "fault": ("erreur", "error"),
    "faults": ("erreurs", "errors"),
    "establishment": ("établissement", "establishment"),
    "establishments": ("établissements", "establishments"),
    # servers
    "serve.refused": ("le serveur n’a pas démarré", "the server did not start"),
    "server.stopped": ("aucun processus ne sert {path}", "no process serves {path}"),
    "server.stopped.why": ("Il n’a pas démarré, ou s’est arrêté.", "It has not started, or has stopped."),
    "server.running": (
        "En marche : processus {pid}, port {port}, certificat {serial}, base {database}.",
        "Running: process {pid}, port {port}, certificate {serial}, database {database}.",
    ),
    "server.health": ("{address} répond : {status}.", "{address} answers: {status}."),
    "hub.members": ("{connected} sur {all} établissements reliés.", "{connected} of {all} establishments connected."),
    "method.unknown": ("méthode « {word} » inconnue", "unknown method “{word}”"),
    "policy.complete": (
        "Les {count} méthodes du contrat sont dans la table d’accès.",
        "The {count} methods of the contract are in the access table.",
    ),
    "policy.missing": (
        "méthodes absentes de la table d’accès : {names}",
        "methods absent from the access table: {names}",
    ),
    # doctor
    "doctor.ok": ("bien", "good"),
    "doctor.bad": ("problème", "problem"),
    "doctor.skipped": ("non vérifié", "not checked"),
    "doctor.all.good": ("Tout va bien.", "All is well."),
    "doctor.clock": ("horloge", "clock"),
    "doctor.certificate": ("certificat", "certificate"),
    "doctor.dns": ("nom DNS", "DNS name"),
    "doctor.port": ("port", "port"),
    "doctor.tls": ("chaîne TLS", "TLS chain"),
    "doctor.rpc": ("hub", "hub"),
    "doctor.disk": ("disque", "disk"),
    "doctor.listen": ("port d’écoute", "listening port"),
    "doctor.clock.good": ("écart avec le territoire : {skew}", "difference from the territory: {skew}"),
    "doctor.clock.late": (
        "cette machine dit {now}, son certificat ne commence que le {date} : l’horloge retarde",
        "this machine says {now}, its certificate begins on {date}: the clock is late",
    ),
    "doctor.clock.skew": (
        "écart de {skew} avec les horloges du territoire ({direction})",
        "{skew} away from the territory’s clocks ({direction})",
    ),
    "doctor.clock.ahead": ("celle-ci avance", "this one is ahead"),
    "doctor.clock.behind": ("celle-ci retarde", "this one is late"),
    "doctor.clock.fix": ("Mettez l’horloge à l’heure (NTP).", "Set the clock (NTP)."),
    "doctor.certificate.good": ("{identity}, jusqu’au {end}", "{identity}, until {end}"),
    "doctor.certificate.expired": ("expiré le {date}", "expired on {date}"),
    "doctor.certificate.soon": ("expire bientôt : {end}", "expires soon: {end}"),
    "doctor.certificate.fix": (
        "Faites émettre un nouveau certificat : aval pki issue …",
        "Have a new certificate issued: aval pki issue …",
    ),
    "doctor.certificate.bad": ("inutilisable : {text}", "unusable: {text}"),
    "doctor.dns.good": ("{host} → {address}", "{host} → {address}"),
    "doctor.dns.bad": (
        "le nom « {host} » n’existe pas dans le DNS de cette machine",
        "the name “{host}” is unknown to this machine’s DNS",
    ),
    "doctor.dns.fix": ("Corrigez l’adresse du contexte, ou le DNS.", "Correct the context’s address, or the DNS."),
    "doctor.port.good": ("{address} écoute", "{address} listens"),
    "doctor.port.refused": (
        "rien n’écoute à {address} : le serveur est arrêté",
        "nothing listens at {address}: the server is down",
    ),
    "doctor.port.refused.fix": (
        "Démarrez-le (aval hub serve, aval node serve), ou corrigez le port s’il a changé.",
        "Start it (aval hub serve, aval node serve), or correct the port if it has changed.",
    ),
    "doctor.port.filtered": (
        "{address} ne répond pas : port filtré, ou machine éteinte",
        "{address} is silent: filtered port, or machine off",
    ),
    "doctor.port.filtered.fix": ("Faites ouvrir le port sur le pare-feu.", "Have the port opened on the firewall."),
    "doctor.port.other": (
        "un autre programme répond à {address} : ce n’est pas le port du hub",
        "another program answers at {address}: it is not the hub’s port",
    ),
    "doctor.port.other.fix": ("Corrigez le port du contexte.", "Correct the context’s port."),
    "doctor.port.taken": (
        "le port {address} est déjà pris par un autre programme",
        "port {address} is taken by another program",
    ),
    "doctor.port.taken.fix": ("Arrêtez-le, ou changez `listen`.", "Stop it, or change `listen`."),
    "doctor.tls.good": (
        "le certificat du hub vient bien de notre autorité",
        "the hub’s certificate is of our authority",
    ),
    "doctor.tls.ours": (
        "le hub n’accepte pas notre certificat : il vient d’une autre autorité",
        "the hub does not accept our certificate: it is of another authority",
    ),
    "doctor.tls.theirs": (
        "le certificat du hub ne vient pas de notre autorité (trust.pem)",
        "the hub’s certificate is not of our authority (trust.pem)",
    ),
    "doctor.tls.theirs.expired": ("le certificat du hub a expiré", "the hub’s certificate has expired"),
    "doctor.tls.name": (
        "le certificat du hub n’est pas à son nom ({text})",
        "the hub’s certificate bears another name ({text})",
    ),
    "doctor.tls.fix": (
        "Comparez les autorités : aval cert show, des deux côtés.",
        "Compare the authorities: aval cert show, on both sides.",
    ),
    "doctor.rpc.good": ("répond ({status})", "answers ({status})"),
    "doctor.rpc.bad": ("ne répond pas comme il faut : {text}", "does not answer as it should: {text}"),
    "doctor.line": ("{mark} {check} ({state}) : {what}", "{mark} {check} ({state}): {what}"),
    "doctor.node": ("nœud", "node"),
    "doctor.node.link": ("{name} : {state}, entendu {silence}.", "{name}: {state}, heard {silence}."),
    "doctor.node.pending": ("Commandes en attente : {count}.", "Commands waiting: {count}."),
    "doctor.node.unknown": ("{finess} n’est pas membre du territoire", "{finess} is no member of the territory"),
    "doctor.node.unknown.fix": ("Membres : aval hub nodes.", "Members: aval hub nodes."),
    "doctor.node.fix": (
        "Sur la machine du nœud : aval doctor --config node.toml, puis son journal.",
        "On the node’s machine: aval doctor --config node.toml, then its log.",
    ),
    "doctor.node.nowhere": ("il n’a jamais dit son adresse", "it has never told its address"),
    "doctor.disk.good": ("{free} libres", "{free} free"),
    "doctor.disk.bad": ("{free} libres seulement dans {folder}", "only {free} free in {folder}"),
    "doctor.disk.fix": (
        "Faites de la place : un nœud sans disque refuse d’écrire.",
        "Make room: a node without disk refuses to write.",
    ),
    # the demonstration
    "demo.running": ("La démonstration tourne déjà dans {folder}", "The demonstration already runs in {folder}"),
    "demo.running.why": ("Une seule à la fois par dossier.", "One at a time in a folder."),
    "demo.none": ("aucune démonstration dans {folder}", "no demonstration in {folder}"),
    "demo.none.why": ("Rien ne tourne, rien n’est à défaire.", "Nothing runs, nothing is to be undone."),
    "demo.down": (
        "SIMULATION. Tout est arrêté et effacé : {folder}",
        "SIMULATION. All is stopped and removed: {folder}",
    ),
    "demo.killed": (
        "SIMULATION. {name} (processus {pid}) tué : hors liaison dans {seconds} s environ.",
        "SIMULATION. {name} (process {pid}) killed: offline in about {seconds} s.",
    ),
    "demo.site.unknown": ("{finess} n’est pas de cette démonstration", "{finess} is not of this demonstration"),
    "demo.failed": ("la démonstration a échoué", "the demonstration failed"),
}


@cache
def speech() -> Speech:
    """How this process speaks, by its environment."""
    return Speech(language_of())


@cache
def _catalogue(key: str, language: Language) -> str:
    french, english = ALL_WORDS[key]
    return typeset(french) if language is Language.FRENCH else english


ALL_WORDS: dict[str, tuple[str, str]] = (
    WORDS | ACT_WORDS | BACKUP_WORDS | COMMAND_WORDS | FHIR_WORDS | HL7_WORDS | IMPORT_WORDS | REASON_WORDS
)
"""Every key of the command line."""


def say(key: str, **values: object) -> str:
    """What a key says in the language of this process, with `{names}` filled in. Raises KeyError."""
    return _catalogue(key, speech().language).format(**values) if values else _catalogue(key, speech().language)


def told(key: str) -> str:
    """`say` of the key of the catalogue that a text begins with; any other text as it is."""
    word, space, rest = key.partition("  ")
    return say(word) + space + rest if word in ALL_WORDS else key


def why(error: Exception) -> str:
    """What is told of why something could not be done: of what people declare, in their language."""
    return declared_said(error, speech().language) if isinstance(error, DeclaredFault) else str(error)


def nearest(word: str, known: Iterable[str]) -> str:
    """« Vouliez-vous dire … ? », or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return say("did.you.mean", word=close[0]) if close else ""


def now() -> datetime:
    """The instant by this machine's clock."""
    return SystemClock().now()
