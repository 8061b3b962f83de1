"""`Cassette`: requests and responses on disk, in a form that people can read and diff, and played on a socket again.

Rules: a request that was never recorded fails the test; a body that is JSON, or text, stands there as such; chunks
stand as they came, so that cuts and times can be played again, or others in their place.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from promptport.errors import InvalidInputError
from promptport.testing.cuts import Cut
from promptport.testing.mutators import MUTATORS
from promptport.testing.recorded_bodies import AnyProtocol, Wire
from promptport.testing.wire_server import RecordedRequest, WireResponse, WireServer

__all__ = ["Cassette", "CassetteRequest", "CassetteResponse", "Interaction", "Match", "body_value"]

Match: TypeAlias = Literal["strict"] | Sequence[str]
"""How a request finds its response: `"strict"` compares method, path, query and body, and the order; otherwise the
named fields: `method`, `path`, `query`, `body`, or a path into the body such as `body.messages`."""

_VERSION = 1
_USUAL: Sequence[str] = ("method", "path", "body")


class _Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    after: float = 0.0
    text: str | None = None
    base64: str | None = None

    @classmethod
    def of(cls, data: bytes, after: float) -> _Chunk:
        """A chunk as text where it is, in base64 where it is not, or where it ends inside a character."""
        try:
            return cls(round(after, 4), text=data.decode())
        except UnicodeDecodeError:
            return cls(round(after, 4), base64=base64.b64encode(data).decode())

    def data(self) -> bytes:
        if self.base64 is not None:
            return base64.b64decode(self.base64)
        return (self.text or "").encode()


class CassetteRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request as it was recorded.

    Attributes:
        method: `POST`, `GET` …
        path: The path below the server's address.
        query: What stood behind `?`.
        headers: Names in lower case, without secrets.
        body: The JSON value, or the text.
    """

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = {}
    body: Any = None


class CassetteResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A response as it was recorded.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case, without secrets.
        chunks: The body in the chunks that came, each with the seconds since the chunk before.
        broken: Whether the connection broke before the body's end.
    """

    status: int
    headers: dict[str, str] = {}
    chunks: tuple[_Chunk, ...] = ()
    broken: bool = False

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join([chunk.data() for chunk in self.chunks])


class Interaction(msgspec.Struct, frozen=True):
    """One request and its response."""

    request: CassetteRequest
    response: CassetteResponse


class Cassette(msgspec.Struct, frozen=True):
    """What was recorded.

    Attributes:
        upstream: The address of the server that was recorded.
        interactions: Requests and responses, in order.
        version: Of the form of the file.

    Examples:
        ```python
        from promptport.testing import Cassette

        cassette = Cassette.load("tests/cassettes/weather.json")
        async with cassette.play() as server:
            ...  # point any client at server.url
        ```
    """

    upstream: str
    interactions: tuple[Interaction, ...]
    version: int = _VERSION

    @classmethod
    def load(cls, path: str | Path) -> Cassette:
        """Read a file.

        Raises:
            InvalidInputError: There is no such file, or it is not a cassette.
        """
        try:
            found = msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except FileNotFoundError:
            raise InvalidInputError(f"cassette: there is no file {path}. Record it: pytest --record=once.") from None
        except msgspec.DecodeError as error:
            raise InvalidInputError(f"cassette: {path} is not a cassette: {error}. Record it anew.") from None
        if found.version != _VERSION:
            raise InvalidInputError(f"cassette: {path} has version {found.version}, not {_VERSION}. Record it anew.")
        return found

    def dumps(self) -> str:
        """The file's text: JSON with one line for each chunk, so that two recordings can be compared."""
        value = msgspec.to_builtins(self)
        return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False) + "\n"

    @asynccontextmanager
    async def play(
        self,
        *,
        match: Match = _USUAL,
        cut: Cut | None = None,
        speed: float | None = None,
        mutator: str | None = None,
        protocol: AnyProtocol = "sse",
        seed: int = 0,
    ) -> AsyncIterator[WireServer]:
        """A server that answers as it was recorded; each recorded response is given once, in order.

        Args:
            match: How a request finds its response. Default: method, path and body.
            cut: How bodies are cut into chunks. Default: as they came.
            speed: 1.0 keeps the recorded times, 10.0 is ten times faster; `None` does not wait. Default: `None`.
            mutator: The name of one of `MUTATORS`, which makes each streamed body faulty.
            protocol: The protocol of the bodies, for `mutator`. Default: `"sse"`.
            seed: For what a mutator leaves to chance.

        Raises:
            InvalidInputError: An unknown field or mutator, or a speed that is not over 0.
            ExceptionGroup: When left: a request came that was never recorded.
        """
        if speed is not None and not speed > 0:
            raise InvalidInputError(f"play(): speed must be over 0, not {speed!r}; None does not wait.")
        if mutator is not None and mutator not in {one.name for one in MUTATORS}:
            raise InvalidInputError(f"play(): there is no mutator {mutator!r}.")
        player = _Player(self, match)

        way = _Way(cut, speed, mutator, protocol, seed)

        def answer(request: RecordedRequest) -> WireResponse:
            return way.response(player.take(request))

        async with WireServer() as server:
            server.answer(answer)
            yield server


