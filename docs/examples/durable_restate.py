"""A durable agent on Restate that waits for a person: ``hypercorn durable_restate:app`` in ``docs/examples``.

Needs ``pip install "promptport[restate]" hypercorn`` and a Restate server, which is told of it once with
``restate deployments register http://localhost:8000``. Then start a run, look at what it waits for, and decide::

    curl localhost:8080/support/order-17/answer/send --json '"Refund order 17"'
    curl localhost:8080/support/order-17/pending
    curl localhost:8080/support/order-17/decide --json '{"call_1": true}'
    curl localhost:8080/restate/workflow/support/order-17/attach
"""

from __future__ import annotations

import restate

import promptport as pp
from promptport.journal.restate import RestateJournal
from promptport.testing import ScriptedExecutor


@pp.tool(needs_approval=True)
def refund(order: str) -> str:
    """Refund an order."""
    return f"order {order} is refunded"


# In your program: executor = pp.connect("openai"), model = "openai/gpt-5".
executor = ScriptedExecutor([pp.ToolCall("call_1", "refund", '{"order": "17"}')], ["The money is on its way."])
model = "scripted/m"
agents = restate.Workflow("support")


@agents.main()
async def answer(ctx: restate.WorkflowContext, question: str) -> str:
    """The run, from its question to its last answer."""
    async with pp.ToolDispatcher(executor, [refund], journal=RestateJournal(ctx)) as dispatcher:
        stream = dispatcher.stream(question, model)
        while True:
            async with stream:
                message = await stream.message()
            if stream.paused is None:
                return message.text
            step = stream.paused.step
            ctx.set("pending", [call.id for call in stream.paused.pending])
            decisions = await ctx.promise(f"decision-{step}", type_hint=dict).value()
            ctx.clear("pending")
            stream = dispatcher.resume(stream.paused, decisions)


@agents.handler()
async def pending(ctx: restate.WorkflowSharedContext) -> list[str]:
    """The calls that wait for a person."""
    return await ctx.get("pending") or []


@agents.handler()
async def decide(ctx: restate.WorkflowSharedContext, decisions: dict[str, bool]) -> None:
    """What a person decided; this agent pauses in its first step only."""
    await ctx.promise("decision-0", type_hint=dict).resolve(decisions)


app = restate.app([agents])
