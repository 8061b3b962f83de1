"""What commands write where it cannot be written, where somebody else chose the words, and when the line is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_cli import TEXT, at, chunk, promptport
from tests.cli.test_cli_terminal import EVERYTHING, assert_clean, at_a_terminal, calls, text

import promptport as pp
from promptport.testing import ScriptedExecutor, WireResponse, WireServer

AGENT = """
import promptport as pp
from promptport.testing import ScriptedExecutor

def make():
    return ScriptedExecutor(["Hello."], repeat=True)

async def answer(journal):
    async with pp.ToolDispatcher(make(), [], journal=journal) as dispatcher:
        async with dispatcher.stream("Go.", "scripted/m") as stream:
            return (await stream.message()).text

def broken(journal):
    raise ValueError("no\\x1b[2J way")

def unmade():
    raise KeyError("nothing")

if __name__ == "__main__":
    import asyncio
    from promptport.journal import SqliteJournal
    with SqliteJournal("runs.db", "one") as journal:
        asyncio.run(answer(journal))
"""
FULL = Path("/dev/full")
MODELS = ["-m", "openai-chat/m"]


@pytest.fixture
async def place(tmp_path: Path) -> Path:
    """A folder with a journal and its program."""
    (tmp_path / "agent.py").write_text(AGENT)
    made = await asyncio.create_subprocess_exec(sys.executable, "agent.py", cwd=tmp_path)
    assert await made.wait() == 0
    return tmp_path


async def run_into(output: Any, place: Path, *arguments: str, stdin: bytes = b"") -> tuple[int | None, list[str]]:
    """The exit code and the lines on standard error, of a command whose output goes there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "promptport", *arguments,
        cwd=place, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "OPENAI_API_KEY": "test-key"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            _, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, err.decode().splitlines()


WRITING = [
    ["capabilities", "--json"],
    ["capabilities", "--markdown"],
    ["capabilities", "openai/gpt-5"],
    ["runs", "list", "runs.db"],
    ["runs", "list", "runs.db", "--json"],
    ["runs", "show", "runs.db", "one", "--contents"],
    ["runs", "resume", "runs.db", "one", "-p", "agent.py:answer"],
    ["serve", "--port", "0", "--executor", "agent.py:make"],
    ["run", "--json", "-"],
    ["chat"],
    ["run", "--help"],
    ["--version"],
    ["runs"],
]

ASKING = ("-", "chat")
"""How commands end that ask a model."""


@pytest.mark.skipif(not FULL.exists(), reason="a device that is full")
async def test_every_command_says_in_one_line_that_its_output_is_full(place: Path) -> None:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse(TEXT))
        for arguments in WRITING:
            asked = (
                [*arguments, *at(server)]
                if arguments[0] in ("run", "chat") and "--help" not in arguments
                else arguments
            )
            with FULL.open("wb") as full:  # noqa: ASYNC230
                code, (line, *more) = await run_into(full, place, *asked, stdin=b"Hello.\n")
            assert (code, more) == (1, []), (arguments, line, more)
            told = json.loads(line)["message"] if "--json" in arguments else line.removeprefix("promptport: ")
            assert told == "the output could not be written: No space left on device"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
async def test_a_reader_that_leaves_is_told_nothing(place: Path) -> None:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse(TEXT))
        for arguments in (*WRITING, ["providers"], ["capabilities", "--all"]):
            asked = (
                [*arguments, *at(server)]
                if arguments[0] in ("run", "chat") and "--help" not in arguments
                else arguments
            )
            reading, writing = os.pipe()
            os.close(reading)
            try:
                code, lines = await run_into(writing, place, *asked, stdin=b"Hello.\n")
            finally:
                os.close(writing)
            assert (code, lines) == (1, []), arguments


