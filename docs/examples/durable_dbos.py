"""A durable agent on DBOS that waits for a person: ``python docs/examples/durable_dbos.py``.

Needs ``pip install "promptport[dbos]"``. Postgres instead of SQLite: ``postgresql://user@host/database``.
"""

from __future__ import annotations

import asyncio
import tempfile

from dbos import DBOS

import promptport as pp
from promptport.journal.dbos import DurableAgent
from promptport.testing import ScriptedExecutor


@pp.tool(needs_approval=True)
def refund(order: str) -> str:
    """Refund an order."""
    return f"order {order} is refunded"


async def main() -> None:
    """Starts a run, and decides what it waits for."""
    await agent.start("Refund order 17", run="order-17")
    (call,) = await agent.pending("order-17")  # from here on, any process of the same database can go on
    print(f"waiting for a person: {call.name} {call.arguments}")
    await agent.decide("order-17", {call.id: True})
    print((await agent.message("order-17")).text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/shop.sqlite"
        DBOS(config={"name": "shop", "system_database_url": url, "application_version": "1", "log_level": "ERROR"})
        # In your program: executor = pp.connect("openai"), model = "openai/gpt-5".
        executor = ScriptedExecutor([pp.ToolCall("call_1", "refund", '{"order": "17"}')], ["The money is on its way."])
        agent = DurableAgent("support", executor, [refund], model="scripted/m")
        DBOS.launch()
        try:
            asyncio.run(main())
        finally:
            DBOS.destroy()
