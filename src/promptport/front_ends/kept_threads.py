"""`ThreadStore`: what a server keeps of a conversation between two requests; `MemoryThreadStore` is the default.

Rule: the pause of a run stays on the server. A client decides, and never says what is decided about.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import msgspec

from promptport.dispatch import PausedRun
from promptport.json_values import read_value

__all__ = ["KeptThread", "MemoryThreadStore", "ThreadStore"]


class KeptThread(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a conversation.

    Attributes:
        run: Its last run.
        message_id: The message that this run writes.
        paused: What the run waits with, once it paused.
        before: What an earlier run waited with, if this run went on from there.
        before_run: That earlier run.
        run_id: The run's id in the words of an AG-UI client.
        protocol: The version that this client named.
    """

    run: str
    message_id: str
    paused: PausedRun | None = None
    before: PausedRun | None = None
    before_run: str = ""
    run_id: str = ""
    protocol: str = ""

    def to_json(self) -> bytes:
        """This as JSON (UTF-8)."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> KeptThread:
        """What `to_json` wrote.

        Raises:
            InvalidInputError: It is something else.
        """
        return read_value(_decode, data, "a kept thread")


_decode = msgspec.json.Decoder(KeptThread).decode


class ThreadStore(Protocol):
    """Keeps `KeptThread` by the conversation's id; a store that several processes share serves all of them."""

    def put(self, thread: str, kept: bytes) -> Awaitable[None] | None:
        """Keep this, in place of what was kept before."""
        ...

    def get(self, thread: str) -> bytes | Awaitable[bytes | None] | None:
        """What is kept, or `None`."""
        ...


class MemoryThreadStore:
    """A `ThreadStore` in memory, for one process. It keeps the conversations that were written last.

    Args:
        limit: How many conversations it keeps. Default: 10,000.
    """

    def __init__(self, limit: int = 10_000) -> None:
        """Make an empty store."""
        self._limit = limit
        self._kept: dict[str, bytes] = {}

    def put(self, thread: str, kept: bytes) -> None:
        """See `ThreadStore.put`."""
        self._kept.pop(thread, None)
        self._kept[thread] = kept
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]

    def get(self, thread: str) -> bytes | None:
        """See `ThreadStore.get`."""
        return self._kept.get(thread)
