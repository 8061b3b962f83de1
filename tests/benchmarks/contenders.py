"""Who is measured, apart from other libraries (those are in `peers`): two floors, promptport, the providers' SDKs.

Rule: each is used as its own documentation begins, with its defaults, and nothing is imported before it is needed. A
contender is a function of API and base URL that gives a `Stream`: each call of that is one request, with the
connections of the one before, which hands every piece of text or arguments to ``take``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from tests.benchmarks.wires import MODELS, TOOL

Take: TypeAlias = Callable[[str], object]
Stream: TypeAlias = Callable[[Take], Awaitable[None]]
Make: TypeAlias = Callable[[str, str, bool], Stream]
"""API, base URL, whether a tool is offered → `Stream`."""

PROMPT = "Tell me how a stream of tokens is cut."
KEY = "sk-none"
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
CHAT_TOOLS: Any = [{"type": "function", "function": TOOL}]
RESPONSES_TOOLS: Any = [{"type": "function", **TOOL, "strict": False}]
MESSAGES_TOOLS: Any = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}]

_PATHS = {"chat": "/chat/completions", "responses": "/responses", "anthropic": "/v1/messages", "ollama": "/api/chat"}
_PATHS |= {"google": f"/models/{MODELS['google']}:streamGenerateContent", "cohere": "/v2/chat"}
_PATHS |= {"bedrock": "/model/nova/converse-stream", "mistral": "/chat/completions"}
_PREFIXES = {"chat": "/v1", "responses": "/v1", "mistral": "/v1"}


def base_url(api: str, url: str) -> str:
    """The base URL as the API's SDK wants it."""
    return url + _PREFIXES.get(api, "")


# ------------------------------------------------------------------------------------------------ floors


def _body(api: str, tool: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": MODELS[api], "stream": True}
    if api == "responses":
        return {**body, "input": MESSAGES, **({"tools": RESPONSES_TOOLS} if tool else {})}
    if api == "anthropic":
        body["max_tokens"] = 4096
        return {**body, "messages": MESSAGES, **({"tools": MESSAGES_TOOLS} if tool else {})}
    if api == "chat":
        body["stream_options"] = {"include_usage": True}
    return {**body, "messages": MESSAGES, **({"tools": CHAT_TOOLS} if tool else {})}


def _session() -> Any:
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout())


def bytes_floor(api: str, url: str, tool: bool) -> Stream:
    """The HTTP library alone: the bytes are read, and dropped."""
    target, body = base_url(api, url) + _PATHS[api], _body(api, tool)
    session = None

    async def stream(take: Take) -> None:
        nonlocal session
        session = session or _session()
        async with session.post(target, json=body) as response:
            async for _ in response.content.iter_any():
                pass

    return stream


def floor(api: str, url: str, tool: bool) -> Stream:
    """The HTTP library, a split at the event's end, and a typed decode of the one field that matters. No checks."""
    if api == "bedrock":
        return _floor_of_frames(api, url, tool)
    target, body = base_url(api, url) + _PATHS[api], _body(api, tool)
    end, text_of = _minimal(api, tool)
    session = None

    async def stream(take: Take) -> None:
        nonlocal session
        session = session or _session()
        rest = b""
        async with session.post(target, json=body) as response:
            async for data in response.content.iter_any():
                *events, rest = (rest + data).split(end)
                for event in events:
                    text = text_of(event)
                    if text:
                        take(text)

    return stream


def _floor_of_frames(api: str, url: str, tool: bool) -> Stream:
    """As `floor`, where a length stands before each event."""
    import msgspec

    target, body = base_url(api, url) + _PATHS[api], _body(api, tool)
    inner: Any = [("toolUse", dict[str, str], {})] if tool else [("text", str, "")]
    delta = msgspec.defstruct("Delta", inner, gc=False)
    decode: Any = msgspec.json.Decoder(msgspec.defstruct("Event", [("delta", delta)], gc=False)).decode
    session = None

    async def stream(take: Take) -> None:
        nonlocal session
        session = session or _session()
        rest = b""
        async with session.post(target, json=body) as response:
            async for data in response.content.iter_any():
                rest += data
                start = 0
                while len(rest) - start >= 12:
                    end = start + int.from_bytes(rest[start : start + 4])
                    if len(rest) < end:
                        break
                    begin = start + 12 + int.from_bytes(rest[start + 4 : start + 8])
                    if rest.find(b"contentBlockDelta", start, begin) >= 0:
                        found = decode(rest[begin : end - 4]).delta
                        take(found.toolUse["input"] if tool else found.text)
                    start = end
                rest = rest[start:]

    return stream


