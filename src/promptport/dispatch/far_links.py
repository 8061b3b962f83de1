"""The way back from a far worker to the loop: when a function begins there, and what it shows.

Rules: a link is picklable; whatever fails on this way is dropped, and never fails the tool; what a worker sends is
JSON and is never unpickled.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, Protocol

import msgspec

__all__ = ["DaskLink", "HubLink", "Link", "View", "dask_link", "hub_link"]

_TOKEN = 16
_MAX_MESSAGE = (1 << 20) + _TOKEN


class View(Protocol):
    """What is told at this end."""

    def begin(self) -> None:
        """The function begins."""

    def show(self, data: bytes) -> None:
        """It shows a value; may wait."""

    def offer(self, data: bytes) -> None:
        """It shows a value; does not wait."""


class Link(Protocol):
    """The worker's end: takes JSON, or nothing for "it begins"."""

    def send(self, data: bytes) -> bool:
        """Sends it, and never raises; whether it will arrive."""
        ...

    def forget(self) -> None:
        """The call is over; at the loop's end."""


_views: dict[bytes, View] = {}
"""By the token of a call."""


def _told(token: bytes, data: bytes, *, wait: bool) -> None:
    view = _views.get(token)
    if view is None:
        return
    if not data:
        view.begin()
    elif wait:
        view.show(data)
    else:
        view.offer(data)


def _token_of(view: View) -> bytes:
    token = os.urandom(_TOKEN)
    _views[token] = view
    return token


# ------------------------------------------------------------------------------------- processes of this machine


class HubLink(msgspec.Struct, frozen=True):
    """To the process that made it, over a local socket."""

    address: str
    key: bytes
    token: bytes

    def send(self, data: bytes) -> bool:
        """See `Link`."""
        with contextlib.suppress(Exception), _guard:
            kept = _connections.get(self.address)
            if kept is None or kept[0] != os.getpid():
                connection = Client(self.address, authkey=self.key)
                kept = _connections[self.address] = (os.getpid(), connection)
            kept[1].send_bytes(self.token + data)
            return True
        return False

    def forget(self) -> None:
        """See `Link`."""
        _views.pop(self.token, None)


_connections: dict[str, tuple[int, Connection]] = {}
_guard = threading.Lock()


class _Hub:
    """Listens for the workers of this process; one for all dispatchers, and as long as the process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.key = os.urandom(32)
        self._listener = Listener(authkey=self.key)
        self.address = str(self._listener.address)
        threading.Thread(target=self._accept, name="progress-hub", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except Exception:  # noqa: S112 - a stranger, who does not know the key
                continue
            threading.Thread(target=self._read, args=(connection,), name="progress-hub", daemon=True).start()

    @staticmethod
    def _read(connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError), connection:
            while True:
                said = connection.recv_bytes(_MAX_MESSAGE)
                _told(said[:_TOKEN], said[_TOKEN:], wait=True)


_hub: list[_Hub] = []
_making = threading.Lock()


def hub_link(view: View) -> HubLink | None:
    """A link for a worker of this machine; ``None`` where there is no place for a socket."""
    with _making:
        if not _hub or _hub[0].pid != os.getpid():
            try:
                _hub[:] = [_Hub()]
            except OSError:
                return None
        hub = _hub[0]
    return HubLink(hub.address, hub.key, _token_of(view))


# ------------------------------------------------------------------------------------------------------- Dask


class DaskLink(msgspec.Struct, frozen=True):
    """To the client of a Dask cluster, by an event of its scheduler."""

    topic: str
    token: bytes

    def send(self, data: bytes) -> bool:
        """See `Link`."""
        with contextlib.suppress(Exception):
            worker = sys.modules["distributed"].get_worker()
            worker.log_event(self.topic, [self.token.hex(), data.decode()])
            return True
        return False

    def forget(self) -> None:
        """See `Link`."""
        _views.pop(self.token, None)


_TOPIC = "promptport-tools"
_topics: dict[str, str] = {}
"""By the client's id."""


def dask_link(client: Any, view: View) -> DaskLink:
    """A link for a worker of the client's cluster."""
    topic = _topics.get(client.id)
    if topic is None:
        topic = _topics[client.id] = f"{_TOPIC}-{os.urandom(8).hex()}"
        client.subscribe_topic(topic, _dask_told)
    return DaskLink(topic, _token_of(view))


def _dask_told(event: tuple[Any, Any]) -> None:
    with contextlib.suppress(ValueError, TypeError):
        token, data = event[1]
        _told(bytes.fromhex(token), data.encode(), wait=False)
