"""The floor's server, a process of its own: an empty call over mutual TLS, without a gate, without work.

`python -m tests.bench.echo BUNDLE PORT_FILE`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import grpc
import uvloop

from aval.adapters.clock import SystemClock
from aval.adapters.pki import write_atomically
from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import Credentials

METHOD = "/floor.Echo/Empty"


async def empty(request: bytes, _: object) -> bytes:
    """Gives back what it got."""
    return request


async def serve(bundle: Path, port_file: Path) -> None:
    """Until it is killed."""
    clock = SystemClock()
    credentials = Credentials(bundle, clock, Telemetry(clock))
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(empty)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("floor.Echo", {"Empty": handler}),))
    port = server.add_secure_port("127.0.0.1:0", credentials.server_credentials())
    await server.start()
    write_atomically(port_file, str(port).encode(), mode=0o644)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