def _minimal_google() -> Callable[[bytes], str | None]:
    import msgspec

    part = msgspec.defstruct("Part", [("text", str, "")], gc=False)
    content = msgspec.defstruct("Content", [("parts", list[part])], gc=False)  # type: ignore[valid-type]
    candidate = msgspec.defstruct("Candidate", [("content", content)], gc=False)
    chunk = msgspec.defstruct("Chunk", [("candidates", list[candidate])], gc=False)  # type: ignore[valid-type]
    decode: Any = msgspec.json.Decoder(chunk).decode

    def text(event: bytes) -> str | None:
        found: str = decode(event[6:]).candidates[0].content.parts[0].text
        return found

    return text


def _minimal_cohere(tool: bool) -> Callable[[bytes], str | None]:
    import msgspec

    start = b"event: tool-call-delta\ndata: " if tool else b"event: content-delta\ndata: "
    text = msgspec.defstruct("Text", [("text", str, "")], gc=False)
    function = msgspec.defstruct("Function", [("arguments", str, "")], gc=False)
    call = msgspec.defstruct("Call", [("function", function)], gc=False)
    message = msgspec.defstruct("Message", [("tool_calls", call) if tool else ("content", text)], gc=False)
    delta = msgspec.defstruct("Delta", [("message", message)], gc=False)
    decode: Any = msgspec.json.Decoder(msgspec.defstruct("Event", [("delta", delta)], gc=False)).decode

    def text_of(event: bytes) -> str | None:
        return decode(event[len(start) :]).delta.message.content.text if event.startswith(start) else None

    def arguments(event: bytes) -> str | None:
        if not event.startswith(start):
            return None
        given: str = decode(event[len(start) :]).delta.message.tool_calls.function.arguments
        return given

    return arguments if tool else text_of


def _minimal(api: str, tool: bool) -> tuple[bytes, Callable[[bytes], str | None]]:
    """What ends an event, and how its text is had."""
    import msgspec

    if api in ("chat", "mistral"):
        return b"\n\n", _minimal_chat(tool)
    if api == "google":
        return b"\r\n\r\n", _minimal_google()
    if api == "cohere":
        return b"\n\n", _minimal_cohere(tool)
    if api == "ollama":
        message = msgspec.defstruct("Message", [("content", str, "")], gc=False)
        line = msgspec.defstruct("Line", [("message", message)], gc=False)
        decode_line: Any = msgspec.json.Decoder(line).decode

        def of_line(event: bytes) -> str | None:
            text: str = decode_line(event).message.content
            return text

        return b"\n", of_line
    if api == "responses":
        start = b"event: response.function_call_arguments.delta" if tool else b"event: response.output_text.delta"
        decode_delta: Any = msgspec.json.Decoder(msgspec.defstruct("Event", [("delta", str)], gc=False)).decode

        def of_event(event: bytes) -> str | None:
            return decode_delta(event[len(start) + 7 :]).delta if event.startswith(start) else None

        return b"\n\n", of_event
    return b"\n\n", _minimal_messages(tool)


