"""A new process until its first text: what a command line, a test and a serverless function wait for.

Rule: the process imports its contender and asks; the clock runs outside, from its start until the first text is told.

``python -m tests.benchmarks.cold <contender> <api> <url>`` prints one line when the first text is there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module


def _first(text: str) -> None:
    os.write(1, b"first\n")
    os._exit(0)  # what a process does on its way out is not waited for


def main(contender: str, api: str, url: str) -> None:
    """Asks once."""
    module, table = ("contenders", "CONTENDERS") if contender in ("floor", "promptport", "sdk") else ("peers", "PEERS")
    make = getattr(import_module(f"tests.benchmarks.{module}"), table)[contender]

    async def ask() -> None:
        await make(api, url, False)(_first)

    asyncio.run(ask())


if __name__ == "__main__":
    main(*sys.argv[1:])
