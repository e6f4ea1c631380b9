"""XML from strangers, as a small tree: bounded in bytes, depth and elements, and without any document type.

Entities and external documents are declared in a document type; without one there is nothing to expand and nothing to
fetch. The parser is expat, which neither recurses nor looks outside by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Never
from xml.parsers import expat

BYTES_MAX = 4 * 1024 * 1024
"""Bytes of a document: 500 hospitals with all their bed types take 2 MB, and a sheet of 1,000 units less."""

DEPTH_MAX = 32
"""Elements within each other: HAVE in its envelope is 14 deep."""

ELEMENTS_MAX = 200_000
"""Elements of a document, whatever their size."""


class Unread(ValueError):
    """A file that is not read: `what` names why for programs, `line` where (1 is the first), 0 for the whole file."""

    def __init__(self, what: str, line: int = 0, **details: object) -> None:
        self.what = what
        self.line = line
        self.details = {name: str(value) for name, value in details.items()}
        super().__init__(what)


class MarkupFault(Unread):
    """A document that is not read."""


@dataclass(slots=True)
class Element:
    """An element: `tag` is `{namespace}name`, `whole` the text that stands directly in it, spaces and all."""

    tag: str
    line: int
    attributes: dict[str, str]
    whole: str = ""
    children: list["Element"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its text, without the spaces around it."""
        return self.whole.strip()

    def named(self, tag: str) -> Iterator["Element"]:
        """Its children of a name."""
        return (child for child in self.children if child.tag == tag)

    def first(self, *tags: str) -> "Element | None":
        """The first child of a name, of that the first of the next, and so on; None if one is absent."""
        here: Element | None = self
        for tag in tags:
            here = next(here.named(tag), None) if here else None
        return here

    def within(self) -> Iterator["Element"]:
        """It and all below it, in the order of the document."""
        waiting = [self]
        while waiting:
            one = waiting.pop()
            yield one
            waiting += reversed(one.children)


class _Builder:
    def __init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.root: Element | None = None
        self._open: list[Element] = []
        # Pieces of text by open element: text between many children, added up piece by piece, takes their square.
        self._pieces: list[list[str]] = []
        self._count = 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX:
            self._refuse("xml-elements", elements_max=ELEMENTS_MAX)
        if len(self._open) == DEPTH_MAX:
            self._refuse("xml-depth", depth_max=DEPTH_MAX)
        element = Element(_clark(name), self.parser.CurrentLineNumber, {_clark(k): v for k, v in attributes.items()})
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._pieces.append([])

    def _end(self, name: str) -> None:
        self._open.pop().whole = "".join(self._pieces.pop())

    def _text(self, text: str) -> None:
        self._pieces[-1].append(text)

    def _doctype(self, *_: object) -> None:
        self._refuse("xml-doctype")

    def _refuse(self, what: str, **details: object) -> Never:
        raise MarkupFault(what, self.parser.CurrentLineNumber, **details)


def _clark(name: str) -> str:
    return "{" + name if "}" in name else name


_FAULTS = {
    2: "xml-not", 3: "xml-cut", 4: "xml-token", 5: "xml-cut", 7: "xml-tags", 9: "xml-after", 11: "xml-entity",
    18: "xml-encoding", 19: "xml-encoding", 27: "xml-prefix",
}  # fmt: skip
"""What the parser's commoner codes mean (expat.h, enum XML_Error)."""


def parse(content: bytes) -> Element:
    """The document's root. Raises `MarkupFault`."""
    if len(content) > BYTES_MAX:
        raise MarkupFault("too-large", bytes=len(content), bytes_max=BYTES_MAX)
    builder = _Builder()
    try:
        builder.parser.Parse(content, True)
    except expat.ExpatError as error:
        raise MarkupFault(_FAULTS.get(error.code, "xml"), error.lineno, code=error.code) from error
    except (LookupError, ValueError) as error:
        if isinstance(error, MarkupFault):
            raise
        raise MarkupFault("xml-encoding") from error
    if builder.root is None:
        raise MarkupFault("empty")
    return builder.root
