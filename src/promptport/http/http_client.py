"""`HTTPClient`: a client of one HTTP API, as attributes and a few hooks.

Rule: what every provider needs is here once (address, key, headers, transport, models); what differs is an attribute
where it is data, and a method where it is not.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from promptport.decoding import MALFORMED, Limits, StreamDecoder
from promptport.errors import (
    AuthenticationError,
    ConfigurationError,
    PromptportError,
    ProtocolError,
    UnsupportedCapabilityError,
)
from promptport.http.addresses import address_of, check_base_url, is_within
from promptport.http.aiohttp_transport import AiohttpTransport
from promptport.http.base_client import BaseClient, ByteStream
from promptport.http.httpx_transport import HTTPTransport
from promptport.http.keys import APIKey, check_api_key, environment_key
from promptport.http.request import HTTPRequest, Prepare, check_headers
from promptport.http.sdk_transport import SdkTransport
from promptport.http.transport import Transport
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel, ModelCapabilities
from promptport.stream import Timeouts
from promptport.tools import ToolDescriptor

if TYPE_CHECKING:
    import ssl

__all__ = ["HTTPClient", "new_transport"]

_MOST_PAGES = 100  # of a list of models


def new_transport(
    base_url: str,
    *,
    provider: str,
    http_client: Any = None,
    ssl_context: ssl.SSLContext | None = None,
    max_connections: int | None = None,
    **options: Any,
) -> Transport:
    """The transport for what a caller brings: aiohttp, unless ``http_client`` is another library's.

    Args:
        base_url: The server.
        provider: For the errors.
        http_client: An ``aiohttp.ClientSession``, an ``httpx.AsyncClient``, or ``None``.
        ssl_context: See `AiohttpTransport`.
        max_connections: See `AiohttpTransport`.
        options: What else `Transport` takes.

    Raises:
        ConfigurationError: The URL, a header or the client is not usable, or options exclude each other.
    """
    if http_client is None or _comes_from("aiohttp", http_client):
        return AiohttpTransport(
            base_url,
            provider=provider,
            http_client=http_client,
            ssl_context=ssl_context,
            max_connections=max_connections,
            **options,
        )
    if ssl_context is not None or max_connections is not None:
        raise ConfigurationError(f"{provider}: an http_client brings its own ssl_context and max_connections")
    return HTTPTransport(base_url, provider=provider, http_client=http_client, **options)


def _comes_from(library: str, http_client: object) -> bool:
    """Whether its class, or one that it derives from, is this library's; asked without importing the library."""
    return any(base.__module__.partition(".")[0] == library for base in type(http_client).__mro__)