# -------------------------------------------------------------------------------- mistakes in the line itself


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "Missing argument"),
        (["run", "Hi", "--modle", "x"], "No such option: --modle"),
        (["run", "Hi", "there"], "extra"),
        (["run", "Hi", "--temperature", "warm"], "--temperature"),
        (["run", "Hi", "--tool"], "requires an argument"),
        (["nothing"], "No such command 'nothing'"),
        (["runs", "nothing"], "No such command 'nothing'"),
        (["runs", "show", "runs.db"], "Missing argument"),
        (["providers", "openai"], "extra"),
        (["capabilities", "--all=yes"], "--all"),
        (["conformance", "-n", "0"], "-n"),
        (["serve", "--port", "x"], "--port"),
        (["local", "fetch", "--nothing"], "--nothing"),
        (["run", "Hi", "--modle\x1b[2J\n"], "\\x1b[2J"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("json_too", [False, True], ids=["text", "json"])
async def test_a_mistake_in_the_line_is_one_line_that_says_where_to_look(
    arguments: list[str], says: str, json_too: bool
) -> None:
    ran = await promptport(*arguments[:1], *(["--json"] if json_too else []), *arguments[1:])
    assert ran.code == 2, ran.err
    (line,) = ran.err.splitlines()
    assert_clean(ran.err)
    if json_too:
        told = json.loads(line)
        assert (told["type"], told["error"]) == ("error", "InvalidInputError")
        assert json.loads(ran.out) == told
        line = f"promptport: {told['message']}"
    assert line.startswith("promptport: ")
    if not (json_too and "--json" in line):  # a command without --json
        assert says.removeprefix("\\x1b") in line
    assert "--help" in line


async def test_what_stands_behind_two_dashes_is_not_for_promptport() -> None:
    ran = await promptport("record", "--nothing", "--", "program", "--json")
    assert ran.err.startswith("promptport: No such option")
    assert ran.out == ""


async def test_with_json_ctrl_c_is_json_too() -> None:
    stall = WireResponse(TEXT, stall_after=len(chunk({"content": "Hel"})))
    async with WireServer(stall) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "promptport", "run", "Hi", "--json", *at(server),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "OPENAI_API_KEY": "test-key"},
        )  # fmt: skip
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130
    assert json.loads(err) == json.loads(out) == {
        "type": "error", "error": "KeyboardInterrupt", "code": None, "message": "interrupted"
    }  # fmt: skip


# ------------------------------------------------------------------------------------ files with tools


async def test_a_file_of_tools_is_run_once_and_its_classes_made_once(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(
        "print('begun')\n"
        "class Desk:\n"
        "    drawers = 0\n"
        "    def __init__(self): Desk.drawers += 1\n"
        "    def first(self) -> str: return f'desk {self.drawers}'\n"
        "    def second(self) -> str: return f'desk {self.drawers}'\n"
        "class Closed:\n"
        "    def __init__(self, key: str): ...\n"
        "    from promptport import tool\n"
        "    @tool\n"
        "    @classmethod\n"
        "    def third(cls) -> str: return cls.__name__\n"
    )
    made = calls(("first", "{}"), ("second", "{}"), ("third", "{}"))
    tools = [f"--tool={tmp_path / 'json.py'}:{path}" for path in ("Desk.first", "Desk.second", "Closed.third")]
    async with WireServer(WireResponse(made), WireResponse(TEXT)) as server:
        ran = await promptport("run", "Go.", *tools, *at(server))
    assert ran.code == 0, ran.err
    assert ran.out.count("begun") == 1
    for line in ("← first: desk 1", "← second: desk 1", "← third: Closed"):
        assert line in ran.err


@pytest.mark.parametrize(
    ("source", "path", "says"),
    [
        ("raise ValueError('no')", "f", "ValueError: no"),
        ("import sys; sys.exit(3)", "f", "SystemExit: 3"),
        ("def f(:", "f", "invalid syntax"),
        ("import no_such_module", "f", "No module named 'no_such_module'"),
        (
            "class A:\n  @property\n  def f(self): raise KeyError('gone')\na = A()",
            "a.f",
            "'f' cannot be read: KeyError",
        ),
        ("class A:\n  def __init__(self): raise OSError('shut')\n  def f(self) -> str: ...", "A.f", "shut"),
        ("f = 3", "f", "takes a function"),
    ],
)
async def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, source: str, path: str, says: str) -> None:
    (tmp_path / "tools.py").write_text(source)
    ran = await promptport("run", "Hi", *MODELS, "--tool", f"{tmp_path / 'tools.py'}:{path}")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1), ran.err
    assert says in ran.err


async def test_programs_that_raise_are_one_line(place: Path) -> None:
    code, lines = await run_into(
        asyncio.subprocess.DEVNULL, place, "runs", "resume", "runs.db", "one", "-p", "agent.py:broken"
    )
    assert (code, lines) == (1, ["promptport: --program agent.py:broken: it raised ValueError: no\\x1b[2J way"])
    code, lines = await run_into(asyncio.subprocess.DEVNULL, place, "serve", "--executor", "agent.py:unmade")
    assert (code, lines) == (2, ["promptport: --executor agent.py:unmade: it raised KeyError: 'nothing'"])


