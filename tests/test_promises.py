"""Sentences of the docs that were not true once: what they say now is held against the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import promptport as pp
from promptport.testing import WireResponse, WireServer

ROOT = Path(__file__).parent.parent
STATUSES = re.findall(r"^\| `(\w+)` \| HTTP ([\d, ]+)", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
NAMED = [(int(status), name) for name, statuses in STATUSES for status in re.findall(r"\d{3}", statuses)]


@pytest.mark.parametrize(("status", "name"), NAMED)
async def test_the_status_table_is_what_clients_raise(status: int, name: str) -> None:
    refusal = WireResponse.json({"error": {"message": "no"}}, status=status)
    async with WireServer(refusal) as server:
        async with pp.SingleClientExecutor(pp.client("ollama", base_url=server.url)) as executor:
            with pytest.raises(pp.ProviderError) as caught:
                await executor.execute("hi", "ollama/m")
    assert type(caught.value).__name__ == name


def test_the_status_table_names_the_odd_ones() -> None:
    assert {402, 408, 429, 529} <= {status for status, _ in NAMED}


def test_the_step_limit_is_no_tool_error() -> None:
    assert not issubclass(pp.StepLimitError, pp.ToolError)
    tools, loop = (ROOT / "docs" / "errors.md").read_text().split("## Tools")[1].split("## The tool loop")
    assert "`StepLimitError` |" not in tools
    assert "`StepLimitError` |" in loop


def test_a_tool_call_is_complete_and_not_yet_valid() -> None:
    @pp.tool
    def double(number: int) -> int:
        """Doubles."""
        return 2 * number

    call = pp.ToolCall("c1", "double", '{"numbr": 1}')
    assert call.parsed() == {"numbr": 1}
    with pytest.raises(pp.InvalidToolArgumentsError):
        double.validate(call.arguments)


@pytest.mark.parametrize(
    "untrue",
    [r"safe to run", r"Half of the models", r"Nothing is started twice", r"runs as it stands.*python -m asyncio"],
)
def test_sentences_that_were_not_true_are_gone(untrue: str) -> None:
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "src/promptport/frames.py", ROOT / "src/promptport/messages.py"]
    assert not [page.name for page in pages if re.search(untrue, page.read_text())]


def test_a_cost_beside_httpx_stands_in_the_tables_only() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "providers").glob("*/README.md")]
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "providers").glob("*/src/**/*.py")]
    texts = {file: " ".join(file.read_text().split()) for file in [*pages, *sources]}
    claims = r"(quarter|third|sixth|half|fraction) of httpx|httpx \w+ (\w+ )?times|times as \w+ as httpx"
    assert not [file.name for file, text in texts.items() if re.search(claims, text)]


def test_the_rules_that_checks_of_the_kit_name_are_listed() -> None:
    page = (ROOT / "docs" / "writing-a-provider.md").read_text()
    table = page.split("### The rules that the checks name")[1].split("###")[0]
    listed = re.findall(r"^\| (\d+) \| \w", table, re.MULTILINE)
    checks = (ROOT / "src" / "promptport" / "testing").glob("checks_*.py")
    named = {number for file in checks for number in re.findall(r"def test_rule_(\d+)_", file.read_text())}
    assert set(listed) == named
    assert len(listed) == len(named)


def test_the_extra_all_has_each_provider_and_no_test_library() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set(re.findall(r"[\w-]+", extras["all"][0].split("[")[1]))
    assert {"anthropic", "local", "ollama", "openai"} <= named
    assert "testing" not in named
    assert named <= set(extras)
