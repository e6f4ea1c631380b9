"""Everything that is not the contract, turned into it or out of it: wire, telemetry, command line, demo."""
