"""Records what the embedded server says: ``python record_wires.py``, in this folder, writes ``wires/``.

Not a test. The files are the bodies as they came; ``wires/README.md`` says what each is.
"""

from __future__ import annotations

import http.client
import importlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from promptport import ToolDescriptor
from promptport.text_tools import call_schema
from promptport_local._models import bundled_weights

xllamacpp = importlib.import_module("xllamacpp")
WIRES = Path(__file__).parent / "wires"
KEY = "recorded"
WEATHER = ToolDescriptor(
    "get_weather",
    "Current weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)

POLL = """
import http.client, sys
while True:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    try:
        connection.request("GET", "/health")
    except OSError:
        continue
    answer = connection.getresponse()
    body = answer.read()
    if answer.status == 503:
        sys.stdout.buffer.write(body)
        break
    if answer.status == 200:
        sys.exit("the server was never seen loading")
"""


def main() -> None:
    port = free_port()
    # The constructor holds Python's lock while it loads: only another process can see the server loading.
    with subprocess.Popen([sys.executable, "-c", POLL, str(port)], stdout=subprocess.PIPE) as poll:
        server = xllamacpp.Server(params(port))
        loading, _ = poll.communicate(timeout=30)
    if loading:
        (WIRES / "http-503-loading.json").write_bytes(loading)
    question = {"role": "user", "content": "What is the capital of France?"}
    ask = {"messages": [question], "temperature": 0, "max_tokens": 32}
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    schema = {"type": "json_schema", "json_schema": {"name": "call", "schema": call_schema([WEATHER])}}
    call = {
        "messages": [
            {"role": "system", "content": "Answer with a call of get_weather."},
            {"role": "user", "content": "What is the weather in Paris?"},
        ],
        "temperature": 0,
        "response_format": schema,
    }
    tools = [{"type": "function", "function": {"name": WEATHER.name, "parameters": WEATHER.parameters}}]
    write("text.sse", post(port, {**ask, **streamed}))
    write("text.json", post(port, ask))
    write("text-length.sse", post(port, {**ask, **streamed, "max_tokens": 3}))
    write("forced-call.sse", post(port, {**call, **streamed}))
    write("forced-call-length.sse", post(port, {**call, **streamed, "max_tokens": 24}))
    write("native-tools-ignored.json", post(port, {**call, "response_format": None, "tools": tools, "max_tokens": 16}))
    write("http-400-context.error.json", post(port, {"messages": [{"role": "user", "content": "word " * 2000}]}))
    write("http-401.error.json", post(port, ask, key="wrong"))
    server.handle_metrics()


def write(name: str, body: bytes) -> None:
    (WIRES / name).write_bytes(body)


def params(port: int) -> Any:
    weights = bundled_weights()
    made = xllamacpp.CommonParams()
    made.model.path = str(weights.path)
    made.model_alias = {weights.id}
    made.port = port
    made.api_keys = [KEY]
    made.n_ctx = 512
    made.verbosity = -1
    made.endpoint_metrics = True
    made.chat_template = weights.chat_template
    return made


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def post(port: int, body: dict[str, Any], key: str = KEY) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection.getresponse().read()


if __name__ == "__main__":
    main()
