"""A run that is killed between two steps, and taken up again: ``python docs/examples/durable_order.py``.

The first process dies after it charged; the second one goes on. Nothing is charged twice.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import promptport as pp
from promptport.journal import SqliteJournal
from promptport.testing import ScriptedExecutor

CHARGE = [pp.ToolCall("call_1", "charge", '{"order": "17"}')]


@pp.tool
def charge(order: str) -> str:
    """Charge an order."""
    print(f"charging order {order} with the key {pp.current_call().key}", flush=True)
    return f"order {order} is charged"


async def answer(journal: SqliteJournal) -> str:
    """The run; the same program in each attempt."""
    # In your program: executor = pp.connect("openai"), model = "openai/gpt-5".
    executor = ScriptedExecutor(*([CHARGE, ["Never shown"]] if journal.attempt == 1 else [["Your order is paid."]]))
    async with (
        pp.ToolDispatcher(executor, [charge], journal=journal) as dispatcher,
        dispatcher.stream("Pay order 17", "scripted/m") as stream,
    ):
        async for frame in stream:
            if isinstance(frame, pp.StepEnd) and journal.attempt == 1:
                print("the process is killed", flush=True)
                os._exit(1)
        return stream.partial.text


def main(path: Path) -> None:
    """One attempt of the run."""
    with SqliteJournal(path, "order-17") as journal:
        print(asyncio.run(answer(journal)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                subprocess.run([sys.executable, __file__, f"{folder}/runs.db"], check=False)  # noqa: S603 - this file
