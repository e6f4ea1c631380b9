"""`aval policy …`: who may call what, from the one table of the kernel."""

import click

from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import nearest, say
from aval.kernel.access import ACCESS, Server

FIELDS = ("server", "method", "callers")

policy = Group("policy", "help.policy")


@policy.verb(
    "explain", examples=("aval policy explain SearchBeds", "aval policy explain Exchange --json all"), reads=FIELDS
)
@click.argument("method")
def explain(terminal: Terminal, method: str) -> None:
    """Who may call a method, at a node and at the hub."""
    wanted = method.strip("/").lower()
    found = [
        (server, path, callers)
        for server, table in ACCESS.items()
        for path, callers in table.items()
        if wanted in (path.strip("/").lower(), path.rsplit("/", 1)[-1].lower())
    ]
    if not found:
        short = {path.rsplit("/", 1)[-1] for table in ACCESS.values() for path in table}
        why = nearest(method, short) or say("choice.known", names=", ".join(sorted(short)))
        raise Failure(say("method.unknown", word=method), why, "aval policy explain SearchBeds", code=Exit.NOT_FOUND)
    if terminal.is_json:
        terminal.objects(
            [{"server": server.value, "method": path, "callers": sorted(callers)} for server, path, callers in found]
        )
        return
    heads = [say("col.node") + "/" + say("col.hub"), say("col.method"), say("col.caller")]
    terminal.table(heads, ([server.value, path, ", ".join(sorted(callers))] for server, path, callers in found))


@policy.verb("check", examples=("aval policy check", "aval policy check --json method"), reads=("server", "method"))
def check(terminal: Terminal) -> None:
    """Whether the table holds every method of the contract, and no other; exit 10 if not."""
    contract = contract_methods()
    table = {path for server in Server for path in ACCESS[server] if path.startswith("/aval.")}
    wrong = sorted(contract ^ table)
    if terminal.is_json:
        terminal.objects([{"server": "", "method": path} for path in wrong])
    elif not wrong:
        terminal.line(say("policy.complete", count=len(contract)))
    if wrong:
        raise Failure(say("policy.missing", names=", ".join(wrong)), code=Exit.PROBLEM_FOUND)


def contract_methods() -> set[str]:
    """Every RPC of the contract: `/aval.v1.Service/Method`."""
    from aval.v1 import (
        availability_pb2,
        census_pb2,
        link_pb2,
        membership_pb2,
        request_pb2,
        reservation_pb2,
        territory_pb2,
    )

    files = (
        availability_pb2, census_pb2, link_pb2, membership_pb2, request_pb2, reservation_pb2, territory_pb2,
    )  # fmt: skip
    return {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
