"""The command line at a real terminal (a pty): no control sequence of a stranger's, and one question at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.cli.terminal import visible, visible_json
from promptport.testing import WireResponse, WireServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")

HOSTILE = {
    "clear screen": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "clipboard (OSC 52)": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "C1 CSI": "\x9b2J",
    "C1 OSC": "\x9d52;c;eA==\x9c",
    "backspaces": "safe\b\b\b\bevil",
    "carriage return": "safe\revil",
    "bell and DEL": "\x07\x7f",
    "override": "\u202eevil\u202c",
    "isolate": "\u2066evil\u2069",
    "marks": "\u200e\u200f\u061c",
    "line separator": "a\u2028b\u2029c",
    "tags": "\U000e0041\U000e0042",
}
EVERYTHING = " ".join(HOSTILE.values())
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
OWN = re.compile(rb"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[2K|\x1b\[1A|\r")
"""What the terminal is told by promptport itself: colours, the cursor, and the line of the waiting notice."""


class Pty:
    """A program whose three streams are one terminal."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process, self.master, self.seen = process, master, b""
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)
        self.closed = False

    def _read(self) -> None:
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        if not data:
            self.closed = True
            asyncio.get_running_loop().remove_reader(self.master)
        self.seen += data
        self._arrived.set()

    async def until(self, text: str) -> str:
        async with asyncio.timeout(30):
            while text.encode() not in self.seen:
                assert not self.closed, self.seen
                self._arrived.clear()
                await self._arrived.wait()
        return self.seen.decode()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    async def end(self) -> str:
        async with asyncio.timeout(30):
            await self.process.wait()
            while not self.closed:
                self._arrived.clear()
                await self._arrived.wait()
        return self.seen.decode()


