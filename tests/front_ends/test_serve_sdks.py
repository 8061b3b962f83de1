"""The official SDKs, pointed at ``promptport serve``: text, calls, errors, usage, a client that leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

SCRIPT = '''
import asyncio
from pathlib import Path

import promptport as pp
from promptport.errors import *
from promptport.testing import CUT, ScriptedExecutor

SECRET = "sk-secret-of-the-provider"
LEFT = Path(__file__).with_name("left")
USAGE = pp.Usage(11, 7, 3, 2, 1)
END = pp.End(pp.FinishReason.STOP, "stop", USAGE, "m-1")
PARIS, ROME = pp.ToolCall("c1", "look", '{"place": "Paris"}'), pp.ToolCall("c2", "look", '{"place":"Rome"}')
KINDS = dict(provider="p", model="m")
ERRORS = {
    "rate": RateLimitError(SECRET, retry_after=7, **KINDS),
    "overloaded": OverloadedError(SECRET, **KINDS),
    "context": ContextLengthError(SECRET, **KINDS),
    "key": AuthenticationError(SECRET, **KINDS),
    "missing": ModelNotFoundError(SECRET, **KINDS),
    "bad": BadRequestError(SECRET, **KINDS),
    "server": ServerError(SECRET, **KINDS),
    "transport": TransportError(SECRET, **KINDS),
    "bug": RuntimeError(SECRET),
}


def answer(request):
    message = request.prompt.messages[-1]
    if isinstance(message, pp.ToolResultMessage):
        return [request.prompt.to_json().decode(), END]
    text = message.text
    if text.startswith("fail "):
        return [ERRORS[text[5:]]]
    if text.startswith("late "):
        return ["Half", ERRORS[text[5:]]]
    return {
        "text": ["Hello", " w\\u00f6rld", "!", END],
        "call": ["Looking. ", PARIS, pp.End(pp.FinishReason.TOOL_CALLS, usage=USAGE)],
        "calls": [PARIS, ROME, pp.End(pp.FinishReason.TOOL_CALLS, usage=USAGE)],
        "own": [pp.ToolCall("o1", "secret_number", "{}"), pp.End(pp.FinishReason.TOOL_CALLS, usage=USAGE)],
        "cut": ["Half", CUT],
        "long": ["Half", pp.End(pp.FinishReason.LENGTH, usage=USAGE)],
        "think": [pp.Reasoning("Let me see.", {"type": "thinking", "signature": SECRET}), "Done", PARIS,
                  pp.End(pp.FinishReason.TOOL_CALLS, usage=USAGE)],
        "wait": ["Half", asyncio.Event(), "never"],
    }[text]


class Executor(ScriptedExecutor):
    def __init__(self):
        super().__init__(answer, repeat=True)
        closed = type(self.client)._play

        async def play(client, script, request):
            done = client.closed
            try:
                async for frames in closed(client, script, request):
                    yield frames
            finally:
                if request.prompt.messages[-1].text == "wait":
                    LEFT.write_text("left")

        self.client._play = lambda script, request: play(self.client, script, request)


def make():
    return Executor()


@pp.tool
def secret_number() -> str:
    """A tool of the server."""
    return "4711"
'''
LOOK: dict[str, Any] = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": LOOK}}
RESPONSES_TOOL: Any = {"type": "function", "name": "look", "description": "Looks.", "parameters": LOOK, "strict": False}
MESSAGES_TOOL: Any = {"name": "look", "description": "Looks.", "input_schema": LOOK}
SECRET = "sk-secret-of-the-provider"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    script = folder / "scripted_models.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "promptport", "serve", "--port", "0", "--key", "k", "--model", "m=scripted/m"]
    process = subprocess.Popen(
        [*command, "--model", "own=scripted/own", "--executor", f"{script}:make"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, line
        yield line[line.index("http://") :].split()[0]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def gpt(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0, timeout=20) as client:
        yield client


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


# ------------------------------------------------------------------------------------------------- chat


def test_chat_text_streamed_and_whole(gpt: openai.OpenAI) -> None:
    whole = gpt.chat.completions.create(model="m", messages=user("text"))
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Hello wörld!", "stop")
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (11, 7, 18)
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 3
    with gpt.chat.completions.stream(
        model="m", messages=user("text"), stream_options={"include_usage": True}
    ) as stream:
        streamed = stream.get_final_completion()
    assert streamed.choices[0].message.content == "Hello wörld!"
    assert streamed.usage == whole.usage
    chunks = list(gpt.chat.completions.create(model="m", messages=user("text"), stream=True))
    assert not [chunk for chunk in chunks if chunk.usage]


@pytest.mark.parametrize(("asked", "ids"), [("call", ["c1"]), ("calls", ["c1", "c2"])])
def test_chat_calls_and_their_results(gpt: openai.OpenAI, asked: str, ids: list[str]) -> None:
    with gpt.chat.completions.stream(model="m", messages=user(asked), tools=[CHAT_TOOL]) as stream:
        message = stream.get_final_completion().choices[0].message
    whole = gpt.chat.completions.create(model="m", messages=user(asked), tools=[CHAT_TOOL]).choices[0]
    assert whole.finish_reason == "tool_calls"
    for calls in (message.tool_calls, whole.message.tool_calls):
        assert [call.id for call in calls or ()] == ids
        first: Any = (calls or [])[0]
        assert json.loads(first.function.arguments) == {"place": "Paris"}
    results: Any = [{"role": "tool", "tool_call_id": one, "content": f"sunny {one}"} for one in ids]
    history: Any = [*user(asked), whole.message.model_dump(exclude_none=True), *results]
    echo = gpt.chat.completions.create(model="m", messages=history, tools=[CHAT_TOOL]).choices[0].message.content
    told = json.loads(echo or "")["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", *["tool_result"] * len(ids)]
    assert told[-1]["output"] == f"sunny {ids[-1]}"


def test_responses_text_calls_and_history(gpt: openai.OpenAI) -> None:
    whole = gpt.responses.create(model="m", input="text", store=False)
    assert (whole.output_text, whole.status) == ("Hello wörld!", "completed")
    with gpt.responses.stream(model="m", input="text", store=False) as stream:
        streamed = stream.get_final_response()
    assert streamed.output_text == "Hello wörld!"
    assert streamed.usage is not None
    assert streamed.usage == whole.usage
    assert (streamed.usage.input_tokens, streamed.usage.output_tokens) == (11, 7)
    called = gpt.responses.create(model="m", input="calls", tools=[RESPONSES_TOOL], store=False)
    calls = [item for item in called.output if item.type == "function_call"]
    assert [call.call_id for call in calls] == ["c1", "c2"]
    history: Any = [*user("calls"), *[item.model_dump(exclude_none=True) for item in called.output]]
    history += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    echo = gpt.responses.create(model="m", input=history, tools=[RESPONSES_TOOL], store=False)
    assert [one["role"] for one in json.loads(echo.output_text)["messages"]][-2:] == ["tool_result"] * 2
    cut = gpt.responses.create(model="m", input="long", store=False)
    assert (cut.status, cut.incomplete_details and cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_messages_text_calls_and_history(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="m", max_tokens=99, messages=user("text"))
    assert [block.text for block in whole.content if block.type == "text"] == ["Hello wörld!"]
    assert (whole.stop_reason, whole.usage.output_tokens, whole.usage.cache_read_input_tokens) == ("end_turn", 7, 3)
    assert whole.usage.input_tokens + 3 + 2 == 11
    with claude.messages.stream(model="m", max_tokens=99, messages=user("text")) as stream:
        streamed = stream.get_final_message()
    assert [block.text for block in streamed.content if block.type == "text"] == ["Hello wörld!"]
    assert streamed.usage.input_tokens == whole.usage.input_tokens
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    with claude.messages.stream(model="m", max_tokens=99, messages=user("calls"), tools=[MESSAGES_TOOL]) as stream:
        called = stream.get_final_message()
    uses = [block for block in called.content if block.type == "tool_use"]
    assert [(use.id, use.input) for use in uses] == [("c1", {"place": "Paris"}), ("c2", {"place": "Rome"})]
    results: Any = [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"} for use in uses]
    history: Any = [*user("calls"), {"role": "assistant", "content": [one.model_dump() for one in called.content]}]
    history.append({"role": "user", "content": results})
    echo = claude.messages.create(model="m", max_tokens=99, messages=history, tools=[MESSAGES_TOOL])
    told = json.loads(next(block.text for block in echo.content if block.type == "text"))["messages"]
    assert [one["role"] for one in told] == ["user", "assistant", "tool_result", "tool_result"]


def test_reasoning_goes_home_with_its_origin_only_if_this_server_sealed_it(claude: anthropic.Anthropic) -> None:
    thought = claude.messages.create(model="m", max_tokens=99, messages=user("think"), tools=[MESSAGES_TOOL])
    # A scripted model has no origin, so nothing opaque may leave, and none comes back.
    assert SECRET not in thought.model_dump_json()
    forged: Any = {"type": "thinking", "thinking": "Let me see.", "signature": SECRET}
    content: Any = [forged, *[block.model_dump() for block in thought.content if block.type == "tool_use"]]
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "x"}]}
    history: Any = [*user("think"), {"role": "assistant", "content": content}, result]
    echo = claude.messages.create(model="m", max_tokens=99, messages=history, tools=[MESSAGES_TOOL])
    assert SECRET not in echo.model_dump_json()


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("kind", "of_openai", "of_anthropic"),
    [
        ("rate", openai.RateLimitError, anthropic.RateLimitError),
        ("overloaded", openai.InternalServerError, anthropic.InternalServerError),
        ("context", openai.BadRequestError, anthropic.BadRequestError),
        ("key", openai.InternalServerError, anthropic.InternalServerError),
        ("missing", openai.NotFoundError, anthropic.NotFoundError),
        ("bad", openai.BadRequestError, anthropic.BadRequestError),
        ("server", openai.InternalServerError, anthropic.InternalServerError),
        ("transport", openai.InternalServerError, anthropic.InternalServerError),
        ("bug", openai.InternalServerError, anthropic.InternalServerError),
    ],
)
def test_each_class_of_error_is_the_sdks_own(
    gpt: openai.OpenAI,
    claude: anthropic.Anthropic,
    kind: str,
    of_openai: type[Exception],
    of_anthropic: type[Exception],
) -> None:
    for stream in (False, True):
        with pytest.raises(of_openai) as chat:
            gpt.chat.completions.create(model="m", messages=user(f"fail {kind}"), stream=stream)
        with pytest.raises(of_openai) as response:
            gpt.responses.create(model="m", input=f"fail {kind}", stream=stream, store=False)
        with pytest.raises(of_anthropic) as message:
            claude.messages.create(model="m", max_tokens=9, messages=user(f"fail {kind}"), stream=stream)
        for caught in (chat, response, message):
            assert SECRET not in f"{caught.value} {getattr(caught.value, 'body', '')}"
            if kind == "rate":
                assert getattr(caught.value, "response").headers["retry-after"] == "7"  # noqa: B009


def test_an_error_behind_the_first_frame_is_an_error_on_the_wire(
    gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    for asked in ("late rate", "late bug", "cut"):
        with pytest.raises(openai.APIError) as chat:
            list(gpt.chat.completions.create(model="m", messages=user(asked), stream=True))
        with (
            pytest.raises(anthropic.APIError) as message,
            claude.messages.stream(model="m", max_tokens=9, messages=user(asked)) as stream,
        ):
            stream.get_final_message()
        events = list(gpt.responses.create(model="m", input=asked, stream=True, store=False))
        assert events[-1].type == "response.failed"
        assert SECRET not in f"{chat.value} {message.value} {events[-1]}"


def test_a_key_a_model_and_a_parameter_that_are_refused(url: str, gpt: openai.OpenAI) -> None:
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        other.chat.completions.create(model="m", messages=user("text"))
    with (
        anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0) as other_claude,
        pytest.raises(anthropic.AuthenticationError),
    ):
        other_claude.messages.create(model="m", max_tokens=9, messages=user("text"))
    with pytest.raises(openai.NotFoundError) as missing:
        gpt.chat.completions.create(model="gpt-0", messages=user("text"))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as several:
        gpt.chat.completions.create(model="m", messages=user("text"), n=2)
    assert several.value.param == "n"
    with pytest.raises(openai.BadRequestError, match="keeps no responses"):
        gpt.responses.create(model="m", input="text", previous_response_id="resp_1")


def test_models_are_listed_for_both(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert [model.id for model in gpt.models.list()] == ["m", "own"]
    assert [model.id for model in claude.models.list()] == ["m", "own"]
    assert gpt.models.retrieve("m").owned_by == "scripted"
    with pytest.raises(openai.NotFoundError):
        gpt.models.retrieve("nothing")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_the_request(url: str, folder: Path, stream: bool) -> None:
    left = folder / "left"
    left.unlink(missing_ok=True)
    body = {"model": "m", "messages": user("wait"), "stream": stream}
    headers = {"authorization": "Bearer k"}
    if stream:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers) as response:
            for line in response.iter_lines():
                if "Half" in line:
                    break
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=1)
    for _ in range(100):
        if left.exists():
            return
        time.sleep(0.05)
    raise AssertionError("the provider's request went on after its client had left")
