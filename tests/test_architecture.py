"""The directions in which the house is built, held over the syntax trees, and what an import costs.

A module that is new must be put into `LAYERS`: where it stands says what it may know.
"""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import promptport

ROOT = Path(__file__).parent.parent
CORE = ROOT / "src" / "promptport"
PROVIDERS = sorted((ROOT / "providers").glob("*/src/promptport_*"))

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors",
        (
            "checking json_values media_files visible_text frames models parts params turns history openai_messages"
            " messages param_options tools.*"
        ),
        "message_building stream_state decoding.* stream structured.* telemetry.*",
        "arguments protocols.* llm_client",
        "http.* text_tools.* presets.* registry",
        "provider executor",
        "policies.*",
        "connecting dispatch.* mcp.*",
        "session session_options structured_requests mapping front_ends.*",
        "nodes showing blocking run_log.* journal.*",
        "testing.*",
        "cli.* __main__",
    )
)
"""What may be imported: what stands above, and what stands on the same line, but never in a circle."""

LATE = {
    ("connecting", "policies"),
    ("dispatch.run_ties", "policies"),
    ("dispatch.workers", "dispatch.far_links"),
    ("presets.clients", "registry"),
    ("presets.table", "presets.clients"),
    ("cli.conformance_command", "testing"),
    ("cli.record_command", "testing"),
    ("cli.serve_command", "front_ends.serve_app"),
    ("cli.serve_command", "run_log.redis"),
    ("executor", "text_tools"),
    ("http.aiohttp_session", "http.aiohttp_connector"),
    ("http.chat_clones", "text_tools"),
    ("presets.clients", "text_tools"),
    ("http.transport", "http.transport_errors"),
    ("testing.matrix", "testing.chat_completions"),
    ("testing.plugin", "testing.cassette_fixture"),
    ("tools.descriptors", "tools.schema"),
}
"""Imports inside functions, which are made when they are needed; they go the same ways."""

PURE = (
    "decoding.*",
    "protocols.*",
    "text_tools.*",
    "errors",
    "json_values",
    "frames",
    "messages",
    "parts",
    "visible_text",
    "params",
    "turns",
    "history",
    "openai_messages",
    "models",
    "http.redaction",
    "http.retry_times",
    "http.status_errors",
)
PURE_IN_PROVIDERS = ("decode", "request", "calls", "models", "wire", "arguments")
IMPURE = {
    *("asyncio", "anyio", "trio", "select", "selectors", "socket", "ssl", "subprocess", "threading"),
    *("aiohttp", "h11", "http", "httpcore", "httpx", "httpx2", "requests", "urllib3"),
    *("anthropic", "botocore", "cohere", "google", "ollama", "openai", "xllamacpp", "pytest"),
}


class Import(NamedTuple):
    """One name that a module imports; ``name`` is empty for ``import module``."""

    module: str
    name: str
    late: bool


