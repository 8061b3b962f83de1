"""A recipe for Temporal: the tool loop is a workflow; asking the model, and each tool, is an activity.

Needs ``pip install temporalio`` and a Temporal server: ``temporal server start-dev``. Then, in ``docs/examples``::

    python durable_temporal.py localhost:7233

It asks a model of this file's, waits for a decision, gives it, and prints what the model says in the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import promptport as pp
    from promptport.testing import ScriptedExecutor


@pp.tool(needs_approval=True)
def refund(order: str) -> str:
    """Refund an order."""
    return f"order {order} is refunded"


TOOLS: dict[str, pp.Tool[Any]] = {refund.name: refund}
# In your program: EXECUTOR = pp.connect("openai"), MODEL = "openai/gpt-5".
EXECUTOR: Any = ScriptedExecutor([pp.ToolCall("call_1", "refund", '{"order": "17"}')], ["The money is on its way."])
MODEL = "scripted/m"
ALIVE = timedelta(seconds=10)  # a process that says nothing for so long is held for dead
CAUGHT = "it may have had its effect, or not; it was not run again. Find out before calling it again."


async def _beating(work: Any) -> Any:
    """Tells the server that the process lives, so that its death is noticed soon."""
    working = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({working}, timeout=0.5))[0]:
            activity.heartbeat()
        return working.result()
    finally:
        working.cancel()


@activity.defn
async def ask(prompt: str, model: str) -> str:
    """Ask the model; a half response is asked anew, and a recorded one is not."""
    stream = EXECUTOR.execute_streaming_with_tools(
        pp.Prompt.from_json(prompt), pp.LLModel.parse(model), tuple(TOOLS.values())
    )
    async with stream:
        message: pp.AssistantMessage = await _beating(stream.message())
    return pp.Prompt(messages=(message,)).to_json().decode()


@activity.defn
async def run_tool(id: str, name: str, arguments: str) -> str:
    """Run one call; its id is unique in the workflow, so both together are a key for a service."""
    dispatcher = pp.ToolDispatcher(EXECUTOR, [TOOLS[name]], approve=lambda call: True)
    async with dispatcher:
        (result,) = await _beating(dispatcher.execute([pp.ToolCall(id, name, arguments)]))
    return json.dumps([result.output if isinstance(result.output, str) else str(result.output), result.error])


class ActivityExecutor:
    """Asks in an activity."""

    def execute_streaming_with_tools(
        self, prompt: pp.Prompt, model: pp.LLModel, tools: Sequence[pp.ToolDescriptor] = ()
    ) -> pp.FrameStream:
        """The frames of the whole response: an activity gives it at its end."""

        async def source() -> AsyncGenerator[Sequence[pp.StreamFrame], None]:
            answer = await workflow.execute_activity(
                ask,
                args=[prompt.to_json().decode(), str(model)],
                start_to_close_timeout=timedelta(minutes=10),
                heartbeat_timeout=ALIVE,
            )
            (message,) = pp.Prompt.from_json(answer).messages
            assert isinstance(message, pp.AssistantMessage)
            yield message.frames()

        return pp.FrameStream(source())


def in_activity(tool: pp.Tool[Any]) -> pp.Tool[Any]:
    """The tool, run in an activity: at most once, or again if it is repeatable."""

    async def function(**values: Any) -> str:
        call = pp.current_call()
        policy = RetryPolicy(maximum_attempts=0 if tool.repeatable else 1)
        try:
            given = await workflow.execute_activity(
                run_tool,
                args=[call.id, tool.name, json.dumps(values)],
                start_to_close_timeout=timedelta(minutes=10),
                heartbeat_timeout=ALIVE,
                retry_policy=policy,
            )
        except ActivityError as error:
            raise pp.ToolError(f"the process ended while this call was running: {CAUGHT}", tool=tool.name) from error
        output, failure = json.loads(given)
        if failure is not None:
            raise pp.ToolError(failure, tool=tool.name)
        return str(output)

    return pp.Tool(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        function=function,
        needs_approval=tool.needs_approval,
    )


@workflow.defn
class Agent:
    """A run that survives its process, and waits for a person as long as it takes."""

    def __init__(self) -> None:
        self._pending: list[str] = []
        self._decisions: dict[str, bool] = {}

    @workflow.run
    async def run(self, question: str) -> str:
        """The run, from its question to its last response."""
        tools = [in_activity(tool) for tool in TOOLS.values()]
        async with pp.ToolDispatcher(ActivityExecutor(), tools, timeout=None) as dispatcher:
            stream = dispatcher.stream(question, MODEL)
            while True:
                async with stream:
                    await stream.message()
                if stream.paused is None:
                    return stream.prompt.to_json().decode()
                self._pending = wanted = [call.id for call in stream.paused.pending]
                await workflow.wait_condition(lambda: set(self._pending) <= set(self._decisions))
                self._pending = []
                stream = dispatcher.resume(stream.paused, {call: self._decisions[call] for call in wanted})

    @workflow.signal
    def decide(self, decisions: Mapping[str, bool]) -> None:
        """What a person decided; the first decision for a call holds."""
        self._decisions = {**decisions, **self._decisions}

    @workflow.query
    def pending(self) -> list[str]:
        """The calls that wait for a person."""
        return self._pending


def worker(client: Client) -> Worker:
    """Runs workflows and activities; start it in each process."""
    return Worker(client, task_queue="agents", workflows=[Agent], activities=[ask, run_tool])


async def main(address: str) -> None:
    """Starts a run, and decides what it waits for."""
    client = await Client.connect(address)
    async with worker(client):
        run = await client.start_workflow(Agent.run, "Refund order 17", id=f"order-{uuid.uuid4()}", task_queue="agents")
        pending: list[str] = []
        while not pending:
            pending = await asyncio.wait_for(run.query(Agent.pending), 60)
        print("waiting for a person:", ", ".join(pending))
        await run.signal(Agent.decide, dict.fromkeys(pending, True))
        last = pp.Prompt.from_json(await run.result()).messages[-1]
        print(last.text)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
