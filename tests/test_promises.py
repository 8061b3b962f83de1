"""Sentences of the docs that were not true once: what they say now is held against the code."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sources import turns

import promptport as pp
from promptport.testing import ScriptedExecutor, WireResponse, WireServer
from promptport.text_tools import TextToolsParser

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


def test_the_extra_testing_brings_no_plug_in_but_promptports() -> None:
    """pytest, and nothing that pytest would load by itself, such as pytest-asyncio."""
    wanted = [text for text in importlib.metadata.requires("promptport") or () if re.search(r"extra == .testing", text)]
    names = {re.split(r"[\s;<>=\[]", text)[0] for text in wanted}
    assert names == {"pytest"}
    for name in names | needed_by(names):
        plug_ins = [
            each.name for each in importlib.metadata.distribution(name).entry_points if each.group == "pytest11"
        ]
        assert plug_ins == [], name


def needed_by(names: set[str]) -> set[str]:
    """What these distributions need here, and what those need."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        for text in importlib.metadata.requires(waiting.pop()) or ():
            name = re.split(r"[\s;<>=!~\[(]", text)[0]
            if "extra ==" not in text and name not in found and _is_installed(name):
                found.add(name)
                waiting.add(name)
    return found


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


SECRET = "the plum is under the pear tree"


@pytest.mark.parametrize(
    "response",
    [
        WireResponse.json({"error": {"message": "no"}}, status=400),
        WireResponse(b"<html>no</html>", content_type="text/html"),
        WireResponse(b"data: {\n\n"),
        WireResponse(b'data: {"choices":[{"delta":{"content":"plum"}}]}\n\n'),
        WireResponse(b'data: {"choices":[{"delta":{"content":"plum"}}]}\n\n', reset_after=10),
        WireResponse.json({"detail": [{"loc": ["body", "messages"], "msg": "no", "input": SECRET}]}, status=422),
    ],
)
async def test_no_message_of_ours_holds_the_prompt(response: WireResponse) -> None:
    async with WireServer() as server:
        server.answer(lambda _: response)
        async with pp.connect("openai-chat", api_key="test-key", base_url=server.url) as executor:
            for ask in (executor.execute, lambda *asked: executor.execute_streaming_with_tools(*asked).message()):
                with pytest.raises(pp.PromptportError) as caught:
                    await ask(pp.Prompt.of(SECRET, system=SECRET), "openai-chat/m")
                assert SECRET not in f"{caught.value} {caught.value!r}"
    wrong: list[Callable[[], object]] = [
        lambda: pp.Prompt(SECRET),  # type: ignore[arg-type]
        lambda: pp.Prompt.of(SECRET, temperature=-1),
        lambda: pp.Prompt.of(SECRET).tool_result("gone", SECRET),
    ]
    for make in wrong:
        with pytest.raises(pp.PromptportError) as raised:
            make()
        assert SECRET not in str(raised.value)


async def test_a_provider_that_quotes_the_prompt_is_quoted_behind_the_status_and_shortened() -> None:
    refusal = WireResponse.json({"error": {"message": f"Cannot say: {SECRET} " * 200}}, status=400)
    async with WireServer(refusal) as server:
        async with pp.connect("openai-chat", api_key="test-key", base_url=server.url) as executor:
            with pytest.raises(pp.BadRequestError) as caught:
                await executor.execute(SECRET, "openai-chat/m")
    ours, _, theirs = str(caught.value).partition("HTTP 400: ")
    assert SECRET not in ours
    assert SECRET in theirs
    assert len(theirs) <= 500


async def test_closing_a_dispatcher_waits_for_a_thread_that_nothing_can_stop() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    @pp.tool(timeout=0.05)
    def stuck() -> str:
        """Hangs in its thread."""
        begun.set()
        go_on.wait(60)
        ended.set()
        return "late"

    executor = ScriptedExecutor([pp.ToolCall("c", "stuck", "{}")], ["Done."])
    dispatcher = pp.ToolDispatcher(executor, [stuck])
    async with dispatcher.stream("Go.", "scripted/m") as stream:
        assert (await stream.message()).text == "Done.", "the stream does not wait"
    assert begun.is_set()
    assert isinstance(stream.outcomes[0].error, pp.ToolTimeoutError)
    closing = asyncio.create_task(dispatcher.aclose())
    await turns()
    assert not closing.done()
    assert not ended.is_set()
    go_on.set()
    await closing
    assert ended.is_set()
    assert stream.outcomes[0].result.output == ""


def test_requests_are_sent_without_the_providers_sdks() -> None:
    """The performance page says so: none of their modules is imported by a client that makes a request."""
    code = """
import asyncio, sys
import promptport as pp
async def main():
    for name in ("openai", "openai-chat", "anthropic", "ollama", "google", "cohere"):
        async with pp.connect(name, api_key="test-key", base_url="http://127.0.0.1:9") as executor:
            try:
                await executor.execute("Hi", f"{name}/m")
            except pp.TransportError:
                pass
asyncio.run(main())
sdks = ("openai", "anthropic", "ollama", "google.genai", "cohere", "httpx", "httpx2")
print([name for name in sdks if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


async def test_without_an_observer_no_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    look = pp.tool(lambda: "seen", name="look")
    executor = ScriptedExecutor([pp.ToolCall("c", "look", "{}")], ["Done."], [pp.ServerError("no", provider="p")])
    async with pp.ToolDispatcher(executor, [look]) as dispatcher:
        async with dispatcher.stream("Go.", "scripted/m") as stream:
            await stream.message()
    with pytest.raises(pp.ServerError):
        await executor.execute("Hi", "scripted/m")
    assert [each for each in caplog.records if each.name.startswith("promptport")] == []


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("hermes", '<tool_call>{"name": "NAME", "arguments": {"city": "Par'),
        ("qwen_coder", "<tool_call><function=NAME><parameter=city>Par"),
        ("llama3", '<|python_tag|>{"name": "NAME", "parameters": {"city": "Par'),
        ("mistral", '[TOOL_CALLS][{"name": "NAME", "arguments": {"city": "Par'),
        ("glm", "<tool_call>NAME<arg_key>city</arg_key><arg_value>Par"),
        ("minimax", '<minimax:tool_call><invoke name="NAME"><parameter name="city">Par'),
        ("pythonic", '[NAME(city="Par'),
        ("json", '{"name": "NAME", "arguments": {"city": "Par'),
    ],
)
def test_a_call_in_text_that_is_cut_is_unfinished(format: str, text: str) -> None:
    """Formats with a closing marker: whatever the name; those without one: if a known tool's name is there."""
    weather = pp.ToolDescriptor("look", "", {"type": "object", "properties": {"city": {"type": "string"}}})
    for name in ("look", "unknown"):
        parser = TextToolsParser(format, [weather])
        frames = parser.feed(text.replace("NAME", name)) + parser.finish()
        shown = "".join([frame.text for frame in frames if isinstance(frame, pp.Append)])
        assert not [frame for frame in frames if isinstance(frame, pp.ToolCall)]
        if name == "look" or format not in ("pythonic", "json"):
            assert [call.name for call in parser.unfinished] == [name]
            assert shown == ""
        else:
            assert list(parser.unfinished) == []
            assert shown == text.replace("NAME", name)
