"""Executors: who is asked, what happens where tools cannot stream, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.sources import iterated, turns

import promptport
from promptport.connecting import connect
from promptport.errors import (
    ConfigurationError,
    IncompleteStreamError,
    InvalidInputError,
    PromptportError,
    ProviderStreamError,
    UnsupportedCapabilityError,
)
from promptport.executor import MultiProviderExecutor, PromptExecutor, SingleClientExecutor
from promptport.frames import Append, End, FinishReason, InvalidToolCall, ToolCall, ToolCallDelta
from promptport.http import check_api_key
from promptport.llm_client import check_request
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    NamedTool,
    Prompt,
    ReasoningEffort,
    ToolChoice,
    ToolResultMessage,
)
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.telemetry import Observer, RequestFinished, observe
from promptport.testing import ScriptedClient, WireResponse, WireServer, assert_valid_stream
from promptport.tools import ToolDescriptor

MODEL = LLModel("one", "model-1")
PROMPT = Prompt.of("Hello")
TOOL = ToolDescriptor("get_weather", "The weather.")
CALL = ToolCall("1", "get_weather", "{}")
WHOLE_ONLY = ModelCapabilities.of(StreamedTools.NONE, Capability)
NO_TOOLS = ModelCapabilities.of(StreamedTools.NONE, set(Capability) - {Capability.TOOLS})


class Client(ScriptedClient):
    """A scripted client that tells how often it was closed, and whether it fails to."""

    def __init__(self, *answers: Any, close_fails: bool = False, **options: Any) -> None:
        super().__init__(*answers, **{"provider": "one", **options})
        self.times_closed = 0
        self._close_fails = close_fails

    async def aclose(self) -> None:
        self.times_closed += 1
        if self._close_fails:
            raise OSError("closing failed")


# -------------------------------------------------------------------------------------------------- routing


async def test_the_models_provider_says_who_is_asked() -> None:
    one, two = Client(["1"], ["1"], ["1"]), Client(["2"], ["2"], ["2"], provider="two")
    executor: PromptExecutor = MultiProviderExecutor([one, two])
    for provider, text in (("one", "1"), ("two", "2")):
        model = LLModel(provider, "m")
        assert (await executor.execute_streaming_with_tools(PROMPT, model).message()).text == text
        assert [part async for part in executor.execute_streaming(PROMPT, model)] == [text]
        assert (await executor.execute(PROMPT, model, [TOOL])).text == text
    assert [request.model.provider for request in one.requests] == ["one"] * 3
    assert [request.tools for request in two.requests] == [(), (), (TOOL,)]


async def test_a_mapping_gives_clients_other_names() -> None:
    executor = MultiProviderExecutor({"fast": Client(["f"]), "slow": Client(["s"])})
    assert (await executor.execute(PROMPT, LLModel("slow", "m"))).text == "s"
    with pytest.raises(ConfigurationError, match="fast, slow"):
        await executor.execute(PROMPT, LLModel("one", "m"))


@pytest.mark.parametrize("have", [(), ("two",)])
async def test_a_provider_that_nobody_has_is_named_with_what_is_there(have: tuple[str, ...]) -> None:
    executor = MultiProviderExecutor([Client(provider=name) for name in have])
    message = rf"no client for one/model-1: the executor has {', '.join(have) or 'none'}; connect\('one'"
    with pytest.raises(ConfigurationError, match=message):
        executor.execute_streaming_with_tools(PROMPT, MODEL)
    with pytest.raises(ConfigurationError, match=message):
        executor.execute_streaming(PROMPT, MODEL)
    with pytest.raises(ConfigurationError, match=message):
        await executor.execute(PROMPT, MODEL)
    with pytest.raises(ConfigurationError, match=message):
        executor.capabilities(MODEL)


def test_two_clients_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"two clients.*'one'.*'one-2'"):
        MultiProviderExecutor([Client(), Client()])


def test_capabilities_need_no_network_and_the_model_knows_better() -> None:
    executor = MultiProviderExecutor([Client(capabilities=NO_TOOLS)])
    assert executor.capabilities(MODEL) == NO_TOOLS
    assert executor.capabilities(LLModel("one", "m", WHOLE_ONLY)) == WHOLE_ONLY
    assert SingleClientExecutor(Client(capabilities=NO_TOOLS)).capabilities(MODEL) == NO_TOOLS


async def test_closing_closes_all_clients_also_when_one_fails() -> None:
    clients = [Client(provider="a", close_fails=True), Client(provider="b")]
    with pytest.raises(OSError, match="closing failed"):
        await MultiProviderExecutor(clients).aclose()
    assert [client.times_closed for client in clients] == [1, 1]
    one = Client(["a"])
    async with SingleClientExecutor(one) as executor:
        await executor.execute(PROMPT, MODEL)
    assert one.times_closed == 1
    async with MultiProviderExecutor([one]):
        pass
    assert one.times_closed == 2


# -------------------------------------------------------------------------------------- when_tools_cannot_stream


@pytest.mark.parametrize("policy", ["raise", "complete", "text"])
async def test_a_model_that_streams_calls_streams_them_whatever_the_policy(policy: Any) -> None:
    client = Client([CALL], [CALL])
    executor = SingleClientExecutor(client, when_tools_cannot_stream=policy)
    assert (await executor.execute_streaming_with_tools(PROMPT, MODEL, [TOOL]).message()).tool_calls == (CALL,)
    assert (await executor.execute(PROMPT, MODEL, [TOOL])).tool_calls == (CALL,)


@pytest.mark.parametrize("policy", ["raise", "complete", "text"])
async def test_without_tools_every_model_streams(policy: Any) -> None:
    executor = SingleClientExecutor(Client(["a", "b"], capabilities=NO_TOOLS), when_tools_cannot_stream=policy)
    assert [text async for text in executor.execute_streaming(PROMPT, MODEL)] == ["a", "b"]


async def test_raise_says_what_would_work() -> None:
    client = Client([CALL], capabilities=WHOLE_ONLY)
    executor = SingleClientExecutor(client)
    with pytest.raises(UnsupportedCapabilityError, match=r"one/model-1.*streamed.*'complete' or 'text'") as caught:
        executor.execute_streaming_with_tools(PROMPT, MODEL, [TOOL])
    assert (caught.value.provider, caught.value.model) == ("one", "model-1")
    assert client.requests == []
    assert (await executor.execute(PROMPT, MODEL, [TOOL])).tool_calls == (CALL,), "asking for the whole is no streaming"


async def test_complete_gives_the_frames_of_a_whole_answer() -> None:
    client = Client(["Hel", "lo", CALL, InvalidToolCall("2", "f", "[", "no")], capabilities=WHOLE_ONLY)
    executor = SingleClientExecutor(client, when_tools_cannot_stream="complete")
    frames = await iterated(executor.execute_streaming_with_tools(PROMPT, MODEL, [TOOL]))
    assert_valid_stream(frames)
    assert frames[:3] == [Append("Hello"), ToolCallDelta("1", "get_weather", "{}"), CALL]
    assert isinstance(frames[-1], End)
    assert frames[-1].finish_reason is FinishReason.TOOL_CALLS
    assert len(client.requests) == 1


async def test_complete_sends_nothing_before_the_first_read_and_checks_at_once() -> None:
    client = Client([CALL], capabilities=WHOLE_ONLY.without(Capability.IMAGES))
    executor = SingleClientExecutor(client, when_tools_cannot_stream="complete")
    stream = executor.execute_streaming_with_tools(PROMPT, MODEL, [TOOL])
    await turns()
    await stream.aclose()
    assert client.requests == []
    with pytest.raises(InvalidInputError, match="no user message"):
        executor.execute_streaming_with_tools(Prompt(), MODEL, [TOOL])
    with pytest.raises(UnsupportedCapabilityError, match="images"):
        executor.execute_streaming_with_tools(PROMPT.user(ImagePart(url="u")), MODEL, [TOOL])


async def test_complete_passes_errors_on_and_closes_with_the_executor() -> None:
    failing = Client([ProviderStreamError("no")], capabilities=WHOLE_ONLY)
    with pytest.raises(ProviderStreamError):
        await (
            SingleClientExecutor(failing, when_tools_cannot_stream="complete")
            .execute_streaming_with_tools(PROMPT, MODEL, [TOOL])
            .message()
        )
    executor = SingleClientExecutor(
        Client([asyncio.Event()], capabilities=WHOLE_ONLY), when_tools_cannot_stream="complete"
    )
    reader = asyncio.create_task(executor.execute_streaming_with_tools(PROMPT, MODEL, [TOOL]).message())
    await turns()
    await executor.aclose()
    with pytest.raises(IncompleteStreamError):
        await reader


@pytest.mark.parametrize("policy", ["raise", "complete"])
async def test_a_model_without_tools_cannot_call_any(policy: Any) -> None:
    client = Client(capabilities=NO_TOOLS)
    executor = SingleClientExecutor(client, when_tools_cannot_stream=policy)
    with pytest.raises(UnsupportedCapabilityError, match=r"tools; .*TextToolsClient"):
        executor.execute_streaming_with_tools(PROMPT, MODEL, [TOOL])
    with pytest.raises(UnsupportedCapabilityError, match="tools"):
        await executor.execute(PROMPT, MODEL, [TOOL])
    assert client.requests == []


async def test_text_puts_the_tools_into_the_prompt_and_closes_both_clients() -> None:
    answer = '<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>'
    client = Client([answer], [answer], capabilities=NO_TOOLS)
    executor = SingleClientExecutor(client, when_tools_cannot_stream="text")
    streamed = await executor.execute_streaming_with_tools(PROMPT, MODEL, [TOOL]).message()
    whole = await executor.execute(PROMPT, MODEL, [TOOL])
    assert [call.name for call in streamed.tool_calls + whole.tool_calls] == ["get_weather"] * 2
    assert all(request.tools == () for request in client.requests), "the model is asked for text alone"
    assert "get_weather" in client.requests[0].prompt.to_json().decode()
    await executor.aclose()
    assert client.times_closed == 1


HERMES = '{% for tool in tools %}<tool_call>{"name": 1, "arguments": 2}</tool_call>{% endfor %}'


@pytest.mark.parametrize("policy", ["raise", "complete", "text"])
@pytest.mark.parametrize("template", [None, HERMES])
async def test_text_can_be_forced_on_a_model_with_tools(policy: Any, template: str | None) -> None:
    answer = '<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>'
    client = Client([answer], [answer], ["done"])
    if template is not None:
        client.chat_template = lambda _: template  # type: ignore[attr-defined]
    executor = MultiProviderExecutor([client], when_tools_cannot_stream=policy, tools_in_text=True)
    assert Capability.TOOLS in executor.capabilities(MODEL)
    streamed = await executor.execute_streaming_with_tools(PROMPT, MODEL, [TOOL]).message()
    whole = await executor.execute(PROMPT, MODEL, [TOOL])
    assert [call.name for call in streamed.tool_calls + whole.tool_calls] == ["get_weather"] * 2
    result = ToolResultMessage(streamed.tool_calls[0].id, "sunny")
    answered = Prompt(messages=(*PROMPT.messages, streamed, result))
    assert (await executor.execute_streaming_with_tools(answered, MODEL).message()).text == "done"
    assert all(request.tools == () and not request.prompt.call_ids() for request in client.requests)
    asked = client.requests[0].prompt.to_json().decode()
    assert "get_weather" in asked
    assert ("</tool_call>" in asked) is (template is not None), "in the words of the model's template"
    await executor.aclose()
    assert client.times_closed == 1


@pytest.mark.parametrize("policy", ["", "never", None])
def test_a_policy_that_does_not_exist_is_refused(policy: Any) -> None:
    for make in (
        lambda: SingleClientExecutor(Client(), when_tools_cannot_stream=policy),
        lambda: MultiProviderExecutor([Client()], when_tools_cannot_stream=policy),
    ):
        with pytest.raises(ConfigurationError, match="'raise', 'complete' or 'text'"):
            make()


# -------------------------------------------------------------------------------------------------- connect


def test_connect_makes_one_client_for_each_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, dict[str, Any]]] = []

    def client(name: str, **options: Any) -> Client:
        made.append((name, options))
        return Client(provider=name, capabilities=WHOLE_ONLY)

    monkeypatch.setattr("promptport.connecting.client", client)
    executor = connect("a", "b", "a", options={"b": {"base_url": "http://gpu"}}, when_tools_cannot_stream="complete")
    assert made == [("a", {}), ("b", {"base_url": "http://gpu"})]
    assert executor.execute_streaming_with_tools(PROMPT, LLModel("b", "m"), [TOOL])


def test_connect_says_what_is_wrong() -> None:
    with pytest.raises(InvalidInputError, match=r"at least one provider, such as connect\('openai'\)"):
        connect()
    with pytest.raises(InvalidInputError, match=r"options.*ollama"):
        connect("openai", options={"ollama": {}})
    with pytest.raises(ConfigurationError, match=r"no provider .nothing.*known: .*openai"):
        connect("nothing")


# -------------------------------------------------------------------------------------------- check_request

_ALL = ModelCapabilities.of(StreamedTools.DELTAS, Capability)
_NEEDED: dict[Capability, tuple[Prompt, Sequence[ToolDescriptor]]] = {
    Capability.TOOLS: (PROMPT, [TOOL]),
    Capability.TOOL_CHOICE: (PROMPT.with_params(tool_choice=NamedTool("get_weather")), [TOOL]),
    Capability.PARALLEL_TOOL_CALLS: (PROMPT.with_params(parallel_tool_calls=False), [TOOL]),
    Capability.IMAGES: (PROMPT.user(ImagePart(url="u")), []),
    Capability.DOCUMENTS: (PROMPT.user(DocumentPart(url="u")), []),
    Capability.AUDIO: (PROMPT.user(AudioPart(url="u")), []),
    Capability.JSON_SCHEMA: (PROMPT.with_params(response_schema={}), []),
    Capability.REASONING_EFFORT: (PROMPT.with_params(reasoning_effort=ReasoningEffort.LOW), []),
    Capability.REASONING_BUDGET: (PROMPT.with_params(reasoning_budget=0), []),
    Capability.TEMPERATURE: (PROMPT.with_params(temperature=0), []),
    Capability.STOP: (PROMPT.with_params(stop=("a",)), []),
    Capability.SEED: (PROMPT.with_params(seed=0), []),
    Capability.USER: (PROMPT.with_params(user="u"), []),
    Capability.SYSTEM: (PROMPT.system("s"), []),
}
# It is shown, not asked for; a hint; and else they go into a user's message.
_NOT_ASKED_FOR = {Capability.REASONING, Capability.CACHE_CONTROL, Capability.TOOL_RESULT_IMAGES}


def test_every_capability_is_checked() -> None:
    assert set(_NEEDED) | _NOT_ASKED_FOR == set(Capability)


@pytest.mark.parametrize("capability", _NEEDED, ids=lambda capability: capability.value)
def test_a_capability_that_is_missing_is_refused_and_named(capability: Capability) -> None:
    prompt, tools = _NEEDED[capability]
    check_request(prompt, MODEL, tools, _ALL)
    with pytest.raises(UnsupportedCapabilityError, match=r"one/model-1 does not support \w+; \w+") as caught:
        check_request(prompt, MODEL, tools, _ALL.without(capability))
    assert caught.value.missing == (capability.value,)
    only = ModelCapabilities.of(StreamedTools.DELTAS, {capability, Capability.TOOLS})
    check_request(prompt, MODEL, tools, only)


def test_all_that_is_missing_is_named_at_once() -> None:
    prompt = PROMPT.system("s", cache=True).user(ImagePart(url="u"), AudioPart(url="u"))
    with pytest.raises(UnsupportedCapabilityError) as caught:
        check_request(prompt, MODEL, (), ModelCapabilities())
    assert set(caught.value.missing) == {"system", "images", "audio"}


def test_images_in_results_need_images_of_one_kind() -> None:
    prompt = PROMPT.tool_call("1", "f").tool_result("1", [ImagePart(url="u")])
    for kind in (Capability.TOOL_RESULT_IMAGES, Capability.IMAGES):
        check_request(prompt, MODEL, (), ModelCapabilities.of(StreamedTools.DELTAS, [kind]))
    with pytest.raises(UnsupportedCapabilityError, match="tool_result_images"):
        check_request(prompt, MODEL, (), ModelCapabilities())


def test_tool_choices_that_need_nothing() -> None:
    some = ModelCapabilities.of(StreamedTools.DELTAS, [Capability.TOOLS])
    for choice in (ToolChoice.AUTO, ToolChoice.NONE, None):
        check_request(PROMPT.with_params(tool_choice=choice), MODEL, [TOOL], some)
    check_request(PROMPT.with_params(tool_choice=ToolChoice.NONE), MODEL, (), ModelCapabilities())


def test_calls_that_come_whole_stream_and_none_do_not() -> None:
    check_request(PROMPT, MODEL, [TOOL], ModelCapabilities.of(StreamedTools.WHOLE, [Capability.TOOLS]))
    check_request(PROMPT, MODEL, [TOOL], WHOLE_ONLY, streaming=False)
    with pytest.raises(UnsupportedCapabilityError, match="streamed"):
        check_request(PROMPT, MODEL, [TOOL], WHOLE_ONLY)


@pytest.mark.parametrize(
    ("prompt", "tools", "says"),
    [
        (Prompt(), (), "no user message; add one with .user"),
        (Prompt().system("s"), (), "no user message"),
        (PROMPT, [TOOL, TOOL], "two tools are named 'get_weather'"),
        (PROMPT.add(ToolResultMessage("9", "f", "x")), (), "'9'.*no call before"),
        (PROMPT.add(ToolResultMessage("1", "f", "x"), AssistantMessage.of(CALL)), (), "'1'.*no call before"),
        (PROMPT.with_params(tool_choice=NamedTool("f")), [TOOL], "tool_choice names 'f'.*not among the tools"),
        (PROMPT.with_params(tool_choice=NamedTool("f")), (), "tool_choice names 'f'"),
        (PROMPT.with_params(tool_choice=ToolChoice.REQUIRED), (), "requires a call, and no tools"),
    ],
)
def test_what_does_not_hold_together_is_refused(prompt: Prompt, tools: Sequence[ToolDescriptor], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        check_request(prompt, MODEL, tools, _ALL)


def test_invalid_calls_can_be_answered() -> None:
    check_request(
        PROMPT.add(AssistantMessage.of(InvalidToolCall("1", "f", "[", "no"))).tool_result("1", error="no"),
        MODEL,
        (),
        _ALL,
    )


# -------------------------------------------------------------------------------------------- check_api_key


@pytest.mark.parametrize("key", [None, ""])
def test_a_missing_key_says_where_it_is_looked_for(key: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"openai: no API key.*api_key=.*OPENAI_API_KEY"):
        check_api_key(key, provider="openai", variable="OPENAI_API_KEY")


@pytest.mark.parametrize(
    "key", ["sk-secret\n", "\nsk-secret", "sk secret", "sk-secret\r", "sk-\x00secret", "sk-sécret", "\t"]
)
def test_a_key_that_no_header_takes_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(PromptportError, match="line end") as caught:
        check_api_key(key, provider="openai", variable="OPENAI_API_KEY")
    assert isinstance(caught.value, ConfigurationError)
    assert "cret" not in f"{caught.value!r}"


def test_a_usable_key_is_given_back() -> None:
    assert check_api_key("sk-abc_123", provider="openai", variable="OPENAI_API_KEY") == "sk-abc_123"


# ---------------------------------------------------------------------------------------- when_unsupported

_FEW = ModelCapabilities.of(StreamedTools.DELTAS, [Capability.TOOLS, Capability.SYSTEM, Capability.SEED])


async def test_a_parameter_that_the_model_lacks_is_dropped_where_that_is_allowed_and_said() -> None:
    asked = PROMPT.with_params(temperature=0.5, seed=7, stop=("x",), user="u", parallel_tool_calls=True)
    client = Client(["Hi"], ["Hi"], capabilities=_FEW)
    executor = SingleClientExecutor(client, when_unsupported="drop")
    stream = executor.execute_streaming_with_tools(asked, MODEL, [TOOL])
    assert set(stream.dropped) == {"temperature", "stop", "user", "parallel_tool_calls"}
    assert (await stream.message()).text == "Hi"
    await executor.execute(asked, MODEL, [TOOL])
    for request in client.requests:
        assert request.prompt == PROMPT.with_params(seed=7), "what the model takes stays"
        assert request.tools == (TOOL,)
    executor = SingleClientExecutor(Client(["Hi"], capabilities=_FEW), when_unsupported="drop")
    assert executor.execute_streaming_with_tools(PROMPT, MODEL).dropped == ()


@pytest.mark.parametrize("policy", ["raise", "drop"])
async def test_parts_and_tools_are_never_dropped(policy: Any) -> None:
    executor = SingleClientExecutor(Client(["Hi"], capabilities=_FEW), when_unsupported=policy)
    both = PROMPT.with_params(temperature=1).user(ImagePart(url="u"))
    with pytest.raises(UnsupportedCapabilityError, match="images"):
        executor.execute_streaming_with_tools(both, MODEL)
    with pytest.raises(UnsupportedCapabilityError, match="images"):
        await executor.execute(both, MODEL)


def test_when_unsupported_takes_two_words() -> None:
    wrong: Any = "ignore"
    with pytest.raises(ConfigurationError, match="'raise' or 'drop', not 'ignore'"):
        SingleClientExecutor(Client(), when_unsupported=wrong)


async def test_observers_are_told_what_was_dropped_streamed_or_not() -> None:
    class Seen(Observer):
        def __init__(self) -> None:
            self.dropped: list[tuple[str, ...]] = []

        def request_finished(self, event: RequestFinished) -> None:
            self.dropped.append(event.dropped)

    seen = Seen()
    lacks = LLModel("openai-chat", "m", capabilities=_FEW)
    text = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    whole = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    asked = PROMPT.with_params(temperature=0.5, stop=("x",), seed=7)
    answers = [WireResponse(text), WireResponse.json(whole), WireResponse(text)]
    async with WireServer(*answers) as server:
        client = promptport.client("openai-chat", base_url=f"{server.url}/v1", api_key="k")
        async with SingleClientExecutor(client, when_unsupported="drop") as executor:
            with observe(seen):
                stream = executor.execute_streaming_with_tools(asked, lacks)
                await stream.message()
                await executor.execute(asked, lacks)
                await executor.execute_streaming_with_tools(PROMPT, lacks).message()
    assert seen.dropped == [stream.dropped, stream.dropped, ()]
    assert set(stream.dropped) == {"temperature", "stop"}
    assert all("temperature" not in request.json() for request in server.requests)
