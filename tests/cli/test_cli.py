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


# ------------------------------------------------------------------------------------- rough edges of a first hour


async def test_python_m_promptport_and_version_say_the_version() -> None:
    import promptport as pp

    for arguments in (
        ["-m", "promptport", "--version"],
        ["-c", "import promptport; print('promptport', promptport.__version__)"],
    ):
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert (process.returncode, out.decode().strip()) == (0, f"promptport {pp.__version__}")


async def test_providers_prints_the_install_hint_with_its_extra(tmp_path: Path) -> None:
    code = (
        "import importlib.metadata, sys; importlib.metadata.entry_points = lambda **_: ()\n"
        "sys.argv = ['promptport', 'providers']\n"
        "from promptport.cli import main; main()"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    for extra in ("anthropic", "ollama", "openai"):
        assert f'pip install "promptport[{extra}]"' in out.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is full")
@pytest.mark.parametrize(
    "arguments",
    [["run", "Hi"], ["run", "Hi", "--json"], ["providers"], ["providers", "--json"], ["capabilities"], ["--help"]],
    ids=" ".join,
)
async def test_an_output_that_is_full_is_one_line_and_exit_code_1(arguments: list[str]) -> None:
    async with WireServer(WireResponse(TEXT)) as server:
        if arguments[0] == "run":
            arguments = [*arguments, *at(server)]
        with Path("/dev/full").open("wb") as full:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "promptport", *arguments,
                stdout=full, stderr=asyncio.subprocess.PIPE, env={**os.environ, "OPENAI_API_KEY": "test-key"},
            )  # fmt: skip
            _, err = await process.communicate()
    assert process.returncode == 1, err
    (line,) = [line for line in err.decode().splitlines() if "could not" in line]
    told = json.loads(line)["message"] if "--json" in arguments else line.removeprefix("promptport: ")
    assert told == "the output could not be written: No space left on device"
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


METHODS = """
from promptport import tool
class Desk:
    def __init__(self): self.city = "Oslo"
    def plain(self) -> str:
        "Says the city."
        return self.city
    @tool
    def decorated(self) -> str:
        "Says the city."
        return self.city
    @staticmethod
    def static() -> str:
        "Says a city."
        return "Oslo"
    @classmethod
    def of_the_class(cls) -> str:
        "Says a city."
        return "Oslo"
    class Drawer:
        def inner(self) -> str:
            "Says a city."
            return "Oslo"
class Closed:
    def __init__(self, key: str): ...
    def look(self) -> str: ...
desk = Desk()
"""


@pytest.mark.parametrize(
    "path",
    [
        "Desk.plain",
        "Desk.decorated",
        "Desk.static",
        "Desk.of_the_class",
        "Desk.Drawer.inner",
        "desk.decorated",
    ],
)
async def test_a_tool_may_be_a_method(tmp_path: Path, path: str) -> None:
    (tmp_path / "desk.py").write_text(METHODS)
    name = path.rsplit(".", 1)[1]
    call = chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": name, "arguments": "{}"}}]})
    async with WireServer(WireResponse(call + chunk({}, "tool_calls") + DONE), WireResponse(TEXT)) as server:
        ran = await promptport("run", "Where?", "--tool", f"{tmp_path / 'desk.py'}:{path}", *at(server))
    assert ran.code == 0, ran.err
    assert f"← {name}: Oslo" in ran.err


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Desk.nothing", "Desk has no 'nothing'"),
        ("Nobody.plain", "has no 'Nobody'"),
        ("Closed.look", "Closed() could not be called"),
        ("desk.city.x", "has no 'x'"),
    ],
)
async def test_a_method_that_is_not_there_is_one_line(tmp_path: Path, path: str, says: str) -> None:
    (tmp_path / "desk.py").write_text(METHODS)
    ran = await promptport("run", "Hi", "--model", "openai-chat/m", "--tool", f"{tmp_path / 'desk.py'}:{path}")
    assert ran.code == 2, ran.err
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (["run", "Hi", "--model", "gpt-5"], "ConfigurationError", 2),
        (["run", "  ", "--model", "openai-chat/m"], "InvalidInputError", 2),
        (["capabilities", "nobody/x"], "ConfigurationError", 2),
        (["conformance", "nobody"], "ConfigurationError", 2),
        (["run", "Hi", "--model", "openai-chat/m", "--base-url", "http://127.0.0.1:9/v1"], "TransportError", 1),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