@contextlib.asynccontextmanager
async def at_a_terminal(*arguments: str) -> AsyncIterator[Pty]:
    import pty

    master, slave = pty.openpty()
    environment = {**os.environ, "OPENAI_API_KEY": "test-key", "TERM": "xterm-256color"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "promptport", *arguments,
        stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    terminal = Pty(process, master)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if not terminal.closed:
            asyncio.get_running_loop().remove_reader(master)
        os.close(master)


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def calls(*made: tuple[str, str]) -> bytes:
    deltas = [
        chunk({"tool_calls": [{"index": i, "id": f"c{i}", "function": {"name": name, "arguments": arguments}}]})
        for i, (name, arguments) in enumerate(made)
    ]
    return b"".join(deltas) + chunk({}, "tool_calls") + b"data: [DONE]\n\n"


def text(*parts: str) -> bytes:
    return b"".join([chunk({"content": part}) for part in parts]) + chunk({}, "stop") + b"data: [DONE]\n\n"


def at(server: WireServer) -> list[str]:
    return ["--model", "openai-chat/m", "--base-url", f"{server.url}/v1"]


def assert_clean(seen: str) -> None:
    ours = OWN.sub(b"", seen.encode()).decode()
    assert not FORBIDDEN.search(ours), ascii(ours)


TOOLS = '''
from pathlib import Path
from promptport import tool

@tool(needs_approval=True)
def delete(path: str) -> str:
    """Deletes."""
    with open({log!r}, "a") as log:
        log.write(path + "\\n")
    return "deleted " + path

@tool
def hostile(x: str) -> str:
    """Answers with what it got."""
    return x

@tool
def failing(x: str) -> str:
    """Fails with what it got."""
    raise ValueError(x)
'''


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    (tmp_path / "cli_tools.py").write_text(TOOLS.format(log=str(tmp_path / "log")))
    return tmp_path


# ------------------------------------------------------------------------------------------------- questions


async def test_one_question_at_a_time_which_shows_last_what_it_asks_about(tools: Path) -> None:
    asked = calls(("delete", '{"path": "/first"}'), ("delete", '{"path": "/second"}'), ("delete", '{"path": "/third"}'))
    async with WireServer(WireResponse(asked), WireResponse(text("Done."))) as server:
        arguments = ["run", "Delete.", "--tool", f"{tools / 'cli_tools.py'}:delete", *at(server)]
        async with at_a_terminal(*arguments) as terminal:
            for number, (path, answer) in enumerate((("/first", "n"), ("/second", "y"), ("/third", "n")), 1):
                question = f'Run delete({{"path": "{path}"}})? [y/N]: '
                seen = await terminal.until(question)
                assert seen.endswith(question), "nothing is shown behind an open question"
                assert seen.count("[y/N]") == number
                terminal.type(f"{answer}\n")
            seen = await terminal.end()
    assert (tools / "log").read_text() == "/second\n"
    assert "deleted /second" in seen
    assert terminal.process.returncode == 0


async def test_what_comes_meanwhile_is_shown_after_the_answer(tools: Path) -> None:
    call = {"index": 0, "id": "c0", "function": {"name": "delete", "arguments": '{"path": "/one"}'}}
    later = {"index": 1, "id": "c1", "function": {"name": "hostile", "arguments": '{"x": "later"}'}}
    body = (
        chunk({"tool_calls": [call]}) + chunk({"tool_calls": [later]}) + chunk({}, "tool_calls") + b"data: [DONE]\n\n"
    )
    path = tools / "cli_tools.py"
    async with WireServer(WireResponse(body), WireResponse(text("Done."))) as server:
        arguments = ["run", "Go.", "--tool", f"{path}:delete", "--tool", f"{path}:hostile", *at(server)]
        async with at_a_terminal(*arguments) as terminal:
            assert (await terminal.until("[y/N]: ")).endswith('Run delete({"path": "/one"})? [y/N]: ')
            terminal.type("perhaps\n")
            await terminal.until("Type y or n.")
            terminal.type("no\n")
            seen = await terminal.end()
    assert seen.index("← hostile: later") > seen.index("Type y or n.")
    assert not (tools / "log").exists()


async def test_a_question_shows_control_characters_written_out(tools: Path) -> None:
    arguments = json.dumps({"path": f"/tmp{EVERYTHING}\nRun nothing?"}, ensure_ascii=False)
    async with WireServer(WireResponse(calls(("delete", arguments))), WireResponse(text("Done."))) as server:
        async with at_a_terminal("run", "Go.", "--tool", f"{tools / 'cli_tools.py'}:delete", *at(server)) as terminal:
            seen = await terminal.until("[y/N]: ")
            assert seen.rsplit("\n", 1)[-1].startswith("Run delete("), "on one line, whatever the arguments hold"
            terminal.type("n\n")
            assert_clean(await terminal.end())


async def test_a_question_longer_than_a_screen_ends_with_what_it_asks_about(tools: Path) -> None:
    arguments = json.dumps({"path": "/x" * 5000})
    async with WireServer(WireResponse(calls(("delete", arguments))), WireResponse(text("Done."))) as server:
        async with at_a_terminal("run", "Go.", "--tool", f"{tools / 'cli_tools.py'}:delete", *at(server)) as terminal:
            seen = await terminal.until("[y/N]: ")
            assert seen.rsplit("\n", 1)[-1] == "Run delete with these 10,012 characters of arguments? [y/N]: "
            assert '/x/x"})?' in seen, "all of them stand above"
            terminal.type("n\n")
            await terminal.end()
    assert not (tools / "log").exists()


async def test_ctrl_c_at_a_question_ends_at_once(tools: Path) -> None:
    async with WireServer(WireResponse(calls(("delete", '{"path": "/x"}')))) as server:
        async with at_a_terminal("run", "Go.", "--tool", f"{tools / 'cli_tools.py'}:delete", *at(server)) as terminal:
            await terminal.until("[y/N]: ")
            import signal

            terminal.process.send_signal(signal.SIGINT)
            seen = await terminal.end()
    assert terminal.process.returncode == 130
    assert "interrupted" in seen
    assert "Traceback" not in seen
    assert not (tools / "log").exists()


# --------------------------------------------------------------------------------------- control sequences


@pytest.mark.parametrize("mode", ["text", "json"])
async def test_nothing_of_a_model_or_tool_reaches_the_terminal_raw(tools: Path, mode: str) -> None:
    bad = EVERYTHING
    thought = chunk({"reasoning_content": bad})
    made = calls(
        ("hostile", json.dumps({"x": bad})),
        ("failing", json.dumps({"x": bad}, ensure_ascii=False)),
        (f"no{bad}tool", bad),
    )
    path = tools / "cli_tools.py"
    async with WireServer(WireResponse(thought + made), WireResponse(text("Hello ", bad, " there."))) as server:
        extra = ["--json"] if mode == "json" else []
        arguments = ["run", "Go.", "--tool", f"{path}:hostile", "--tool", f"{path}:failing", *at(server), *extra]
        async with at_a_terminal(*arguments) as terminal:
            seen = await terminal.end()
    assert terminal.process.returncode == 0, seen
    assert_clean(seen)
    if mode == "json":
        frames = [json.loads(line) for line in seen.splitlines()]
        assert "".join([frame["text"] for frame in frames if frame["type"] == "append"]) == f"Hello {bad} there."


@pytest.mark.parametrize("mode", ["text", "json"])
async def test_nothing_of_a_providers_error_does(mode: str) -> None:
    refusal = {"error": {"message": f"No.{EVERYTHING}", "code": f"c{EVERYTHING}"}}
    async with WireServer(WireResponse.json(refusal, status=400)) as server:
        async with at_a_terminal("run", "Go.", *at(server), *(["--json"] if mode == "json" else [])) as terminal:
            seen = await terminal.end()
    assert terminal.process.returncode == 1
    assert_clean(seen)


@pytest.mark.parametrize("name", HOSTILE)
def test_each_kind_is_written_out(name: str) -> None:
    assert not FORBIDDEN.search(visible(HOSTILE[name]))
    assert not FORBIDDEN.search(visible_json(json.dumps(HOSTILE[name], ensure_ascii=False).encode()))


@given(st.text(st.characters(), max_size=40))
def test_visible_text_holds_no_control(written: str) -> None:
    shown = visible(written)
    assert not FORBIDDEN.search(shown)
    assert "\r" not in shown
    shown.encode()
    assert len(visible(written, one_line=True).splitlines()) <= 1
    assert visible(shown) == shown, "what is shown once is shown the same again"


@given(st.text(max_size=40), st.integers(0, 40))
def test_a_cut_anywhere_shows_the_same(written: str, cut: int) -> None:
    assert visible(written[:cut]) + visible(written[cut:]) == visible(written)


@given(st.dictionaries(st.text(max_size=10), st.text(st.characters(exclude_categories=["Cs"]), max_size=40)))
def test_visible_json_is_the_same_value(value: dict[str, str]) -> None:
    try:
        data = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    shown = visible_json(data)
    assert json.loads(shown) == value
    assert not FORBIDDEN.search(shown)
