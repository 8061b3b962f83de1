"""Chromium of the system, driven by Playwright; and a ``promptport serve`` to open in it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.front_ends.held_provider import HeldProvider
from tests.real_parts import missing, need

if TYPE_CHECKING:
    from playwright.async_api import Browser

__all__ = ["TOOLS", "chromium", "serving"]

_TOOLS_FILE = Path(__file__).parent / "served_tools.py"
TOOLS = ("look", "count", "fail", "book", "hostile")


@asynccontextmanager
async def chromium(*arguments: str) -> AsyncIterator[Browser]:
    """A new browser, with further arguments of its command line."""
    path = need("chromium")
    if find_spec("playwright") is None:
        missing("playwright is not installed: pip install playwright")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--disable-gpu", *arguments])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def serving(
    provider: HeldProvider, *options: str, models: Sequence[str] = ("anthropic/m", "other=anthropic/n")
) -> AsyncIterator[str]:
    """A server process that asks this provider; gives its address."""
    command = [sys.executable, "-m", "promptport", "serve", "--port", "0", "--executor", f"{_TOOLS_FILE}:executor"]
    command += options
    for name in TOOLS:
        command += ["--tool", f"{_TOOLS_FILE}:{name}"]
    for model in models:
        command += ["--model", model]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "GATES": provider.url}
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        assert "http://" in line, line
        yield line[line.index("http://") :].split()[0]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
