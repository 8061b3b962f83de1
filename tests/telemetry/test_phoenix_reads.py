"""What a reader of the GenAI conventions makes of our spans: Phoenix, whose models are made of their JSON schemas.

Phoenix itself has a hundred dependencies. Only the modules that read spans are used, of an exact version that is
installed beside ours, without its dependencies; so the test runs where real parts are required, as in ``.ci/run``.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.real_parts import missing

import promptport as pp
from promptport import telemetry
from promptport.testing import CUT, ScriptedClient

READER = ("arize-phoenix==20.26.1", "openinference-semantic-conventions==0.1.42")

PROGRAM = """
import json, sys, types

folder = sys.argv[1]
sys.path.insert(0, folder)
for name in ("phoenix", "phoenix.trace"):  # as packages whose own modules are not run
    package = types.ModuleType(name)
    package.__path__ = [f"{folder}/{name.replace('.', '/')}"]
    sys.modules[name] = package
values = types.ModuleType("phoenix.trace.attributes")
values.AttributeValue = object
sys.modules[values.__name__] = values

from phoenix.trace.gen_ai.conversion import get_openinference_attributes

print(json.dumps([get_openinference_attributes(span) for span in json.load(sys.stdin)], default=str))
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("PROMPTPORT_REAL_PARTS") != "required":
        missing("the reader is downloaded only where PROMPTPORT_REAL_PARTS=required says so")
    uv = os.environ.get("UV") or shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    folder = tmp_path_factory.mktemp("reader")
    command = [uv, "pip", "install", "--no-config", "--quiet", "--no-deps", "--target", str(folder), *READER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"the reader cannot be installed: {done.stderr.strip()[-300:]}")
    return folder


async def spans(semconv: Any) -> list[dict[str, Any]]:
    """A loop with everything that a span can tell, and a response that was cut."""

    @pp.tool
    async def act(x: int) -> str:
        """Acts."""
        return "did it"

    exporter, tracers = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    prompt = (
        pp.Prompt.of("What?", system="Be brief.", max_tokens=5, temperature=0.5)
        .assistant(pp.Reasoning("hm", {"signature": "opaque"}), "Let me see.")
        .user("And this?", pp.ImagePart(data=b"p", media_type="image/png"), pp.ImagePart(url="https://x/y.png"))
    )
    end = pp.End(pp.FinishReason.TOOL_CALLS, usage=pp.Usage(7, 5, 3, 2, 1), model="gpt-5-2025")
    script = ScriptedClient([pp.ToolCall("1", "act", '{"x": 1}'), end], ["over", CUT], provider="openai")
    observer = telemetry.OpenTelemetryObserver(tracer_provider=tracers, contents=True, semconv=semconv)
    with telemetry.observe(observer):
        async with pp.ToolDispatcher(script, [act]) as dispatcher, dispatcher.stream(prompt, "openai/gpt-5") as stream:
            with pytest.raises(pp.IncompleteStreamError):
                await stream.message()
    return [dict(span.attributes or {}) for span in exporter.get_finished_spans()]


@pytest.mark.parametrize("semconv", ["current", "1.41"])
async def test_phoenix_reads_messages_calls_tools_and_tokens(reader: Path, semconv: str) -> None:
    told = json.dumps(await spans(semconv))
    command = [sys.executable, "-c", PROGRAM, str(reader)]
    ran = await asyncio.to_thread(subprocess.run, command, input=told, capture_output=True, text=True, check=True)
    read = json.loads(ran.stdout)
    tool, first, second, loop = read
    kinds = [one["openinference.span.kind"] for one in (tool, first, second, loop)]
    assert kinds == ["TOOL", "LLM", "LLM", "AGENT"]
    assert (tool["tool.name"], tool["output.value"]) == ("act", "did it")
    assert json.loads(tool["tool.parameters"]) == {"x": 1}
    said = {name.removeprefix("llm."): value for name, value in first.items()}
    assert said["model_name"] == "gpt-5"
    assert said["provider"] == "openai"
    assert (said["token_count.prompt"], said["token_count.completion"]) == (7, 5)
    assert said["token_count.prompt_details.cache_read"] == 3
    messages = [
        (said[f"input_messages.{number}.message.role"], said.get(f"input_messages.{number}.message.content"))
        for number in range(4)
    ]
    assert messages[:2] == [("system", "Be brief."), ("user", "What?")]
    assert [role for role, _ in messages] == ["system", "user", "assistant", "user"]
    parts = "input_messages.2.message.contents"
    assert said[f"{parts}.0.message_content.text"] == "hm"
    assert said[f"{parts}.1.message_content.text"] == "Let me see."
    assert said["input_messages.3.message.contents.2.message_content.image.image.url"] == "https://x/y.png"
    call = "output_messages.0.message.tool_calls.0.tool_call"
    assert (said[f"{call}.id"], said[f"{call}.function.name"]) == ("1", "act")
    assert json.loads(said[f"{call}.function.arguments"]) == {"x": 1}
    assert said["output_messages.0.message.finish_reason"] == "tool_call"
    assert "act" in said["tools.0.tool.json_schema"]
    assert second["llm.input_messages.5.message.content"] == "did it"
    assert second["llm.output_messages.0.message.content"] == "over"
    assert second["llm.output_messages.0.message.finish_reason"] == "error"
    assert loop["llm.token_count.prompt"] == 7
    assert "opaque" not in str(read)
