"""What `aval node import` says, in French and in English."""

IMPORT_WORDS: dict[str, tuple[str, str]] = {
    "help.node.import": ("Des chiffres tirés d’un fichier.", "Figures from a file."),
    "help.node.import.examples": (
        "aval node import csv lits.csv --dry-run\naval node import folder /srv/aval/depot",
        "aval node import csv lits.csv --dry-run\naval node import folder /srv/aval/depot",
    ),
    "help.node.import.csv": (
        "Applique une feuille de calcul (CSV, .xlsx, .ods), entière ou pas du tout.",
        "Applies a spreadsheet (CSV, .xlsx, .ods), whole or not at all.",
    ),
    "help.node.import.have": (
        "Applique un document EDXL-HAVE 1.0, entier ou pas du tout.",
        "Applies an EDXL-HAVE 1.0 document, whole or not at all.",
    ),
    "help.node.import.folder": (
        "Applique chaque feuille déposée dans un dossier.",
        "Applies each sheet dropped in a folder.",
    ),
    "opt.map": (
        "Correspondance (TOML) des colonnes et des codes ; sans elle, les titres usuels.",
        "Mapping (TOML) of columns and codes; without it, the usual heads.",
    ),
    "opt.partial": ("Appliquer les bonnes lignes malgré les autres.", "Apply the good lines despite the others."),
    "col.line": ("ligne", "line"),
    "col.gender": ("genre", "gender"),
    "col.open": ("ouverts", "open"),
    "col.free": ("libres", "free"),
    "map.bad": ("la correspondance est inutilisable", "the mapping cannot be used"),
    "file.unreadable": ("{path} est illisible", "{path} cannot be read"),
    "import.dry": (
        "À blanc, rien n’a été appliqué ; bonnes lignes : {good}, problèmes : {problems}.",
        "Dry run, nothing was applied; good lines: {good}, problems: {problems}.",
    ),
    "import.done": (
        "Appliqué ; lignes : {good}, problèmes : {problems}.",
        "Applied; lines: {good}, problems: {problems}.",
    ),
    "import.refused": (
        "Rien n’a été appliqué ; bonnes lignes : {good}, problèmes : {problems}.",
        "Nothing was applied; good lines: {good}, problems: {problems}.",
    ),
    "import.none": (
        "Le nœud n’a pas tout appliqué : voyez ci-dessus.",
        "The node has not applied all: see above.",
    ),
    "folder.looking": ("{path} est regardé. Ctrl-C pour arrêter.", "Looking at {path}. Ctrl-C to stop."),
    "folder.applied": ("appliqué : {detail}", "applied: {detail}"),
    "folder.rejected": (
        "rejeté : {detail} ; le rapport est à côté, dans « rejetes »",
        "rejected: {detail}; the report is beside it, in “rejetes”",
    ),
    "folder.node-away": (
        "le nœud ne répond pas ({detail}) ; les fichiers attendent",
        "the node does not answer ({detail}); files wait",
    ),
    "folder.folder-unusable": ("le dossier est inutilisable ({detail})", "the folder cannot be used ({detail})"),
    "folder.file-not-movable": ("fichier impossible à déplacer ({detail})", "file that cannot be moved ({detail})"),
    "folder.file-unreadable": ("fichier illisible ({detail})", "file that cannot be read ({detail})"),
}
