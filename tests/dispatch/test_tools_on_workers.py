"""Where plain tools run: an executor for each, the call's key and progress from afar, and whose time counts."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import promptport as pp
from promptport.testing import ScriptedExecutor

MODEL = pp.LLModel("scripted", "m")

MODULE = """
import os, time
import promptport as pp

@pp.tool
def where(text: str) -> dict:
    call = pp.current_call()
    return {"pid": os.getpid(), "id": call.id, "key": call.key}

@pp.tool
def steps(count: int) -> str:
    for number in range(count):
        pp.progress({"step": number})
    return "done"

def block(path):
    while not os.path.exists(path):
        time.sleep(0.01)

@pp.tool
def wait_for(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"

@pp.tool
def bad(kind: str) -> str:
    pp.progress("x" * 2_000_000 if kind == "large" else {1, object()})
    return "never"
"""


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("far")
    (folder / "far_tools.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    import far_tools  # type: ignore[import-not-found]

    yield far_tools
    sys.path.remove(str(folder))
    sys.modules.pop("far_tools", None)


@pytest.fixture(scope="module")
def pool(far: Any) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        yield executor


async def frames_of(*calls: pp.ToolCall, tools: Any, **options: Any) -> list[Any]:
    async with (
        pp.ToolDispatcher(ScriptedExecutor([*calls], ["end"]), tools, **options) as dispatcher,
        dispatcher.stream("Go", MODEL) as stream,
    ):
        return [frame async for frame in stream]


def results(frames: list[Any]) -> dict[str, pp.ToolResult]:
    return {frame.id: frame for frame in frames if isinstance(frame, pp.ToolResult)}


def shown(frames: list[Any], call: str = "1") -> list[Any]:
    return [frame.data for frame in frames if isinstance(frame, pp.ToolProgress) and frame.id == call]


def test_progress_outside_of_a_tool_is_told() -> None:
    with pytest.raises(pp.InvalidInputError, match="ToolDispatcher"):
        pp.progress(1)


@pytest.mark.parametrize("kind", ["thread", "pool", "async"])
async def test_progress_is_shown_in_order_before_the_result(far: Any, pool: Any, kind: str) -> None:
    @pp.tool
    async def steps(count: int) -> str:
        """Count."""
        for number in range(count):
            pp.progress({"step": number})
            await asyncio.sleep(0)
        return "done"

    tool = steps if kind == "async" else far.steps
    frames = await frames_of(
        pp.ToolCall("1", "steps", '{"count": 100}'), tools=[tool], workers=pool if kind == "pool" else None
    )
    assert shown(frames) == [{"step": number} for number in range(100)]
    assert results(frames)["1"].output == "done"


@pytest.mark.parametrize("kind", ["large", "strange"])
@pytest.mark.parametrize("where", ["thread", "pool"])
async def test_progress_that_cannot_be_shown_fails_the_tool(far: Any, pool: Any, kind: str, where: str) -> None:
    call = pp.ToolCall("1", "bad", f'{{"kind": "{kind}"}}')
    frames = await frames_of(call, tools=[far.bad], workers=pool if where == "pool" else None)
    assert shown(frames) == []
    error = str(results(frames)["1"].error)
    assert ("InvalidInputError: progress(): the value has" if kind == "large" else "TypeError") in error


async def test_each_tool_runs_on_its_own_executor_and_the_key_arrives(far: Any, pool: Any) -> None:
    @pp.tool
    def here(text: str) -> dict[str, Any]:
        """Tell."""
        return {"pid": os.getpid(), "thread": threading.current_thread().name}

    @pp.tool
    def named(text: str) -> str:
        """Tell."""
        return threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="mine") as mine:
        frames = await frames_of(
            *[pp.ToolCall(name, name, '{"text": "x"}') for name in ("where", "here", "named")],
            tools=[far.where, here, named],
            workers={"where": pool, "named": mine},
        )
    found = results(frames)
    assert f'"pid":{os.getpid()},' not in str(found["where"].output)
    assert '"id":"where"' in str(found["where"].output)
    assert '/where"' in str(found["where"].output)  # the key
    assert f'"pid":{os.getpid()},' in str(found["here"].output)
    assert "promptport-tool" in str(found["here"].output)
    assert str(found["named"].output).startswith("mine")


@pytest.mark.parametrize("kind", ["threads", "pool"])
async def test_the_wait_for_a_place_is_not_the_tool_s_time(far: Any, pool: Any, tmp_path: Path, kind: str) -> None:
    """The second call waits for longer than its timeout, and then runs."""
    gate = tmp_path / "gate"
    mine = ThreadPoolExecutor(1) if kind == "threads" else None
    workers = mine or pool
    blocked = workers.submit(far.block, str(gate))
    try:
        call = pp.ToolCall("1", "steps", '{"count": 1}')
        task = asyncio.create_task(frames_of(call, tools=[far.steps], workers=workers, timeout=0.2))
        await asyncio.sleep(0.7)
        assert not task.done()
        gate.touch()
        assert results(await asyncio.wait_for(task, 60))["1"].output == "done"
    finally:
        gate.touch()
        await asyncio.wrap_future(blocked)
        if mine is not None:
            mine.shutdown()


@pytest.mark.parametrize("kind", ["threads", "pool"])
async def test_a_tool_that_runs_too_long_is_still_timed_out(far: Any, pool: Any, tmp_path: Path, kind: str) -> None:
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as mine:
        call = pp.ToolCall("1", "wait_for", f'{{"path": "{gate}"}}')
        workers = mine if kind == "threads" else pool
        task = asyncio.create_task(frames_of(call, tools=[far.wait_for], workers=workers, timeout=0.3))
        frames = await asyncio.wait_for(task, 60)
        assert results(frames)["1"].error == "the tool did not finish within 0.3 s"
        gate.touch()


async def test_a_thread_that_shows_without_end_waits_for_the_reader_and_ends_with_the_stream() -> None:
    count = 0
    over = threading.Event()

    @pp.tool
    def endless() -> str:
        """Show."""
        nonlocal count
        while not over.is_set():
            pp.progress(count)
            count += 1
        return "over"

    async with pp.ToolDispatcher(ScriptedExecutor([pp.ToolCall("1", "endless", "{}")], ["end"]), [endless]) as one:
        async with one.stream("Go", MODEL) as stream:
            async for frame in stream:
                if isinstance(frame, pp.ToolProgress):
                    break
            seen = -1
            while seen != count:
                seen = count
                await asyncio.sleep(0.2)
            assert count < 100
        over.set()


class Reruns(Executor):
    reruns = True

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@pp.tool
def charge(amount: int) -> str:
    """Charge."""
    return "charged"


@pp.tool(repeatable=True)
def look(amount: int) -> str:
    """Look."""
    return "seen"


@pp.tool
async def ask(amount: int) -> str:
    """Ask."""
    return "asked"


@pytest.mark.parametrize("workers", [Reruns(), {"charge": Reruns()}])
async def test_workers_that_run_a_call_again_are_refused_for_what_is_not_repeatable(workers: Any) -> None:
    with pytest.raises(pp.InvalidInputError, match="'charge' is not repeatable"):
        pp.ToolDispatcher(ScriptedExecutor(), [charge, look], workers=workers)
    call = pp.ToolCall("1", "charge", '{"amount": 1}')
    frames = await frames_of(call, tools=[charge], workers=workers, workers_rerun=False)
    assert results(frames)["1"].output == "charged"
    pp.ToolDispatcher(ScriptedExecutor(), [look, ask], workers=Reruns())
    with pytest.raises(pp.InvalidInputError, match="'charge' is not repeatable"):
        with ThreadPoolExecutor(1) as threads:
            pp.ToolDispatcher(ScriptedExecutor(), [charge], workers=threads, workers_rerun=True)


async def test_a_tool_that_comes_later_is_refused_by_its_outcome() -> None:
    calls: list[list[Any]] = [
        [pp.ToolCall("1", "look", '{"amount": 1}')],
        [pp.ToolCall("2", "charge", '{"amount": 1}')],
        ["end"],
    ]
    dispatcher = pp.ToolDispatcher(
        ScriptedExecutor(*calls),
        [look],
        workers={"look": Reruns(), "charge": Reruns()},
        on_step=lambda _: pp.StepChange(tools=[look, charge]),
    )
    async with dispatcher, dispatcher.stream("Go", MODEL) as stream:
        found = results([frame async for frame in stream])
    assert found["1"].output == "seen"
    assert "not repeatable" in str(found["2"].error)


@pytest.mark.parametrize(
    ("workers", "text"),
    [
        ({"chrge": Reruns()}, "Did you mean 'charge'"),
        ({"ask": Reruns()}, "event loop"),
        ({"front": Reruns()}, "front end"),
        ({"look": object()}, r"workers\['look'\] is object"),
        (7, "workers is int"),
    ],
)
def test_workers_that_cannot_work_are_told(workers: Any, text: str) -> None:
    front = pp.ToolDescriptor("front", "Front.", {"type": "object"})
    with pytest.raises(pp.InvalidInputError, match=text):
        pp.ToolDispatcher(ScriptedExecutor(), [charge, look, ask, front], workers=workers)


async def test_a_local_socket_takes_only_who_knows_the_key(far: Any, pool: Any) -> None:
    from multiprocessing import AuthenticationError
    from multiprocessing.connection import Client

    from promptport.dispatch.far_links import hub_link

    class View:
        begun = 0.0

        def begin(self) -> None:
            self.begun = time.monotonic()

        def show(self, data: bytes) -> None: ...

        offer = show

    link = hub_link(View())
    assert link is not None
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        await asyncio.to_thread(Client, link.address, authkey=b"guess")
    link.forget()
    frames = await frames_of(pp.ToolCall("1", "steps", '{"count": 2}'), tools=[far.steps], workers=pool)
    assert len(shown(frames)) == 2
