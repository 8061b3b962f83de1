"""`Recorder`: stands between any client and a server, passes everything on, and writes a `Cassette`.

Rules: what passes is not changed, and not held up; what is written holds no secret, or nothing is written. It works for
any client that can be pointed at an address, also for the official SDKs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from promptport.errors import ConfigurationError, InvalidInputError
from promptport.testing.cassette import Cassette, CassetteRequest, CassetteResponse, Interaction, _Chunk, body_value
from promptport.testing.scrubbing import Scrubber

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["Recorder"]

_HOP = frozenset(
    {"connection", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_LIMIT = 64 << 20  # bytes of one request's body


class Recorder:
    """A server on a free port of 127.0.0.1 that passes requests on to another one, and keeps what passes.

    Attributes:
        url: Where to point a client instead of `upstream`.
        interactions: What was recorded so far.

    Examples:
        ```python
        import promptport as pp
        from promptport.testing import Recorder

        async with Recorder("https://api.openai.com/v1", to="cassettes/weather.json") as recorder:
            client = pp.client("openai-chat", base_url=recorder.url, api_key="…")
        ```
    """

    def __init__(
        self,
        upstream: str,
        *,
        to: str | Path | None = None,
        scrub: Iterable[str] = (),
        secrets: Iterable[str] = (),
    ) -> None:
        """Make a recorder.

        Args:
            upstream: The address of the server, as a client would be given it.
            to: The file to write when the recorder is left without an exception. Default: none.
            scrub: Regular expressions of what must not be written; keys are known already.
            secrets: Texts that must not be written, such as a name of a customer.

        Raises:
            InvalidInputError: The address is none, or a pattern is not a regular expression.
        """
        parts = urlsplit(upstream)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError(
                f"Recorder: {upstream!r} is no address. Write it like 'https://api.example.com/v1'."
            )
        self.upstream = upstream.rstrip("/")
        self.url = ""
        self.interactions: list[Interaction] = []
        self._to = Path(to) if to is not None else None
        self._scrubber = Scrubber(scrub, secrets)
        self._order: list[Interaction | None] = []

    async def __aenter__(self) -> Self:
        try:
            import aiohttp  # noqa: PLC0415 - needed by those who record
            from aiohttp import web  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                'Recorder: aiohttp is not installed. Run: pip install "promptport[testing]".'
            ) from error
        self._session = aiohttp.ClientSession(
            auto_decompress=True, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
        )
        app = web.Application(client_max_size=_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stops; writes the file where nothing was raised."""
        await self._runner.cleanup()
        await self._session.close()
        if kind is None and self._to is not None:
            self.save(self._to)

    @property
    def cassette(self) -> Cassette:
        """What was recorded so far."""
        return Cassette(self._scrubber.text(self.upstream), tuple(self.interactions))

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            InvalidInputError: A secret is left in it; nothing is written.
        """
        text = self.cassette.dumps()
        try:
            self._scrubber.check(text)
        except ValueError as error:
            raise InvalidInputError(
                f"Recorder: {error}, and nothing was written. Name it in scrub=, or report it."
            ) from None
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    # ------------------------------------------------------------------------------------------ passing on

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import ClientError, web  # noqa: PLC0415 - imported when the recorder was entered
        from yarl import URL  # noqa: PLC0415

        number = len(self._order)
        self._order.append(None)
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        # What is compressed could not be searched for keys; no server minds.
        headers = {name: value for name, value in headers.items() if name.lower() != "accept-encoding"}
        headers["Accept-Encoding"] = "identity"
        url = URL(self.upstream + request.raw_path, encoded=True)
        chunks: list[tuple[bytes, float]] = []
        broken = False
        try:
            async with self._session.request(
                request.method, url, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
                dropped = ("content-length", "content-encoding")
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                for name, value in kept:
                    if name.lower() not in dropped:
                        response.headers.add(name, value)
                await response.prepare(request)
                then = time.monotonic()
                try:
                    async for chunk in answer.content.iter_any():
                        now = time.monotonic()
                        chunks.append((chunk, now - then))
                        then = now
                        await response.write(chunk)
                except (ClientError, ConnectionError):
                    broken = True
                finally:
                    self._order[number] = self._interaction(request, body, (answer.status, dict(kept)), chunks, broken)
                    self.interactions = [one for one in self._order if one is not None]
                if broken and request.transport is not None:
                    request.transport.abort()
                else:
                    await response.write_eof()
                return response
        except (TimeoutError, ClientError, OSError) as error:
            raise web.HTTPBadGateway(text=f"the recorder cannot reach its server ({type(error).__name__})") from None

    def _interaction(
        self,
        request: web.Request,
        body: bytes,
        head: tuple[int, dict[str, str]],
        chunks: list[tuple[bytes, float]],
        broken: bool,
    ) -> Interaction:
        """One interaction, scrubbed."""
        scrubber = self._scrubber
        path, _, query = request.raw_path.partition("?")
        clean_headers = scrubber.headers(request.headers)
        clean_query = scrubber.query(query)
        try:
            pieces = scrubber.chunks([chunk for chunk, _ in chunks])
        except ValueError:  # binary frames: kept as they are, and searched for what is known to be secret
            pieces = [chunk for chunk, _ in chunks]
            scrubber_found = any(scrubber.text(chunk.decode("latin-1")) != chunk.decode("latin-1") for chunk in pieces)
            if scrubber_found:
                raise InvalidInputError("Recorder: a binary body holds a secret, and cannot be scrubbed.") from None
        times = [after for _, after in chunks][: len(pieces)]
        recorded = CassetteRequest(
            request.method,
            scrubber.text(path),
            clean_query,
            {name: value for name, value in clean_headers.items() if name not in _HOP and name != "content-length"},
            _scrubbed(body_value(body), scrubber),
        )
        response = CassetteResponse(
            head[0],
            scrubber.headers(head[1]),
            tuple([_Chunk.of(piece, after) for piece, after in zip(pieces, times, strict=False)]),
            broken,
        )
        return Interaction(recorded, response)


def _scrubbed(value: Any, scrubber: Scrubber) -> Any:
    if isinstance(value, str):
        return scrubber.text(value)
    if isinstance(value, list):
        return [_scrubbed(one, scrubber) for one in value]
    if isinstance(value, dict):
        return {scrubber.text(name): _scrubbed(one, scrubber) for name, one in value.items()}
    return value
