"""The command `aval`: what there is, and where each command lives."""

from aval.adapters.cli.command import Group

_HERE = "aval.adapters.cli."

root = Group(
    "aval",
    "help",
    {
        "find": f"{_HERE}search:find",
        "request": f"{_HERE}request_acts:request",
        "reservation": f"{_HERE}reservations:reservation",
        "units": f"{_HERE}units:units",
        "report": f"{_HERE}report:report",
        "demo": f"{_HERE}demo:demo",
        "doctor": f"{_HERE}doctor:doctor",
        "context": f"{_HERE}context:context",
        "node": f"{_HERE}servers:node",
        "hub": f"{_HERE}servers:hub",
        "hl7": f"{_HERE}hl7:hl7",
        "fhir": f"{_HERE}fhir:fhir",
        "ror": f"{_HERE}ror:ror",
        "territory": f"{_HERE}territory:territory",
        "pki": f"{_HERE}certificates:pki",
        "cert": f"{_HERE}certificates:cert",
        "policy": f"{_HERE}policy:policy",
        "completion": f"{_HERE}about:completion",
        "version": f"{_HERE}about:version",
        "help": f"{_HERE}about:help_group",
    },
)
