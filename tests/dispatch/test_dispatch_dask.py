"""Sync tools on a Dask cluster: local workers in processes of their own, started here."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from promptport.dispatch.dispatcher import ToolDispatcher
from promptport.dispatch.tool_frames import DispatchFrame, ToolProgress, ToolResult, ToolStarted
from promptport.errors import InvalidInputError
from promptport.frames import Append, ToolCall
from promptport.messages import Prompt
from promptport.models import LLModel
from promptport.testing import ScriptedExecutor
from promptport.tools import Tool, tool

distributed = pytest.importorskip("distributed", reason="needs dask[distributed]")

MODEL = LLModel("scripted", "scripted")
PROMPT = Prompt.of("Go.")

MODULE = """
import os, sys, uuid
from promptport import current_call, progress
from promptport.tools import tool

@tool
def process(number: int) -> dict:
    return {"pid": os.getpid(), "number": number}

@tool
def unique(text: str) -> str:
    return uuid.uuid4().hex

@tool
def leave() -> None:
    sys.exit(4)

@tool
def steps(count: int) -> dict:
    call = current_call()
    for number in range(count):
        progress({"step": number})
    return {"id": call.id, "key": call.key}

@tool
def wait_for(event: str) -> str:
    import distributed
    assert distributed.Event(event).wait(20)
    return "done"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a cluster of two workers, which can import the module of tools."""
    folder = tmp_path_factory.mktemp("dask")
    (folder / "dask_tools.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    try:
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=2,
                processes=True,
                dashboard_address="127.0.0.1:0",
                local_directory=str(folder),
            ) as workers,
            distributed.Client(workers) as client,
        ):
            yield client
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("dask_tools", None)


@pytest.fixture
def tools(cluster: Any) -> Any:
    import dask_tools  # type: ignore[import-not-found]

    return dask_tools


async def results_of(cluster: Any, tools: list[Tool[Any]], calls: list[ToolCall], **options: Any) -> list[ToolResult]:
    executor = ScriptedExecutor(calls, ["end"])
    dispatcher = ToolDispatcher(executor, tools, workers=cluster.get_executor(), workers_rerun=False, **options)
    async with dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        found = [frame async for frame in stream if type(frame) is ToolResult]
    return sorted(found, key=lambda result: result.id)


async def test_tools_run_in_the_workers(cluster: Any, tools: Any) -> None:
    call = ToolCall("1", "process", '{"number": "4"}')
    (result,) = await results_of(cluster, [tools.process], [call])
    assert '"number":4' in str(result.output)
    assert f'"pid":{os.getpid()},' not in str(result.output)


async def test_equal_calls_are_not_one(cluster: Any, tools: Any) -> None:
    """Dask takes equal tasks for one; equal calls of two answers are two."""
    answers = [[ToolCall(str(n), "unique", '{"text": "same"}')] for n in range(4)]
    executor = ScriptedExecutor(*answers, ["end"])
    dispatcher = ToolDispatcher(executor, [tools.unique], workers=cluster.get_executor(), workers_rerun=False)
    async with dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        outputs = [frame.output async for frame in stream if type(frame) is ToolResult]
    assert len(set(outputs)) == 4


async def test_a_function_that_no_worker_can_import_is_sent_itself(cluster: Any) -> None:
    prefix = "from " + uuid.uuid4().hex[:4]

    @tool
    def here(name: str) -> str:
        return f"{prefix} {name}"

    (result,) = await results_of(cluster, [here], [ToolCall("1", "here", '{"name": "here"}')])
    assert result.output == f"{prefix} here"


async def test_a_script_s_own_tool(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``__main__`` holds cannot be imported from there by a worker."""
    main = sys.modules["__main__"]
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def triple(number: int) -> int:\n    return 3 * number", space)
    decorated = tool(space["triple"])
    monkeypatch.setattr(main, "triple", decorated, raising=False)
    (result,) = await results_of(cluster, [decorated], [ToolCall("1", "triple", '{"number": 2}')])
    assert result.output == "6"


