"""A provider of Anthropic's Messages on a loopback socket, whose bytes wait for the test; and gates for tools.

Rule: nothing is timed. A script says what comes; where it names a gate, nothing more comes until the test opens it.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

__all__ = ["CUT", "Call", "Gate", "HeldProvider", "Status", "Thought"]


class Gate(str):
    """The name of a gate: the response waits there."""


class Thought(str):
    """A piece of the model's reasoning."""


class Call(tuple[str, str, str]):
    """A piece of a call: its id, the tool's name, and a part of its arguments."""


class Status(int):
    """The status of a response that is an error."""


CUT = object()
"""The connection breaks here."""

Script: TypeAlias = list[Any]


class HeldProvider:
    """Answers by the text of the user's last message: one script for each request that comes with it.

    Attributes:
        url: the base of the API.
        files: what is served beside, by path: a media type and the bytes.
        asked: the bodies of the requests to the model.
    """

    def __init__(self, scripts: Mapping[str, list[Script]]) -> None:
        self.scripts = {text: [list(one) for one in each] for text, each in scripts.items()}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.asked: list[Any] = []
        self.url = ""
        self._gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def open(self, gate: str) -> None:
        """Lets a response or a tool go on."""
        self._gates[gate].set()

    async def reached(self, gate: str) -> None:
        """Waits until a response or a tool waits at the gate."""
        async with asyncio.timeout(20):
            await self._reached[gate].wait()

    async def wait(self, gate: str) -> None:
        self._reached[gate].set()
        await self._gates[gate].wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HeldProvider]:
        handlers: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            handlers.add(task)
            try:
                await self._answer(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                handlers.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=16 << 20)
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            for handler in [*handlers]:
                handler.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*handlers, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1].partition("?")[0]
        length = next((line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")), "0")
        body = await reader.readexactly(int(length))
        if path.startswith("/gate/"):
            await self.wait(path.removeprefix("/gate/"))
            await _whole(writer, 200, "text/plain", b"open")
        elif path in self.files:
            await _whole(writer, 200, *self.files[path])
        elif path.endswith("/messages"):
            asked = json.loads(body)
            self.asked.append(asked)
            await self._stream(writer, self._script(asked))
        else:
            await _whole(writer, 404, "text/plain", b"")

    def _script(self, asked: Any) -> Script:
        texts = [text for one in asked["messages"] if one["role"] == "user" for text in _texts(one["content"])]
        scripts = self.scripts[texts[-1]]
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]

    async def _stream(self, writer: asyncio.StreamWriter, script: Script) -> None:
        if script and isinstance(script[0], Status):
            error = {"type": "error", "error": {"type": "rate_limit_error", "message": "sk-live-0123456789"}}
            await _whole(writer, int(script[0]), "application/json", json.dumps(error).encode())
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        blocks = _Blocks(writer)
        for item in script:
            if item is CUT:
                return
            if isinstance(item, Gate):
                await self.wait(item)
            else:
                blocks.add(item)
                await writer.drain()
        blocks.end()
        await writer.drain()
        writer.write_eof()


class _Blocks:
    """The events of one message: its blocks one after another, a call's closed as soon as its arguments are whole."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._index = -1
        self._open: object = None  # a kind of block, or a call's id
        self._arguments = ""
        self._calls = False
        usage = {"input_tokens": 3, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [], "usage": usage}
        self._send("message_start", message=message)

    def add(self, item: Any) -> None:
        if isinstance(item, Thought):
            self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self._delta(type="thinking_delta", thinking=str(item))
        elif isinstance(item, str):
            self._begin("text", {"type": "text", "text": ""})
            self._delta(type="text_delta", text=item)
        else:
            call, name, piece = item
            self._calls = True
            self._begin(call, {"type": "tool_use", "id": call, "name": name, "input": {}})
            self._arguments += piece
            self._delta(type="input_json_delta", partial_json=piece)
            with suppress(ValueError):
                json.loads(self._arguments)
                self._stop()

    def end(self) -> None:
        self._stop()
        delta = {"stop_reason": "tool_use" if self._calls else "end_turn", "stop_sequence": None}
        self._send("message_delta", delta=delta, usage={"output_tokens": 4})
        self._send("message_stop")

    def _begin(self, key: str, block: dict[str, Any]) -> None:
        if self._open == key:
            return
        self._stop()
        self._index += 1
        self._open, self._arguments = key, ""
        self._send("content_block_start", index=self._index, content_block=block)

    def _stop(self) -> None:
        if self._open == "thinking":
            self._delta(type="signature_delta", signature="sig-1")
        if self._open is not None:
            self._send("content_block_stop", index=self._index)
        self._open = None

    def _delta(self, **delta: str) -> None:
        self._send("content_block_delta", index=self._index, delta=delta)

    def _send(self, kind: str, **fields: Any) -> None:
        data = json.dumps({"type": kind, **fields})
        self._writer.write(f"event: {kind}\ndata: {data}\n\n".encode())


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [block["text"] for block in content if block["type"] == "text"]


async def _whole(writer: asyncio.StreamWriter, status: int, media: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status} OK\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.write_eof()
