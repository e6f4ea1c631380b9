"""The parsers that are fuzzed. Each stands beside the tests of its adapter, as `PARSER` of a module `fuzzing`."""

from __future__ import annotations

from tests.adapters.csv import fuzzing as csv
from tests.adapters.edxl import fuzzing as edxl
from tests.adapters.fhir import fuzzing as fhir
from tests.adapters.hl7v2 import fuzzing as hl7v2
from tests.fuzz.campaign import Parser

PARSERS: tuple[Parser, ...] = (hl7v2.PARSER, fhir.PARSER, edxl.PARSER, csv.PARSER)
