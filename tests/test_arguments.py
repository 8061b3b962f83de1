"""Strings where values are wanted: what can be meant is done, what cannot is refused at once, everywhere alike."""

from __future__ import annotations

import typing
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
import pytest

import promptport as pp
from promptport.blocking import BlockingExecutor
from promptport.param_options import ParamOptions
from promptport.testing import ScriptedClient, ScriptedExecutor, WireResponse, WireServer

TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}]}


def plain(city: str) -> str:
    return city


def chat(url: str = "http://127.0.0.1:9/v1", **options: Any) -> Any:
    return pp.client("openai-chat", base_url=url, api_key="k", **options)


# ------------------------------------------------------------------------------------------- what is meant


async def test_a_client_over_http_takes_strings_in_every_verb() -> None:
    answers = [WireResponse(TEXT), WireResponse(TEXT), WireResponse.json(WHOLE)]
    async with WireServer(*answers) as server, chat(f"{server.url}/v1") as client:
        async with client.execute_streaming_with_tools("hi", "openai-chat/m") as stream:
            assert (await stream.message()).text == "Hi."
        assert [text async for text in client.execute_streaming("hi", "openai-chat/m")] == ["Hi."]
        assert (await client.execute("hi", "openai-chat/m")).text == "Hi."
        assert client.capabilities("openai-chat/m") == client.capabilities(pp.LLModel("openai-chat", "m"))
        assert [request.json()["messages"] for request in server.requests] == [[{"role": "user", "content": "hi"}]] * 3
        assert {request.json()["model"] for request in server.requests} == {"m"}


@pytest.mark.parametrize(
    "wrap",
    [
        pp.SingleClientExecutor,
        pp.TextToolsClient,
        lambda client: pp.MultiProviderExecutor([client]),
        lambda client: pp.SingleClientExecutor(client, when_tools_cannot_stream="complete"),
    ],
)
async def test_whoever_wraps_a_client_takes_them_too(wrap: Callable[[Any], Any]) -> None:
    client = ScriptedClient(["Hi."], repeat=True)
    asker = wrap(client)
    assert (await asker.execute("hi", "scripted/m")).text == "Hi."
    assert (await asker.execute_streaming_with_tools("hi", "scripted/m").message()).text == "Hi."
    assert [text async for text in asker.execute_streaming("hi", "scripted/m")] == ["Hi."]
    assert asker.capabilities("scripted/m").known
    assert {type(request.prompt) for request in client.requests} == {pp.Prompt}
    assert {request.model for request in client.requests} == {pp.LLModel("scripted", "m")}


async def test_dispatcher_session_and_blocking_take_them() -> None:
    async with (
        pp.ToolDispatcher(ScriptedExecutor(["Hi."])) as dispatcher,
        dispatcher.stream("hi", "scripted/m") as stream,
    ):
        assert (await stream.message()).text == "Hi."
    session = pp.LLMSession(ScriptedExecutor(["Hi."]), "scripted/m", "hi")
    assert (await session.request_llm()).text == "Hi."
    assert session.model == pp.LLModel("scripted", "m")
    assert session.prompt.messages[0] == pp.UserMessage.of("hi")


def test_blocking_takes_them() -> None:
    with BlockingExecutor(lambda: ScriptedExecutor(["Hi."], repeat=True)) as executor:
        assert executor.execute("hi", "scripted/m").text == "Hi."
        assert list(executor.execute_streaming("hi", "scripted/m")) == ["Hi."]
        assert executor.capabilities("scripted/m").known
        with executor.dispatch("hi", "scripted/m", []) as frames:
            assert any(isinstance(frame, pp.Append) for frame in frames)


# --------------------------------------------------------------------------------------- what cannot be meant

