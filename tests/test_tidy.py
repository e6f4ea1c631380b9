"""The house rules that no tool checks for us: layout, names, banned calls, words, pins, twins.

Each test lists every breach that it finds, as ``path:line: what``, so that one run shows all there is to mend. The
rules hold for what git would commit: a generated or ignored file is nobody's prose.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, listed_reasons

ROOTS = ("proto", "node", "hub", "adapters")

TOP_LEVEL = {
    *ROOTS, "tests",
    ".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "README.fr.md",
    "buf.yaml", "pyproject.toml", "requirements.lock",
}  # fmt: skip
TOP_LEVEL_LATER = {"deploy", "docs"}
"""In the plan of the house; they come with what fills them."""

TESTS = {"kernel", "node", "hub", "adapters", "contract", "scenarios", "simulation", "bench", "fuzz"}
TEST_FILES = {"ceilings.toml", "conftest.py", "not_run.toml", "test_tidy.py", "typography.py", "waiting.py"}

FILE_LINES_MAX = 900
"""A module that takes more than a quarter of an hour to read has two subjects."""
FUNCTION_LINES_MAX = 80
"""A function is seen whole on one screen, signature and docstring included."""
LINE_CHARACTERS_MAX = 120
"""ruff's line length, for what ruff does not read."""
README_LINES_MAX = 200
REASON_WORDS_MIN = 3
"""An exemption says why in words; fewer are a shrug."""

NAMES_BANNED = {"util", "utils", "helper", "helpers", "manager", "managers", "common"}
"""They say that nobody decided what the thing is."""
NAMES_OF_STANDARDS = re.compile(r"common_?name", re.IGNORECASE)
"""X.509's own word for a field of a certificate's subject."""

# --- what is looked at -----------------------------------------------------------------------------------------------


@cache
def tracked() -> tuple[str, ...]:
    """Every path that git has or would take in, relative to the checkout."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(sorted(path for path in set(listing.stdout.split("\0")) if path and (CHECKOUT / path).is_file()))


@cache
def text(path: str) -> str:
    """The content of a tracked file; empty if it is no text."""
    try:
        return (CHECKOUT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def with_suffix(*suffixes: str, under: Iterable[str] = (*ROOTS, "tests")) -> list[str]:
    """Tracked files with one of these endings below these top-level folders."""
    folders = tuple(f"{folder}/" for folder in under)
    return [path for path in tracked() if path.endswith(suffixes) and path.startswith(folders)]


@cache
def tree(path: str) -> ast.Module:
    """The syntax of a Python file."""
    return ast.parse(text(path), path)


def lines(path: str) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1."""
    return enumerate(text(path).splitlines(), 1)


def breaches(found: Iterable[str]) -> None:
    """Fails with every breach on a line of its own."""
    listing = sorted(found)
    assert not listing, "\n" + "\n".join(listing)


# --- layout ----------------------------------------------------------------------------------------------------------


def test_the_top_of_the_tree_is_the_plan_of_the_house() -> None:
    present = {path.partition("/")[0] for path in tracked()}
    breaches(
        [f"{name}: missing" for name in TOP_LEVEL - present]
        + [f"{name}: not in the plan" for name in present - TOP_LEVEL - TOP_LEVEL_LATER]
    )


def test_tests_lie_where_their_subject_does() -> None:
    present = {path.split("/")[1] for path in tracked() if path.startswith("tests/")}
    breaches(f"tests/{name}: not in the plan" for name in present - TESTS - TEST_FILES)


def test_each_package_says_so_and_the_namespace_does_not() -> None:
    """An ``__init__.py`` in a portion of the namespace hides the others at run time, and no type checker sees it."""
    folders = {Path(path).parent for path in with_suffix(".py")}
    found = []
    for folder in folders:
        has_init = str(folder / "__init__.py") in tracked()
        in_package = folder.parts[0] in ROOTS and len(folder.parts) > 2 and folder.parts[2] != "v1"
        if "migrations" in folder.parts:  # Alembic runs these files by their paths; nothing imports them
            continue
        if has_init and not in_package:
            found.append(f"{folder}: must have no __init__.py")
        if in_package and not has_init:
            found.append(f"{folder}: must have an __init__.py")
    breaches(found)


