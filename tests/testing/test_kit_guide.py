"""docs/writing-a-provider.md, as it is written. That its provider passes the kit is in `test_kit_command`."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.testing.guide import PAGE, guide_files, install_guide

import promptport as pp
from promptport.testing.contract import ProviderContract
from promptport.testing.steps import Fail, Finish, Say
from promptport.testing.wire_server import WireResponse, WireServer

TOOL = pp.ToolDescriptor("get_weather", "Current weather of a city.", {"type": "object"})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_guide(tmp_path_factory.mktemp("guide"))


@pytest.fixture
def marmot(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports one of the provider's modules."""
    monkeypatch.syspath_prepend(str(source))
    yield lambda name: importlib.import_module(f"promptport_marmot.{name}")
    for name in [name for name in sys.modules if name.startswith("promptport_marmot")]:
        del sys.modules[name]


def block(language: str, beginning: str) -> str:
    """The page's block in this language that begins so."""
    found = re.findall(rf"^```{language}\n({re.escape(beginning)}.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_the_page_has_the_files_that_it_draws() -> None:
    layout = block("text", "promptport-marmot/\n")
    names = re.findall(r"([\w.]+\.(?:py|toml))", layout)
    assert sorted(path.rpartition("/")[2] for path in guide_files()) == sorted(names)


def test_the_request_is_the_one_that_the_page_shows(marmot: Any) -> None:
    prompt = pp.Prompt.of("What is the weather in Paris?", system="Be brief.")
    body = marmot("_request").talk_body(prompt, pp.LLModel("marmot", "marmot-1"), [TOOL], stream=True)
    assert body == json.loads(block("json", "{\n"))


def test_the_answer_is_the_one_that_the_page_shows(marmot: Any) -> None:
    decoder = marmot("_decode").MarmotDecoder()
    frames = decoder.feed(block("text", "event: start").encode() + b"\n")
    assert frames == [
        pp.Append("Let me see."),
        pp.ToolCallDelta("call_a", "get_weather", ""),
        pp.ToolCallDelta("call_a", "get_weather", '{"city": "Paris"}'),
        pp.ToolCall("call_a", "get_weather", '{"city": "Paris"}'),
        pp.End(pp.FinishReason.TOOL_CALLS, "calls", pp.Usage(11, 7), "marmot-1", "ans_1"),
    ]


def test_its_name_finds_it(marmot: Any) -> None:
    client = pp.client("marmot", api_key="test-key")
    assert type(client) is marmot("_client").MarmotClient
    model = pp.LLModel.parse("marmot/marmot-1")
    assert client.capabilities(model).context_length == 8192
    with pytest.raises(pp.ConfigurationError, match="MARMOT_API_KEY"):
        pp.client("marmot")


async def test_the_contract_for_chat_completions_is_whole() -> None:
    names: dict[str, Any] = {}
    exec(block("python", "from promptport.provider import LLModel\nfrom promptport.testing import Chat"), names)
    contract = names["TestMyServer"]()
    said = contract.encode_complete([Say("Hello."), Finish(pp.FinishReason.STOP)])
    failed = b"".join(contract.encode([Fail("no power", "down")]))
    async with (
        WireServer(WireResponse(said, content_type="application/json"), WireResponse(failed)) as server,
        contract.make_client(server.url, pp.Timeouts()) as client,
    ):
        assert (await client.execute(pp.Prompt.of("Hi."), contract.model)).text == "Hello."
        with pytest.raises(pp.ProviderStreamError, match="no power"):
            await anext(client.execute_streaming(pp.Prompt.of("Hi."), contract.model))


def test_the_checks_that_it_names_are_checks() -> None:
    named = re.findall(r"^\|[^|]+\| `([^`]+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert len(named) == 10
    for name in named:
        assert hasattr(ProviderContract, "test_" + name.replace(":", "").replace(" ", "_")), name


def test_its_tests_run(source: Path) -> None:
    folder = source.parent
    at_home = "from promptport_marmot.conformance import MarmotContract\n\n\nclass TestMarmotAtHome"
    (folder / "tests" / "test_at_home.py").write_text(block("python", at_home))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "rule_3", "tests"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    counts = re.findall(r"(TestMarmot\w*): (\d+) passed, 0 failed; \d+ scenarios", ran.stdout)
    assert [name for name, _ in counts] == ["TestMarmotAtHome", "TestMarmot"], ran.stdout
    assert all(int(passed) > 3 for _, passed in counts)


def test_its_code_is_clean(source: Path) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    checked = subprocess.run(
        [
            ruff,
            "check",
            "--no-cache",
            "--config",
            PAGE.parent.parent / "pyproject.toml",
            "--ignore=D,PLC0415",
            source,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
