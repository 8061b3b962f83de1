"""`promptport.blocking`: the same verbs without an event loop."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import Any

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


# ------------------------------------------------------------------------------- scripts that close nothing

SCRIPT = """
import sys, threading, time
import promptport as pp
from promptport.blocking import BlockingExecutor
from promptport.testing import Pause, ScriptedExecutor

class Noted(ScriptedExecutor):
    async def aclose(self):
        print("closed", flush=True)
        await super().aclose()

class Stuck(ScriptedExecutor):
    async def aclose(self):
        await __import__("asyncio").Event().wait()

@pp.tool
def look(text: str) -> str:
    return text

model, prompt = pp.LLModel("scripted", "m"), pp.Prompt.of("Hi")
call = pp.ToolCall("1", "look", '{"text": "x"}')
kind = Stuck if "stuck" in sys.argv[1] else Noted
executor = BlockingExecutor(lambda: kind(["a", Pause(600), "b"] if "open" in sys.argv[1] else ["a"], [call], ["c"]))
"""

KINDS = {
    "frames": lambda asked: asked.execute_streaming_with_tools(PROMPT, MODEL),
    "texts": lambda asked: asked.execute_streaming(PROMPT, MODEL),
    "tool loop": lambda asked: asked.dispatch(PROMPT, MODEL, [get_weather]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_iterating_a_second_time_says_so(kind: str) -> None:
    with executor(["a", "b"]) as asked:
        stream = KINDS[kind](asked)
        first = list(stream)
        assert first
        for _ in range(2):
            with pytest.raises(InvalidInputError, match="iterated to its end before, and is for one use"):
                list(stream)
        stream.close()
        assert next(stream, None) is None


@pytest.mark.parametrize("kind", ["frames", "tool loop"])
def test_closing_behind_the_end_is_no_error(kind: str) -> None:
    with executor(["a", "b"]) as asked:
        with KINDS[kind](asked) as stream:
            for frame in stream:
                if isinstance(frame, End):
                    break
        assert list(stream) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_thread_that_reads_is_told_so(kind: str) -> None:
    begun = threading.Event()

    def answer(_: Any) -> Any:
        yield "a"
        begun.set()
        yield Pause(600)

    with executor(answer) as asked:
        stream = KINDS[kind](asked)
        next(stream)
        reader = threading.Thread(target=lambda: list_or_none(stream))
        reader.start()
        assert begun.wait(30)
        with pytest.raises(InvalidInputError, match="another thread is reading it"):
            next(stream)
        stream.close()
        reader.join(30)
        assert not reader.is_alive()


def list_or_none(stream: Any) -> list[Any] | None:
    try:
        return list(stream)
    except IncompleteStreamError:
        return None


def test_an_executor_that_is_dropped_unclosed_warns_in_our_words() -> None:
    asked = executor(["a"])
    asked.execute(PROMPT, MODEL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del asked
        gc.collect()
    assert [str(each.message) for each in caught] == [
        "a BlockingExecutor was dropped unclosed. Use it in 'with', or call its close()."
    ]


ENDINGS = {
    "nothing": "",
    "execute": "print(executor.execute(prompt, model).text)",
    "open stream": "stream = executor.execute_streaming(prompt, model); print(next(stream))",
    "raises": "executor.execute(prompt, model); raise ValueError('own')",
    "sys.exit": "executor.execute(prompt, model); sys.exit(3)",
    "sys.exit in an open stream": "print(next(executor.execute_streaming(prompt, model))); sys.exit(3)",
    "tools": "executor.execute(prompt, model); print(len(list(executor.dispatch(prompt, model, [look]))))",
    "stuck": "import promptport.blocking as b; b._EXIT_SECONDS = 0.1; executor.execute(prompt, model)",
    "dropped": "executor.execute(prompt, model); del executor; import gc; gc.collect()",
    "a thread of its own": "t = threading.Thread(target=lambda: executor.execute(prompt, model)); t.start()",
    "closed": "executor.close()",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("python", ["this", "3.12", "3.13"])
def test_a_script_that_does_not_close_its_executor_ends(ending: str, python: str) -> None:
    program, environment = sys.executable, dict(os.environ)
    if python != "this":
        found = shutil.which(f"python{python}")
        if found is None or importable(found, environment) != "yes":
            pytest.skip(f"needs a python{python} with promptport installed on the PATH")
        program = found
    done = subprocess.run(
        [program, "-W", "error::RuntimeWarning", "-c", SCRIPT + ENDINGS[ending], ending],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.returncode == (1 if ending == "raises" else 3 if "sys.exit" in ending else 0), done.stderr
    assert ("own" in done.stderr) if ending == "raises" else done.stderr == ""
    assert ("closed" in done.stdout) == (ending != "stuck")


FORKED = """
import os, sys, warnings
import promptport as pp
from promptport.blocking import BlockingExecutor
from promptport.testing import ScriptedExecutor

warnings.simplefilter("ignore")
executor = BlockingExecutor(lambda: ScriptedExecutor(["one"], repeat=True))
executor.execute("hi", "openai/gpt-5")
child = os.fork()
if not child:
    try:
        executor.execute("hi", "openai/gpt-5")
    except pp.InvalidInputError as error:
        print(error, flush=True)
    if "close" in sys.argv:
        executor.close()
    sys.exit(7)
print(os.waitpid(child, 0)[1] >> 8, executor.execute("hi", "openai/gpt-5").text)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("how", ["close", "exit"])
def test_a_child_of_fork_is_told_to_make_an_executor_of_its_own_and_ends(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED, how], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told, parent = done.stdout.splitlines()
    assert "made before os.fork()" in told
    assert parent == "7 one"


def importable(program: str, environment: dict[str, str]) -> str:
    code = "import importlib.util as u; print('yes' if all(map(u.find_spec, ['promptport', 'anyio'])) else 'no')"
    done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip()