async def test_what_fails_there_is_an_outcome_here(cluster: Any, tools: Any) -> None:
    workers = set(cluster.scheduler_info()["workers"])

    @tool
    def fail() -> None:
        raise LookupError("no such row")

    @tool
    def lock() -> Any:
        import threading

        return threading.Lock()

    calls = [ToolCall("1", "leave", "{}"), ToolCall("2", "fail", "{}"), ToolCall("3", "lock", "{}")]
    results = await results_of(cluster, [tools.leave, fail, lock], calls)
    assert [result.error for result in results[:2]] == [
        "RuntimeError: the tool called sys.exit(4)",
        "LookupError: no such row",
    ]
    assert "type _thread.lock, which is not JSON" in str(results[2].error)
    assert set(cluster.scheduler_info()["workers"]) == workers


async def test_text_flows_while_the_cluster_works(cluster: Any, tools: Any) -> None:
    """The tool ends only after the text was read that came after its start."""
    name = uuid.uuid4().hex
    begun = asyncio.Event()
    call = ToolCall("1", "wait_for", f'{{"event": "{name}"}}')
    executor = ScriptedExecutor([call, begun, "meanwhile"], ["end"])
    frames: list[DispatchFrame] = []
    dispatcher = ToolDispatcher(executor, [tools.wait_for], workers=cluster.get_executor(), workers_rerun=False)
    async with dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            frames.append(frame)
            if type(frame) is ToolStarted:
                begun.set()
            elif frame == Append("meanwhile"):
                await asyncio.to_thread(distributed.Event(name, client=cluster).set)
    kinds = [type(frame) for frame in frames]
    assert kinds.index(ToolStarted) < frames.index(Append("meanwhile")) < kinds.index(ToolResult)
    assert ToolResult("1", "wait_for", "done") in frames


async def test_a_timeout_does_not_wait_for_the_worker(cluster: Any, tools: Any) -> None:
    name = uuid.uuid4().hex
    call = ToolCall("1", "wait_for", f'{{"event": "{name}"}}')
    (result,) = await results_of(cluster, [tools.wait_for], [call], timeout=0.05)
    assert result.error == "the tool did not finish within 0.05 s"
    await asyncio.to_thread(distributed.Event(name, client=cluster).set)


async def test_the_key_arrives_and_progress_is_shown(cluster: Any, tools: Any) -> None:
    call = ToolCall("1", "steps", '{"count": 40}')
    dispatcher = ToolDispatcher(
        ScriptedExecutor([call], ["end"]),
        [tools.steps],
        workers={"steps": cluster.get_executor()},
        workers_rerun=False,
    )
    async with dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        frames = [frame async for frame in stream]
    assert [frame.data for frame in frames if type(frame) is ToolProgress] == [{"step": n} for n in range(40)]
    (result,) = [frame for frame in frames if type(frame) is ToolResult]
    assert '"id":"1"' in str(result.output)
    assert '/1"' in str(result.output)


async def test_the_wait_for_a_worker_is_not_the_tool_s_time(cluster: Any, tools: Any) -> None:
    """Four threads are held, and the call waits for longer than it may take."""
    name = uuid.uuid4().hex

    def hold(event: str) -> None:
        assert distributed.Event(event).wait(60)

    with cluster.get_executor(pure=False) as executor:
        held = [executor.submit(hold, name) for _ in range(4)]
        call = ToolCall("1", "process", '{"number": "4"}')
        task = asyncio.create_task(results_of(cluster, [tools.process], [call], timeout=0.3))
        await asyncio.sleep(1)
        assert not task.done()
        await asyncio.to_thread(distributed.Event(name, client=cluster).set)
        (result,) = await asyncio.wait_for(task, 60)
        assert result.error is None
        await asyncio.gather(*map(asyncio.wrap_future, held))


def test_a_cluster_that_runs_a_call_again_is_refused_for_what_is_not_repeatable(cluster: Any, tools: Any) -> None:
    with pytest.raises(InvalidInputError, match="allowed-failures"):
        ToolDispatcher(ScriptedExecutor(), [tools.process], workers=cluster.get_executor())
    repeatable = tool(tools.process.function, repeatable=True)
    ToolDispatcher(ScriptedExecutor(), [repeatable], workers=cluster.get_executor())
