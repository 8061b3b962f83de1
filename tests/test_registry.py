"""Providers by name: listing imports none of them, asking imports that one, and two claims of a name are an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from promptport.registry import ProviderInfo, providers

FIRST_PARTY = {
    "anthropic": "promptport-anthropic",
    "bedrock": "promptport-bedrock",
    "cohere": "promptport-cohere",
    "google": "promptport-google",
    "google-vertex": "promptport-google",
    "local": "promptport-local",
    "ollama": "promptport-ollama",
    "openai": "promptport-openai",
    "openai-chat": "promptport-openai",
}


def install(place: Path, distribution: str, points: dict[str, str], module: str = "") -> None:
    """A distribution as pip leaves it behind, with one module."""
    info = place / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[promptport.providers]", *lines, ""]))
    if module:
        (place / f"{distribution.replace('-', '_')}.py").write_text(module)


def run(code: str, *places: Path) -> Any:
    """What the code prints as JSON, in a fresh interpreter that has these places on its path."""
    path = os.pathsep.join([*map(str, places), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


ASK = """
from promptport.errors import PromptportError
from promptport.registry import client
def ask(name, **options):
    try:
        return ["made", client(name, **options)]
    except PromptportError as error:
        return [type(error).__name__, str(error), type(error.__cause__).__name__]
"""

# ---------------------------------------------------------------------------------------------------- listing


def test_the_first_party_providers_are_found_by_their_entry_points() -> None:
    found = {info.name: info for info in providers()}
    assert {name: found[name].distribution for name in FIRST_PARTY} == FIRST_PARTY
    assert all(found[name] == ProviderInfo(name, FIRST_PARTY[name], installed=True) for name in FIRST_PARTY)
    assert list(found) == sorted(found)


def test_listing_imports_no_provider() -> None:
    code = """
from promptport.registry import providers
names = [info.name for info in providers()]
heavy = {"openai", "anthropic", "ollama", "httpx", "httpx2", "aiohttp", "pydantic", "xllamacpp"}
loaded = [m for m in sys.modules if m.startswith("promptport_") or m.partition(".")[0] in heavy]
print(json.dumps([names, loaded]))
"""
    names, imported = run(code)
    assert set(FIRST_PARTY) <= set(names)
    assert imported == []


def test_asking_for_one_imports_that_one() -> None:
    code = f"""{ASK}
ask("anthropic", api_key="k")
print(json.dumps(sorted(m for m in sys.modules if m.startswith("promptport_") and "." not in m)))
"""
    assert run(code) == ["promptport_anthropic"]


def test_a_strangers_provider_is_found_like_ours(tmp_path: Path) -> None:
    install(
        tmp_path,
        "their-provider",
        {"theirs": "their_provider:client"},
        "def client(*, api_key=None): return f'client with {api_key}'",
    )
    code = f"""{ASK}
from promptport.registry import providers
listed = [[i.name, i.distribution, i.installed] for i in providers() if i.name == "theirs"]
print(json.dumps([listed, "their_provider" in sys.modules, ask("theirs", api_key="k"), ask("theirs", nonsense=1)]))
"""
    listed, imported, made, refused = run(code, tmp_path)
    assert listed == [["theirs", "their-provider", True]]
    assert not imported
    assert made == ["made", "client with k"]
    assert refused[0] == "ConfigurationError"
    assert "nonsense" in refused[1]


# ------------------------------------------------------------------------------------------------------ errors


def test_what_is_not_installed_comes_with_the_command_that_installs_it() -> None:
    """A path without any provider: only the modules that the core needs, and no metadata."""
    code = f"""{ASK}
import importlib.metadata
importlib.metadata.entry_points = lambda **_: ()
from promptport.registry import providers
listed = [[i.name, i.distribution, i.installed, i.hint] for i in providers()]
print(json.dumps([listed, ask("anthropic"), ask("local"), ask("x")]))
"""
    listed, anthropic, local, unknown = run(code)
    assert {name: (distribution, installed) for name, distribution, installed, _ in listed} == {
        name: (distribution, False) for name, distribution in FIRST_PARTY.items()
    }
    hints = {name: hint for name, _, _, hint in listed}
    assert hints["openai-chat"] == hints["openai"] == 'pip install "promptport[openai]"'
    assert hints["anthropic"] in anthropic[1]
    assert "not installed" in anthropic[1]
    assert hints["local"] == 'pip install "promptport[local]"'
    assert hints["local"] in local[1]
    assert unknown[0] == "ConfigurationError"
    assert all(name in unknown[1] for name in ("'x'", *FIRST_PARTY))


def test_two_packages_that_claim_one_name_are_named_and_nobody_gets_it(tmp_path: Path) -> None:
    for distribution in ("first-provider", "second-provider"):
        name = distribution.replace("-", "_")
        install(tmp_path, distribution, {"shared": f"{name}:client"}, "def client(): return 1")
    install(tmp_path, "third-provider", {"openai": "third_provider:client"}, "def client(): return 1")
    code = f"{ASK}\nprint(json.dumps([ask('shared'), ask('openai', api_key='k'), 'first_provider' in sys.modules]))"
    shared, openai, imported = run(code, tmp_path)
    assert shared[0] == openai[0] == "ConfigurationError"
    assert "first-provider and second-provider" in shared[1]
    assert "promptport-openai and third-provider" in openai[1], "ours has no privileges"
    assert "uninstall one" in shared[1]
    assert not imported


def test_one_distribution_seen_twice_is_no_second_claim(tmp_path: Path) -> None:
    for place in (tmp_path / "a", tmp_path / "b"):
        install(place, "their-provider", {"theirs": "their_provider:client"}, "def client(): return 1")
    assert run(f"{ASK}\nprint(json.dumps(ask('theirs')))", tmp_path / "a", tmp_path / "b") == ["made", 1]


@pytest.mark.parametrize(
    ("module", "cause"),
    [
        ("import nothing_of_the_kind", "ModuleNotFoundError"),
        ("other = 1", "AttributeError"),
        ("from os import nothing_of_the_kind", "ImportError"),
    ],
)
def test_a_provider_that_cannot_be_imported_says_why(tmp_path: Path, module: str, cause: str) -> None:
    install(tmp_path, "their-provider", {"theirs": "their_provider:client"}, module)
    kind, message, found = run(f"{ASK}\nprint(json.dumps(ask('theirs')))", tmp_path)
    assert (kind, found) == ("ConfigurationError", cause)
    assert "'theirs' cannot be imported" in message


def test_a_bug_of_a_factory_is_no_configuration_error(tmp_path: Path) -> None:
    install(tmp_path, "their-provider", {"theirs": "their_provider:client"}, "def client(): return 1 + 'a'")
    code = f"{ASK}\ntry:\n    ask('theirs')\nexcept TypeError as error:\n    print(json.dumps(str(error)))"
    assert "unsupported operand" in run(code, tmp_path)
