"""`CachedExecutor`: a whole answer that was given once is given again, without asking.

Rule: only an answer that reached its `End` is kept. Answers with tool calls, refusals and cut answers are not, unless
the program asks for calls; errors never are.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import stat
import tempfile
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

from promptport.arguments import as_prompt, as_tools, check_number, model_for
from promptport.errors import BudgetExceededError, InvalidInputError
from promptport.frames import Append, End, FinishReason, StreamFrame
from promptport.messages import AssistantMessage, Origin, Prompt
from promptport.models import LLModel
from promptport.policies.relay import Asker, Relay, Wrapper, server_of
from promptport.stream import FrameStream
from promptport.tools import ToolDescriptor

__all__ = ["CacheStore", "CachedExecutor", "FolderCache", "MemoryCache"]

_READ_ONLY = os.O_RDONLY
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # no link, no pipe that waits for a writer; as the system has it
    _READ_ONLY |= getattr(os, _name, 0)

_log = logging.getLogger("promptport")
_keys = msgspec.json.Encoder(order="deterministic")
_ASKED = tuple(name for name in Prompt.__struct_fields__ if name != "id")
_messages: msgspec.json.Decoder[AssistantMessage] = msgspec.json.Decoder(AssistantMessage)


class CacheStore(Protocol):
    """Where answers are kept: any object with these two methods."""

    async def get(self, key: str) -> bytes | None:
        """What was kept under this key, or `None`."""
        ...

    async def put(self, key: str, value: bytes) -> None:
        """Keep this."""
        ...


class MemoryCache:
    """Answers in memory; where there are too many, those unused for longest go."""

    def __init__(self, max_entries: int = 1000) -> None:
        """Make an empty cache.

        Args:
            max_entries: How many answers are kept. Default: 1000.

        Raises:
            InvalidInputError: `max_entries` is below 1.
        """
        if max_entries < 1:
            raise InvalidInputError(f"MemoryCache: max_entries must be at least 1, not {max_entries!r}.")
        self._max_entries = max_entries
        self._entries: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """What was kept under this key, or `None`."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    async def put(self, key: str, value: bytes) -> None:
        """Keep this."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)


class FolderCache:
    """Answers as JSON files in a folder, readable by their owner only; several processes may share it."""

    def __init__(self, folder: str | Path, *, max_bytes: int = 64_000_000) -> None:
        """Use a folder.

        Args:
            folder: Where the files are; made when the first answer is kept.
            max_bytes: The largest file that is read. Default: 64,000,000.

        Raises:
            InvalidInputError: `max_bytes` is below 1.
        """
        check_number("FolderCache: max_bytes", max_bytes, least=1, whole=True)
        self._folder = Path(folder)
        self._max_bytes = max_bytes

    async def get(self, key: str) -> bytes | None:
        """What was kept under this key, or `None`."""
        return await asyncio.to_thread(self._read, key)

    async def put(self, key: str, value: bytes) -> None:
        """Keep this; another process sees the whole file or none."""
        await asyncio.to_thread(self._write, key, value)

    def _read(self, key: str) -> bytes | None:
        with suppress(OSError):  # not there, or not readable: asked anew
            handle = os.open(self._folder / f"{key}.json", _READ_ONLY)
            with os.fdopen(handle, "rb") as file:
                found = os.fstat(file.fileno())
                if stat.S_ISREG(found.st_mode) and found.st_size <= self._max_bytes:
                    return file.read(self._max_bytes)
        return None

    def _write(self, key: str, value: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(value)
            Path(path).replace(self._folder / f"{key}.json")
        except OSError:
            Path(path).unlink(missing_ok=True)
            raise


class CachedExecutor(Wrapper):
    """A client, or an executor, that answers an equal request from a cache.

    Two requests are equal if their messages, parameters, tools, model and server are. A cached answer has the frames of
    the whole answer, text in one piece, and the usage that it had when it was given.

    Attributes:
        hits: How many answers came out of the cache.
        misses: How many requests were sent.

    Examples:
        ```python
        from promptport.policies import CachedExecutor
        from promptport.testing import ScriptedExecutor

        executor = CachedExecutor(ScriptedExecutor(["Hello"]))
        ```
    """

    def __init__(
        self,
        executor: Asker,
        store: CacheStore | None = None,
        *,
        cache_calls: bool = False,
        pace: float | None = None,
    ) -> None:
        """Wrap an executor.

        Args:
            executor: Who is asked; closed with this one.
            store: Where answers are kept. Default: a `MemoryCache()`.
            cache_calls: Keep answers with tool calls, too. Default: `False`.
            pace: Seconds between two words of a cached text, as if a model wrote it; `None` gives it whole.
                Default: `None`.

        Raises:
            InvalidInputError: `pace` is not over 0.
        """
        if pace is not None:
            check_number("CachedExecutor: pace", pace, over=0, hint="None gives the text whole.")
        super().__init__(executor)
        self._store: CacheStore = store if store is not None else MemoryCache()
        self._cache_calls = cache_calls
        self._pace = pace
        self.hits = 0
        self.misses = 0

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """Stream the response, from the cache if it is there."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        key = _key(prompt, model, tools, server_of(self.inner, model))
        trouble: BudgetExceededError | None = None
        first: FrameStream | None = None
        try:
            first = self.inner.execute_streaming_with_tools(prompt, model, tools)
        except BudgetExceededError as error:  # a kept answer costs nothing
            trouble = error
        return self._stream(lambda relay: self._kept(relay, key, trouble), first, model)

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """Return the whole response, from the cache if it is there."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        key = _key(prompt, model, tools, server_of(self.inner, model))
        found = await self._found(key)
        if found is None:
            found = await self.inner.execute(prompt, model, tools)
            await self._keep(key, found)
        return found

    async def _found(self, key: str) -> AssistantMessage | None:
        try:
            kept = await self._store.get(key)
        except Exception as error:  # a cache that cannot be read counts as empty
            _log.warning("CachedExecutor: the store could not be read: %s", type(error).__name__)
            kept = None
        if kept is not None:
            with suppress(ValueError, TypeError, RecursionError):  # of another version, or damaged: asked anew
                message = _messages.decode(kept)
                if message.finish_reason is not None:
                    self.hits += 1
                    return message
        self.misses += 1
        return None

    async def _keep(self, key: str, message: AssistantMessage) -> None:
        called = bool(message.tool_calls or message.invalid_tool_calls)
        whole = message.finish_reason in (FinishReason.STOP, FinishReason.TOOL_CALLS)
        if whole and (self._cache_calls or not called):
            try:
                await self._store.put(key, msgspec.json.encode(message))
            except Exception as error:  # the response is whole all the same
                _log.warning("CachedExecutor: a response could not be kept: %s", type(error).__name__)

    async def _kept(
        self, relay: Relay, key: str, trouble: BudgetExceededError | None
    ) -> AsyncGenerator[Sequence[StreamFrame], None]:
        found = await self._found(key)
        stream = relay.stream
        if found is not None:
            relay.stream, relay.origin = None, found.origin
            async for batch in self._replayed(found):
                yield batch
            return
        if trouble is not None:
            raise trouble
        assert stream is not None
        async with stream:
            while batch := await stream.next_batch():
                if type(batch[-1]) is End:
                    yield batch
                    await self._keep(key, stream.partial)
                else:
                    yield batch

    async def _replayed(self, message: AssistantMessage) -> AsyncGenerator[Sequence[StreamFrame], None]:
        if self._pace is None:
            yield message.frames()
            return
        for frame in message.frames():
            pieces = re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", frame.text) if isinstance(frame, Append) else ()
            shown: list[StreamFrame] = [Append(piece) for piece in pieces]
            for each in shown or [frame]:
                yield [each]
                await asyncio.sleep(self._pace)


def _key(prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], server: Origin | None) -> str:
    """A hash of all that makes an answer what it is; not of the prompt's id, nor of the functions behind tools.

    Fields are taken as they are declared, so that one that is new is part of it.
    """
    asked: list[Any] = [
        [getattr(prompt, name) for name in _ASKED],
        model,
        [[getattr(tool, name) for name in ToolDescriptor.__struct_fields__] for tool in as_tools(tools)],
        server,
    ]
    try:
        data = _keys.encode(asked)
    except UnicodeEncodeError:  # half a surrogate pair
        data = json.dumps(msgspec.to_builtins(asked, order="deterministic")).encode()
    except TypeError as error:
        raise InvalidInputError(
            f"CachedExecutor: the request holds what is not JSON: {error}. Look at LLMParams(extra=…)."
        ) from None
    return hashlib.sha256(data).hexdigest()
