"""`promptport.front_ends`: frames as server-sent events, and back."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

import promptport as pp
from promptport.dispatch import ApprovalNeeded, DispatchFrame, StepEnd, ToolProgress, ToolResult, ToolStarted
from promptport.errors import (
    AuthenticationError,
    IncompleteStreamError,
    OverloadedError,
    PromptportError,
    ProviderStreamError,
    RateLimitError,
)
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from promptport.front_ends.events import EventDecoder, encode_events
from promptport.messages import Prompt
from promptport.models import LLModel
from promptport.stream import FrameStream
from promptport.testing import ScriptedClient, ScriptedExecutor, cut_body

END = End(FinishReason.TOOL_CALLS, "tool_calls", Usage(1, 2), "m", "r")
FRAMES: list[DispatchFrame] = [
    ReasoningAppend("hm"),
    Reasoning("hm", {"signature": "s"}),
    Append("Hello\n\u2028 wörld"),
    ToolCallDelta("c1", "f", "{}"),
    ToolCall("c1", "f", "{}"),
    InvalidToolCall("c2", "f", "{", "not JSON"),
    ToolStarted("c1", "f"),
    ToolProgress("c1", {"done": 1}),
    ToolResult("c1", "f", "21"),
    ToolResult("c2", "f", error="not JSON"),
    Citation("https://example.com"),
    ProviderItem("web", {"a": 1}),
    StepEnd(0, END),
    END,
]


async def stream(frames: list[DispatchFrame], error: Exception | None = None) -> AsyncIterator[DispatchFrame]:
    for frame in frames:
        yield frame
    if error is not None:
        raise error


async def body(frames: AsyncIterator[DispatchFrame], **options: object) -> bytes:
    return b"".join([event async for event in encode_events(frames, **options)])  # type: ignore[arg-type]


def events(data: bytes) -> list[dict[str, object]]:
    return [json.loads(part.split(b"data: ", 1)[1]) for part in data.split(b"\n\n") if b"data: " in part]


async def test_text_is_content_and_every_frame_has_its_name() -> None:
    sent = events(await body(stream(FRAMES)))
    assert sent[2] == {"type": "content", "content": "Hello\n\u2028 wörld"}
    assert [event["type"] for event in sent if event["type"] not in ("content", "done")] == [
        "reasoning_append", "reasoning", "tool_call_delta", "tool_call", "invalid_tool_call", "tool_started",
        "tool_progress", "tool_result", "tool_result", "citation", "provider_item", "step_end", "end",
    ]  # fmt: skip
    assert sent[-1] == {"type": "done"}


async def test_every_event_has_an_id_that_counts_up() -> None:
    data = await body(stream(FRAMES), first_id=5)
    ids = [int(line[4:]) for line in data.split(b"\n") if line.startswith(b"id: ")]
    assert ids == list(range(5, 5 + len(FRAMES) + 1))


def own_words(error: Exception | ToolResult) -> str:
    return str(error.error) if isinstance(error, ToolResult) else str(error)


@pytest.mark.parametrize("cut", ["whole", "bytes", "events", ("random", 1), ("random", 2)])
async def test_decoded_is_what_was_encoded(cut: object) -> None:
    decoder = EventDecoder()
    out: list[object] = []
    for chunk in cut_body(await body(stream(FRAMES), error_text=own_words), cut):  # type: ignore[arg-type]
        out += decoder.feed(chunk)
    assert out == FRAMES
    assert decoder.ended
    assert decoder.error is None
    assert decoder.last_id == len(FRAMES) + 1


async def test_a_heartbeat_keeps_the_connection_open() -> None:
    go = asyncio.Event()

    async def slow() -> AsyncIterator[DispatchFrame]:
        await go.wait()
        yield END

    out = []
    async with asyncio.timeout(5):
        async for event in encode_events(slow(), heartbeat=0.01):
            out.append(event)
            if len(out) == 3:
                go.set()
    assert out[:3] == [b": beat\n\n"] * 3
    assert EventDecoder().feed(b"".join(out)) == [END]


async def test_a_reader_that_is_slow_holds_the_frames_back() -> None:
    given = 0
    closed = False

    async def endless() -> AsyncIterator[DispatchFrame]:
        nonlocal given, closed
        try:
            while True:
                given += 1
                yield Append("a")
        finally:
            closed = True

    sending = encode_events(endless())
    for number in range(1, 200):
        assert (await anext(sending)).startswith(b"id: %d\n" % number)
        for _ in range(3):
            await asyncio.sleep(0)
        assert given <= number + 65
    await sending.aclose()
    assert closed


async def test_the_frames_come_from_one_task() -> None:
    """So that what they set in their context stays, and a time-out around several of them works."""
    tasks: set[object] = set()

    async def watched() -> AsyncIterator[DispatchFrame]:
        for frame in FRAMES:
            tasks.add(asyncio.current_task())
            await asyncio.sleep(0)
            yield frame

    await body(watched())
    assert len(tasks) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimitError("key sk-secret is over its limit", provider="p"), "rate_limit"),
        (OverloadedError("sk-secret", provider="p"), "overloaded"),
        (AuthenticationError("sk-secret", provider="p"), "configuration"),
        (IncompleteStreamError("sk-secret"), "interrupted"),
        (PromptportError("sk-secret"), "invalid"),
        (ZeroDivisionError("sk-secret"), "internal"),
    ],
)
async def test_an_error_is_an_event_that_leaks_nothing(error: Exception, code: str) -> None:
    told: list[Exception] = []
    data = await body(stream([Append("a")], error), on_error=told.append)
    assert told == [error]
    assert b"secret" not in data
    assert [event["type"] for event in events(data)] == ["content", "error", "done"]
    decoder = EventDecoder()
    assert decoder.feed(data) == [Append("a")]
    assert isinstance(decoder.error, ProviderStreamError)
    assert decoder.error.code == code


async def test_events_that_stop_early_are_incomplete() -> None:
    data = await body(stream(FRAMES))
    for end in (len(data) - 20, len(data) // 2, 0):
        decoder = EventDecoder()
        decoder.feed(data[:end])
        decoder.close()
        assert isinstance(decoder.error, IncompleteStreamError), end
    done = EventDecoder()
    done.feed(b'data: {"type":"done"}\n\n')
    assert isinstance(done.error, IncompleteStreamError)


async def test_a_pause_for_approval_is_an_end() -> None:
    pause: DispatchFrame = ApprovalNeeded((ToolCall("c1", "f", "{}"),))
    decoder = EventDecoder()
    assert list[object](decoder.feed(await body(stream([pause])))) == [pause]
    assert decoder.error is None


async def test_unknown_events_are_skipped_and_counted() -> None:
    decoder = EventDecoder()
    decoder.feed(b'data: {"type":"future","x":1}\n\n')
    assert decoder.skipped == {"future": 1}


async def test_a_client_that_leaves_closes_the_stream() -> None:
    client = ScriptedClient(["a", asyncio.Event()])
    frames: FrameStream = client.execute_streaming_with_tools(Prompt.of("x"), LLModel("scripted", "m"))
    response = encode_events(frames)
    assert await anext(response)
    waiting = asyncio.ensure_future(anext(response))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert client.closed == 1
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


# ---------------------------------------------------------------------------------------- errors of tools

SECRETS = [
    "postgres://admin:hunter2@db/prod",
    "ValueError: /srv/app/secret.py",
    "<script>alert(1)</script>",
    "no: ask Ann",
]


@pytest.mark.parametrize("secret", SECRETS)
async def test_a_browser_reads_a_sentence_and_a_code_of_a_tools_error(secret: str) -> None:
    frames: list[DispatchFrame] = [ToolResult("c1", "f", secret, error=secret), End(FinishReason.STOP)]
    data = await body(stream(frames))
    assert secret.encode() not in data
    told = events(data)[0]
    assert (told["type"], told["id"], told["name"]) == ("tool_result", "c1", "f")
    assert (told["code"], told["error"]) == ("tool_failed", "The tool failed.")
    decoder = EventDecoder()
    decoded: list[DispatchFrame] = [*decoder.feed(data), *decoder.close()]
    assert decoded[0] == ToolResult("c1", "f", error="The tool failed.")


async def test_a_tools_exception_stays_on_the_server_and_reaches_the_model() -> None:
    @pp.tool
    def look() -> str:
        """Fails."""
        raise RuntimeError("password hunter2")

    executor = ScriptedExecutor([pp.ToolCall("c1", "look", "{}")], ["Sorry."])
    async with pp.ToolDispatcher(executor, [look]) as dispatcher, dispatcher.stream("Hi", "scripted/m") as run:
        data = await body(run)
    assert b"hunter2" not in data
    assert b"The tool failed." in data
    assert "hunter2" in executor.requests[1].prompt.messages[-1].text


async def test_the_program_may_choose_the_text() -> None:
    def say(error: Exception | ToolResult) -> str:
        return f"{error.name}: {error.error}" if isinstance(error, ToolResult) else f"Sorry: {error}"

    data = await body(stream([ToolResult("c1", "f", error="no table left")], ValueError("closed")), error_text=say)
    assert [event.get("error", event.get("message")) for event in events(data)[:2]] == [
        "f: no table left",
        "Sorry: closed",
    ]
    assert events(data)[1]["code"] == "internal"