def test_what_the_build_server_runs_is_a_program() -> None:
    run = CHECKOUT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert "set -euo pipefail" in run.read_text()


def test_each_make_target_says_what_it_does() -> None:
    makefile = text("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    helped = set(re.findall(r"^([a-z][a-z-]*):.*## \S", makefile, re.MULTILINE))
    phony = set(" ".join(re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)).split())
    assert targets == helped == phony


# --- size ------------------------------------------------------------------------------------------------------------


def test_files_are_short_enough_to_read() -> None:
    breaches(
        f"{path}: {count} lines, at most {FILE_LINES_MAX}"
        for path in with_suffix(".py", ".proto")
        if (count := len(text(path).splitlines())) > FILE_LINES_MAX
    )


def test_functions_are_short_enough_to_see() -> None:
    breaches(
        f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES_MAX}"
        for path in with_suffix(".py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    )


def test_lines_are_short_enough_for_two_columns() -> None:
    checked = [
        *with_suffix(".proto"),
        *with_suffix(".toml", under=("tests",)),
        *("pyproject.toml", "buf.yaml", "Makefile", ".ci/run"),
    ]
    breaches(
        f"{path}:{number}: {len(line)} characters, at most {LINE_CHARACTERS_MAX}"
        for path in checked
        for number, line in lines(path)
        if len(line) > LINE_CHARACTERS_MAX
    )


# --- names and prose -------------------------------------------------------------------------------------------------


def _names(path: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.arg():
                yield node.lineno, node.arg


def test_names_are_the_domains_nouns() -> None:
    def vague(name: str) -> bool:
        own = NAMES_OF_STANDARDS.sub("", name)
        return bool(NAMES_BANNED & {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", own)})

    found = [f"{path}: its name" for path in tracked() if any(vague(part) for part in Path(path).parts)]
    found += [f"{path}:{number}: {name}" for path in with_suffix(".py") for number, name in _names(path) if vague(name)]
    breaches(found)


def test_each_module_opens_with_what_it_is() -> None:
    breaches(f"{path}: no docstring" for path in with_suffix(".py") if not ast.get_docstring(tree(path)))


def _documented_of(body: Iterable[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """What a reader meets from outside: public classes, functions and methods; the contract documents its own RPCs."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node
            yield from _documented_of(node.body)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            decorators = {getattr(one, "attr", getattr(one, "id", "")) for one in node.decorator_list}
            if not node.name[0].isupper() and not decorators & {"overload", "override", "setter"}:
                yield node


def test_what_is_public_is_documented() -> None:
    breaches(
        f"{path}:{node.lineno}: {node.name} has no docstring"
        for path in with_suffix(".py", under=("proto", "node", "hub"))
        for node in _documented_of(tree(path).body)
        if not ast.get_docstring(node)
    )


WORDS_BANNED = {
    r"\b2pc\b": "the protocol is a brokered reservation; that word promises something else",
    r"\b(TODO|FIXME|XXX)\b": "unfinished work belongs into an issue",
    r"/work/|/root/|/tmp/aval\b": "a path of one machine",
    r"pypi\.org|pythonhosted|npmjs|deb\.debian|proxy\.golang": "a registry's host: the environment decides where from",
}


def test_no_file_says_what_no_file_should() -> None:
    myself = Path(__file__).relative_to(CHECKOUT).as_posix()
    patterns = {re.compile(pattern, re.IGNORECASE): why for pattern, why in WORDS_BANNED.items()}
    breaches(
        f"{path}:{number}: {found.group()}: {why}"
        for path in tracked()
        if path != myself
        for number, line in lines(path)
        for pattern, why in patterns.items()
        if (found := pattern.search(line))
    )


def test_only_tests_know_of_the_folder_beside_the_checkout() -> None:
    breaches(
        f"{path}:{number}: {line.strip()}"
        for path in tracked()
        if not path.startswith("tests/")
        for number, line in lines(path)
        if "../shared" in line
    )


def _printed(path: str) -> Iterator[tuple[int, str]]:
    """The string literals of a module that are not docstrings."""
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


FORMER_NAME = re.compile(r"\bSSR\b", re.IGNORECASE)


def test_smr_is_never_called_by_its_former_name() -> None:
    """As a word alone it may be searched for; in a sentence it would be read. Names in territory files are data."""
    breaches(
        f"{path}:{number}: {literal.strip()[:80]}"
        for path in with_suffix(".py", under=ROOTS)
        for number, literal in _printed(path)
        if FORMER_NAME.search(literal) and literal.lower() != "ssr"
    )


# --- what the code may do --------------------------------------------------------------------------------------------

TIME_AND_CHANCE = (
    "asyncio.TaskGroup", "asyncio.sleep", "asyncio.timeout", "asyncio.timeout_at", "asyncio.to_thread",
    "asyncio.wait_for", "concurrent.futures", "datetime.date.today", "datetime.datetime.now",
    "datetime.datetime.today", "datetime.datetime.utcnow", "multiprocessing", "os.fork", "os.getrandom", "os.urandom",
    "random", "secrets", "subprocess", "threading", "time", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7",
)  # fmt: skip
"""Outside adapters and stores these come as ports, so that a seeded simulation runs the very same code."""

IN_TESTS = ("asyncio.sleep", "time.sleep", "unittest.mock")
"""A test waits for a condition (``tests/waiting.py``) and fakes by hand."""

ANY_OBJECT = ("run_in_executor", "call_later", "call_at")
"""Methods of an event loop, under whatever name the loop goes."""


def _dotted(node: ast.expr, imported: dict[str, str]) -> str | None:
    match node:
        case ast.Name(id=name):
            return imported.get(name)
        case ast.Attribute(value=value, attr=attribute):
            base = _dotted(value, imported)
            return base and f"{base}.{attribute}"
    return None


def _uses(path: str) -> Iterator[tuple[int, str]]:
    """Each thing of another module that a file names, by its full dotted name, whatever it was imported as."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            if name := _dotted(node, imported):
                yield node.lineno, name
            if node.attr in ANY_OBJECT:
                yield node.lineno, node.attr


def _calls_banned(path: str, banned: Iterable[str]) -> Iterator[str]:
    for number, name in sorted(set(_uses(path))):
        if any(name == one or name.startswith(f"{one}.") for one in banned):
            yield f"{path}:{number}: {name}"


def test_time_chance_and_threads_come_as_ports() -> None:
    breaches(
        breach
        for path in with_suffix(".py", under=("proto", "node", "hub"))
        if "/store/" not in path and path != "proto/hatch_build.py"
        for breach in _calls_banned(path, (*TIME_AND_CHANCE, *ANY_OBJECT))
    )


def test_tests_neither_sleep_nor_patch() -> None:
    found = [
        breach
        for path in with_suffix(".py", under=("tests",))
        if path != "tests/waiting.py"
        for breach in _calls_banned(path, IN_TESTS)
    ]
    found += [
        f"{path}:{node.lineno}: monkeypatch.{node.attr}"
        for path in with_suffix(".py", under=("tests",))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"setattr", "setitem", "delattr", "delitem"}
        if isinstance(node.value, ast.Name) and node.value.id == "monkeypatch"
    ]
    breaches(found)


EXECUTES = {"execute", "executemany", "executescript", "exec_driver_sql", "text"}


def _put_together(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr():
            return any(isinstance(part, ast.FormattedValue) for part in node.values)
        case ast.BinOp(op=ast.Add() | ast.Mod()):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="format" | "join")):
            return True
    return False


def test_sql_is_never_put_together_where_it_runs() -> None:
    breaches(
        f"{path}:{node.lineno}: SQL made by an expression: bind the values"
        for path in with_suffix(".py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and node.args and _put_together(node.args[0])
        if getattr(node.func, "attr", getattr(node.func, "id", "")) in EXECUTES
    )


def test_grpc_options_stand_in_one_table() -> None:
    """grpc ignores silently an option that it does not know: each is written once, and a test proves that it bites."""
    files = {
        path
        for path in with_suffix(".py", under=ROOTS)
        for _, literal in _printed(path)
        if re.fullmatch(r"grpc\.[a-z0-9_.]+", literal)
    }
    assert len(files) <= 1, sorted(files)


PURE = (
    "aval.kernel", "aval.node.availability", "aval.node.claims", "aval.node.ledger", "aval.node.model",
    "aval.node.policy", "aval.node.reconciling", "aval.hub.brokerage", "aval.hub.matching", "aval.hub.model",
    "aval.hub.picture", "aval.hub.reactions", "aval.hub.restoring",
)  # fmt: skip
"""What decides: import-linter holds these to no input, no output, no clock and no message."""


def test_what_decides_is_named_to_import_linter() -> None:
    contracts = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    held = next(one["source_modules"] for one in contracts if one["name"] == "what decides does no input or output")
    roots = {"kernel": "proto", "node": "node", "hub": "hub"}
    present = {
        name
        for name in PURE
        if any(path.startswith(f"{roots[name.split('.')[1]]}/{name.replace('.', '/')}") for path in tracked())
    }
    assert set(held) == present


# --- exemptions ------------------------------------------------------------------------------------------------------

EXEMPTIONS = {
    "type: ignore": re.compile(r"type:\s*ignore(\[[a-z, -]+\])?"),
    "noqa": re.compile(r"noqa(:\s*[A-Z]+[0-9]+(,\s*[A-Z]+[0-9]+)*)?"),
    "pragma: no cover": re.compile(r"pragma:\s*no cover"),
}


def _exemptions() -> Iterator[tuple[str, str, str]]:
    """Kind, place and reason of each comment that tells a check to look away."""
    for path in with_suffix(".py"):
        for token in tokenize.generate_tokens(io.StringIO(text(path)).readline):
            if token.type != tokenize.COMMENT:
                continue
            for kind, pattern in EXEMPTIONS.items():
                if pattern.search(token.string):
                    own = pattern.sub("", token.string)
                    above = text(path).splitlines()[token.start[0] - 2].strip()
                    reason = f"{own} {above}" if above.startswith("#") else own
                    yield kind, f"{path}:{token.start[0]}", reason


def test_exemptions_only_become_fewer() -> None:
    recorded = tomllib.loads(text("tests/ceilings.toml"))
    counted = Counter(kind for kind, _, _ in _exemptions())
    found = []
    for kind in EXEMPTIONS:
        if counted[kind] > recorded[kind]:
            places = ", ".join(place for one, place, _ in _exemptions() if one == kind)
            found.append(
                f"{kind}: {counted[kind]}, and there were {recorded[kind]}; do without it. They are at {places}"
            )
        if counted[kind] < recorded[kind]:
            found.append(
                f"{kind}: {counted[kind]} are left of {recorded[kind]}: lower the number in tests/ceilings.toml"
            )
    breaches(found)


def test_each_exemption_has_its_reason() -> None:
    breaches(
        f"{place}: {kind} without a reason"
        for kind, place, reason in _exemptions()
        if len(re.findall(r"[A-Za-z]{2,}", reason)) < REASON_WORDS_MIN
    )


def test_each_test_that_may_be_left_out_exists() -> None:
    """Whether it asks for something that may be absent is checked when it is collected."""
    found = []
    for what, why in listed_reasons().items():
        path, *names = what.split("::")
        body: list[ast.stmt] = tree(path).body if path in tracked() else []
        for name in names:
            inside = [node for node in body if getattr(node, "name", None) == name]
            if not inside:
                found.append(f"tests/not_run.toml: {what} is no test")
                break
            body = getattr(inside[0], "body", [])
        if not names:
            found.append(f"tests/not_run.toml: {what} names a file, not a test")
        if len(why.split()) < REASON_WORDS_MIN:
            found.append(f"tests/not_run.toml: {what} has no reason")
    found += [
        f"tests/not_run.toml: {entry.get('what')} says {sorted(entry)}"
        for entry in tomllib.loads(text("tests/not_run.toml")).get("not_run", [])
        if set(entry) != {"what", "why", "since"}
    ]
    breaches(found)


# --- versions --------------------------------------------------------------------------------------------------------


def _pyproject() -> dict[str, dict[str, object]]:
    return tomllib.loads(text("pyproject.toml"))


def _versions(requirements: object) -> dict[str, str]:
    assert isinstance(requirements, list)
    pairs = (re.fullmatch(r"([a-z0-9-]+)(?:>=|==)([0-9.]+)", one) for one in requirements)
    return {pair[1]: pair[2] for pair in pairs if pair}


def _locked() -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text("requirements.lock"), re.MULTILINE))


def test_the_lock_holds_what_the_project_asks_for() -> None:
    project = _pyproject()["project"]
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    wanted = {
        **_versions(project["dependencies"]),
        **_versions(extras["test"]),
        **_versions(_pyproject()["build-system"]["requires"]),
    }
    locked = _locked()
    found = []
    for name, floor in wanted.items():
        numbers = [tuple(int(part) for part in one.split(".")) for one in (locked.get(name, "0"), floor)]
        if numbers[0] < numbers[1]:
            found.append(f"{name}: at least {floor} is asked for, {locked.get(name)} is locked: run `make lock`")
    breaches(found)


def test_the_lock_has_hashes_and_no_address() -> None:
    lock = text("requirements.lock")
    assert len(re.findall(r"^[a-z0-9-]+==.* \\\n    --hash=sha256:", lock, re.MULTILINE)) == len(_locked())
    assert not re.search(r"://|^\s*--(?!hash=)", lock, re.MULTILINE)


def test_generated_code_meets_the_runtime_that_it_was_made_for() -> None:
    """Generated code refuses an older grpcio or protobuf when it is imported, and promises nothing for other pins."""
    pins = _versions(_pyproject()["build-system"]["requires"])
    floors = _versions(_pyproject()["project"]["dependencies"])
    locked = _locked()
    for generator in ("grpcio-tools", "mypy-protobuf"):
        assert pins[generator] == locked[generator] == version(generator)
    for runtime in ("grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-status"):
        assert floors[runtime] == pins["grpcio-tools"]
    assert locked["types-grpcio"].startswith(pins["grpcio-tools"].rpartition(".")[0] + ".")
    generated = (CHECKOUT / "proto/aval/v1/link_pb2.py").read_text()
    made_for = re.search(r"Protobuf Python Version: ([0-9.]+)", generated)
    assert made_for
    assert tuple(map(int, made_for[1].split("."))) <= tuple(map(int, floors["protobuf"].split(".")))


# --- the twins -------------------------------------------------------------------------------------------------------


def _outline(path: str) -> tuple[list[int], list[str]]:
    """The levels of the headings of a Markdown file, in order, and what its code blocks say to type."""
    levels: list[int] = []
    commands: list[str] = []
    fenced = False
    for _, line in lines(path):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced and re.match(r"\s*(\$ )?(make|git|aval|cd|pip|python3?|\.venv/\S+) ", line):
            commands.append(line.partition("#")[0].strip())
        elif not fenced and (heading := re.match(r"(#+) \S", line)):
            levels.append(len(heading[1]))
    return levels, commands


def test_the_french_readme_is_the_english_ones_twin() -> None:
    english, french = _outline("README.md"), _outline("README.fr.md")
    assert english[0]
    assert english[1]
    assert english == french


@pytest.mark.parametrize("path", ["README.md", "README.fr.md"])
def test_a_readme_is_read_in_ten_minutes(path: str) -> None:
    assert 0 < len(text(path).splitlines()) <= README_LINES_MAX


def test_the_french_readme_is_written_in_french_typography() -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", text("README.fr.md"), flags=re.DOTALL)
    breaches(f"README.fr.md: {found}" for found in re.findall(r"\w+'\w+|\w+ [;!?»]|« \w+|\bSSR\b", prose))
