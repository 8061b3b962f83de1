"""The stream rules of the contract, held by a client over bytes: each test is named after its rule.

The client is the smallest that `BaseClient` allows: Chat Completions out of a script of bytes, errors and stalls.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import warnings
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources import SOON, iterated, never, turns, until_error

from promptport.decoding import StreamDecoder
from promptport.errors import (
    BadRequestError,
    FirstFrameTimeout,
    IdleTimeout,
    IncompleteStreamError,
    InvalidInputError,
    PromptportError,
    ProtocolError,
    ProviderError,
    ProviderStreamError,
    TotalTimeout,
    TransportError,
    UnsupportedCapabilityError,
)
from promptport.frames import Append, End, FinishReason, StreamFrame, ToolCall, Usage
from promptport.http import BaseClient, ByteStream, status_error
from promptport.messages import AssistantMessage, Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.protocols import ChatCompletionsDecoder, chat_body, decode_chat_completion
from promptport.stream import Timeouts
from promptport.testing import cut_body
from promptport.tools import ToolDescriptor

MODEL = LLModel("scripted", "model-1")
PROMPT = Prompt.of("Hello")
TOOL = ToolDescriptor("get_weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
EVERYTHING = ModelCapabilities.of(StreamedTools.DELTAS, Capability)
Step = bytes | Exception | asyncio.Event


class LibraryError(Exception):
    """Stands for any exception of an SDK or HTTP library."""


class Body:
    """A response body that plays steps, and records what happens to it."""

    def __init__(self, steps: Sequence[Step], *, close_fails: bool = False) -> None:
        self.steps = list(steps)
        self.given = 0
        self.closed = 0
        self.waiting = asyncio.Event()
        self._close_fails = close_fails

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                self.given += 1
                yield step
            else:
                self.waiting.set()
                await step.wait()

    async def aclose(self) -> None:
        self.closed += 1
        if self._close_fails:
            raise LibraryError("closing failed")


class Client(BaseClient):
    """Chat Completions out of a script."""

    provider = "scripted"

    def __init__(
        self,
        *steps: Step,
        opening: Exception | asyncio.Event | None = None,
        whole: bytes | Exception | asyncio.Event = b"{}",
        timeouts: Timeouts | None = None,
        close_fails: bool = False,
        capabilities: ModelCapabilities = EVERYTHING,
        decoder: type[StreamDecoder[Any]] = ChatCompletionsDecoder,
    ) -> None:
        super().__init__(timeouts=timeouts)
        self.steps = steps
        self.opening = opening
        self.whole = whole
        self.close_fails = close_fails
        self.declared = capabilities
        self.decoder = decoder
        self.sent: list[dict[str, Any]] = []
        self.bodies: list[Body] = []
        self.waiting = asyncio.Event()
        self.opened = asyncio.Event()
        self.closed = 0

    @property
    def body(self) -> Body:
        (body,) = self.bodies
        return body

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        return model.capabilities or self.declared

    async def models(self) -> list[LLModel]:
        return [MODEL]

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        return chat_body(prompt, model, tools, stream=stream)

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        self.sent.append(body)
        await self._happens(self.opening)
        self.bodies.append(Body(self.steps, close_fails=self.close_fails))
        self.opened.set()
        return self.bodies[-1]

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        self.sent.append(body)
        await self._happens(self.whole)
        assert isinstance(self.whole, bytes)
        return self.whole

    async def _happens(self, step: object) -> None:
        if isinstance(step, Exception):
            raise step
        if isinstance(step, asyncio.Event):
            self.waiting.set()
            await step.wait()

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        return self.decoder(prompt.call_ids())  # type: ignore[arg-type]

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return decode_chat_completion(data, prompt.call_ids())

    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        if isinstance(error, LibraryError):
            return TransportError("the connection broke", provider=self.provider, model=model.id)
        return None

    async def _aclose(self) -> None:
        self.closed += 1


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "answer-1", "model": "model-1-of-today", "choices": choices, **fields}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def call(arguments: str, **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    return {"tool_calls": [{"index": 0, **fields, "function": {"name": name, "arguments": arguments}}]}


DONE = b"data: [DONE]\n\n"
TEXT = [
    event({"content": "Hel"}),
    event({"content": "lo"}),
    event({}, "stop"),
    event(usage={"prompt_tokens": 5, "completion_tokens": 2}),
    DONE,
]
CALL = [
    event({"content": "I look. "}),
    event(call("", id="c1", name="get_weather")),
    event(call('{"city":')),
    event(call(' "Paris"}')),
    event({}, "tool_calls"),
    DONE,
]
WHOLE_CALL = json.dumps(
    {
        "id": "answer-1",
        "model": "model-1-of-today",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "I look. ",
                    "tool_calls": [
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
    }
).encode()


async def ask(client: Client, tools: Sequence[ToolDescriptor] = ()) -> list[StreamFrame]:
    return await iterated(client.execute_streaming_with_tools(PROMPT, MODEL, tools))


# --------------------------------------------------------------------------------- 1. complete, or an error


async def test_rule_1_a_whole_answer_ends_with_end() -> None:
    client = Client(*TEXT)
    assert await ask(client) == [
        Append("Hel"),
        Append("lo"),
        End(FinishReason.STOP, "stop", Usage(5, 2), "model-1-of-today", "answer-1"),
    ]
    assert client.body.closed == 1


@pytest.mark.parametrize("length", range(4))
async def test_rule_1_the_bytes_end_before_the_terminal(length: int) -> None:
    client = Client(*CALL[:length])
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL, [TOOL]))
    assert type(error) is IncompleteStreamError
    assert error.partial is not None
    assert error.partial.tool_calls == ()
    assert client.body.closed == 1


async def test_rule_1_a_dropped_connection_is_an_incomplete_stream() -> None:
    dropped = LibraryError("reset by peer")
    client = Client(TEXT[0], dropped)
    frames, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert frames == [Append("Hel")]
    assert isinstance(error, IncompleteStreamError)
    assert error.__cause__ is dropped
    assert error.partial == AssistantMessage.of("Hel")
    assert client.body.closed == 1


async def test_rule_1_a_connection_that_drops_between_finish_reason_and_done_is_incomplete() -> None:
    client = Client(*TEXT[:3], LibraryError("reset"))
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert isinstance(error, IncompleteStreamError)


async def test_rule_1_what_happens_after_the_terminal_does_not_matter() -> None:
    for after in (LibraryError("reset"), b"data: {broken\n\n", b"data: [DONE]\n\n", b"x" * 100_000):
        client = Client(*TEXT, after)
        assert isinstance((await ask(client))[-1], End)
        assert client.body.closed == 1


async def test_rule_1_frames_before_an_error_in_the_same_read_are_not_lost() -> None:
    client = Client(TEXT[0] + TEXT[1] + b"data: {broken\n\n")
    frames, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert frames == [Append("Hel"), Append("lo")]
    assert isinstance(error, ProtocolError)
    assert error.partial == AssistantMessage.of("Hello")


async def test_rule_1_an_error_inside_the_stream() -> None:
    client = Client(TEXT[0], b'data: {"error": {"message": "out of memory", "code": "oom"}}\n\n')
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert isinstance(error, ProviderStreamError)
    assert error.code == "oom"
    assert error.partial == AssistantMessage.of("Hel")


async def test_rule_1_an_error_before_the_stream() -> None:
    refused = status_error(
        provider="scripted", model="model-1", status=400, headers={}, body=b'{"error": {"message": "no"}}'
    )
    client = Client(opening=refused)
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert error is refused
    assert isinstance(error, BadRequestError)
    assert error.partial == AssistantMessage()


async def test_rule_1_a_broken_connection_before_the_stream_is_a_transport_error() -> None:
    client = Client(opening=LibraryError("refused"))
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert type(error) is TransportError
    assert isinstance(error.__cause__, LibraryError)
    assert (error.provider, error.model) == ("scripted", "model-1")


async def test_a_bug_is_raised_as_it_is_and_is_not_its_own_cause() -> None:
    class Broken(ChatCompletionsDecoder):
        def feed(self, data: bytes) -> list[StreamFrame]:
            raise KeyError("bug")

    for client in (Client(*TEXT, decoder=Broken), Client(opening=KeyError("bug"), whole=KeyError("bug"))):
        with pytest.raises(KeyError) as caught:
            await ask(client)
        assert caught.value.__cause__ is None
    with pytest.raises(KeyError) as caught:
        await client.execute(PROMPT, MODEL)
    assert caught.value.__cause__ is None


async def test_rule_1_a_response_that_fails_to_close_changes_nothing() -> None:
    client = Client(*TEXT, close_fails=True)
    assert isinstance((await ask(client))[-1], End)
    client = Client(TEXT[0], close_fails=True)
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert isinstance(error, IncompleteStreamError)
    client = Client(*TEXT, close_fails=True)
    async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
        await anext(stream)
    assert client.body.closed == 1


# ------------------------------------------------------------------------------- 2 to 6. calls, ids, cuts


async def test_rule_2_a_call_comes_once_and_sealed() -> None:
    frames = await ask(Client(*CALL), [TOOL])
    assert [frame for frame in frames if isinstance(frame, ToolCall)] == [
        ToolCall("c1", "get_weather", '{"city": "Paris"}')
    ]


async def test_rule_3_an_id_of_the_conversation_is_not_given_twice() -> None:
    prompt = Prompt().user("?").tool_call("c1", "get_weather").tool_result("c1", "sunny").user("and now?")
    message = await Client(*CALL).execute_streaming_with_tools(prompt, MODEL, [TOOL]).message()
    assert message.tool_calls[0].id != "c1"
    whole = await Client(whole=WHOLE_CALL).execute(prompt, MODEL, [TOOL])
    assert whole == message


@given(st.integers(0, 10**6), st.sampled_from([TEXT, CALL, CALL[:4], [*TEXT[:2], b"data: {\n\n"]]))
def test_rule_5_the_same_frames_for_every_cut(seed: int, events: list[bytes]) -> None:
    body = b"".join(events)

    async def frames_of(chunks: list[bytes]) -> tuple[list[StreamFrame], type[PromptportError] | None]:
        stream = Client(*chunks).execute_streaming_with_tools(PROMPT, MODEL, [TOOL])
        frames: list[StreamFrame] = []
        try:
            async for frame in stream:
                frames.append(frame)
        except PromptportError as error:
            return frames, type(error)
        return frames, None

    async def run() -> None:
        whole = await frames_of([body])
        assert await frames_of(cut_body(body, ("random", seed))) == whole

    asyncio.run(run())


async def test_rule_6_streamed_equals_complete() -> None:
    streamed = await Client(*CALL).execute_streaming_with_tools(PROMPT, MODEL, [TOOL]).message()
    assert streamed == await Client(whole=WHOLE_CALL).execute(PROMPT, MODEL, [TOOL])


# -------------------------------------------------------------------------------- 7. unknown, and malformed


async def test_rule_7_unknown_events_are_skipped_and_counted() -> None:
    client = Client(TEXT[0], b'event: news\ndata: {"object": "chat.news"}\n\n', b"event: news\ndata: {}\n\n", *TEXT[1:])
    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    assert (await stream.message()).text == "Hello"
    assert stream.skipped == {"news": 2}


async def test_rule_7_a_malformed_event_is_a_protocol_error() -> None:
    for bad in (
        b"data: nonsense\n\n",
        b"data: [1]\n\n",
        b'data: {"object": "chat.completion.chunk"}\n\n',
        b"<html>\n\n",
    ):
        _, error = await until_error(Client(bad).execute_streaming_with_tools(PROMPT, MODEL))
        assert isinstance(error, ProtocolError), bad


# ------------------------------------------------------------------------------------------ 8. closing closes


async def test_rule_8_nothing_is_sent_before_the_first_read() -> None:
    client = Client(*TEXT)
    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    await turns()
    await stream.aclose()
    assert client.sent == []
    with pytest.raises(IncompleteStreamError):
        await anext(stream)


async def test_rule_8_break_closes_the_response() -> None:
    client = Client(*TEXT)
    async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
        async for _ in stream:
            break
    assert (client.body.closed, client.body.given) == (1, 1)


@pytest.mark.parametrize("how", ["aclose", "cancel", "client"])
@pytest.mark.parametrize("where", ["opening", "reading"])
async def test_rule_8_closing_while_a_read_waits(how: str, where: str) -> None:
    client = Client(TEXT[0], never(), opening=never() if where == "opening" else None)
    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    reader = asyncio.create_task(until_error(stream))
    if where == "opening":
        await client.waiting.wait()
    else:
        await client.opened.wait()
        await client.body.waiting.wait()
    if how == "cancel":
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    else:
        await (stream if how == "aclose" else client).aclose()
        _, error = await reader
        assert isinstance(error, IncompleteStreamError)
    assert [body.closed for body in client.bodies] == ([] if where == "opening" else [1])


async def test_rule_8_closing_the_client_closes_its_streams() -> None:
    client = Client(TEXT[0], never())
    frames, texts = client.execute_streaming_with_tools(PROMPT, MODEL), client.execute_streaming(PROMPT, MODEL)
    assert await anext(frames) == Append("Hel")
    assert await anext(texts) == "Hel"
    gc.collect()
    await client.aclose()
    assert [body.closed for body in client.bodies] == [1, 1]
    assert client.closed == 1
    for stream in (frames, texts):
        with pytest.raises(IncompleteStreamError, match="closed"):
            await anext(stream)
    await client.aclose()
    assert client.closed == 1
    with pytest.raises(InvalidInputError, match="closed"):
        client.execute_streaming_with_tools(PROMPT, MODEL)
    with pytest.raises(InvalidInputError, match="closed"):
        await client.execute(PROMPT, MODEL)


async def test_rule_8_leaving_the_clients_block_closes_it() -> None:
    async with Client(TEXT[0], never()) as client:
        stream = client.execute_streaming_with_tools(PROMPT, MODEL)
        await anext(stream)
    assert (client.body.closed, client.closed) == (1, 1)


async def test_rule_8_a_dropped_stream_warns_and_its_response_is_closed() -> None:
    client = Client(TEXT[0], never())
    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    await anext(stream)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del stream
        gc.collect()
    assert [entry.category for entry in caught if "Stream was dropped" in str(entry.message)] == [ResourceWarning]
    caught.clear()
    gc.collect()
    await turns()
    assert client.body.closed == 1


async def test_rule_8_a_connection_is_drained_after_end_but_not_for_ever() -> None:
    client = Client(*TEXT, b": bye\n\n", b": bye\n\n")
    await ask(client)
    assert client.body.given == len(TEXT) + 2
    client = Client(*TEXT, never())
    await ask(client)
    assert client.body.closed == 1
    client = Client(*TEXT, *[b"x" * 10_000] * 1000)
    await ask(client)
    assert client.body.given < len(TEXT) + 20


# -------------------------------------------------------------------------------------------- the three clocks


@pytest.mark.parametrize(
    ("timeouts", "kind"),
    [
        (Timeouts(first_frame=SOON), FirstFrameTimeout),
        (Timeouts(total=SOON), TotalTimeout),
        (Timeouts(first_frame=None, idle=SOON), IdleTimeout),
    ],
)
@pytest.mark.parametrize("where", ["opening", "reading"])
async def test_a_server_that_never_answers_runs_into_a_clock(
    timeouts: Timeouts, kind: type[TransportError], where: str
) -> None:
    client = Client(never(), opening=never() if where == "opening" else None, timeouts=timeouts)
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert type(error) is kind
    assert isinstance(error, ProviderError)
    assert (error.provider, error.model, error.partial) == ("scripted", "model-1", AssistantMessage())
    assert [body.closed for body in client.bodies] == ([] if where == "opening" else [1])


async def test_a_complete_answer_has_a_clock_too() -> None:
    for timeouts in (Timeouts(total=SOON), Timeouts(first_frame=SOON)):
        with pytest.raises(TotalTimeout, match=re.escape("0.05 s")):
            await Client(whole=never(), timeouts=timeouts).execute(PROMPT, MODEL)
    with pytest.raises(TimeoutError, match="their own"):
        await Client(whole=TimeoutError("their own")).execute(PROMPT, MODEL)


# -------------------------------------------------------------------------------------------- 9. back-pressure


async def test_rule_9_no_read_is_made_before_its_frames_are_asked_for() -> None:
    events = [event({"content": f"{index} "}) for index in range(30)]
    client = Client(*events, *TEXT)
    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    for count in range(1, 31):
        await anext(stream)
        await turns(2)
        assert client.body.given == count
    await stream.aclose()


# ------------------------------------------------------------------------------------------- before and beside


async def test_what_cannot_be_asked_is_refused_at_once_and_nothing_is_sent() -> None:
    client = Client(*TEXT, capabilities=ModelCapabilities())
    with pytest.raises(UnsupportedCapabilityError):
        client.execute_streaming_with_tools(PROMPT, MODEL, [TOOL])
    with pytest.raises(InvalidInputError):
        client.execute_streaming_with_tools(Prompt(), MODEL)
    with pytest.raises(InvalidInputError):
        client.execute_streaming(Prompt(), MODEL)
    with pytest.raises(UnsupportedCapabilityError):
        await client.execute(PROMPT, MODEL, [TOOL])
    assert client.sent == []


async def test_execute_streaming_is_the_appends_of_execute_streaming_with_tools() -> None:
    client = Client(*TEXT)
    assert [text async for text in client.execute_streaming(PROMPT, MODEL)] == ["Hel", "lo"]
    assert client.sent[0].get("tools") is None
    assert client.body.closed == 1


async def test_execute_translates_errors_and_keeps_causes() -> None:
    with pytest.raises(TransportError) as caught:
        await Client(whole=LibraryError("reset")).execute(PROMPT, MODEL)
    assert isinstance(caught.value.__cause__, LibraryError)
    with pytest.raises(ProtocolError):
        await Client(whole=b"<html>").execute(PROMPT, MODEL)


async def test_discover_says_what_is_known_where_the_server_cannot_be_asked() -> None:
    assert await Client().discover(MODEL) == EVERYTHING
    assert await Client().models() == [MODEL]


async def test_200_streams_at_once_do_not_touch_each_other() -> None:
    async def one(number: int) -> None:
        events = [event({"content": f"{number}:{index} "}) for index in range(10)]
        text = (await Client(*events, *TEXT).execute_streaming_with_tools(PROMPT, MODEL).message()).text
        assert text == "".join(f"{number}:{index} " for index in range(10)) + "Hello"

    await asyncio.gather(*[one(number) for number in range(200)])
