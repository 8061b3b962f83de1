"""The command line, as a stranger runs it: a process of its own, over a real socket."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from promptport.testing import WireResponse, WireServer

WIRES = Path(__file__).parents[1] / "wires" / "openai-chat"
WEATHER = "tests_cli_weather.py"
TOOL = """
def get_weather(city: str) -> str:
    \"\"\"Current weather of a city.\"\"\"
    return f"sunny in {city}"
def broken(x): ...
"""


def chunk(delta: dict[str, object], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


USAGE = b'data: {"id":"1","model":"m","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}\n\n'
DONE = USAGE + b"data: [DONE]\n\n"
TEXT = chunk({"content": "Hel"}) + chunk({"content": "lo."}) + chunk({}, "stop") + DONE
CALL = chunk(
    {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}]}
)
CALLS = CALL + chunk({}, "tool_calls") + DONE


class Ran:
    def __init__(self, code: int | None, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def started(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from promptport.cli import main; main()",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "OPENAI_API_KEY": "test-key", **environment},
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def promptport(*arguments: str, stdin: bytes = b"", **environment: str) -> Ran:
    async with started(*arguments, **environment) as process:
        out, err = await process.communicate(stdin)
    return Ran(process.returncode, out, err)


def at(server: WireServer) -> list[str]:
    return ["--model", "openai-chat/m", "--base-url", f"{server.url}/v1"]


async def test_run_streams_text_and_says_the_rest_on_standard_error() -> None:
    async with WireServer(WireResponse(TEXT)) as server:
        ran = await promptport("run", "Hi", "--system", "Be brief.", "--temperature", "0", *at(server))
    assert (ran.code, ran.out) == (0, "Hello.\n")
    assert "stop: 11 tokens in, 7 out" in ran.err
    assert "\x1b" not in ran.out + ran.err, "plain text where there is no terminal"
    body = server.requests[0].json()
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "Hi"]
    assert body["temperature"] == 0


async def test_run_calls_a_tool_and_shows_call_and_result(tmp_path: Path) -> None:
    (tmp_path / WEATHER).write_text(TOOL)
    async with WireServer(WireResponse(CALLS), WireResponse(TEXT)) as server:
        ran = await promptport("run", "Weather?", "--tool", f"{tmp_path / WEATHER}:get_weather", *at(server))
    assert (ran.code, ran.out) == (0, "Hello.\n")
    assert '→ get_weather({"city": "Paris"})' in ran.err
    assert "← get_weather: sunny in Paris" in ran.err
    assert server.requests[1].json()["messages"][-1]["content"] == "sunny in Paris"


async def test_run_json_is_one_frame_a_line(tmp_path: Path) -> None:
    (tmp_path / WEATHER).write_text(TOOL)
    async with WireServer(WireResponse(CALLS), WireResponse(TEXT)) as server:
        tool = f"{tmp_path / WEATHER}:get_weather"
        ran = await promptport("run", "-", "--json", "--tool", tool, *at(server), stdin=b"Weather?")
    kinds = [json.loads(line)["type"] for line in ran.out.splitlines()]
    assert kinds == [
        "tool_call_delta", "tool_call", "tool_started", "tool_result", "step_end", "append", "append", "end",
    ]  # fmt: skip
    assert ran.code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "Hi", "--model", "gpt-5"], "provider/id"),
        (["run", "Hi", "--model", "nobody/x"], "no provider 'nobody'"),
        (["run", "  ", "--model", "openai-chat/m"], "prompt is empty"),
        (["run", "Hi", "--model", "openai-chat/m", "--max-tokens", "0"], "max_tokens must be at least 1"),
        (["run", "Hi", "--model", "openai-chat/m", "--base-url", "example.com"], "http://"),
        (["run", "Hi", "--model", "openai-chat/m", "--tool", "nothing"], "module:function"),
        (["run", "Hi", "--model", "openai-chat/m", "--tool", "no_such_module:f"], "no_such_module"),
        (["run", "Hi", "--model", "openai-chat/m", "--tool", "json:no_such_function"], "no_such_function"),
        (["run", "Hi", "--model", "openai-chat/m", "--tool-choice", "sometimes"], "--tool-choice takes"),
        (["capabilities", "gpt-5"], "provider/id"),
    ],
)
async def test_the_callers_mistakes_are_one_line_and_exit_code_2(arguments: list[str], says: str) -> None:
    ran = await promptport(*arguments)
    assert ran.code == 2, ran.err
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1
    assert "Traceback" not in ran.err


async def test_a_tool_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / WEATHER).write_text(TOOL)
    ran = await promptport("run", "Hi", "--model", "openai-chat/m", "--tool", f"{tmp_path / WEATHER}:broken")
    assert ran.code == 2
    assert "'x'" in ran.err
    assert "Traceback" not in ran.err


async def test_a_missing_key_is_said_with_its_variable() -> None:
    ran = await promptport("run", "Hi", "--model", "openai-chat/m", OPENAI_API_KEY="")
    assert ran.code == 2
    assert "OPENAI_API_KEY" in ran.err


@pytest.mark.parametrize("fault", ["unreachable", "401", "cut"])
async def test_a_providers_failure_is_one_line_and_exit_code_1(fault: str) -> None:
    responses = {
        "unreachable": [],
        "401": [WireResponse.json({"error": {"message": "bad key"}}, status=401)],
        "cut": [WireResponse(TEXT, end_after=len(chunk({"content": "Hel"})))],
    }[fault]
    async with WireServer(*responses) as server:
        if fault != "unreachable":
            ran = await promptport("run", "Hi", *at(server))
    if fault == "unreachable":
        ran = await promptport("run", "Hi", *at(server))
    assert ran.code == 1, ran.err
    assert "Traceback" not in ran.err
    assert "test-key" not in ran.err
    assert len([line for line in ran.err.splitlines() if line.startswith("promptport: ")]) == 1
    assert ran.out.startswith("Hel") is (fault == "cut")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_ctrl_c_ends_a_stream_cleanly() -> None:
    stall = WireResponse(TEXT, stall_after=len(chunk({"content": "Hel"})))
    async with WireServer(stall) as server:
        async with started("run", "Hi", *at(server)) as process:
            assert process.stdout is not None
            assert await process.stdout.readexactly(3) == b"Hel"
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        await server.client_closed(timeout=5)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"interrupted" in err


async def test_providers_and_capabilities_need_no_key_and_no_network() -> None:
    listed = await promptport("providers", "--json", OPENAI_API_KEY="")
    assert {"openai", "openai-chat", "anthropic", "ollama", "local"} <= {
        each["name"] for each in json.loads(listed.out)
    }
    table = await promptport("providers", OPENAI_API_KEY="")
    assert "openai-chat" in table.out
    one = await promptport("capabilities", "anthropic/claude-sonnet-4-5", "--json", OPENAI_API_KEY="")
    told = json.loads(one.out)["anthropic/claude-sonnet-4-5"]
    assert told["streamed_tools"] == "deltas"
    assert "tools" in told["capabilities"]
    everything = await promptport("capabilities", OPENAI_API_KEY="")
    assert (everything.code, one.code, listed.code) == (0, 0, 0), everything.err
    assert "streamed tools" in everything.out


async def test_capabilities_import_no_sdk() -> None:
    code = (
        "import sys; sys.argv = ['promptport', 'capabilities', 'openai/gpt-5']\n"
        "from promptport.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([n for n in ('openai', 'anthropic', 'httpx', 'httpx2', 'aiohttp', 'ollama') if n in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env={**os.environ, "OPENAI_API_KEY": "k"}
    )
    out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "[]"
