"""A run that dies at a point: ``python -m tests.journal.durable_program KIND PLACE``, with KILL in the environment.

It writes what it asks and what its tools do into files beside the journal, and prints its results at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

import promptport as pp
from promptport.run_log.redis import RedisRunLog

KIND, PLACE = sys.argv[1], Path(sys.argv[2])
_LOCK = threading.Lock()
MODEL = pp.LLModel("scripted", "m")


def at(point: str) -> None:
    """Dies here if it was told to; and says that it came here."""
    note("points", point)
    if os.environ.get("KILL") == point:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("HOLD") == point:
        sys.stdout.write("holding\n")
        sys.stdout.flush()
        sys.stdin.readline()


def note(name: str, text: str) -> None:
    with _LOCK, (PLACE / name).open("a") as file:
        file.write(text + "\n")


class Model:
    """Asks for nothing that it was told before; its call ids are random."""

    def execute_streaming_with_tools(self, prompt: pp.Prompt, model: Any, tools: Sequence[Any] = ()) -> pp.FrameStream:
        step = sum(isinstance(message, pp.AssistantMessage) for message in prompt.messages)
        calls = ([("look", "a"), ("charge", "b")], [("charge", "c"), ("book", "d")], [])[step]

        async def source() -> AsyncIterator[Any]:
            note("asks", str(step))
            yield (pp.Append(f"Step {step}"),)
            await asyncio.sleep(0)
            at(f"mid answer/{step}")
            yield (pp.Append(" is this. "),)
            for name, what in calls:
                id, arguments = uuid.uuid4().hex, json.dumps({"what": what})  # noqa: A001
                yield (pp.ToolCallDelta(id, name, arguments), pp.ToolCall(id, name, arguments))
                await asyncio.sleep(0.02)
            at(f"whole answer/{step}")
            yield (pp.End(pp.FinishReason.TOOL_CALLS if calls else pp.FinishReason.STOP, "x"),)

        return pp.FrameStream(source())  # type: ignore[arg-type]


def effect(name: str, what: str) -> str:
    call = pp.current_call()
    note("effects", f"{name} {what} {call.key} {call.attempt}")
    at(f"in {name} {what}")
    return f"{name} {what} is done"


@pp.tool(repeatable=True)
async def look(what: str) -> str:
    """Look."""
    return effect("look", what)


@pp.tool
def charge(what: str) -> str:
    """Charge."""
    return effect("charge", what)


@pp.tool(needs_approval=True)
async def book(what: str) -> str:
    """Book."""
    return effect("book", what)


class Points:
    """A journal with points to die at."""

    def __init__(self, journal: Any) -> None:
        self.run = journal.run
        self.attempt = journal.attempt
        self._journal = journal

    def step(self, key: str) -> Callable[[Callable[[], Awaitable[bytes]]], Awaitable[bytes]]:
        place = self._journal.step(key)

        async def recorded(work: Callable[[], Awaitable[bytes]]) -> bytes:
            async def worked() -> bytes:
                value = await work()
                at(f"unrecorded {key}")
                return value

            at(f"before {key}")
            value: bytes = await place(worked)
            at(f"recorded {key}")
            return value

        return recorded


Decide = Callable[[pp.PausedRun], Awaitable[dict[str, bool | str]]]


async def converse(journal: Any, decide: Decide) -> str:
    """The run, also into a log for its viewers, where there is a Redis."""
    ended: list[str] = []
    frames = whole_run(journal, decide, ended)
    if url := os.environ.get("REDIS"):
        async with RedisRunLog(url, lease=1.0, buffer_seconds=None, takeover_seconds=60) as log:
            await log.start("run", frames, replayed=True)
            async for _ in log.read("run"):
                pass
    else:
        async for _ in frames:
            pass
    return ended[0]


async def whole_run(journal: Any, decide: Decide, ended: list[str]) -> AsyncIterator[Any]:
    async with pp.ToolDispatcher(Model(), [look, charge, book], journal=Points(journal)) as dispatcher:
        stream = dispatcher.stream("Go", MODEL)
        while True:
            async with stream:
                async for frame in stream:
                    yield frame
            if stream.paused is None:
                ended.append(finished(stream.prompt))
                return
            stream = dispatcher.resume(stream.paused, await decide(stream.paused))


def finished(prompt: pp.Prompt) -> str:
    """What the model was told, without the ids, which are random."""
    answers = [message for message in prompt.messages if isinstance(message, pp.AssistantMessage)]
    calls = [call for message in answers for call in message.tool_calls]
    told = [message for message in prompt.messages if isinstance(message, pp.ToolResultMessage)]
    assert [call.id for call in calls] == [result.call_id for result in told], "one outcome a call"
    text = [message.text for message in answers]
    return json.dumps({"text": text, "results": [[one.name, one.output, one.error] for one in told]})


def sqlite() -> str:
    from promptport.journal import SqliteJournal

    async def decide(paused: pp.PausedRun) -> dict[str, bool | str]:
        at("awaited")
        return {call.id: True for call in paused.pending}

    with SqliteJournal(PLACE / "journal.db", "run") as journal:
        return asyncio.run(converse(journal, decide))


def dbos() -> str:
    from dbos import DBOS

    from promptport.journal.dbos import DbosJournal

    url = os.environ.get("DATABASE") or f"sqlite:///{PLACE}/dbos.sqlite"
    DBOS(config={"name": "durable", "system_database_url": url, "application_version": "1", "log_level": "ERROR"})

    @DBOS.workflow(name="converse")
    async def workflow() -> str:
        async def decide(paused: pp.PausedRun) -> dict[str, bool | str]:
            at("awaited")
            decided = await DBOS.recv_async("decision", timeout_seconds=60)
            assert decided is True
            return {call.id: True for call in paused.pending}

        return await converse(DbosJournal(), decide)

    DBOS.launch()
    try:
        from dbos import SetWorkflowID

        async def main() -> str:
            with SetWorkflowID("run"):
                handle = await DBOS.start_workflow_async(workflow)
            await DBOS.send_async("run", True, "decision", idempotency_key="once")
            return await handle.get_result()

        return asyncio.run(main())
    finally:
        DBOS.destroy()


def on_restate() -> str:
    """Serves the handler, has Restate call it, and waits for its end; a new process is called by the server itself."""
    import restate
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from promptport.journal.restate import RestateJournal

    agents = restate.Workflow("agents")

    @agents.main()
    async def answer(ctx: Any, question: str) -> str:
        async def decide(paused: pp.PausedRun) -> dict[str, bool | str]:
            at("awaited")
            decided = await ctx.promise("decision", type_hint=bool).value()
            assert decided is True
            return {call.id: True for call in paused.pending}

        return await converse(RestateJournal(ctx), decide)

    @agents.handler()
    async def approve(ctx: Any) -> str:
        await ctx.promise("decision", type_hint=bool).resolve(True)
        return "ok"

    ingress, admin, port = os.environ["DATABASE"].split(",")
    config = Config()
    config.bind, config.loglevel, config.h2_max_concurrent_streams = [f"127.0.0.1:{port}"], "ERROR", 100
    over = asyncio.Event()

    async def main() -> str:
        serving = asyncio.create_task(serve(restate.app([agents]), config, shutdown_trigger=over.wait))
        async with httpx.AsyncClient(timeout=100) as client:
            deployment = {"uri": f"http://127.0.0.1:{port}", "force": True}
            (await client.post(f"{admin}/deployments", json=deployment)).raise_for_status()
            sent = await client.post(f"{ingress}/agents/run/answer/send", json="Go")
            assert sent.status_code in (200, 202, 409), sent.text
            await client.post(f"{ingress}/agents/run/approve")
            done = await client.get(f"{ingress}/restate/workflow/agents/run/attach")
            done.raise_for_status()
            over.set()
            await serving
            return str(done.json())

    return asyncio.run(main())


def on_temporal() -> str:
    """The recipe of docs/examples/durable_temporal.py, with this program's model and tools."""
    from datetime import timedelta

    from temporalio.client import Client
    from temporalio.common import WorkflowIDReusePolicy
    from temporalio.exceptions import WorkflowAlreadyStartedError
    from temporalio.worker import UnsandboxedWorkflowRunner, Worker
    from tests.examples import example

    recipe: Any = example("durable_temporal")
    recipe.EXECUTOR, recipe.TOOLS = Model(), {tool.name: tool for tool in (look, charge, book)}

    async def main() -> str:
        client = await Client.connect(os.environ["DATABASE"])
        worker = Worker(
            client,
            task_queue="agents",
            workflows=[recipe.Agent],
            activities=[recipe.ask, recipe.run_tool],
            workflow_runner=UnsandboxedWorkflowRunner(),  # so that the workflow has the tools of here
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        )
        async with worker:
            try:
                run = await client.start_workflow(
                    recipe.Agent.run,
                    "Go",
                    id="run",
                    task_queue="agents",
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
            except WorkflowAlreadyStartedError:
                run = client.get_workflow_handle("run")
            over = asyncio.ensure_future(run.result())
            while not over.done():
                pending = await run.query(recipe.Agent.pending)
                if pending and not over.done():
                    at("awaited")
                    await run.signal(recipe.Agent.decide, dict.fromkeys(pending, True))
                    at("decided")
                await asyncio.wait({over}, timeout=0.2)
            at("end")
            return finished(pp.Prompt.from_json(await over))

    return asyncio.run(main())


if __name__ == "__main__":
    sys.stdout.write({"sqlite": sqlite, "dbos": dbos, "restate": on_restate, "temporal": on_temporal}[KIND]())
