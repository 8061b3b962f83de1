"""Tools of real MCP servers, in processes of their own, through a dispatcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from promptport.dispatch import ApprovalNeeded, StepChange, StepState, ToolDispatcher, ToolProgress, ToolResult
from promptport.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    InvalidToolArgumentsError,
    ProtocolError,
    ProviderError,
    ToolFailedError,
    ToolTimeoutError,
    TransportError,
)
from promptport.frames import ToolCall
from promptport.mcp.mcp_tools import names_for_models
from promptport.mcp.server import McpServer, connect_http, connect_stdio
from promptport.messages import DocumentPart, ImagePart, Prompt, TextPart
from promptport.models import LLModel
from promptport.testing import ScriptedExecutor, WireResponse, WireServer
from promptport.tools import Tool

pytest.importorskip("mcp", reason="needs the extra mcp")

HERE = Path(__file__).parent
LAB = str(HERE / "mcp_lab.py")
OLD = str(HERE / "mcp_old_server.py")
OLD_SOURCE = Path(OLD).read_text()
MODEL = LLModel("scripted", "scripted")
PROMPT = Prompt.of("Go.")


@contextlib.contextmanager
def lab_over_http() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and process of the lab; its socket takes connections before it has started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen([sys.executable, LAB, str(listener.fileno())], pass_fds=[listener.fileno()])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", process
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[str]:
    """The address of a lab for tests that leave it as it is."""
    with lab_over_http() as (url, _):
        yield url


@pytest.fixture(params=["stdio", "http"])
async def lab(request: pytest.FixtureRequest, shared_lab: str) -> AsyncIterator[McpServer]:
    connection = connect_http(shared_lab) if request.param == "http" else connect_stdio(sys.executable, [LAB])
    async with connection as server:
        yield server


@pytest.fixture(params=["stdio", "http"])
async def own_lab(request: pytest.FixtureRequest) -> AsyncIterator[McpServer]:
    """A lab that the test may change, or end."""
    with lab_over_http() if request.param == "http" else contextlib.nullcontext((None, None)) as (url, _):
        async with connect_http(url) if url is not None else connect_stdio(sys.executable, [LAB]) as server:
            yield server


@pytest.fixture
async def library(shared_lab: str) -> AsyncIterator[McpServer]:
    """A lab of which it does not matter how it is reached."""
    async with connect_http(shared_lab) as server:
        yield server


class Witness:
    """Hears what the lab's tool ``hang`` does, on a socket."""

    def __init__(self) -> None:
        self.port = 0
        self.hearers: set[asyncio.Task[None]] = set()
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def said(self, word: bytes) -> None:
        async with asyncio.timeout(20):
            assert await self._lines.get() == word + b"\n"

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hearer = asyncio.current_task()
        assert hearer is not None
        self.hearers.add(hearer)
        try:
            async for line in reader:
                self._lines.put_nowait(line)
        finally:
            writer.transport.abort()


@pytest.fixture
async def witness() -> AsyncIterator[Witness]:
    heard = Witness()
    server = await asyncio.start_server(heard.hear, "127.0.0.1", 0)
    heard.port = server.sockets[0].getsockname()[1]
    yield heard
    server.close()
    for hearer in heard.hearers:
        hearer.cancel()
    await asyncio.gather(*heard.hearers, return_exceptions=True)
    await server.wait_closed()
    await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next round


def old(mode: str = "", **options: Any) -> McpServer:
    return connect_stdio(sys.executable, [OLD, mode], **options)


async def tool_of(server: McpServer, name: str, **options: Any) -> Tool[Any]:
    (tool,) = [tool for tool in await server.tools(**options) if tool.name == name]
    return tool


