"""What backup and restore say, and the acts of people after a restore."""

BACKUP_WORDS: dict[str, tuple[str, str]] = {
    "help.node.backup": ("Sauvegarde la base, sans arrêt.", "Backs up the database, without a stop."),
    "help.node.restore": ("Remet une sauvegarde en place.", "Puts a backup in place."),
    "help.hub.backup": ("Sauvegarde la base, sans arrêt.", "Backs up the database, without a stop."),
    "help.hub.restore": ("Remet une sauvegarde en place.", "Puts a backup in place."),
    "help.hub.orphans": ("Réservations sans demande ici.", "Reservations without a request here."),
    "help.units.unverified": ("Unités à vérifier (restauration).", "Units to verify after a restore."),
    "help.units.verify": ("Dit une unité vérifiée.", "Says that a unit is verified."),
    "opt.to": ("fichier de la sauvegarde", "file of the backup"),
    "opt.from": ("sauvegarde à remettre en place", "backup to put in place"),
    "opt.discard-newer": (
        "écarter une base plus récente (elle est gardée à côté)",
        "move a newer database aside (it is kept)",
    ),
    "dry.run.local": ("À blanc : rien n’a été écrit.", "Dry run: nothing was written."),
    "backup.taken": (
        "Sauvegardé et vérifié : {path} ({kilobytes} ko)",
        "Backed up and checked: {path} ({kilobytes} kB)",
    ),
    "backup.refused": ("rien n’a été sauvegardé", "nothing was backed up"),
    "restore.refused": ("rien n’a été remis en place", "nothing was put in place"),
    "backup.ask": ("Remettre {path} à la place de la base ?", "Put {path} in the place of the database?"),
    "backup.restored": ("Remis en place : {path}", "Put in place: {path}"),
    "backup.aside": ("La base d’avant est gardée : {path}", "The former database is kept: {path}"),
    "unverified.none": ("Aucune unité à vérifier.", "No unit to verify."),
    "unverified.unit": ("À vérifier : {unit}, depuis {moment}", "To verify: {unit}, since {moment}"),
    "unverified.unknown": ("inconnu", "unknown"),
    "unverified.taken": (
        "{reference} : {known} selon le hub, {found} selon le nœud ; rétabli",
        "{reference}: {known} for the hub, {found} for the node; reinstated",
    ),
    "unverified.stays": (
        "{reference} : {known} selon le hub, {found} selon le nœud ; gardé tel quel",
        "{reference}: {known} for the hub, {found} for the node; kept as it is",
    ),
    "unverified.conflict": ("— aucun lit libre : à régler", "— no free bed: to be settled"),
    "unverified.unheard": (
        "{count} réservation(s) dont le hub n’a rien dit",
        "{count} reservation(s) of which the hub has said nothing",
    ),
    "unverified.done": ("Vérifiée : {unit}", "Verified: {unit}"),
    "orphans.none": ("Aucune réservation sans demande.", "No reservation without a request."),
    "orphans.what": (
        "{count} réservation(s) de nœuds sans demande ici. Rien n’est libéré : voyez avec chaque établissement.",
        "{count} reservation(s) of nodes without a request here. Nothing is released: see with each establishment.",
    ),
    "backup.then.node": (
        "Au démarrage, chaque unité est à vérifier : voyez aval units unverified.",
        "At start each unit is to be verified: see aval units unverified.",
    ),
    "backup.then.hub": (
        "Au démarrage, le hub relit tous les nœuds et ne libère rien : voyez aval hub orphans.",
        "At start the hub reads all nodes again and releases nothing: see aval hub orphans.",
    ),
}
