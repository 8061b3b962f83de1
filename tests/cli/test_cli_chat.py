"""`promptport chat`, as a person types at it: in tmux, and over a pipe."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.real_parts import need

import promptport as pp
from promptport.testing import WireResponse, WireServer

TOOLS = '''
import promptport as pp

@pp.tool(needs_approval=True)
def delete(path: str) -> str:
    """Deletes a file."""
    return f"deleted {path}"
'''

WEATHER = TOOLS.replace("delete", "get_weather").replace("path", "city").replace("Deletes a file", "Weather of a city")


def chunk(delta: dict[str, object], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


END = (
    b'data: {"id":"1","model":"m","choices":[],"usage":{"prompt_tokens":1100,"completion_tokens":7}}\n\n'
    b"data: [DONE]\n\n"
)


def says(*pieces: str) -> bytes:
    return b"".join([*[chunk({"content": piece}) for piece in pieces], chunk({}, "stop"), END])


def calls(name: str, **arguments: str) -> bytes:
    entry = {"index": 0, "id": "c1", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return chunk({"tool_calls": [entry]}) + chunk({}, "tool_calls") + END


_numbers = itertools.count()


class Tmux:
    """One program in a terminal of its own."""

    def __init__(self, socket: Path) -> None:
        self._tmux = [need("tmux"), "-f", "/dev/null", "-S", str(socket)]

    async def _run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self._tmux, *arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        out, _ = await process.communicate()
        return out.decode()

    async def start(self, command: list[str], environment: dict[str, str], *, width: int = 100) -> None:
        settings = [f"{name}={value}" for name, value in environment.items()]
        line = shlex.join(["env", *settings, *command]) + "; echo; echo ended with $?; sleep 600"
        await self._run("new-session", "-d", "-x", str(width), "-y", "50", line)

    async def type(self, *keys: str) -> None:
        await self._run("send-keys", *keys)

    async def say(self, text: str) -> None:
        await self._run("send-keys", "-l", text)
        await self._run("send-keys", "Enter")

    async def screen(self) -> str:
        return await self._run("capture-pane", "-p")

    async def until(self, *wanted: str) -> str:
        """The screen, once all of this stands on it."""
        screen = ""
        try:
            async with asyncio.timeout(60):
                while not all(each in screen for each in wanted):
                    await asyncio.sleep(0.05)
                    screen = await self.screen()
        except TimeoutError:
            raise AssertionError(f"{wanted} is not on the screen:\n{screen}") from None
        return screen

    async def end(self) -> None:
        await self._run("kill-server")


@asynccontextmanager
async def chatting(folder: Path, *options: str, width: int = 100) -> AsyncIterator[Tmux]:
    tmux = Tmux(folder / f"tmux{next(_numbers)}")  # a server that is ending takes no other session
    command = [sys.executable, "-c", "from promptport.cli import main; main()", "chat", *options]
    try:
        await tmux.start(command, {"OPENAI_API_KEY": "test-key", "PYTHONWARNINGS": "ignore"}, width=width)
        yield tmux
    finally:
        await tmux.end()


def at(server: WireServer) -> list[str]:
    return ["--model", "openai-chat/m", "--base-url", f"{server.url}/v1"]


def asked(server: WireServer, number: int) -> list[tuple[str, object]]:
    """Role and content of the messages of a request."""
    return [(each["role"], each.get("content")) for each in json.loads(server.requests[number].body)["messages"]]


async def test_a_conversation_keeps_what_was_said(tmp_path: Path) -> None:
    async with WireServer(WireResponse(says("Hel", "lo.")), WireResponse(says("Ada."))) as server:
        async with chatting(tmp_path, *at(server), "--system", "Be brief.") as tmux:
            await tmux.until("openai-chat/m>")
            await tmux.say("I am Ada.")
            await tmux.until("Hello.", "stop:")
            await tmux.say("Who am I?")
            await tmux.until("Ada.\n", "first text")
            await tmux.say("/quit")
            await tmux.until("2,200 tokens in, 14 tokens out", "ended with 0")
        assert asked(server, 1) == [
            ("system", "Be brief."),
            ("user", "I am Ada."),
            ("assistant", "Hello."),
            ("user", "Who am I?"),
        ]


async def test_ctrl_c_stops_a_response_and_the_conversation_goes_on(tmp_path: Path) -> None:
    first = says("Once upon a time ", "there was more.")
    cut = len(chunk({"content": "Once upon a time "}))
    async with WireServer(WireResponse(first, stall_after=cut), WireResponse(says("Yes."))) as server:
        async with chatting(tmp_path, *at(server)) as tmux:
            await tmux.until("openai-chat/m>")
            await tmux.say("A story, please.")
            await tmux.until("Once upon a time")
            await tmux.type("C-c")
            await tmux.until("stopped")
            await server.client_closed()
            await tmux.say("Still there?")
            await tmux.until("Yes.", "stop:")
            await tmux.type("C-d")
            await tmux.until("ended with 0")
        assert asked(server, 1) == [
            ("user", "A story, please."),
            ("assistant", "Once upon a time "),
            ("user", "Still there?"),
        ]


async def test_a_tool_is_asked_for_and_its_refusal_goes_to_the_model(tmp_path: Path) -> None:
    tools = tmp_path / "chat_tools.py"
    tools.write_text(TOOLS)
    replies = [calls("delete", path="/a"), says("Gone."), calls("delete", path="/b"), says("Kept.")]
    async with WireServer(*map(WireResponse, replies)) as server:
        async with chatting(tmp_path, *at(server), "--tool", f"{tools}:delete") as tmux:
            await tmux.until("openai-chat/m>")
            await tmux.say("Delete /a.")
            await tmux.until('Run delete({"path": "/a"})? [y/N]:')
            await tmux.say("y")
            await tmux.until("← delete: deleted /a", "Gone.")
            await tmux.say("Delete /b.")
            await tmux.until('Run delete({"path": "/b"})? [y/N]:')
            await tmux.say("n")
            await tmux.until("✗ delete:", "Kept.")
            assert "deleted /b" not in await tmux.screen()


async def test_an_error_is_one_line_and_retry_asks_again(tmp_path: Path) -> None:
    refusal = WireResponse.json({"error": {"message": "Try later.", "code": "busy"}}, status=503)
    async with WireServer(refusal, WireResponse(says("One.")), WireResponse(says("Two."))) as server:
        async with chatting(tmp_path, *at(server)) as tmux:
            await tmux.until("openai-chat/m>")
            await tmux.say("Count.")
            screen = await tmux.until("Try later")
            assert "Traceback" not in screen
            await tmux.say("/retry")
            await tmux.until("One.")
            await tmux.say("/retry")
            await tmux.until("Two.")
        assert asked(server, 0) == asked(server, 1) == asked(server, 2) == [("user", "Count.")]


async def test_a_conversation_is_saved_and_goes_on_in_another_process_with_another_model(tmp_path: Path) -> None:
    talk = tmp_path / "talk.json"
    async with WireServer(
        *[WireResponse(says(text)) for text in ("Hello, Ada.", "You are Ada.", "You are still Ada.")]
    ) as server:
        options = [*at(server), "--continue", str(talk)]
        async with chatting(tmp_path, *options) as tmux:
            await tmux.until("openai-chat/m>")
            await tmux.say("I am Ada.")
            await tmux.until("Hello, Ada.")
            await tmux.say("/quit")
            await tmux.until("ended with 0")
        saved = pp.LLMSession.from_json(talk.read_bytes(), pp.connect("local"))
        assert [type(message).__name__ for message in saved.prompt.messages] == ["UserMessage", "AssistantMessage"]
        async with chatting(tmp_path, *options, width=40) as tmux:
            await tmux.until("openai-chat/m>")
            await tmux.say("/model openai-chat/other")
            await tmux.until("openai-chat/other>")
            await tmux.say("Who am I?")
            await tmux.until("You are Ada.")
            await tmux.say("/retry")
            await tmux.until("You are still Ada.")
        assert asked(server, 2) == asked(server, 1)
        assert asked(server, 1) == [("user", "I am Ada."), ("assistant", "Hello, Ada."), ("user", "Who am I?")]
        assert json.loads(server.requests[1].body)["model"] == "other"


async def test_the_embedded_model_talks_runs_a_tool_and_is_stopped(tmp_path: Path) -> None:
    tools = tmp_path / "chat_tools.py"
    tools.write_text(
        TOOLS.replace("delete", "get_weather").replace("path", "city").replace("Deletes a file", "Weather of a city")
    )
    talk = tmp_path / "talk.json"
    options = ["--temperature", "0", "--tool", f"{tools}:get_weather", "--continue", str(talk)]
    async with chatting(tmp_path, *options) as tmux:
        await tmux.until("local/smollm2-135m>")
        await tmux.say("What is the weather in Paris?")
        await tmux.until("? [y/N]:")
        await tmux.say("y")
        await tmux.until("← get_weather:", "first text")
        await tmux.say("/tools")
        await tmux.until("get_weather: Weather of a city.")
        await tmux.say("/quit")
        await tmux.until("$0.0000", "ended with 0")
    async with chatting(tmp_path, *options) as tmux:
        await tmux.until("local/smollm2-135m>")
        await tmux.say("/history")
        await tmux.until("you: What is the weather in Paris?", "→ get_weather(", "tool:")


@pytest.mark.parametrize(
    "line", ["/model nonsense", "/model nobody/m", "/save", "/retry", "/nonsense", "/save /no/such/folder/f"]
)
def test_a_command_that_cannot_be_done_says_so_and_the_conversation_goes_on(line: str) -> None:
    ran = piped(f"{line}\n/system Be kind.\n/history\n")
    assert ran.returncode == 0, ran.stderr
    assert b"Traceback" not in ran.stderr
    assert b"instructions: Be kind." in ran.stderr


def piped(text: str, *options: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", "from promptport.cli import main; main()", "chat", *options],
        input=text.encode(),
        env={**os.environ, "OPENAI_API_KEY": "test-key", **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_default_model_is_a_variable_s() -> None:
    ran = piped("/model\n", PROMPTPORT_MODEL="openai-chat/mine")
    assert b"openai-chat/mine" in ran.stderr


@pytest.mark.parametrize(
    "options", [["--model", "nobody/m"], ["--model", "m"], ["--tool", "nowhere"], ["--continue", "/"]]
)
def test_what_cannot_be_meant_is_refused_before_the_first_question(options: list[str]) -> None:
    ran = piped("Hi\n", *options)
    assert ran.returncode == 2
    assert ran.stdout == b""
    assert len(ran.stderr.strip().splitlines()) == 1
