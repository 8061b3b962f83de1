"""aiohttp's pool of connections, which hands out no kept connection that the server has closed meanwhile.

Rule: a kept connection at which something can be read before its next request is over: the server closed it, or says
what nobody asked for. It gives way to another, and no byte of the request was written. Once bytes are written nothing
is sent again, because the server may have read them.
"""

from __future__ import annotations

import select
import weakref
from typing import Any

import aiohttp

__all__ = ["Connector"]


class Connector(aiohttp.TCPConnector):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        """``options``: those of ``aiohttp.TCPConnector``."""
        super().__init__(**options)
        self._used: weakref.WeakSet[Any] = weakref.WeakSet()

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109
        """See aiohttp."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol not in self._used:
                self._used.add(protocol)
                return connection
            if not _is_readable(connection.transport):
                return connection
            connection.close()


def _is_readable(transport: Any) -> bool:
    """Whether the socket has something that asyncio has not read yet, at this moment."""
    socket = None if transport is None else transport.get_extra_info("socket")
    number = -1 if socket is None else socket.fileno()
    if number < 0:
        return transport is None or transport.is_closing()
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([number], [], [], 0)[0])  # Windows, whose select has no limit on the number
