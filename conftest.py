"""What the tests of this repository share; and: the python blocks of README.md and docs/*.md are tests.

A page's blocks run in order and share their names, in the repository's folder, with ``await`` as in a notebook. A text
block behind one is its output: what the block prints must be that.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# All servers of the tests are on this machine, and HTTP libraries would ask a proxy for them.
for name in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)

# Whoever starts the tests in the background of a shell starts them with this signal ignored, and their children too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--release``: what is a warning in CI is an error before a release."""
    parser.addoption("--release", action="store_true", help="hold tables of capabilities to their age")


def _refusals_of(sent: Any) -> list[str]:
    """Why a strict server would refuse this request; empty for one that is of no protocol."""
    from promptport.testing import protocol_of, refusals  # noqa: PLC0415 - only if the test has a server

    try:
        body = sent.json() if sent.method == "POST" else None
    except ValueError:  # a test's own bytes
        return []
    protocol = protocol_of(sent.path, body)
    try:
        return [] if protocol is None else refusals(protocol, body, sent.path)
    except (LookupError, TypeError, AttributeError) as error:
        return [f"its body cannot be read: {error!r}"]


@pytest.fixture(autouse=True, name="refused_requests")
def _requests_are_taken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Holds every request that a test sends to a `WireServer` to the strict rules of its protocol.

    A test that sends a bad one on purpose says so: ``@pytest.mark.bad_requests(reason="…")``.
    """
    mark = request.node.get_closest_marker("bad_requests")
    if mark is not None and not mark.kwargs.get("reason"):
        pytest.fail("bad_requests needs a reason=…")
    wire = sys.modules.get("promptport.testing.wire_server")
    if mark is not None or wire is None:
        yield []
        return
    refused: list[str] = []
    respond = wire.WireServer.response_to

    async def checked(server: Any, sent: Any) -> Any:
        refused.extend([f"{sent.path}: {why}" for why in _refusals_of(sent)])
        return await respond(server, sent)

    monkeypatch.setattr(wire.WireServer, "response_to", checked)
    yield refused
    assert not refused, f"a strict server would refuse: {'; '.join(dict.fromkeys(refused))}"


try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass
else:
    # A machine that is busy with something else is no failure.
    settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("here")

try:
    from sybil import Example, Sybil
    from sybil.parsers.markdown import CodeBlockParser
except ImportError:  # a provider's author who runs the kit alone has no need of it
    pytest_collect_file = None
else:
    ROOT = Path(__file__).parent
    SHOWN = re.compile(r"\s*(?:Output:\s*)?```text\n(?P<output>.*?)```", re.DOTALL)

    def evaluate(example: Example) -> None:
        """Runs one block; its lines keep their numbers."""
        source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
        code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        printed = io.StringIO()
        with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed):
            outcome = eval(code, example.namespace)  # noqa: S307 - our own page
            if inspect.iscoroutine(outcome):
                example.namespace["__runner__"].run(outcome)
        shown = SHOWN.match(example.document.text, example.region.end)
        if shown is not None:
            lines = [line.rstrip() for line in printed.getvalue().splitlines()]
            assert lines == [line.rstrip() for line in shown["output"].splitlines()], "the page shows another output"

    def setup(namespace: dict[str, Any]) -> None:
        """One event loop for a page, so that what a block opens the next can use."""
        namespace["__name__"] = "page"
        namespace["__runner__"] = asyncio.Runner()

    def teardown(namespace: dict[str, Any]) -> None:
        """What a page left open is noticed here."""
        namespace["__runner__"].close()

    pytest_collect_file = Sybil(
        parsers=[CodeBlockParser(language="python", evaluator=evaluate)],
        patterns=["README.md", "docs/*.md"],
        # The blocks of the first are the files of a package; those of the second need a server or a key.
        excludes=["docs/writing-a-provider.md", "providers/*/README.md"],
        setup=setup,
        teardown=teardown,
    ).pytest()
