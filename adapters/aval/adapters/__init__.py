"""Everything that is not the contract, turned into it or out of it: wire, telemetry, command line, demo."""

import os

# gRPC reads these when it is first imported, so they are set before any adapter imports it: no informative lines among
# our JSON ones, and no handlers for fork, which nothing here does (they can deadlock with renewed certificates).
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