def _minimal_chat(tool: bool) -> Callable[[bytes], str | None]:
    import msgspec

    function = msgspec.defstruct("Function", [("arguments", str, "")], gc=False)
    entry = msgspec.defstruct("Entry", [("function", function)], gc=False)
    fields: Any = ("tool_calls", list[entry], []) if tool else ("content", str | None, None)  # type: ignore[valid-type]
    delta = msgspec.defstruct("Delta", [fields], gc=False)
    choice = msgspec.defstruct("Choice", [("delta", delta)], gc=False)
    chunk = msgspec.defstruct("Chunk", [("choices", list[choice])], gc=False)  # type: ignore[valid-type]
    decode: Any = msgspec.json.Decoder(chunk).decode

    def text(event: bytes) -> str | None:
        data = event[6:]
        if data == b"[DONE]":
            return None
        for found in decode(data).choices:
            content: str | None = found.delta.content
            return content
        return None

    def arguments(event: bytes) -> str | None:
        data = event[6:]
        if data == b"[DONE]":
            return None
        for found in decode(data).choices:
            for call in found.delta.tool_calls:
                given: str = call.function.arguments
                return given
        return None

    return arguments if tool else text


def _minimal_messages(tool: bool) -> Callable[[bytes], str | None]:
    import msgspec

    start = b"event: content_block_delta\ndata: "
    field = "partial_json" if tool else "text"
    delta = msgspec.defstruct("Delta", [(field, str, "")], gc=False)
    decode: Any = msgspec.json.Decoder(msgspec.defstruct("Event", [("delta", delta)], gc=False)).decode

    def text(event: bytes) -> str | None:
        return decode(event[len(start) :]).delta.text if event.startswith(start) else None

    def arguments(event: bytes) -> str | None:
        return decode(event[len(start) :]).delta.partial_json if event.startswith(start) else None

    return arguments if tool else text


# ------------------------------------------------------------------------------------------------ promptport


_PROVIDERS = {"chat": "openai-chat", "responses": "openai"}
_OPTIONS = {"bedrock": {"region": "us-east-1"}}


def over_httpx(api: str, url: str, tool: bool) -> Stream:
    """This library over an httpx client of the caller's, where it is aiohttp by default."""
    import httpx

    return promptport(api, url, tool, http_client=httpx.AsyncClient(timeout=600))


def promptport(api: str, url: str, tool: bool, **options: Any) -> Stream:
    """This library, through the client of the API's provider."""
    import promptport as pp

    provider = _PROVIDERS.get(api, api)
    options = {**_OPTIONS.get(api, {}), **options}
    client = pp.client(provider, api_key=KEY, base_url=base_url(api, url), **options)
    model = pp.LLModel(provider, MODELS[api])
    prompt = pp.Prompt.of(PROMPT)
    tools = [pp.ToolDescriptor(**TOOL)] if tool else []  # type: ignore[arg-type]

    append, delta = pp.Append, pp.ToolCallDelta

    async def stream(take: Take) -> None:
        async with client.execute_streaming_with_tools(prompt, model, tools) as frames:
            async for frame in frames:
                if type(frame) is append:
                    take(frame.text)
                elif type(frame) is delta:
                    take(frame.arguments)

    return stream


# ------------------------------------------------------------------------------------------------ the SDKs


def sdk(api: str, url: str, tool: bool) -> Stream:
    """The provider's official SDK, and its own events."""
    return _SDKS[api](base_url(api, url), tool)


def _chat_sdk(url: str, tool: bool) -> Stream:
    import openai

    client = openai.AsyncOpenAI(api_key=KEY, base_url=url, timeout=600)
    options: Any = {"stream_options": {"include_usage": True}, **({"tools": CHAT_TOOLS} if tool else {})}

    async def stream(take: Take) -> None:
        events: Any = await client.chat.completions.create(
            model=MODELS["chat"],
            messages=MESSAGES,
            stream=True,
            **options,
        )
        async with events:
            async for chunk in events:
                take_chat(chunk, take)

    return stream


def take_chat(chunk: Any, take: Take) -> None:
    """Hands on what a chunk object in OpenAI's shape says; several libraries give those."""
    for choice in chunk.choices:
        delta = choice.delta
        if delta.content:
            take(delta.content)
        for call in delta.tool_calls or ():
            if call.function.arguments:
                take(call.function.arguments)


