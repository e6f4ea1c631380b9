"""Which branches of some modules were taken: found in their bytecode, seen by a trace. A figure, no verdict.

Python's own means, for one number at the end of a fuzz run: a *branch* is a place where the bytecode goes on at one of
two lines; it is covered by each of the two that was really gone.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

Arc = tuple[str, int, int]
"""File, the line before, the line after."""


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def possible(modules: Iterable[ModuleType]) -> set[Arc]:
    """The two ways of each branch of these modules."""
    arcs: set[Arc] = set()
    for module in modules:
        path = str(module.__file__)
        whole = compile(Path(path).read_text(encoding="utf-8"), path, "exec")
        for code in list(_codes(whole))[1:]:
            arcs |= {(path, *arc) for arc in _arcs(code)}
    return arcs


def _arcs(code: CodeType) -> Iterator[tuple[int, int]]:
    instructions = list(dis.get_instructions(code))
    lines: dict[int, int] = {}
    line = code.co_firstlineno
    for instruction in instructions:
        line = instruction.starts_line or line
        lines[instruction.offset] = line
    for index, instruction in enumerate(instructions[:-1]):
        if ("JUMP" in instruction.opname and "IF" in instruction.opname) or instruction.opname == "FOR_ITER":
            here = lines[instruction.offset]
            ways = {lines[instructions[index + 1].offset], lines.get(int(instruction.argval), here)}
            if len(ways - {here}) > 0 and len(ways) > 1:
                yield from ((here, way) for way in ways if way != here)


class Tracer:
    """Collects the arcs gone while it is on."""

    def __init__(self, modules: Iterable[ModuleType]) -> None:
        self._files = {str(module.__file__) for module in modules}
        self._last: dict[int, int] = {}
        self.arcs: set[Arc] = set()

    def __enter__(self) -> Tracer:
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self._last.clear()

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        self._last[id(frame)] = frame.f_lineno
        return self._line

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            before = self._last.get(id(frame), frame.f_lineno)
            self.arcs.add((frame.f_code.co_filename, before, frame.f_lineno))
            self._last[id(frame)] = frame.f_lineno
        elif event == "return":
            self._last.pop(id(frame), None)
        return self._line