class HTTPClient(BaseClient):
    """A client of one HTTP API. A subclass sets the attributes and gives `capabilities`.

    Attributes:
        provider: The provider's name, as in ``LLModel.provider``.
        base_url: In the class, the provider's own address. In a client, the address that it asks.
        path: Appended to the base URL for a request; may hold a query. See also `_path`.
        models_path: Where the server lists its models; an empty string if it does not.
        model_lists: The fields of the server's list that may hold the models; an empty name is a response that is the
            list itself. See also `_model_id` and `_more`.
        key_variable: The environment variable of the key. Its key goes only to the provider's own address.
        key_variables: Several of them, of which the first that is set counts.
        url_variable: The environment variable of the base URL, or an empty string.
        key_header: The header that carries the key. ``authorization`` carries ``Bearer`` and the key.
        token_header: The header of a token that ``api_key=function`` gives. Default: ``key_header``.
        key_query: The parameter of the URL that carries the key, instead of a header.
        needs_key: Whether the provider's own address refuses requests without a key.
        accept: The media type of a streamed response.
        default_headers: Sent with every request.
        default_query: Appended to every URL.
        body: Prompt, model, tools and ``stream`` (by name) to the JSON body of a request. If it has a parameter
            ``origin``, it also gets the client's `Origin`, to which opaque parts of the history may go back.
        decoder: The ids of the conversation's tool calls to a decoder of a streamed response.
        complete: The body of a whole response, and those ids, to the message.
        own: In a client: whether it asks the provider's own address.

    Examples:
        ```python
        from promptport.provider import Capability, HTTPClient, LLModel, ModelCapabilities, StreamedTools
        from promptport.provider import ChatCompletionsDecoder, chat_body, decode_chat_completion


        class MarmotClient(HTTPClient):
            provider = "marmot"
            base_url = "https://api.marmot.example/v1"
            key_variable = "MARMOT_API_KEY"
            path = "/chat/completions"
            body = chat_body
            decoder = ChatCompletionsDecoder
            complete = decode_chat_completion

            def capabilities(self, model: LLModel) -> ModelCapabilities:
                return model.capabilities or ModelCapabilities.of(StreamedTools.DELTAS, [Capability.TOOLS])
        ```
    """

    base_url: str = ""
    path: str = ""
    models_path: str = "/models"
    model_lists: ClassVar[Sequence[str]] = ("data", "models", "")
    key_variable: str = ""
    key_variables: Sequence[str] = ()
    url_variable: str = ""
    key_header: str = "authorization"
    token_header: str = ""
    key_query: str = ""
    needs_key: bool = True
    accept: str = "text/event-stream"
    default_headers: Mapping[str, str] = {}
    default_query: Mapping[str, str] = {}
    body: ClassVar[Callable[..., dict[str, Any]]]
    decoder: ClassVar[Callable[[frozenset[str]], StreamDecoder[Any]]]
    complete: ClassVar[Callable[[bytes, frozenset[str]], AssistantMessage]]

    _takes_origin = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "body" in cls.__dict__:
            cls._takes_origin = "origin" in inspect.signature(cls.body).parameters

    def __init__(
        self,
        *,
        api_key: APIKey | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: Any = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        limits: Limits | None = None,
        origin: str | None = None,
        transport: Transport | SdkTransport | None = None,
    ) -> None:
        """Create a client. Nothing is sent, and no HTTP library is imported, before the first request.

        Args:
            api_key: The key, or a function that gives a fresh token for each request. Default: the key in the
                provider's environment variable, if the request goes to the provider's own address.
            base_url: The server. Default: the provider's own.
            timeouts: The timeouts of a request.
            headers: Sent with every request.
            http_client: Your own ``aiohttp.ClientSession`` or ``httpx.AsyncClient``. promptport does not close it.
            ssl_context: The certificates to trust. Default: the system's.
            max_connections: How many requests may be open at once; more wait. Default: no limit.
            limits: How much of a response is accepted.
            origin: A name for the server, if servers at several addresses are one; see `Origin`.
            transport: For subclasses: the way to the server, which brings address, key and headers.

        Raises:
            ConfigurationError: No key where one is needed, or a key, URL, header or client that cannot be used.
        """
        super().__init__(timeouts=timeouts, limits=limits, origin=origin)
        home = self.base_url
        self._key_note = ""
        self._discovered: dict[str, ModelCapabilities] = {}
        if self.key_variables:
            set_ones = [name for name in self.key_variables if os.environ.get(name)]
            self.key_variable = [*set_ones, *self.key_variables][0]
        self._transport: Transport | SdkTransport
        if transport is not None:
            self._transport, self.base_url = transport, transport.base_url
            self.address = transport.base_url
            self.own = is_within(transport.base_url, home)
            return
        given = base_url or (os.environ.get(self.url_variable) if self.url_variable else None)
        url = check_base_url(given or home, provider=self.provider)
        self.own = bool(home) and (not given or is_within(url, home))
        key = self._key(api_key)
        merged = {**self.default_headers, **check_headers(headers, provider=self.provider)}
        query = dict(self.default_query)
        if isinstance(key, str):
            if self.key_query:
                query[self.key_query] = key
            else:
                merged = {self.key_header: self._key_value(key, self.key_header), **merged}
        self._fresh_key = key if callable(key) else None
        overridden = type(self)._prepare is not HTTPClient._prepare
        prepare: Prepare | None = self._prepared if overridden or self._fresh_key is not None else None
        self._transport = new_transport(
            url,
            provider=self.provider,
            http_client=http_client,
            ssl_context=ssl_context,
            max_connections=max_connections,
            headers=merged,
            query=query,
            timeouts=self._timeouts,
            limits=self.limits,
            prepare=prepare,
            secrets=[key] if isinstance(key, str) else [],
        )
        self.base_url = self.address = self._transport.base_url

    # ------------------------------------------------------------------------------ what a subclass may give

    def _path(self, model: LLModel, *, stream: bool) -> str:
        """What is appended to the base URL for this request, encoded; by default ``path``."""
        return self.path

    def _headers(self, body: dict[str, Any], model: LLModel) -> Mapping[str, str]:
        """Headers of one request. What it takes out of ``body`` is not sent in it."""
        return {}

    def _model_id(self, entry: Any) -> Any:
        """The id of a model in the server's list; ``None`` for what cannot be asked."""
        return entry.get("id") or entry.get("name") if isinstance(entry, dict) else entry

    def _more(self, listed: dict[str, Any]) -> str:
        """What is appended to ``models_path`` for the next page; an empty string behind the last one."""
        return ""

    async def _describe(self, model: LLModel) -> ModelCapabilities | None:
        """What the server says of a model, for `discover`; ``None`` if it has nothing to say. Keep it in `capabilities`
        by ``self._discovered``.
        """
        return None

    async def _prepare(self, request: HTTPRequest) -> None:
        """Changes a request just before it is sent: signs it, say. Its body is final. May be a plain function."""

    # ------------------------------------------------------------------------------------------------ verbs

    async def models(self) -> list[LLModel]:
        """The models that the server lists, within ``timeouts.first_frame``.

        Raises:
            ProviderError: The server refused or was not reached.
            ProtocolError: What it answered is not a list of models.
            UnsupportedCapabilityError: The provider has no such list.
        """
        if not self.models_path:
            raise UnsupportedCapabilityError(provider=self.provider, model="*", missing=["a list of models"])
        found: list[LLModel] = []
        more = ""
        for _ in range(_MOST_PAGES):
            listed = await self._get(f"{self.models_path}{more}")
            told = listed if isinstance(listed, dict) else {"": listed}
            entries = next((told[name] for name in self.model_lists if name in told), None)
            if not isinstance(entries, list):
                raise ProtocolError(f"{self.provider}: the server's list of models cannot be read. Check the base_url.")
            names = [self._model_id(entry) for entry in entries]
            found += [LLModel(self.provider, name) for name in names if isinstance(name, str) and name]
            more = self._more(told)
            if not more:
                break
        return found

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """Ask the server what this model can do, if it can say; `capabilities` knows it from then on.

        Raises:
            ProviderError: The server does not know the model, or was not reached.
            ProtocolError: The response does not describe a model.
        """
        if not model.capabilities and model.id not in self._discovered:
            described = await self._describe(model)
            if described is not None:
                self._discovered[model.id] = described
        return self.capabilities(model)

    # ----------------------------------------------------------------------------- what BaseClient asks for

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        build = type(self).body
        if self._takes_origin:
            return build(prompt, model, tools, stream=stream, origin=self.origin)
        return build(prompt, model, tools, stream=stream)

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        return type(self).decoder(prompt.call_ids())

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return type(self).complete(data, prompt.call_ids())

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        headers = {"accept": self.accept, **self._headers(body, model)}
        try:
            return await self._transport.open(self._path(model, stream=True), body, model.id, headers=headers)
        except AuthenticationError as error:
            raise self._noted(error) from error.__cause__

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        headers = self._headers(body, model)
        try:
            return await self._transport.post(self._path(model, stream=False), body, model.id, headers=headers)
        except AuthenticationError as error:
            raise self._noted(error) from error.__cause__

    def _address(self) -> tuple[str, int] | None:
        return address_of(self.base_url)

    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        return self._transport.failure(error, model.id)

    def _known_secrets(self) -> Collection[str]:
        return self._transport.secrets

    async def _aclose(self) -> None:
        await self._transport.aclose()

    # ---------------------------------------------------------------------------------------------- inside

    async def _get(self, path: str, model: str = "") -> Any:
        """The JSON at a path, for `models` and `discover`. Raises as `models`."""
        if self._closed:
            self._refuse_closed()
        with self._redacting():
            try:
                data = await self._transport.get(path, model)
            except AuthenticationError as error:
                raise self._noted(error) from error.__cause__
        try:
            return msgspec.json.decode(data)
        except MALFORMED:
            text = f"{self.provider}: the server's response is not JSON. Check the base_url."
            raise ProtocolError(text) from None

    def _key(self, api_key: APIKey | None) -> APIKey | None:
        if callable(api_key):
            return api_key
        if api_key is None:
            api_key, self._key_note = environment_key(self.key_variable, own=self.own)
        if not api_key and not (self.own and self.needs_key):
            return None
        return check_api_key(api_key, provider=self.provider, variable=self.key_variable)

    def _key_value(self, key: str, header: str) -> str:
        return f"Bearer {key}" if header.lower() == "authorization" else key

    async def _prepared(self, request: HTTPRequest) -> None:
        if self._fresh_key is not None:
            found = self._fresh_key()
            key = check_api_key(
                await found if inspect.isawaitable(found) else found, provider=self.provider, variable=""
            )
            request.secrets.append(key)
            if self.key_query:
                request.add_query({self.key_query: key})
            else:
                header = self.token_header or self.key_header
                request.headers.setdefault(header.lower(), self._key_value(key, header))
        waiting: Any = self._prepare(request)
        if inspect.isawaitable(waiting):
            await waiting

    def _noted(self, error: AuthenticationError) -> AuthenticationError:
        if self._key_note:
            error.add_note(self._key_note)
        return error