class _Player:
    """Finds the response of each request, and gives it once."""

    def __init__(self, cassette: Cassette, match: Match) -> None:
        self._strict = match == "strict"
        fields = ("method", "path", "query", "body") if self._strict else tuple(match)
        for field in fields:
            if field.partition(".")[0] not in ("method", "path", "query", "body"):
                raise InvalidInputError(
                    f"match: there is no field {field!r}. Use method, path, query, body, or body.NAME."
                )
        self._fields = fields
        self._left = list(cassette.interactions)

    def take(self, request: RecordedRequest) -> CassetteResponse:
        """The response of this request.

        Raises:
            LookupError: It was never recorded, or was played already, or its turn has not come.
        """
        asked = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "body": body_value(request.body),
        }
        candidates = self._left[:1] if self._strict else self._left
        for index, one in enumerate(candidates):
            if self._differing(one.request, asked) is None:
                del self._left[index]
                return one.response
        told = "no response is left"
        if candidates:
            told = min([self._differing(one.request, asked) or "" for one in candidates], key=len)
        raise LookupError(f"the cassette has no {request.method} {request.path} like this one: {told}")

    def _differing(self, recorded: CassetteRequest, asked: Mapping[str, Any]) -> str | None:
        known = msgspec.to_builtins(recorded)
        for field in self._fields:
            head, _, rest = field.partition(".")
            have, want = _inside(asked[head], rest), _inside(known.get(head, "" if head == "query" else None), rest)
            if head == "query":
                have, want = _without_scrubbed(have, want), _without_scrubbed(want, want)
            if have != want:
                return _difference(field, have, want)
        return None


def body_value(body: bytes) -> Any:
    """A request's body as JSON, else as text, else in base64; `None` for none."""
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _inside(value: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _without_scrubbed(query: Any, recorded: Any) -> list[str]:
    """A query without the parameters whose values were taken out of the recording."""
    gone = {part.partition("=")[0] for part in str(recorded).split("&") if part.endswith("=[scrubbed]")}
    return sorted(part for part in str(query).split("&") if part and part.partition("=")[0] not in gone)


def _difference(field: str, have: Any, want: Any) -> str:
    """Where two values differ first, without the whole of either."""
    if isinstance(have, dict) and isinstance(want, dict):
        for name in sorted({*have, *want}):
            if have.get(name) != want.get(name):
                return _difference(f"{field}.{name}", have.get(name), want.get(name))
    if isinstance(have, list) and isinstance(want, list):
        for index, (one, other) in enumerate(zip(have, want, strict=False)):
            if one != other:
                return _difference(f"{field}[{index}]", one, other)
        return f"{field}: {len(have)} entries, and {len(want)} were recorded"
    return f"{field}: {_short(have)}, and {_short(want)} was recorded"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 80 else text[:77] + "…"


_HOP = frozenset({"connection", "content-length", "content-encoding", "transfer-encoding", "keep-alive", "date"})


class _Way(msgspec.Struct, frozen=True):
    """How a recorded response is played."""

    cut: Cut | None
    speed: float | None
    mutator: str | None
    protocol: AnyProtocol
    seed: int

    def response(self, recorded: CassetteResponse) -> WireResponse:
        headers = {name: value for name, value in recorded.headers.items() if name not in _HOP}
        kind = headers.pop("content-type", None)
        body = self._body(recorded, (kind or "").startswith(("text/event-stream", "application/x-ndjson")))
        pace: Sequence[float] | None = None
        if self.speed is not None and isinstance(body, list):
            pace = [chunk.after / self.speed for chunk in recorded.chunks[1:]]
        return WireResponse(
            body,
            status=recorded.status,
            headers=headers,
            content_type=kind,
            cut=self.cut if self.cut is not None else "whole",
            pace=pace,
            drop_after=len(recorded.body) if recorded.broken else None,
        )

    def _body(self, recorded: CassetteResponse, streamed: bool) -> bytes | list[bytes]:
        """The chunks as they came, or one body that is cut anew."""
        if self.mutator is not None and (streamed or len(recorded.chunks) > 1):
            fault = next(one for one in MUTATORS if one.name == self.mutator)
            faulty = fault(Wire.parse(self.protocol, recorded.body), random.Random(self.seed))  # noqa: S311
            return faulty if faulty is not None else recorded.body
        return recorded.body if self.cut is not None else [chunk.data() for chunk in recorded.chunks]