def _responses_sdk(url: str, tool: bool) -> Stream:
    import openai

    client = openai.AsyncOpenAI(api_key=KEY, base_url=url, timeout=600)
    options: Any = {"tools": RESPONSES_TOOLS} if tool else {}

    async def stream(take: Take) -> None:
        events: Any = await client.responses.create(
            model=MODELS["responses"],
            input=MESSAGES,
            stream=True,
            **options,
        )
        async with events:
            async for event in events:
                if event.type in ("response.output_text.delta", "response.function_call_arguments.delta"):
                    take(event.delta)

    return stream


def _anthropic_sdk(url: str, tool: bool) -> Stream:
    import anthropic

    client = anthropic.AsyncAnthropic(api_key=KEY, base_url=url, timeout=600)
    options: Any = {"tools": MESSAGES_TOOLS} if tool else {}

    async def stream(take: Take) -> None:
        events: Any = await client.messages.create(
            model=MODELS["anthropic"],
            max_tokens=4096,
            messages=MESSAGES,
            stream=True,
            **options,
        )
        async with events:
            async for event in events:
                if event.type == "content_block_delta":
                    if event.delta.type == "text_delta":
                        take(event.delta.text)
                    elif event.delta.type == "input_json_delta":
                        take(event.delta.partial_json)

    return stream


def _ollama_sdk(url: str, tool: bool) -> Stream:
    import ollama

    client = ollama.AsyncClient(host=url)

    async def stream(take: Take) -> None:
        async for part in await client.chat(model=MODELS["ollama"], messages=MESSAGES, stream=True):
            if part.message.content:
                take(part.message.content)

    return stream


def _google_sdk(url: str, tool: bool) -> Stream:
    from google import genai

    client = genai.Client(api_key=KEY, http_options={"base_url": url, "api_version": "v1beta"})

    async def stream(take: Take) -> None:
        async for chunk in await client.aio.models.generate_content_stream(model=MODELS["google"], contents=PROMPT):
            if chunk.text:
                take(chunk.text)

    return stream


def _bedrock_sdk(url: str, tool: bool) -> Stream:
    import asyncio

    import boto3

    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    client: Any = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, **keys)
    messages = [{"role": "user", "content": [{"text": PROMPT}]}]

    def read(take: Take) -> None:
        for event in client.converse_stream(modelId=MODELS["bedrock"], messages=messages)["stream"]:
            delta = event.get("contentBlockDelta", {}).get("delta", {})
            text = delta.get("text") or delta.get("toolUse", {}).get("input")
            if text:
                take(text)

    async def stream(take: Take) -> None:
        await asyncio.to_thread(read, take)  # it has no other way

    return stream


def _cohere_sdk(url: str, tool: bool) -> Stream:
    import cohere

    client = cohere.AsyncClientV2(api_key=KEY, base_url=url)

    async def stream(take: Take) -> None:
        events: Any = client.chat_stream(model=MODELS["cohere"], messages=MESSAGES)
        async for event in events:
            if event.type == "content-delta":
                take(event.delta.message.content.text)
            elif event.type == "tool-call-delta":
                take(event.delta.message.tool_calls.function.arguments)

    return stream


def _mistral_sdk(url: str, tool: bool) -> Stream:
    from mistralai.client import Mistral

    client = Mistral(api_key=KEY, server_url=url.removesuffix("/v1"))

    async def stream(take: Take) -> None:
        events: Any = await client.chat.stream_async(model=MODELS["mistral"], messages=MESSAGES)
        async with events:
            async for event in events:
                take_chat(event.data, take)

    return stream


_SDKS: dict[str, Callable[[str, bool], Stream]] = {
    "chat": _chat_sdk,
    "responses": _responses_sdk,
    "anthropic": _anthropic_sdk,
    "ollama": _ollama_sdk,
    "google": _google_sdk,
    "bedrock": _bedrock_sdk,
    "cohere": _cohere_sdk,
    "mistral": _mistral_sdk,
}

CONTENDERS: dict[str, Make] = {
    "bytes": bytes_floor,
    "floor": floor,
    "promptport": promptport,
    "promptport over httpx": over_httpx,
    "sdk": sdk,
}