async def test_with_json_errors_are_json_too(arguments: list[str], kind: str, code: int) -> None:
    ran = await promptport(*arguments, "--json")
    assert ran.code == code
    told = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert [(each["type"], each["error"]) for each in told] == [("error", kind)]
    assert told[0]["message"]
    assert json.loads(ran.out.splitlines()[-1]) == told[0], "a program that reads the frames is told too"


async def test_with_json_an_answer_that_is_cut_ends_in_a_json_error() -> None:
    async with WireServer(WireResponse(TEXT, end_after=len(chunk({"content": "Hel"})))) as server:
        ran = await promptport("run", "Hi", *at(server), "--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["type"] for line in lines] == ["append", "error"]
    assert lines[-1]["error"] == "IncompleteStreamError"


async def test_capabilities_as_json_are_in_one_order() -> None:
    seen = set()
    for seed in ("1", "2"):
        ran = await promptport("capabilities", "openai/gpt-5", "--json", PYTHONHASHSEED=seed)
        seen.add(ran.out)
        listed = json.loads(ran.out)["openai/gpt-5"]["capabilities"]
        assert listed == sorted(listed)
    assert len(seen) == 1


# -------------------------------------------------------------------------------------- calls written as text

OBJECT = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
WRITTEN = [
    OBJECT,
    f"```json\n{OBJECT}\n```",
    f"<tool_call>\n{OBJECT}\n</tool_call>",
    f"I look it up.\n{OBJECT}",
    f"<json>{OBJECT}</json>",
    '{"function": "get_weather", "parameters": {"city": "Paris"}}',
]


def said(text: str) -> WireResponse:
    return WireResponse(b"".join([chunk({"content": character}) for character in text]) + chunk({}, "stop") + DONE)


WAYS = [
    ["--model", "local/m"],
    ["--model", "openai-chat/m", "--text-calls", "auto"],
    ["--model", "vllm/m"],
    ["--model", "local/m", "--tools-in-text"],
    ["--model", "openai-chat/m", "--tools-in-text"],
]


@pytest.mark.parametrize(
    ("options", "text"),
    [*[(WAYS[number % 2], text) for number, text in enumerate(WRITTEN)], *[(way, OBJECT) for way in WAYS[1:]]],
)
async def test_a_call_in_the_text_runs_the_tool(tmp_path: Path, options: list[str], text: str) -> None:
    (tmp_path / WEATHER).write_text(TOOL)
    async with WireServer(said(text), said("It is sunny.")) as server:
        tool = ["--tool", f"{tmp_path / WEATHER}:get_weather"]
        ran = await promptport("run", "Weather?", *options, *tool, "--base-url", f"{server.url}/v1")
    assert ran.code == 0, ran.err
    assert len(server.requests) == 2
    assert "sunny in Paris" in json.dumps(server.requests[1].json()["messages"])
    assert "It is sunny." in ran.out
    assert "get_weather" not in ran.out, "no call is shown as text"
    assert "arguments" not in ran.out
    assert "get_weather" in ran.err


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "get_weather", "arguments": {"city": "Par',
        '{"name": "get_weather", "arguments": {"city": "Paris"}',
        '<tool_call>{"name": "get_weather", "arguments": {"city"',
    ],
)
async def test_a_call_that_is_not_whole_never_runs_and_is_no_text(tmp_path: Path, text: str) -> None:
    (tmp_path / WEATHER).write_text(TOOL)
    async with WireServer(said(text)) as server:
        tool = ["--tool", f"{tmp_path / WEATHER}:get_weather"]
        ran = await promptport("run", "?", "-m", "local/m", *tool, "--base-url", f"{server.url}/v1")
    assert "get_weather" not in ran.out
    assert ran.code == 1, ran.err