WRONG: list[tuple[str, Callable[[], object], str]] = [
    ("a text for messages", lambda: pp.Prompt("hi"), r"Prompt\.of\(text\)"),  # type: ignore[arg-type]
    ("dicts for messages", lambda: pp.Prompt([{"role": "user", "content": "hi"}]), r"\.user\(text\)"),  # type: ignore[arg-type]
    ("a dict for messages", lambda: pp.Prompt({"role": "user"}), r"Prompt\.of\(text\)"),  # type: ignore[arg-type]
    ("a message for messages", lambda: pp.Prompt(pp.UserMessage.of("hi")), r"UserMessage\.of"),  # type: ignore[arg-type]
    ("texts for messages", lambda: pp.Prompt(("hi",)), r"messages\[0\]"),  # type: ignore[arg-type]
    ("a dict added", lambda: pp.Prompt.of("hi").add({"role": "user"}), r"messages\[1\]"),  # type: ignore[arg-type]
    ("params as a dict", lambda: pp.Prompt(params={"temperature": 0}), "LLMParams"),  # type: ignore[arg-type]
    ("no model", lambda: pp.LLModel.parse(None), "openai/gpt-5"),  # type: ignore[arg-type]
    ("a number for a model", lambda: pp.LLModel.parse(5), "openai/gpt-5"),  # type: ignore[arg-type]
    ("a number for an id", lambda: pp.LLModel("openai", 5), "'openai', 'gpt-5'"),  # type: ignore[arg-type]
    ("seconds for timeouts", lambda: chat(timeouts=5), r"timeouts=Timeouts\("),
    ("a number as a key", lambda: pp.client("openai-chat", api_key=5), "api_key"),
    ("a number as another key", lambda: pp.client("anthropic", api_key=5), "api_key"),
    ("a name for an executor", lambda: pp.ToolDispatcher("openai"), r"connect\('openai'\)"),  # type: ignore[arg-type]
    ("a name for a session's", lambda: pp.LLMSession("openai", "openai/m"), r"connect\('openai'\)"),  # type: ignore[arg-type]
    ("a name for a client", lambda: pp.SingleClientExecutor("openai"), r"client\('openai'\)"),  # type: ignore[arg-type]
    ("a name for a text client", lambda: pp.TextToolsClient("openai"), r"client\('openai'\)"),  # type: ignore[arg-type]
    ("names for clients", lambda: pp.MultiProviderExecutor(["openai"]), r"client\('openai'\)"),  # type: ignore[list-item]
    ("one name for clients", lambda: pp.MultiProviderExecutor("openai"), r"client\('openai'\)"),  # type: ignore[arg-type]
    ("a class for an executor", lambda: pp.ToolDispatcher(ScriptedExecutor), "the class ScriptedExecutor"),  # type: ignore[arg-type]
    ("a function among tools", lambda: pp.ToolDispatcher(ScriptedExecutor(), [plain]), "@tool"),  # type: ignore[list-item]
    ("a function in a session", lambda: pp.LLMSession(ScriptedExecutor(), "scripted/m", "hi", [plain]), "@tool"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_cannot_be_meant_is_refused_with_the_right_spelling(make: Callable[[], object], says: str) -> None:
    with pytest.raises(pp.InvalidInputError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


REQUESTS: list[tuple[str, tuple[Any, ...], str]] = [
    ("a list of dicts", ([{"role": "user", "content": "hi"}], "P/m"), "not list"),
    ("no prompt", (None, "P/m"), "not None"),
    ("a class", (pp.Prompt, "P/m"), "the class Prompt"),
    ("no model", ("hi", None), "openai/gpt-5"),
    ("a tuple for a model", ("hi", ("openai", "gpt-5")), "openai/gpt-5"),
    ("a plain function", ("hi", "P/m", [plain]), "'plain' is a plain function.*@tool"),
    ("a tool without a list", ("hi", "P/m", pp.ToolDescriptor("f")), "takes a sequence"),
    ("a tool's name", ("hi", "P/m", "get_weather"), "takes a sequence"),
    ("a dict among tools", ("hi", "P/m", [{"name": "f"}]), r"ToolDescriptor\("),
]


@pytest.mark.parametrize(("arguments", "says"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
@pytest.mark.parametrize("asker", ["http", "scripted", "executor", "text tools", "complete"])
async def test_one_kind_of_mistake_raises_one_class_everywhere(asker: str, arguments: Any, says: str) -> None:
    makers: dict[str, Callable[[], Any]] = {
        "http": chat,
        "scripted": lambda: ScriptedClient(["x"]),
        "executor": lambda: pp.MultiProviderExecutor([ScriptedClient(["x"])]),
        "text tools": lambda: pp.TextToolsClient(ScriptedClient(["x"])),
        "complete": lambda: pp.SingleClientExecutor(ScriptedClient(["x"]), when_tools_cannot_stream="complete"),
    }
    made = makers[asker]()
    name = "openai-chat" if asker == "http" else "scripted"
    arguments = [name + each[1:] if each == "P/m" else each for each in arguments]
    with pytest.raises(pp.InvalidInputError, match=says):
        made.execute_streaming_with_tools(*arguments)
    with pytest.raises(pp.InvalidInputError, match=says):
        await made.execute(*arguments)
    await made.aclose()


@pytest.mark.parametrize("name", ["openai", "openai-chat", "anthropic", "ollama", "local"])
async def test_a_model_of_another_provider_is_refused_by_every_client(name: str) -> None:
    client = pp.client(name, **({} if name == "local" else {"api_key": "k"}))
    wrong = pp.LLModel("elsewhere", "m")
    for model in (wrong, "elsewhere/m"):
        with pytest.raises(pp.InvalidInputError, match=rf"elsewhere/m .*'{name}'.*connect\('elsewhere'\)"):
            client.execute_streaming_with_tools("hi", model)
        with pytest.raises(pp.InvalidInputError, match="elsewhere/m"):
            await client.execute("hi", model)
    await client.aclose()


def test_an_error_quotes_no_long_string_that_may_be_a_key_or_a_prompt() -> None:
    for secret in ("sk-proj-0123456789abcdef0123456789", "Tell nobody about the merger."):
        wrong: list[Callable[[], object]] = [
            lambda secret=secret: pp.ToolDispatcher(secret),  # type: ignore[misc]
            lambda secret=secret: pp.Prompt(secret),  # type: ignore[misc]
        ]
        for make in wrong:
            with pytest.raises(pp.InvalidInputError) as caught:
                make()
            assert secret not in str(caught.value)


# ------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("name", ["openai", "openai-chat", "anthropic", "ollama", "local"])
@pytest.mark.parametrize(
    ("wrong", "right"), [("api_kye", "api_key"), ("baseurl", "base_url"), ("timeoutss", "timeouts")]
)
def test_an_unknown_option_is_refused_at_creation_with_the_closest(name: str, wrong: str, right: str) -> None:
    with pytest.raises(pp.ConfigurationError, match=f"no option '{wrong}'. Did you mean '{right}'") as caught:
        pp.client(name, **{wrong: None})
    assert "__init__" not in str(caught.value)


def test_parameters_for_type_checkers_are_those_of_llmparams() -> None:
    assert set(typing.get_type_hints(ParamOptions)) == set(pp.LLMParams.__struct_fields__)


# --------------------------------------------------------------------------------------------------- enums


@pytest.mark.parametrize(
    "kind",
    [pp.FinishReason, pp.ToolChoice, pp.ReasoningEffort, pp.Capability, pp.StreamedTools],
    ids=lambda k: k.__name__,
)
def test_enums_compare_and_print_as_their_strings(kind: type[StrEnum]) -> None:
    for member in kind:
        text = member.value
        assert member == text
        assert f"{member}" == str(member) == text
        assert {text: 1}[member] == 1
        assert msgspec.json.decode(msgspec.json.encode(member), type=kind) is member
        match text:
            case member.value:
                pass
            case _:
                pytest.fail("does not match its string")


def test_a_finish_reason_matches_in_a_frame_and_survives_json() -> None:
    end = pp.decode_frame(pp.encode_frame(pp.End(pp.FinishReason.TOOL_CALLS)))
    match end:
        case pp.End(finish_reason="tool_calls"):
            pass
        case _:
            pytest.fail("a string does not match")
    match end:
        case pp.End(finish_reason=pp.FinishReason.TOOL_CALLS):
            assert isinstance(end.finish_reason, pp.FinishReason)
        case _:
            pytest.fail("the member does not match")
