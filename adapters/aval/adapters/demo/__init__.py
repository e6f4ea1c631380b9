"""A demonstration on a real territory: real establishments, invented patients. All that it shows says « SIMULATION ».

ge-10.toml    the territory: GHT GE-10 « Sud Lorraine », facts apart from assumptions
chance.py     draws that a seed and a label decide, and nothing else
generator.py  a plausible day of one establishment, as a stream of movements (pure)
feed.py       gives that day to the establishment's node, as its information system or its people would
"""

from importlib.resources import files
from pathlib import Path

SIMULATION = "SIMULATION"
"""The word that stands in every output of the demonstration."""

GE_10 = Path(str(files("aval.adapters.demo").joinpath("ge-10.toml")))
"""The demonstration's territory file."""
