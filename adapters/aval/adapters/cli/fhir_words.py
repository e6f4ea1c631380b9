"""What `aval fhir` and `aval ror` say."""

FHIR_WORDS: dict[str, tuple[str, str]] = {
    "help.fhir": (
        "Les lits en FHIR, dans la forme du ROR, pour les autres systèmes.",
        "Beds as FHIR, in the ROR’s form, for other systems.",
    ),
    "help.fhir.examples": (
        "aval fhir serve --config fhir.toml\naval fhir check lits.json",
        "aval fhir serve --config fhir.toml\naval fhir check lits.json",
    ),
    "help.fhir.serve": (
        "Sert les lits en lecture seule, en TLS mutuel.",
        "Serves beds read only, over mutual TLS.",
    ),
    "help.fhir.check": (
        "Dit ce qui manque à un fichier pour les profils du ROR.",
        "Says what a file lacks of the ROR’s profiles.",
    ),
    "help.node.import.fhir": (
        "Applique des Location FHIR dans la forme du ROR, toutes ou aucune.",
        "Applies FHIR Locations in the ROR’s form, all or none.",
    ),
    "opt.fhir-all": (
        "Montrer aussi ce qui devrait être pris en charge sans être obligatoire.",
        "Also show what must be supported without being required.",
    ),
    "fhir.error": ("erreur", "error"),
    "fhir.information": ("information", "information"),
    "fhir.checked": ("Erreurs : {errors} · autres remarques : {others}", "Errors: {errors} · other remarks: {others}"),
    "col.severity": ("gravité", "severity"),
    "col.place": ("lieu", "place"),
    "col.problem": ("problème", "problem"),
    "col.operation": ("opération", "operation"),
    "col.indicator": ("indicateur", "indicator"),
    "col.count": ("nombre", "count"),
    "col.ror": ("ROR", "ROR"),
    "help.ror": (
        "Les chiffres de la maison, dits une fois au ROR.",
        "The house’s figures, told once to the ROR.",
    ),
    "help.ror.examples": (
        "aval ror push --config ror.toml --dry-run\naval ror status --config ror.toml",
        "aval ror push --config ror.toml --dry-run\naval ror status --config ror.toml",
    ),
    "help.ror.push": ("Envoie au ROR ce qui a changé.", "Sends the ROR what changed."),
    "help.ror.status": ("Ce que le ROR sait de chaque unité.", "What the ROR knows of each unit."),
    "help.ror.retry": ("C’est réparé : envoie de nouveau.", "It is mended: send again."),
    "opt.ror-once": ("Envoyer une fois, puis s’arrêter.", "Send once, then stop."),
    "ror.sent": ("envoyé au ROR {age}", "sent to the ROR {age}"),
    "ror.last": ("dernier envoi accepté : {age}", "last sending taken: {age}"),
    "ror.waiting": (
        "pas encore au ROR ({count}, depuis : {since}) : {why}",
        "not at the ROR yet ({count}, since: {since}): {why}",
    ),
    "ror.soon": ("envoi en cours", "being sent"),
    "ror.words": ("le ROR dit : « {words} »", "the ROR says: “{words}”"),
    "ror.withheld": ("non envoyé au ROR : {why}", "not sent to the ROR: {why}"),
    "ror.STALE": ("chiffres à confirmer", "figures to be confirmed"),
    "ror.NOT_EXACT": ("chiffres non exacts ici", "figures not exact here"),
    "ror.NEVER_HEARD": ("source jamais entendue", "source never heard"),
    "ror.NOT_MAPPED": ("écarté par les réglages", "left out by the settings"),
    "ror.LOCATION_UNKNOWN": (
        "aucun lieu du ROR ne porte cet identifiant ; le GRADeS doit l’attribuer",
        "no place of the ROR bears this identifier; the regional operator must assign it",
    ),
    "ror.LOCATION_NOT_UNIQUE": (
        "plusieurs lieux du ROR portent cet identifiant ; le GRADeS doit supprimer les doublons",
        "several places of the ROR bear this identifier; the regional operator must remove the doubles",
    ),
    "ror.RULE_BROKEN": (
        "une règle du ROR refuse ce chiffre ; voyez le GRADeS",
        "a rule of the ROR refuses this figure; see the regional operator",
    ),
    "ror.INDICATOR_UNKNOWN": (
        "le ROR ne connaît pas cet indicateur et refuse de l’ajouter",
        "the ROR does not know this indicator and refuses to add it",
    ),
    "ror.NOT_ALLOWED": (
        "le ROR refuse l’accès ; vérifiez le certificat et les droits d’écriture",
        "the ROR refuses access; check the certificate and the right to write",
    ),
    "ror.REFUSED": ("le ROR a refusé", "the ROR refused"),
    "ror.UNREACHABLE": (
        "le ROR ne répond pas ; nouvel essai tout seul",
        "the ROR does not answer; tried again by itself",
    ),
    "ror.BUSY": ("le ROR est occupé ; nouvel essai tout seul", "the ROR is busy; tried again by itself"),
    "ror.disputed.aval": (
        "le ROR disait {theirs} ({indicator}), Aval {ours} : Aval fait foi, renvoyé",
        "the ROR said {theirs} ({indicator}), Aval {ours}: Aval wins, sent again",
    ),
    "ror.disputed.ror": (
        "le ROR dit {theirs} ({indicator}), Aval {ours} : le ROR fait foi jusqu’à {until}",
        "the ROR says {theirs} ({indicator}), Aval {ours}: the ROR wins until {until}",
    ),
    "ror.wins.aval": (
        "En cas de désaccord, Aval fait foi.",
        "When they disagree, Aval wins.",
    ),
    "ror.wins.ror": (
        "En cas de désaccord, le ROR fait foi pendant 4 h.",
        "When they disagree, the ROR wins for 4 h.",
    ),
    "ror.never": ("pas encore envoyé au ROR", "not sent to the ROR yet"),
    "ror.unknown": ("ROR : état inconnu ({why})", "ROR: state unknown ({why})"),
    "ror.no.outbox": ("aucun envoi n’a encore eu lieu", "nothing has been sent yet"),
    "ror.bad.outbox": ("le fichier des envois est illisible", "the file of what was sent cannot be read"),
    "ror.bad.settings": ("les réglages ne sont pas utilisables", "the settings cannot be used"),
    "ror.retried": ("Chiffres à renvoyer : {count}", "Figures to send again: {count}"),
}
"""Merged into the catalogue of `words`."""