def modules(package: Path) -> dict[str, Path]:
    """The modules of a package by their dotted names below it; the package itself is ``""``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(node: ast.AST, late: bool = False) -> Iterator[Import]:
    """All imports, but for those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from [Import(alias.name, "", late) for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from [Import(child.module or "", alias.name, late) for alias in child.names]
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from imports(ast.Module(child.orelse, []), late)
        else:
            yield from imports(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


CORE_MODULES = modules(CORE)


def matches(module: str, patterns: frozenset[str] | tuple[str, ...]) -> bool:
    return any(module == pattern or f"{module}.".startswith(f"{pattern.removesuffix('.*')}.") for pattern in patterns)


def layer(module: str) -> int:
    found = [number for number, names in enumerate(LAYERS) if matches(module, names)]
    assert len(found) == 1, f"put {module!r} into LAYERS, once"
    return found[0]


def core_imports(module: str) -> set[tuple[str, bool]]:
    """The modules of the core that one of them imports, and whether it does so inside a function."""
    found = set()
    for one in imports(tree(CORE_MODULES[module])):
        if one.module == "promptport" or one.module.startswith("promptport."):
            below = one.module.removeprefix("promptport").removeprefix(".")
            inner = f"{below}.{one.name}".removeprefix(".")
            found.add((inner if inner in CORE_MODULES else below, one.late))
    return found


# ------------------------------------------------------------------------------------------------ directions


@pytest.mark.parametrize("module", [name for name in CORE_MODULES if name])
def test_imports_run_one_way(module: str) -> None:
    for imported, late in core_imports(module):
        assert imported, f"{module} imports the package that re-exports it"
        assert layer(imported) <= layer(module), f"{module} must not know {imported}"
        if late and (module, imported) not in LATE:
            raise AssertionError(f"{module} imports {imported} inside a function; say why in LATE")


def test_imports_make_no_circle() -> None:
    above: dict[str, set[str]] = {
        module: {imported for imported, late in core_imports(module) if not late} for module in CORE_MODULES
    }
    while free := [module for module, wanted in above.items() if not wanted & set(above)]:
        for module in free:
            del above[module]
    assert not above, f"a circle among {sorted(above)}"


def test_the_table_has_no_room_that_does_not_stand() -> None:
    for pattern in [name for names in LAYERS for name in names] + [name for pair in LATE for name in pair]:
        assert any(matches(module, (pattern,)) for module in CORE_MODULES), f"{pattern} is gone: take it out"


@pytest.mark.parametrize("module", [name for name in CORE_MODULES if matches(name, PURE)])
def test_pure_rooms_of_the_core_know_no_input_or_output(module: str) -> None:
    assert outside(CORE_MODULES[module]).isdisjoint(IMPURE)


def outside(path: Path) -> set[str]:
    return {one.module.partition(".")[0] for one in imports(tree(path))}


def in_providers() -> list[Path]:
    return [path for package in PROVIDERS for path in modules(package).values()]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize(
    "path",
    [path for path in in_providers() if path.stem.startswith("_") and path.stem.endswith(PURE_IN_PROVIDERS)],
    ids=name_of,
)
def test_pure_rooms_of_providers_know_no_input_or_output(path: Path) -> None:
    assert outside(path).isdisjoint(IMPURE)


def test_every_provider_that_decodes_has_its_decoder_apart() -> None:
    pure = {path.parent.name for path in in_providers() if path.stem.endswith(("_decode", "_request"))}
    assert pure == {package.name for package in PROVIDERS} - {"promptport_local"}, "local speaks Chat Completions"


def test_the_core_knows_no_provider_and_pytest_only_where_it_is_installed() -> None:
    for module, path in CORE_MODULES.items():
        assert not any(name.startswith("promptport_") for name in outside(path)), module
        assert "pytest" not in outside(path) or matches(module, ("testing",)), module
    for path in in_providers():
        assert "pytest" not in outside(path) or path.name == "conformance.py", path


# --------------------------------------------------------------------------------------------- public names


def rooms() -> set[str]:
    """The folders of the core: each has one door."""
    return {path.parent.name for path in CORE.glob("*/__init__.py")}


EXTRA_DOORS = {
    "promptport.front_ends.api_routes",
    "promptport.front_ends.serve_app",
    "promptport.front_ends.starlette",
    "promptport.run_log.redis",
}
"""Doors of their own: what they lead to needs an extra, so that the room's door cannot import it."""


def past_a_door(path: Path, own: str | None) -> list[str]:
    """What a file imports out of the inside of a room that is not its own."""
    found = []
    for one in imports(tree(path)):
        parts = one.module.split(".")
        whole = [*parts, one.name] if f"{'.'.join(parts[1:])}.{one.name}".strip(".") in CORE_MODULES else parts
        if one.module in EXTRA_DOORS:
            continue
        if parts[0] == "promptport" and len(whole) > 2 and whole[1] in rooms() - {own}:
            found.append(f"{one.module}: {one.name}")
    return found


@pytest.mark.parametrize("path", [*CORE_MODULES.values(), *in_providers()], ids=name_of)
def test_nobody_imports_past_the_door_of_a_room(path: Path) -> None:
    own = path.relative_to(CORE).parts[0] if path.is_relative_to(CORE) else None
    assert past_a_door(path, own) == []


TEST_FILES = sorted(path for place in ("tests", "providers/*/tests") for path in ROOT.glob(f"{place}/**/*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=name_of)
def test_tests_look_inside_their_own_room_only(path: Path) -> None:
    own = path.relative_to(ROOT / "tests").parts[0] if path.is_relative_to(ROOT / "tests") else None
    assert past_a_door(path, own) == []


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_door_says_what_enters_and_what_it_imports(room: str) -> None:
    words = " ".join((ast.get_docstring(tree(CORE / room / "__init__.py")) or "").split())
    assert "enters" in words, "say what may enter"
    assert "Imports:" in words, "say what it may import"


def test_inside_a_room_no_name_begins_with_an_underscore() -> None:
    hidden = [
        name for name in CORE_MODULES if any(part.startswith("_") for part in name.split(".")) and name != "__main__"
    ]
    assert hidden == []


@pytest.mark.parametrize("module", ["", *sorted(name for name in CORE_MODULES if (CORE / name).is_dir())])
def test_no_public_name_hides_a_module(module: str) -> None:
    door = importlib.import_module(f"promptport.{module}".rstrip("."))
    below = {path.stem for path in Path(str(door.__file__)).parent.glob("*")}
    assert below & set(door.__all__) == set()


def test_the_package_shows_what_is_public_and_nothing_else() -> None:
    assert dir(promptport) == sorted(promptport.__all__)


PROVIDERS_DOORS = {"promptport", "promptport.provider", "promptport.testing"}


@pytest.mark.parametrize("path", in_providers(), ids=name_of)
def test_providers_use_public_names_of_the_core_and_never_each_other(path: Path) -> None:
    own = path.relative_to(ROOT / "providers").parts[2]
    for one in imports(tree(path)):
        top = one.module.partition(".")[0]
        assert not top.startswith("promptport_") or top == own, f"{one.module} is another provider"
        if top != "promptport":
            continue
        assert one.module in PROVIDERS_DOORS, f"{one.module} is no door for providers"
        assert one.name in importlib.import_module(one.module).__all__, f"{one.name} is not public in {one.module}"


def exported(path: Path) -> list[str] | None:
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def defined(path: Path) -> set[str]:
    """The public classes and functions of a module, but for commands, and hooks that pytest finds by their names."""
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in tree(path).body if isinstance(node, kinds) and not node.name.startswith(("_", "pytest_"))]
    return {node.name for node in nodes if not any(".command" in ast.unparse(one) for one in node.decorator_list)}


def order(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then functions: as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("path", [*CORE_MODULES.values(), *in_providers()], ids=name_of)
def test_all_is_complete_and_sorted(path: Path) -> None:
    names = exported(path)
    if names is None:
        assert path.stem.startswith("_") or not defined(path), f"{path.name} has no __all__"
        return
    assert names == sorted(set(names), key=order)
    assert defined(path) <= set(names), f"missing in __all__: {sorted(defined(path) - set(names))}"


@pytest.mark.parametrize("module", [name for name in CORE_MODULES if name])
def test_all_names_what_there_is(module: str) -> None:
    loaded = importlib.import_module(f"promptport.{module}")
    for name in getattr(loaded, "__all__", ()):
        assert hasattr(loaded, name), f"promptport.{module} has no {name}"


_BESIDE = {
    "dispatch": {"checked_answers", "enclosing_usage", "within_budgets"},  # for sessions
    "llm_client": {"check_request", "missing_capabilities", "unsupported_parameters"},  # for authors of providers
    "tools": {
        "DIALECTS",
        "FittedSchema",
        "KeyRenamer",
        "SchemaCheck",
        "SchemaDialect",
        "fit_schema",
        "fit_tools",
        "renamed_properties",
        "without_nulls",
    },
}


@pytest.mark.parametrize(
    "module",
    [
        *(
            "dispatch",
            "errors",
            "connecting",
            "executor",
            "frames",
            "llm_client",
            "messages",
            "models",
            "nodes",
            "registry",
        ),
        *("session", "stream", "structured", "tools"),
    ],
)
def test_the_package_re_exports_what_others_build_on(module: str) -> None:
    names = set(importlib.import_module(f"promptport.{module}").__all__)
    assert names - set(promptport.__all__) == _BESIDE.get(module, set())


def test_the_package_re_exports_and_does_nothing_else() -> None:
    body = tree(CORE / "__init__.py").body
    for_type_checkers, when_running = (node for node in body if isinstance(node, ast.If))
    assert ast.unparse(for_type_checkers.test) == "TYPE_CHECKING"
    assert ast.unparse(when_running.test) == "not TYPE_CHECKING"
    assert all(
        isinstance(node, ast.ImportFrom | ast.If)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("_"))
        or (isinstance(node, ast.FunctionDef) and node.name == "__dir__")
        for node in body
    )
    later = {one.name: one.module for one in imports(ast.Module(for_type_checkers.body, []))}
    assert later == promptport._WHEN_ASKED
    imported = [one.name for one in imports(ast.Module(body, [])) if one.module.startswith("promptport.")]
    assert promptport.__all__ == sorted([*imported, *later, "__version__"])


@pytest.mark.parametrize("name", sorted(promptport._WHEN_ASKED))
def test_a_name_that_is_imported_when_asked_for_is_the_rooms_own(name: str) -> None:
    assert getattr(promptport, name) is getattr(importlib.import_module(promptport._WHEN_ASKED[name]), name)


def test_a_name_that_does_not_exist_is_pythons_own_error() -> None:
    with pytest.raises(AttributeError, match="module 'promptport' has no attribute 'streem'"):
        _ = promptport.streem  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'streem'"):
        exec("from promptport import streem")


# ------------------------------------------------------------------------------------------------- the import


def loaded_by(code: str) -> set[str]:
    """The modules that are there after this code, in a fresh interpreter."""
    print_them = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{print_them}"], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


HEAVY = {
    *("anthropic", "botocore", "cohere", "google", "ollama", "openai", "xllamacpp"),
    *("aiohttp", "anyio", "h11", "httpcore", "httpx", "httpx2", "requests", "ssl"),
    *("pydantic", "pydantic_core", "docstring_parser", "jsonschema_rs", "pytest", "rich", "typer", "mcp"),
}


def test_importing_the_package_brings_in_nothing_heavy() -> None:
    loaded = {name.partition(".")[0] for name in loaded_by("import promptport") - loaded_by("import asyncio, msgspec")}
    assert loaded & HEAVY == set()
    assert "promptport" in loaded
    third_party = loaded - set(sys.stdlib_module_names) - {"promptport"}
    assert third_party == set(), f"new at import: {sorted(third_party)}"


def test_a_room_that_many_programs_never_use_is_imported_when_it_is_asked_for() -> None:
    loaded = loaded_by("from promptport import Prompt, ToolDispatcher, connect, tool")
    rooms = {*promptport._WHEN_ASKED.values(), *(f"promptport.{room}" for room in ("decoding", "http", "protocols"))}
    assert loaded & rooms == set()
    assert "promptport.structured" in loaded_by("from promptport import JsonDefinition")


def test_a_prompt_a_model_and_capabilities_need_nothing_heavy() -> None:
    code = """
import promptport as pp
pp.Prompt.of("Hello", system="s").tool_call("1", "f").tool_result("1", "x").to_json()
pp.LLModel.parse("openai/gpt-5"); pp.providers(); pp.ToolDescriptor("f")
pp.client("openai", api_key="k").capabilities(pp.LLModel("openai", "gpt-5"))
"""
    loaded = {name.partition(".")[0] for name in loaded_by(code) - loaded_by("import asyncio, ssl")}
    assert loaded & HEAVY == set()


# ------------------------------------------------------------------------------------------------- the rooms


def test_every_test_file_has_a_name_of_its_own() -> None:
    names = Counter(path.name for place in ("tests", "providers") for path in (ROOT / place).rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("path", [*CORE_MODULES.values(), *in_providers()], ids=name_of)
def test_every_file_opens_with_its_rule_and_is_a_room_not_a_hall(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "a file opens with a docstring"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, "past 500 lines, look for two rooms"


@pytest.mark.parametrize("package", PROVIDERS, ids=lambda package: package.name)
def test_a_provider_is_typed_and_is_found_by_its_entry_point(package: Path) -> None:
    assert (package / "py.typed").exists()
    settings = (package.parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points."promptport.providers"]' in settings


# ------------------------------------------------------------------------------------------------ providers


@pytest.mark.parametrize("package", [path.name for path in PROVIDERS])
def test_importing_a_provider_brings_in_nothing_heavy(package: str) -> None:
    """Its client too: HTTP libraries, SDKs, botocore and google-auth come with the first request that needs them."""
    loaded = {name.partition(".")[0] for name in loaded_by(f"import {package}._client")}
    assert loaded & (HEAVY - {"ssl"}) == set()
    assert package in loaded
    before = loaded_by("import promptport, promptport.provider")
    new = {name.partition(".")[0] for name in loaded_by(f"import {package}._client") - before}
    assert new - set(sys.stdlib_module_names) == {package}, "a provider brings in itself, and nothing else"


@pytest.mark.parametrize("command", [["providers"], ["capabilities", "google/gemini-3-flash"]])
def test_the_tables_of_the_command_line_import_no_library_of_a_provider(command: list[str]) -> None:
    run = f"import io, sys; sys.argv, out, sys.stdout = {['promptport', *command]!r}, sys.stdout, io.StringIO()"
    ask = "from promptport.cli import main\ntry:\n    main()\nexcept SystemExit as done:\n    assert not done.code"
    loaded = loaded_by(f"{run}\n{ask}\nassert sys.stdout.getvalue()\nsys.stdout = out")
    libraries = {"anthropic", "botocore", "cohere", "google", "ollama", "openai", "xllamacpp"}
    http = {"aiohttp", "h11", "httpcore", "httpx", "httpx2", "requests"}
    assert {name.partition(".")[0] for name in loaded} & (libraries | http) == set()


OWN_CODE = {path.name: 500 for path in PROVIDERS}
OWN_CODE["promptport_local"] = 750  # it downloads weights and runs the server, which is no part of talking to one
"""How many lines of code a provider has of its own, at most."""


def own_code(path: Path) -> int:
    """The lines of a module that do something.

    Not counted: blank lines, comments, docstrings and imports; and tables, which are the values that a module names
    (constants, ``__all__``) and the shapes of what a server sends (structs that only declare fields).
    """
    module = tree(path)
    aside: set[int] = set()
    for node in ast.walk(module):
        for child in getattr(node, "body", ()) if isinstance(node, DOCUMENTED) else ():
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                aside |= set(range(child.lineno, (child.end_lineno or 0) + 1))
    for node in module.body:
        shape = isinstance(node, ast.ClassDef) and all(
            isinstance(field, ast.AnnAssign | ast.Expr) for field in node.body
        )
        checked = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if shape or checked or isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign):
            aside |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = path.read_text(encoding="utf-8").splitlines()
    code = {number for number, line in enumerate(lines, 1) if line.strip() and not line.strip().startswith("#")}
    return len(code - aside)


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("package", PROVIDERS, ids=lambda package: package.name)
def test_a_provider_is_small(package: Path) -> None:
    """What differs, and nothing else: what several providers do alike stands in the core, once.

    The tables of models (``_models.py``) and the contract tests (``conformance.py``) are not counted either.
    """
    counted = {path.name: own_code(path) for path in package.glob("*.py")}
    for name in ("_models.py", "conformance.py"):
        counted.pop(name, None)
    assert sum(counted.values()) <= OWN_CODE[package.name], counted
