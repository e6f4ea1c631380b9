"""`python -m aval.adapters.cli`, the same as `aval`: how a program starts it with its own interpreter."""

from aval.adapters.cli import main

main()
