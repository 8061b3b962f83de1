"""`promptport.blocking`: the same verbs without an event loop."""

import signal
import threading
import time

import pytest

from promptport.blocking import BlockingExecutor, connect
from promptport.errors import ConfigurationError, IncompleteStreamError, InvalidInputError
from promptport.frames import Append, End, ToolCall
from promptport.messages import Prompt
from promptport.models import LLModel, StreamedTools
from promptport.testing import CUT, Pause, ScriptedAnswer, ScriptedExecutor
from promptport.tools import tool

MODEL = LLModel("scripted", "m")
PROMPT = Prompt.of("Hi")


@tool
def get_weather(city: str) -> str:
    """Weather."""
    return f"sunny in {city}"


def executor(*answers: ScriptedAnswer) -> BlockingExecutor:
    return BlockingExecutor(lambda: ScriptedExecutor(*answers))


def test_frames_text_and_messages() -> None:
    with executor(["a", "b"], ["c", "d"], ["e"], ["f"]) as asked:
        with asked.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            frames = list(stream)
        assert frames[:2] == [Append("a"), Append("b")]
        assert isinstance(frames[-1], End)
        assert stream.partial.text == "ab"
        with asked.execute_streaming(PROMPT, MODEL) as texts:
            assert list(texts) == ["c", "d"]
        assert asked.execute(PROMPT, MODEL).text == "e"
        assert asked.execute_streaming_with_tools(PROMPT, MODEL).message().text == "f"
        assert asked.capabilities(MODEL).streamed_tools is StreamedTools.DELTAS


def test_the_tool_loop() -> None:
    with executor([ToolCall("c1", "get_weather", '{"city":"Paris"}')], ["It is sunny."]) as asked:
        with asked.dispatch(PROMPT, MODEL, [get_weather]) as stream:
            frames = list(stream)
    assert [frame.output for frame in frames if type(frame).__name__ == "ToolResult"] == ["sunny in Paris"]  # type: ignore[union-attr]
    assert isinstance(frames[-1], End)


def test_errors_come_through_with_what_had_arrived() -> None:
    with executor(["a", CUT]) as asked, pytest.raises(IncompleteStreamError) as caught:
        with asked.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            list(stream)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"


def test_leaving_early_closes_the_stream_and_the_thread() -> None:
    before = threading.active_count()
    with executor(["a", Pause(60), "b"]) as asked:
        with asked.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            for frame in stream:
                assert frame == Append("a")
                break
        stream.close()
        assert list(stream) == []
    asked.close()
    assert threading.active_count() <= before


def test_ctrl_c_while_a_read_waits_leaves_nothing_behind() -> None:
    before = threading.active_count()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        time.sleep(0.2)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt), executor(["a", Pause(60)]) as asked:
        with asked.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            next(stream)
            interrupter.start()
            next(stream)
    interrupter.join()
    assert threading.active_count() <= before


def test_a_closed_executor_says_so() -> None:
    asked = executor(["a"])
    asked.close()
    with pytest.raises(InvalidInputError, match="closed"):
        asked.execute(PROMPT, MODEL)


def test_connect_reports_at_once_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ConfigurationError, match="no provider 'nobody'"):
        connect("nobody")
    assert threading.active_count() <= before
