"""FHIR R4 in the form of the French register of health resources (ROR, Agence du numérique en santé): out and in.

**The form.** The ROR describes a place of care by three resources: `Organization` (an establishment, by its FINESS),
`HealthcareService` (what a unit does: field R227, mode of care R213) and `Location` (where, with its beds). Beds are
counted in repeated extensions of the Location, `ror-location-supported-capacity`: one record for each *indicator*, that
is a status (R330) at a horizon (R331), for a gender where places are available (R332), a kind of closure where they are
closed (R333). `codes` has the lists, `capacity` the records, `resources` the instances, `profile` what a good instance
must hold.

**Out, told once.** Regions ask each house for the figures that Aval already has. `publisher` follows the house's own
node, keeps what the ROR is to know in a durable outbox (`outbox`) and sends it by FHIR PATCH (`ror`): `replace` first,
`add` when the ROR has no such indicator yet, `delete` when the unit no longer declares it. What no retry cures goes to
a person. `compare` reads the ROR back and says which of the two wins.

**Out, read by others.** `endpoint` serves the same resources, read only, over HTTP with mutual TLS beside a hub or a
node; `readers` says who may read; `saner` makes a MeasureReport of beds in the form of the SANER guide.

**In.** `reading` reads such resources from a file, `counting` takes from them counts of the house’s own units.

Everywhere an absent figure is unknown and never zero, and status 07, a sum, is never said.
"""