async def results_of(tools: list[Tool[Any]], *calls: ToolCall, **options: Any) -> list[Any]:
    executor = ScriptedExecutor(calls, ["end"])
    async with ToolDispatcher(executor, tools, **options) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        return [frame async for frame in stream if isinstance(frame, ToolResult | ToolProgress | ApprovalNeeded)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ------------------------------------------------------------------------------------------------- tools


async def test_tools_are_described_and_run(lab: McpServer) -> None:
    assert (lab.name, lab.instructions) == ("lab", "Ask before you write.")
    tools = await lab.tools()
    add = next(tool for tool in tools if tool.name == "add")
    assert add.description.startswith("Adds two numbers.")
    assert add.parameters["properties"]["b"]["minimum"] == 0
    assert await add(a=1, b=2) == "3"
    results = await results_of(
        tools,
        ToolCall("1", "add", '{"a": 20, "b": 22}'),
        ToolCall("2", "structured", "{}"),
        ToolCall("3", "fail", "{}"),
    )
    assert sorted(results, key=lambda result: result.id) == [
        ToolResult("1", "add", "42"),
        ToolResult("2", "structured", '{"rows": [1, 2], "name": "ü"}'),
        ToolResult("3", "fail", "", "Error executing tool fail: no such row: 7"),
    ]


async def test_results_of_many_kinds(library: McpServer) -> None:
    tools = await library.tools()
    (result,) = await results_of(tools, ToolCall("1", "files_of_all", "{}"))
    assert result.output == (
        TextPart("two files and a link"),
        ImagePart(data=b"\x89PNG\r\n\x1a\n", media_type="image/png"),
        TextPart("a text"),
        DocumentPart(data=b"%PDF", media_type="application/pdf", name="b.pdf"),
        TextPart("[more](https://example.com/more)"),
    )


async def test_names_fit_every_provider_and_are_unique(library: McpServer) -> None:
    names = [tool.name for tool in await library.tools()]
    assert "files_of_all" in names
    assert "files-of_all" in names
    prefixed = [tool.name for tool in await library.tools(prefix="the lab/" + "x" * 60)]
    assert all(len(name) <= 64 and name.startswith("the_lab_xxx") for name in prefixed)
    assert len(set(prefixed)) == len(prefixed)
    tool = next(tool for tool in await library.tools(prefix="a ") if tool.name == "a_files-of_all")
    assert await tool() == "the other"


@pytest.mark.parametrize("name", ["same", "a" * 80, "not a name!", "", "ü" * 300])
def test_names_are_made_in_linear_time(name: str) -> None:
    """Three thousand tools of one name once took 101 s; here the test's own limit would end it."""
    for names in (
        [name] * 20_000,
        [name + str(n) for n in range(20_000)],
        [f"{name}_{n}" for n in range(2, 9_000)] * 2,
    ):
        given = names_for_models(names)
        assert len(set(given)) == len(names)
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", one) for one in given)


HOSTILE = """
import json, sys
doubled = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
deep = {"type": "object"}
for _ in range(70):
    deep = {"type": "object", "properties": {"a": deep}}
schemas = {
    "doubles": {"type": "object", "$defs": {**doubled, "d40": {}}, "allOf": [{"$ref": "#/$defs/d0"}]},
    "deep": deep,
    "long": {"type": "object", "description": "x" * 300_000},
    "good": {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}},
}
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    if request["method"] == "initialize":
        info = {"name": "hostile", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    elif request["method"] == "tools/list":
        result = {"tools": [{"name": name, "inputSchema": schema} for name, schema in schemas.items()]}
    else:
        result = {}
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"""


async def test_a_hostile_schema_is_left_out_by_its_tool_s_name(caplog: pytest.LogCaptureFixture) -> None:
    async with connect_stdio(sys.executable, ["-c", HOSTILE]) as server:
        wrong: Any = "ignore"
        with pytest.raises(InvalidInputError, match="when_unfit is 'raise' or 'skip', not 'ignore'"):
            await server.tools(when_unfit=wrong)
        with pytest.raises(InvalidInputError, match="tool 'p_"):
            await server.tools(prefix="p_", when_unfit="raise")
        (good,) = await server.tools(prefix="p_")
    assert good.name == "p_good"
    assert set(server.refused_tools) == {"p_doubles", "p_deep", "p_long"}
    assert all(f"tool '{name}'" in reason for name, reason in server.refused_tools.items())
    assert "tool 'p_deep'" in caplog.text
    with pytest.raises(InvalidToolArgumentsError, match="does not match"):
        good.validate(f'{{"text": "{"a" * 10_000}!"}}')


async def test_arguments_that_do_not_fit_are_not_sent(library: McpServer) -> None:
    tools = await library.tools()
    add = next(tool for tool in tools if tool.name == "add")
    with pytest.raises(InvalidToolArgumentsError, match=r"a: 'x' is not of type 'integer'; b: -1 is less than"):
        add.validate('{"a": "x", "b": -1}')
    with pytest.raises(InvalidToolArgumentsError, match="'b' is a required property"):
        add.validate('{"a": 1}')
    executor = ScriptedExecutor([ToolCall("1", "write", '{"row": 7}')], ["end"])
    async with ToolDispatcher(executor, tools) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        await stream.message()
    (outcome,) = stream.outcomes
    assert outcome.state == "refused"
    assert outcome.result.error == "row: 7 is not of type 'string'"


async def test_a_schema_that_points_elsewhere_fetches_nothing_and_is_left_to_the_server() -> None:
    async with old() as server:
        first = await tool_of(server, "first")
        values = first.validate('{"text": 1}')
        assert await first(**values) == '{"text": 1}'


async def test_approval_of_what_does_not_only_read(library: McpServer) -> None:
    needs = {tool.name: tool.needs_approval for tool in await library.tools(approve="writes")}
    assert (needs["add"], needs["write"], needs["fail"]) == (False, True, True)
    assert {tool.needs_approval for tool in await library.tools(approve="all")} == {True}
    assert {tool.needs_approval for tool in await library.tools()} == {False}
    with pytest.raises(InvalidInputError, match="approve is 'none', 'writes' or 'all'"):
        await library.tools(approve="most")  # type: ignore[arg-type]
    calls = [ToolCall("1", "add", '{"a": 1, "b": 1}'), ToolCall("2", "write", '{"row": "x"}')]
    done, asked = await results_of(await library.tools(approve="writes"), *calls)
    assert (done, asked.calls) == (ToolResult("1", "add", "2"), (calls[1],))


async def test_progress_is_shown_where_it_is_asked_for(lab: McpServer) -> None:
    call = ToolCall("1", "steps", "{}")
    assert await results_of(await lab.tools(), call) == [ToolResult("1", "steps", "all steps")]
    *progress, result = await results_of(await lab.tools(progress=True), call)
    assert [frame.data for frame in progress] == [
        {"progress": step, "total": 3, "message": f"step {step}"} for step in (1, 2, 3)
    ]
    assert result == ToolResult("1", "steps", "all steps")
    (failed,) = await results_of(await lab.tools(progress=True), ToolCall("1", "fail", "{}"))
    assert failed.error == "Error executing tool fail: no such row: 7"


async def test_a_changed_list_is_noticed_and_taken_up_between_steps(own_lab: McpServer) -> None:
    async def on_step(state: StepState) -> StepChange | None:
        return StepChange(tools=await own_lab.tools()) if own_lab.tools_changed else None

    executor = ScriptedExecutor([ToolCall("1", "grow", "{}")], [ToolCall("2", "born", "{}")], ["end"])
    tools = await own_lab.tools()
    async with (
        ToolDispatcher(executor, tools, on_step=on_step) as dispatcher,
        dispatcher.stream(PROMPT, MODEL) as stream,
    ):
        results = [frame async for frame in stream if type(frame) is ToolResult]
    assert results[-1] == ToolResult("2", "born", "new")
    assert not own_lab.tools_changed


async def test_an_old_server_s_pages_and_notices() -> None:
    async with old() as server:
        tools = await server.tools()
        assert (server.name, [tool.name for tool in tools]) == ("old", ["first", "second"])
        assert await tools[1](text="x") == '{"text": "x"}'
        assert server.tools_changed


# ---------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("progress", [False, True])
async def test_a_timeout_tells_the_server(lab: McpServer, witness: Witness, progress: bool) -> None:
    tool = await tool_of(lab, "hang", timeout=1.0, progress=progress)
    executor = ScriptedExecutor([ToolCall("1", "hang", f'{{"port": {witness.port}}}')], ["end"])
    async with ToolDispatcher(executor, [tool]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        await stream.message()
    assert isinstance(stream.outcomes[0].error, ToolTimeoutError)
    await witness.said(b"begun")
    await witness.said(b"cancelled")


async def test_leaving_the_stream_tells_the_server(lab: McpServer, witness: Witness) -> None:
    executor = ScriptedExecutor([ToolCall("1", "hang", f'{{"port": {witness.port}}}'), asyncio.Event()])
    async with ToolDispatcher(executor, await lab.tools()) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            reading = asyncio.create_task(stream.message())
            await witness.said(b"begun")
            await stream.aclose()
        await asyncio.wait([reading])
    assert reading.exception() is not None
    assert [outcome.state for outcome in stream.outcomes] == ["cancelled"]
    await witness.said(b"cancelled")


async def test_a_crash_fails_what_runs_and_what_follows(own_lab: McpServer, witness: Witness) -> None:
    tools = {tool.name: tool for tool in await own_lab.tools()}
    hanging = asyncio.create_task(tools["hang"](port=witness.port))
    await witness.said(b"begun")
    with pytest.raises(TransportError, match=r"closed the connection, or ended|was not reached"):
        await tools["crash"]()
    with pytest.raises(TransportError):
        await hanging
    with pytest.raises(TransportError):
        await tools["add"](a=1, b=1)
    with pytest.raises(TransportError):
        await own_lab.tools()
    executor = ScriptedExecutor([ToolCall("1", "add", '{"a": 1, "b": 1}')], ["end"])
    dispatcher = ToolDispatcher(executor, list(tools.values()))
    async with dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        await stream.message()
    error = stream.outcomes[0].error
    assert isinstance(error, ToolFailedError)
    assert isinstance(error.__cause__, TransportError)


async def test_nothing_is_left(tmp_path: Path, witness: Witness) -> None:
    async with connect_stdio(sys.executable, [LAB], env={"LAB": "yes"}, cwd=str(tmp_path)) as server:
        tools = {tool.name: tool for tool in await server.tools()}
        pid, variable, secret, folder = (await tools["process"]()).split(" ", 3)
        assert (variable, secret, folder) == ("yes", "None", str(tmp_path))
        hanging = asyncio.create_task(tools["hang"](port=witness.port))
        await witness.said(b"begun")
        assert alive(int(pid))
    assert not alive(int(pid))
    with pytest.raises(TransportError):
        await hanging
    with pytest.raises(TransportError, match="not connected any more"):
        await tools["add"](a=1, b=1)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await server.aclose()
    with pytest.raises(InvalidInputError, match="opened once"):
        await server.__aenter__()


async def test_cancelling_the_owner_of_a_connection_ends_the_process() -> None:
    pids: list[int] = []
    opened = asyncio.Event()

    async def hold() -> None:
        async with connect_stdio(sys.executable, [LAB]) as server:
            pids.append(int((await (await tool_of(server, "process"))()).split()[0]))
            opened.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await opened.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # while it closes
    await asyncio.wait([task])
    assert task.cancelled()
    assert not alive(pids[0])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_opened_in_one_task_and_closed_in_another() -> None:
    """The SDK's own contexts cannot be: their cancel scopes belong to a task."""
    server = await asyncio.create_task(connect_stdio(sys.executable, [OLD]).__aenter__())
    async with asyncio.timeout(20):
        tools = await asyncio.create_task(server.tools())
    assert await asyncio.create_task(tools[0](text="x")) == '{"text": "x"}'
    await asyncio.create_task(server.aclose())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_process_that_does_not_want_to_end_is_killed(tmp_path: Path) -> None:
    stubborn = tmp_path / "stubborn.py"
    staying = """
    import os, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open('pid', 'w').write(str(os.getpid()))
    time.sleep(600)
"""
    stubborn.write_text(OLD_SOURCE + staying)
    async with connect_stdio(sys.executable, [str(stubborn)], cwd=str(tmp_path)) as server:
        assert await server.tools()
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("mode", "kind", "says"),
    [
        ("ends", TransportError, "closed the connection, or ended"),
        ("says nothing", TransportError, r"was not ready within 1 s \(connect_timeout\)"),
        ("refuses", ProviderError, "refused: no such method"),
    ],
)
async def test_a_server_that_does_not_start(mode: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        async with old(mode, connect_timeout=1.0 if mode == "says nothing" else 20.0):
            pass
    assert type(caught.value) is kind
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_answers_that_are_not_mcp() -> None:
    async with old("lists nonsense") as server:
        with pytest.raises(ProtocolError, match="does not speak MCP as it should"):
            await server.tools()
    async with old("lists for ever", connect_timeout=3.0) as server:
        with pytest.raises(TransportError, match="did not list its tools within 3 s"):
            await server.tools()
    async with old("calls give nonsense") as server:
        tools = await server.tools()
        with pytest.raises(ToolFailedError):
            await tools[0](text="x")


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-program' cannot be started: No such file"):
        async with connect_stdio("no-such-program"):
            pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_address_where_nobody_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TransportError, match=rf"the MCP server 127.0.0.1:{port} was not reached") as caught:
        async with connect_http(f"http://user:secret@127.0.0.1:{port}/secret?key=secret"):
            pass
    assert "secret" not in str(caught.value)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_http_says_is_kept() -> None:
    refusal = WireResponse.json({"error": {"message": "bad token tok-1234"}}, status=401)
    async with WireServer() as wire:
        wire.answer(lambda request: refusal)
        with pytest.raises(AuthenticationError, match="bad token") as caught:
            async with connect_http(wire.url, headers={"Authorization": "Bearer tok-1234"}):
                pass
        assert wire.requests[0].headers["authorization"] == "Bearer tok-1234"
    assert caught.value.status == 401
    assert "tok-1234" not in str(caught.value)


async def test_a_client_of_the_caller_s_is_used_and_left_open(shared_lab: str) -> None:
    import httpx2

    sent: list[str] = []

    async def note(request: httpx2.Request) -> None:
        sent.append(request.headers["x-mine"])

    async with httpx2.AsyncClient(headers={"X-Mine": "1"}, event_hooks={"request": [note]}) as http_client:
        async with connect_http(shared_lab, http_client=http_client) as server:
            assert await server.tools()
        assert set(sent) == {"1"}
        assert not http_client.is_closed
        assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(InvalidInputError, match="not both"):
        connect_http(shared_lab, headers={}, http_client=http_client)


async def test_it_must_be_entered() -> None:
    with pytest.raises(InvalidInputError, match="use 'async with'"):
        await connect_stdio(sys.executable).tools()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    hint = r'pip install "promptport\[mcp\]"'
    with pytest.raises(ConfigurationError, match=hint):
        connect_stdio("x")
    with pytest.raises(ConfigurationError, match=hint):
        connect_http("http://x")


def test_the_module_does_not_import_the_sdk() -> None:
    code = "import sys, promptport.mcp; sys.exit('mcp' in sys.modules or 'httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