async def test_a_place_to_save_that_is_not_there_is_told_before_anything_else() -> None:
    for arguments in (["chat", "--continue", "/nowhere/talk.json", *MODELS], ["conformance", "--report", "/nowhere/r"]):
        ran = await promptport(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert "there is no folder /nowhere" in ran.err


# ------------------------------------------------------------------------------- words of somebody else


async def test_a_terminal_that_lacks_a_letter_shows_its_number() -> None:
    body = chunk({"content": "日本 \U0001f600"}) + chunk({}, "stop") + b"data: [DONE]\n\n"
    async with WireServer(WireResponse(body), WireResponse(body)) as server:
        ran = await promptport("run", "Hi", *at(server), PYTHONIOENCODING="ascii")
        assert (ran.code, ran.out) == (0, "\\u65e5\\u672c \\U0001f600\n")
        ran = await promptport("run", "Hi", "--json", *at(server), PYTHONIOENCODING="latin-1")
    assert json.loads(ran.out.splitlines()[0])["text"] == "日本 \U0001f600"


PROGRESS = """
import promptport as pp

@pp.tool
async def creep(x: str):
    "Shows what it got."
    yield x
    yield {{"deep": [x]}}

@pp.tool(needs_approval=True)
def delete(path: str) -> str:
    "Deletes."
    return "deleted"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
@pytest.mark.parametrize("mode", ["text", "json"])
async def test_progress_and_the_models_name_do_not_reach_the_terminal_raw(tmp_path: Path, mode: str) -> None:
    (tmp_path / "tools.py").write_text(PROGRESS)
    made = calls(("creep", json.dumps({"x": EVERYTHING})))
    name = "openai-chat/[/red]m[blink]\x1b]0;owned\x07\x9b2J\u202e"
    async with WireServer(WireResponse(made), WireResponse(text("Done."))) as server:
        extra = ["--json"] if mode == "json" else []
        where = ["-m", name, "--base-url", f"{server.url}/v1", "--tool", f"{tmp_path / 'tools.py'}:creep"]
        async with at_a_terminal("run", "Go.", *where, *extra) as terminal:
            seen = await terminal.end()
    assert terminal.process.returncode == 0, seen
    assert_clean(seen)
    if mode == "text":
        assert "[/red]m[blink]\\x1b]0;owned" in seen, "a model's name is no markup"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
async def test_a_question_shows_what_has_no_width(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(PROGRESS)
    hidden = "/tmp\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0f\u3164/x"
    made = calls(("delete", json.dumps({"path": hidden}, ensure_ascii=False)))
    async with WireServer(WireResponse(made), WireResponse(text("Done."))) as server:
        async with at_a_terminal("run", "Go.", "--tool", f"{tmp_path / 'tools.py'}:delete", *at(server)) as terminal:
            question = (await terminal.until("[y/N]: ")).rsplit("\n", 1)[-1]
            terminal.type("n\n")
            await terminal.end()
    assert question.isascii()
    assert "\\u200b\\u200c\\u200d\\u2060\\ufeff\\xad\\ufe0f\\u3164" in question


async def test_a_saved_conversation_cannot_control_the_terminal(tmp_path: Path) -> None:
    bad = EVERYTHING
    session = pp.LLMSession(ScriptedExecutor(["x"]), "scripted/m", pp.Prompt.of(f"Hi {bad}", system=bad))
    session.prompt = session.prompt.tool_call("c", "look", {"x": bad}).tool_result("c", bad).assistant(f"So {bad}.")
    saved = tmp_path / "talk\u202e.json"
    saved.write_bytes(session.to_json())
    asked = b"/history\n/model openai-chat/\x1b[2J\xc2\x9b\n/save \x1b]52;c;eA==\x07/x.json\n/\x1b[2J\n"
    ran = await promptport("chat", *MODELS, "--continue", str(saved), stdin=asked)
    assert "\\x1b]52;c;cm0gLXJmIH4=\\x07" in ran.err
    assert_clean(ran.out + ran.err)
    broken = tmp_path / "broken.json"
    for data in (b"\x1b[2J", b'{"prompt": "\x1b]0;x\x07"}', json.dumps({"tools": [bad]}).encode()):
        broken.write_bytes(data)
        ran = await promptport("chat", *MODELS, "--continue", str(broken))
        assert (ran.code, len(ran.err.splitlines())) == (2, 1), ran.err
        assert_clean(ran.err)


async def test_capabilities_of_a_hostile_name_are_plain() -> None:
    name = f"openai/[red]{EVERYTHING}[/b]"
    for extra in ([], ["--json"]):
        ran = await promptport("capabilities", name, *extra)
        assert ran.code == 0, ran.err
        assert_clean(ran.out)
    assert list(json.loads(ran.out)) == [name]


async def test_quit_ends_a_conversation_and_an_empty_line_does_not() -> None:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse(TEXT))
        for end in (b"/quit\nMore.\n", b""):
            ran = await promptport("chat", *at(server), stdin=b"\n  \nHi.\n" + end)
            assert (ran.code, ran.out) == (0, "Hello.\n"), ran.err
        assert len(server.requests) == 2
