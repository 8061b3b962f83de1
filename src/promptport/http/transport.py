"""`Transport`: requests to one server, by the same rules over aiohttp (ours) and httpx (a caller's own client).

Rules:

- A request is sent once. Only a kept connection that proves closed before a byte was written is replaced by another.
- Neither key nor prompt goes to another origin than the request's. Within the origin, HTTP 307 and 308 are followed, up
  to five times, with the same method and body; a GET also follows 301, 302 and 303. A POST never becomes a GET.
- An encoded URL stays as it is.
- Every method raises `PromptportError` only; the library's exception is the ``__cause__``.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from promptport.decoding import DEFAULT_LIMITS, Limits
from promptport.errors import ConfigurationError, InvalidInputError, PromptportError, ProviderError, TransportError
from promptport.http.addresses import check_base_url, origin_of, split_credentials
from promptport.http.bodies import ResponseBody, beginning_of
from promptport.http.request import HTTPRequest, Prepare, check_headers
from promptport.http.status_errors import header_secrets, status_error
from promptport.stream import Timeouts

__all__ = ["Transport", "redirect_error"]

_MOST_REDIRECTS = 5
_MOST_SECRETS = 64  # tokens change from request to request; older ones are no longer quoted
_MOVED = (301, 302, 303, 307, 308)
_SAME_METHOD = (307, 308)
_AS_JSON = {"content-type": "application/json"}


class Transport(ABC):
    """One server: a JSON body out, bytes in."""

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        prepare: Prepare | None = None,
        secrets: Collection[str] = (),
    ) -> None:
        """Args:
            base_url: What the paths are appended to. User and password in it become ``Authorization: Basic``.
            provider: For the errors.
            headers: Sent with every request.
            query: Parameters that are appended to every URL.
            timeouts: ``connect`` is kept here; the other timeouts are the stream's.
            limits: For the bodies.
            prepare: Asked for each request when its body is final: signs it, or puts in a fresh token.
            secrets: What no error may quote, besides header values whose names sound like it.

        Raises:
            ConfigurationError: The URL or a header is not usable, or two of them say who asks.
        """
        address, basic = split_credentials(check_base_url(base_url, provider=provider))
        self.base_url = address
        self.provider = provider
        self.limits = limits if limits is not None else DEFAULT_LIMITS
        self._headers = check_headers(headers, provider=provider)
        self._query = dict(query or {})
        self._timeouts = timeouts if timeouts is not None else Timeouts()
        self._prepare = prepare
        self._secrets = dict.fromkeys([secret for secret in secrets if secret])
        if basic is not None:
            if "authorization" in self._headers:
                raise ConfigurationError(
                    f"{provider}: the base_url holds user and password, and a key is given too. Pass one of them."
                )
            self._headers["authorization"] = basic
            self._secrets.update(dict.fromkeys(unquote(urlsplit(base_url).password or "").split()))
        self._secrets.update(dict.fromkeys([*header_secrets(self._headers), *header_secrets(self._query)]))
        self._recent: dict[str, None] = {}

    # ------------------------------------------------------------------------------------------- requests

    async def open(
        self, path: str, body: Mapping[str, Any], model: str = "", *, headers: Mapping[str, str] | None = None
    ) -> ResponseBody:
        """POSTs the body as JSON; returns when the head of a successful response is there.

        Args:
            path: Appended to the base URL, encoded; may hold a query.
            body: Becomes JSON.
            model: For the errors.
            headers: Sent besides the transport's own, and before them in rank.

        Raises:
            ProviderError: The server refused, redirects elsewhere or was not reached.
            InvalidInputError: The body is not JSON.
        """
        # Compression would hold back small chunks, for a text that is read once.
        asked = {"accept": "text/event-stream", "accept-encoding": "identity", **_AS_JSON}
        return await self._send(self._request("POST", path, model, asked, headers, self._encoded(body)))

    async def post(
        self, path: str, body: Mapping[str, Any], model: str = "", *, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """POSTs the body as JSON; the body of a successful response. Raises as `open`, and `ProtocolError`."""
        asked = {"accept": "application/json", "accept-encoding": "identity", **_AS_JSON}
        return await self._whole(self._request("POST", path, model, asked, headers, self._encoded(body)))

    async def get(self, path: str, model: str = "", *, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of a successful response, within ``timeouts.first_frame``. Raises as `post`."""
        asked = {"accept": "application/json", "accept-encoding": "identity"}
        request = self._request("GET", path, model, asked, headers, None)
        with self._translating(model):
            async with asyncio.timeout(self._timeouts.first_frame):
                return await self._whole(request)

    def failure(self, error: Exception, model: str) -> PromptportError | None:
        """Our error for one of the HTTP library; ``None`` where it is none of its."""
        from promptport.http.transport_errors import transport_error  # noqa: PLC0415 - slow to import

        return transport_error(error, provider=self.provider, model=model, base_url=self.base_url)

    @property
    def secrets(self) -> Collection[str]:
        """What no error may quote: keys, tokens, passwords."""
        return self._secrets.keys() | self._recent.keys() if self._recent else self._secrets.keys()

    @abstractmethod
    async def aclose(self) -> None:
        """Closes the connections; a client of the caller's stays open."""

    @abstractmethod
    async def _exchange(self, request: HTTPRequest) -> ResponseBody:
        """Sends a request and follows nothing; the response when its head is there. Raises what the library raises."""

    # --------------------------------------------------------------------------------------------- inside

    def _request(  # noqa: PLR0917
        self,
        method: str,
        path: str,
        model: str,
        asked: dict[str, str],
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> HTTPRequest:
        merged = {**asked, **self._headers}
        if headers:
            merged.update(check_headers(headers, provider=self.provider))
        request = HTTPRequest(method, self.base_url + path, merged, body, model, [])
        if self._query:
            request.add_query(self._query)
        return request

    def _encoded(self, body: Mapping[str, Any]) -> bytes:
        try:
            return msgspec.json.encode(body)
        except (TypeError, ValueError, OverflowError, RecursionError):
            # From None: the cause could quote the prompt.
            text = f"{self.provider}: the prompt, its extra or a schema holds what JSON cannot"
            raise InvalidInputError(f"{text} (a lone surrogate, an object). Use JSON values only.") from None

    async def _whole(self, request: HTTPRequest) -> bytes:
        response = await self._send(request)
        with self._translating(request.model):
            return await response.read()

    async def _send(self, request: HTTPRequest) -> ResponseBody:
        url = request.url
        for _ in range(_MOST_REDIRECTS + 1):
            asked = HTTPRequest(request.method, url, dict(request.headers), request.body, request.model, [])
            if self._prepare is not None:
                await self._prepared(asked, self._prepare)
            with self._translating(asked.model):
                response = await self._exchange(asked)
            if 200 <= response.status < 300:
                return response
            try:
                if response.status not in _MOVED or "location" not in response.headers:
                    raise await self._refusal(response, asked)
                url = self._moved_to(response.headers["location"], response.status, asked)
            finally:
                with suppress(Exception):
                    await response.aclose()
        text = f"{self.provider}: the server redirects more than {_MOST_REDIRECTS} times. Check the base_url."
        raise TransportError(text, provider=self.provider, model=request.model)

    async def _prepared(self, asked: HTTPRequest, prepare: Prepare) -> None:
        waiting = prepare(asked)
        if inspect.isawaitable(waiting):
            await waiting
        for secret in [*asked.secrets, *header_secrets(asked.headers)]:
            if secret not in self._secrets and secret not in self._recent:
                if len(self._recent) >= _MOST_SECRETS:
                    self._recent.pop(next(iter(self._recent)))
                self._recent[secret] = None

    def _moved_to(self, location: str, status: int, asked: HTTPRequest) -> str:
        """Where a redirect leads, within the origin."""
        target = _joined(asked.url, location)
        encoded = target.isascii() and target.isprintable() and " " not in target
        same_method = asked.method == "GET" or status in _SAME_METHOD
        if encoded and same_method and origin_of(target) == origin_of(asked.url):
            return target
        raise redirect_error(location, asked.url, provider=self.provider, model=asked.model, status=status)

    async def _refusal(self, response: ResponseBody, asked: HTTPRequest) -> ProviderError:
        return status_error(
            provider=self.provider,
            model=asked.model,
            status=response.status,
            headers=response.headers,
            body=await beginning_of(response),
            secrets=self.secrets,
            url=asked.url,
        )

    @contextmanager
    def _translating(self, model: str) -> Iterator[None]:
        try:
            yield
        except PromptportError:
            raise
        except Exception as error:
            failure = self.failure(error, model)
            if failure is None:
                raise
            raise failure from error


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location.strip()).partition("#")[0]
    except ValueError:  # a host that cannot be read
        return ""


def redirect_error(location: str, url: str, *, provider: str, model: str, status: int) -> ProviderError:
    """The error for a redirect that is not followed; of where it leads, only the origin is shown.

    Args:
        location: The header of the response.
        url: What was asked.
        provider: The provider's name.
        model: The model's id, or an empty string.
        status: The HTTP status.
    """
    here, there = origin_of(url), origin_of(_joined(url, location))
    text = f"{provider}/{model}" if model else provider
    text += f": HTTP {status}: the server redirects"
    if there is None:
        text += " to an address that cannot be asked. Check the base_url."
    elif there != here:
        text += (
            f" to another origin, {there}. promptport sends neither the key nor the prompt there."
            " If it is the right server, pass its address as base_url."
        )
    elif status not in _SAME_METHOD:
        text += " in a way that turns a POST into a GET. Check the base_url."
    else:
        text += " to an address that is not encoded. Check the base_url."
    return ProviderError(text, provider=provider, model=model, status=status)
