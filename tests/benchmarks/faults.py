"""The fault table: what a user sees when the first of two models fails in one way or another, here and with peers.

``uv run --group bench python -m tests.benchmarks.faults [--write]`` makes the table in docs/policies.md. The
server is one, the bytes are the same for all; each library runs in an environment of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.environments import ROOT, python_of, versions_of
from tests.benchmarks.faulty_peer import PEERS
from tests.policies.faults import FAULTS, answer

from promptport.testing import RecordedRequest, WireResponse, WireServer

_PAGE = ROOT / "docs" / "policies.md"
_BEGIN, _END = "<!-- faults: made by tests.benchmarks.faults -->", "<!-- end of faults -->"


async def _seen(peer: str, fault: str) -> dict[str, Any]:
    """What a user of this library sees where the first request fails in this way."""
    respond = FAULTS[fault][0]
    requests = 0

    def once(request: RecordedRequest) -> WireResponse:
        nonlocal requests
        requests += 1
        return respond() if requests == 1 else answer("Hello")

    async with WireServer() as server:
        server.answer(once)
        script = Path(__file__).with_name("faulty_peer.py")
        process = await asyncio.create_subprocess_exec(
            *[python_of(peer), str(script), peer, server.url],
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output = (await process.communicate())[0].decode()
    told: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return {**told, "requests": requests}


def _word(fault: str, seen: dict[str, Any]) -> str:
    """One cell: right, or what is wrong with it."""
    _, delivered, called = FAULTS[fault]
    if seen["runs"] > 1:
        return "**tool ran twice**"
    if seen["error"]:
        wanted = delivered or called
        return "error" if wanted else "error, no fallback"
    if not delivered:
        return "second model" if seen["text"].endswith("Hello") else "**empty answer, no error**"
    if called:
        return "**asked again after a call**"
    if seen["text"] == "Hello":
        return "second model"
    return "**two answers in one**" if seen["text"].endswith("Hello") else "**cut, no error**"


async def table() -> str:
    """The whole table, as Markdown."""
    rows = [["", *PEERS], ["---"] * (len(PEERS) + 1)]
    for fault in FAULTS:
        cells = [_word(fault, await _seen(peer, fault)) for peer in PEERS]
        rows.append([fault, *cells])
        sys.stderr.write(f"{fault}: {', '.join(cells)}\n")
    lines = [f"| {' | '.join(row)} |" for row in rows]
    versions = "; ".join(
        ", ".join(f"{name} {version}" for name, version in versions_of(peer).items())
        for peer in PEERS
        if peer != "promptport"
    )
    return "\n".join([*lines, "", f"Measured with {versions}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/policies.md")
    write = parser.parse_args().write
    made = asyncio.run(table())
    if write:
        page = _PAGE.read_text()
        between = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
        assert between.search(page), "the page has no place for the table"
        _PAGE.write_text(between.sub(lambda _: f"{_BEGIN}\n\n{made}\n\n{_END}", page))
    else:
        sys.stdout.write(made + "\n")


if __name__ == "__main__":
    main()
