"""What people write first: the four programs, files as parts, streams that are shown, and hints."""

import asyncio
import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.examples import EXAMPLES, example

import promptport as pp
from promptport.testing import ScriptedClient, ScriptedExecutor, WireResponse, WireServer

MODEL = "scripted/m"
CALL = pp.ToolCall("c1", "look", '{"x":1}')


@pp.tool
async def look(x: int) -> str:
    """Looks."""
    return f"saw {x}"


# -------------------------------------------------------------------------------------- the four programs


@pytest.mark.parametrize(
    ("name", "lines"), [("terminal_chat", 25), ("web_chat", 40), ("batch", 25), ("research_agent", 40)]
)
def test_the_programs_are_short(name: str, lines: int) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= lines


def test_terminal_chat_goes_on_after_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Any) -> Any:
        yield "It is"
        signal.raise_signal(signal.SIGINT)
        yield asyncio.Event()

    count = pp.ToolCall("w", "word_count", '{"text":"a b"}')
    executor = ScriptedExecutor(interrupted, [count], ["Two words."])
    said = iter(["Hello", "Count: a b", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    example("terminal_chat").main(executor, MODEL)
    output = capsys.readouterr().out
    assert "It is\n[cut: KeyboardInterrupt]" in output
    assert "[word_count: 2]\nTwo words.\n" in output
    assert [message.text for message in executor.requests[1].prompt.messages] == ["Hello", "It is", "Count: a b"]


async def test_web_chat_asks_a_person() -> None:
    pytest.importorskip("starlette")
    call = pp.ToolCall("m", "send_mail", '{"to":"a@example.com","text":"Hi"}')
    executor = ScriptedExecutor([call], ["It is sent."])
    app = example("web_chat").chat_app(executor, MODEL)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app", headers={"x-user": "ann"}) as client:
        asked = await client.post("/chat", json={"say": "Mail Ann."})
        assert '"type":"approval_needed"' in asked.text
        answered = await client.post("/chat", json={"decisions": {"m": True}})
    assert "sent to a@example.com" in answered.text
    assert "It is sent." in answered.text


async def test_batch_gives_two_hundred_values() -> None:
    pytest.importorskip("limits")

    def answer(request: Any) -> list[Any]:
        number = int(request.prompt.messages[0].text.split()[1])
        asked_again = len(request.prompt.messages) > 1
        if number % 10 == 0 and not asked_again:
            return ["I do not know."]
        return [f"```json\n{json.dumps({'stars': 5, 'summary': str(number)})}\n```"]

    executor = ScriptedExecutor(answer, repeat=True)
    module = example("batch")
    reviews = await module.batch(executor, MODEL, [f"Review {number}" for number in range(200)])
    assert [review.summary for review in reviews] == [str(number) for number in range(200)]
    assert len(executor.requests) == 220


async def test_research_agent_uses_all_it_has() -> None:
    pytest.importorskip("mcp")
    calls = [
        pp.ToolCall("1", "search", '{"query":"lamp"}'),
        pp.ToolCall("2", "read", '{"title":"Lamps"}'),
        pp.ToolCall("3", "add", '{"numbers":[1,2]}'),
        pp.ToolCall("4", "read_notes", "{}"),
        pp.ToolCall("5", "critic", '{"task":"They shine."}'),
    ]
    executor = ScriptedExecutor(calls, ["Nothing is wrong."], ["Lamps shine."])
    text = await example("research_agent").research(executor, MODEL, "Do lamps shine?", {"Lamps": "They shine."})
    assert text == "Lamps shine."
    results = [message.text for message in executor.requests[2].prompt.messages[2:]]
    assert results[:3] == ['["Lamps"]', "They shine.", "3.0"]
    assert results[3:] == ["The bicycle is red.", "Nothing is wrong."]


# -------------------------------------------------------------------------------------------------- files

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.mark.parametrize(
    ("name", "data", "kind", "media_type"),
    [
        ("a.png", PNG, pp.ImagePart, "image/png"),
        ("wrong.jpg", PNG, pp.ImagePart, "image/png"),
        ("none", PNG, pp.ImagePart, "image/png"),
        ("a.JPEG", b"\xff\xd8\xff\xe0", pp.ImagePart, "image/jpeg"),
        ("a.webp", b"RIFF....WEBPVP8 ", pp.ImagePart, "image/webp"),
        ("a", b"%PDF-1.7", pp.DocumentPart, "application/pdf"),
        ("a.md", b"# Hi", pp.DocumentPart, "text/markdown"),
        ("a.csv", b"a,b", pp.DocumentPart, "text/csv"),
        ("a.wav", b"RIFF....WAVEfmt ", pp.AudioPart, "audio/wav"),
    ],
)
def test_a_file_is_a_part(tmp_path: Path, name: str, data: bytes, kind: Any, media_type: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for given in (path, str(path)):
        part = kind.from_file(given)
        assert (part.data, part.media_type) == (data, media_type)
    if kind is pp.DocumentPart:
        assert part.name == name


@pytest.mark.parametrize(
    ("name", "data", "kind", "options", "says"),
    [
        ("gone.png", None, pp.ImagePart, {}, "cannot be read: No such file"),
        (".", None, pp.ImagePart, {}, "cannot be read: Is a directory"),
        ("a\0b", None, pp.ImagePart, {}, "cannot be read"),
        ("a.png", b"", pp.ImagePart, {}, "is empty"),
        ("a.png", PNG, pp.ImagePart, {"max_bytes": 10}, "more than 10 bytes. Raise max_bytes"),
        ("a.png", PNG, pp.ImagePart, {"max_bytes": 0}, "max_bytes must be at least 1"),
        ("a.pdf", b"%PDF-1", pp.ImagePart, {}, r"is application/pdf. Use DocumentPart.from_file\(\)"),
        ("a.png", PNG, pp.DocumentPart, {}, r"is image/png. Use ImagePart.from_file\(\)"),
        ("a.zzzz", b"??", pp.ImagePart, {}, "Pass media_type="),
        ("a.png", PNG, pp.AudioPart, {"media_type": "video/mp4"}, "is video/mp4. It takes audio/"),
    ],
)
def test_a_file_that_cannot_be_sent_is_told(  # noqa: PLR0917
    tmp_path: Path, name: str, data: bytes | None, kind: Any, options: Any, says: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(pp.InvalidInputError, match=says):
        kind.from_file(f"{tmp_path}/{name}", **options)
    with pytest.raises(pp.InvalidInputError, match="a string or a Path"):
        kind.from_file(3)


# --------------------------------------------------------------------------------------------------- show


async def test_show_prints_what_a_person_wants_to_see_and_no_escapes() -> None:
    out = io.StringIO()
    executor = ScriptedExecutor(["Let me \x1b[31msee", CALL], ["I saw \x9b2J it."])
    message = await pp.show(pp.LLMSession(executor, MODEL, tools=[look]).run("Look."), file=out)
    assert message is not None
    assert message.text == "I saw \x9b2J it."
    lines = out.getvalue().splitlines()
    assert lines == ["Let me \\x1b[31msee", '[look {"x":1}]', "[look: saw 1]", "I saw \\x9b2J it."]


async def test_show_takes_any_stream_and_closes_it(capsys: pytest.CaptureFixture[str]) -> None:
    executor = ScriptedExecutor(["a", "b"], ["c"], ["d", pp.ServerError("x", provider="scripted", status=500)])
    assert (await pp.show(executor.execute_streaming_with_tools("Hi", MODEL))) is not None
    assert await pp.show(executor.execute_streaming("Hi", MODEL)) is None
    with pytest.raises(pp.ServerError):
        await pp.show(executor.execute_streaming("Hi", MODEL))
    assert capsys.readouterr().out == "ab\nc\nd\n"
    assert executor.client.closed == 3


# -------------------------------------------------------------------------------------- names, hints, reprs


async def test_executors_list_their_models() -> None:
    executor = pp.MultiProviderExecutor({"a": ScriptedClient(), "b": ScriptedClient()})
    assert [str(model) for model in await executor.models()] == ["a/scripted", "b/scripted"]
    assert [str(model) for model in await executor.models("b")] == ["b/scripted"]
    assert [str(model) for model in await ScriptedExecutor().models()] == ["scripted/scripted"]
    with pytest.raises(pp.ConfigurationError, match="executor has a, b"):
        await executor.models("c")


async def test_connect_takes_the_options_of_its_only_provider() -> None:
    async with WireServer(WireResponse.json({"data": [{"id": "m"}]})) as server:
        async with pp.connect("openai-chat", api_key="test-key", base_url=server.url) as executor:
            assert [str(model) for model in await executor.models()] == ["openai-chat/m"]
        assert server.requests[0].headers["authorization"] == "Bearer test-key"
    for providers, options in ((("openai", "anthropic"), None), (("openai",), {"openai": {"timeouts": None}})):
        with pytest.raises(pp.InvalidInputError, match=r"api_key can be passed by name for one provider"):
            pp.connect(*providers, api_key="test-key", options=options)


def test_connect_with_a_model_says_what_to_write() -> None:
    with pytest.raises(pp.ConfigurationError, match=r"is a model.*Write connect\('openai'\)"):
        pp.connect("openai/gpt-5")


@pytest.mark.parametrize(("path", "hints"), [("", True), ("/v1", False), ("/custom", False)])
async def test_a_404_of_an_address_without_v1_says_so(path: str, hints: bool) -> None:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"detail": "Not Found"}, 404))
        async with pp.connect("openai-chat", api_key="test-key", base_url=server.url + path) as executor:
            for ask in (executor.execute, lambda *a: executor.execute_streaming_with_tools(*a).message()):
                with pytest.raises(pp.ModelNotFoundError) as raised:
                    await ask("Hi", "openai-chat/m")
                assert ("one that ends in /v1" in str(raised.value)) is hints


def test_reprs_are_short_and_hold_no_prompt_and_no_key() -> None:
    message = pp.AssistantMessage(
        (pp.Reasoning("hm"), pp.TextPart("x" * 100), CALL), pp.FinishReason.TOOL_CALLS, usage=pp.Usage(12, 3)
    )
    shown = f"AssistantMessage('{'x' * 60}…', 1 tool call, 2 characters of reasoning, tool_calls, 12+3 tokens)"
    assert repr(message) == shown
    executor = pp.connect("openai-chat", api_key="test-key-123", base_url="http://localhost:1")
    assert repr(executor) == "MultiProviderExecutor('openai-chat')"
    session = pp.LLMSession(executor, "openai-chat/m", "my secret", [look])
    assert repr(session) == "LLMSession('openai-chat/m', 1 messages, 1 tools)"


# -------------------------------------------------------------------------------------------------- nodes


async def test_nodes_for_tools_and_their_results() -> None:
    second = pp.ToolCall("c2", "look", '{"x":2}')
    session = pp.LLMSession(ScriptedExecutor([CALL, second], [CALL], ["Done."]), MODEL, "Look.", [look])
    ask = pp.node_llm_request_streaming_with_tools("ask")
    run_one, run_all = pp.node_execute_tool("one"), pp.node_execute_multiple_tools("all")
    send_one, send_all = pp.node_llm_send_tool_result("send"), pp.node_llm_send_multiple_tool_results("send_all")
    assert [run_one.name, run_all.__name__, send_one.name, send_all.__name__] == ["one", "all", "send", "send_all"]
    results = await run_all(session, await ask(session))
    assert [result.output for result in results] == ["saw 1", "saw 2"]
    session.prompt  # noqa: B018
    with pytest.raises(pp.InvalidInputError):
        await send_one(session, pp.ToolResult("strange", "look"))
    message = await send_all(session, results)
    assert message.tool_calls[0].name == "look"
    result = await run_one(session, message.tool_calls[0])
    assert result.output == "saw 1"


if sys.platform == "win32":
    pytest.skip("SIGINT is raised in another way", allow_module_level=True)
