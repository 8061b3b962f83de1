"""The tools of a ``promptport serve`` whose page is tested: those that wait do so at a gate of the test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import httpx

import promptport as pp


def executor() -> pp.PromptExecutor:
    """Asks the test's provider."""
    return pp.connect("anthropic", api_key="test", base_url=os.environ["GATES"])


async def _pass(gate: str) -> None:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        await http.get(f"{os.environ['GATES']}/gate/{gate}")


@pp.tool
async def look(place: str) -> dict[str, str]:
    """Looks at a place, as soon as its gate is open."""
    await _pass(place)
    return {"at": place}


@pp.tool
async def count(gate: str) -> AsyncIterator[dict[str, int]]:
    """Counts to two."""
    yield {"done": 1}
    await _pass(gate)
    yield {"done": 2}


@pp.tool
def fail() -> str:
    """Fails."""
    raise RuntimeError("the database at sk-live-0123456789 is gone")


@pp.tool(needs_approval=True)
def book(seats: int, name: str = "") -> str:
    """Books seats."""
    return f"{seats} seats are booked"


@pp.tool
def hostile() -> dict[str, Any]:
    """Returns what a page must not trust."""
    return {"html": "<img src=x onerror=alert(1)>", "bidi": "safe\u202egnp.exe", "wide": "w" * 5_000}
