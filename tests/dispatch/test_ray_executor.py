"""Tools on a Ray cluster of this machine: a timeout stops them, the key arrives, and progress is shown."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import promptport as pp
from promptport.dispatch.ray import RayExecutor
from promptport.testing import ScriptedExecutor

ray = pytest.importorskip("ray", reason="needs ray")

pytestmark = [
    pytest.mark.slow,  # it starts a cluster
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.timeout(280),
]

MODEL = pp.LLModel("scripted", "m")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # Under "uv run", Ray would start its workers by "uv run" too, each with an environment of its own.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(
        num_cpus=2,
        num_gpus=0,
        resources={"oven": 1},
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=100_000_000,
    )
    yield
    ray.shutdown()


async def frames_of(*calls: pp.ToolCall, tools: Any, **options: Any) -> list[Any]:
    async with (
        pp.ToolDispatcher(ScriptedExecutor([*calls], ["end"]), tools, **options) as dispatcher,
        dispatcher.stream("Go", MODEL) as stream,
    ):
        return [frame async for frame in stream]


def results(frames: list[Any]) -> dict[str, pp.ToolResult]:
    return {frame.id: frame for frame in frames if isinstance(frame, pp.ToolResult)}


def make_tools() -> dict[str, pp.Tool[Any]]:
    """Tools that no module holds, so that they are sent themselves."""

    @pp.tool
    def where(text: str) -> dict[str, Any]:
        """Tell."""
        call = pp.current_call()
        for number in range(50):
            pp.progress(number)
        return {"pid": os.getpid(), "id": call.id, "key": call.key}

    @pp.tool
    def tick(path: str) -> str:
        """Run on and on, and leave a mark each time."""
        import time

        while True:
            with open(path, "a") as file:
                file.write(".")
            time.sleep(0.02)

    @pp.tool
    def fail(how: str) -> str:
        """Fail."""
        if how == "die":
            os._exit(3)
        pp.progress("failing")
        raise LookupError("no such row")

    @pp.tool
    def bake(seconds: float) -> str:
        """Hold the oven."""
        import time

        time.sleep(seconds)
        return "baked"

    return {tool.name: tool for tool in (where, tick, fail, bake)}


async def test_the_key_arrives_and_progress_is_shown(cluster: None) -> None:
    tools = make_tools()
    calls = [pp.ToolCall(id, "where", f'{{"text": "{id}"}}') for id in ("a", "b")]  # noqa: A001
    frames = await frames_of(*calls, tools=[tools["where"]], workers={"where": RayExecutor()})
    for id in ("a", "b"):  # noqa: A001
        output = str(results(frames)[id].output)
        assert f'"id":"{id}"' in output
        assert f'/{id}"' in output
        assert f'"pid":{os.getpid()},' not in output
        assert [one.data for one in frames if isinstance(one, pp.ToolProgress) and one.id == id] == list(range(50))


def still(path: Path) -> None:
    """Until nobody writes any more."""
    until = time.monotonic() + 30
    size = -1
    while size != (size := path.stat().st_size):
        assert time.monotonic() < until, "the tool runs on"
        time.sleep(0.5)


def there(path: Path) -> None:
    """Until somebody has written."""
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, "the tool did not begin"
        time.sleep(0.05)


async def test_a_timeout_stops_the_running_tool(cluster: None, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    call = pp.ToolCall("1", "tick", f'{{"path": "{marks}"}}')
    frames = await frames_of(call, tools=[make_tools()["tick"]], workers=RayExecutor(), timeout=1.0)
    assert results(frames)["1"].error == "the tool did not finish within 1 s"
    assert marks.stat().st_size > 0
    await asyncio.to_thread(still, marks)


async def test_leaving_the_stream_stops_the_running_tool(cluster: None, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    call = pp.ToolCall("1", "tick", f'{{"path": "{marks}"}}')
    dispatcher = pp.ToolDispatcher(ScriptedExecutor([call], ["end"]), [make_tools()["tick"]], workers=RayExecutor())
    async with dispatcher, dispatcher.stream("Go", MODEL) as stream:
        async for frame in stream:
            if isinstance(frame, pp.ToolStarted):
                break
        await asyncio.to_thread(there, marks)
    await asyncio.to_thread(still, marks)


async def test_what_fails_there_is_an_outcome_here(cluster: None) -> None:
    calls = [pp.ToolCall(how, "fail", f'{{"how": "{how}"}}') for how in ("die", "raise")]
    frames = await frames_of(*calls, tools=[make_tools()["fail"]], workers=RayExecutor())
    assert results(frames)["raise"].error == "LookupError: no such row"
    assert results(frames)["die"].error is not None
    assert [one.data for one in frames if isinstance(one, pp.ToolProgress)] == ["failing"]


async def test_the_wait_for_a_resource_is_not_the_tool_s_time(cluster: None) -> None:
    """There is one oven for two calls, so the second waits for longer than a call may take."""
    calls = [pp.ToolCall(id, "bake", f'{{"seconds": 3.{id}}}') for id in "12"]  # noqa: A001
    oven = RayExecutor(resources={"oven": 1})
    frames = await frames_of(*calls, tools=[make_tools()["bake"]], workers=oven, timeout=5.5)
    assert {one.output for one in results(frames).values()} == {"baked"}


def test_an_executor_that_runs_calls_again_is_refused() -> None:
    tools = make_tools()
    assert not RayExecutor().reruns
    for executor in (RayExecutor(max_retries=3), RayExecutor(retry_exceptions=True)):
        assert executor.reruns
        with pytest.raises(pp.InvalidInputError, match="not repeatable"):
            pp.ToolDispatcher(ScriptedExecutor(), [tools["where"]], workers=executor)
    with pytest.raises(pp.InvalidInputError, match="Ray"):
        RayExecutor(num_cpu=1)


def test_it_is_an_executor(cluster: None, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    with RayExecutor(num_cpus=0.5) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
        future = executor.submit(make_tools()["tick"].function, str(marks))
        with pytest.raises(TypeError):
            executor.submit(abs).result()
        assert future.cancel()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(abs, 1)
