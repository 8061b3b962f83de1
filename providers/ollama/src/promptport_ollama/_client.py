"""`OllamaClient`: ``/api/chat`` over aiohttp, or an httpx client of the caller's; ``show`` and ``list`` by the SDK.

Rules: the bytes of an answer are ours from the HTTP library on, because the SDK ends lines where JSON does not
(U+0085, U+2028); a library is imported when it is first used.

aiohttp, because it brings a chunk to the decoder for a fraction of what httpx takes, and because its pool does not look
at all connections for each request (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.provider import (
    APIKey,
    BadRequestError,
    ByteStream,
    HTTPClient,
    InvalidInputError,
    Limits,
    LLModel,
    ModelCapabilities,
    Prompt,
    PromptportError,
    ProtocolError,
    SdkTransport,
    Timeouts,
    ToolChoice,
    ToolDescriptor,
    Transport,
    UnsupportedCapabilityError,
    transport_error,
)
from promptport_ollama._decode import ChatDecoder, decode_complete
from promptport_ollama._models import UNKNOWN, described
from promptport_ollama._request import chat_body
from promptport_ollama._server import server

if TYPE_CHECKING:
    import aiohttp
    import httpx
    import ollama

__all__ = ["OllamaClient"]


class OllamaClient(HTTPClient):
    """Models on an Ollama server; ``pp.client("ollama", …)`` makes one. It belongs to one event loop."""

    provider = "ollama"
    answer_dialect = "ollama"
    base_url = "https://ollama.com"
    path = "/api/chat"
    key_variable = "OLLAMA_API_KEY"
    needs_key = False
    accept = "application/x-ndjson, application/json"
    decoder = ChatDecoder
    complete = decode_complete

    def __init__(
        self,
        *,
        api_key: APIKey | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        http_client: aiohttp.ClientSession | httpx.AsyncClient | None = None,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        limits: Limits | None = None,
        origin: str | None = None,
    ) -> None:
        """A client of one server.

        Args:
            api_key: For ollama.com, and servers behind a gate that takes ``Authorization: Bearer``. Default:
                ``OLLAMA_API_KEY``, if the request goes to ollama.com; otherwise none is sent.
            base_url: The server, with or without scheme and port. Default: ``OLLAMA_HOST``, or ``127.0.0.1:11434``.
            timeouts: The timeouts; a model that must be loaded first is waiting for the first frame.
            http_client: Your own ``aiohttp.ClientSession`` or ``httpx.AsyncClient``, with its proxies, certificates
                and limits. promptport does not close it.
            headers: Sent with every request.
            ssl_context: The certificates to trust. Default: the system's.
            max_connections: How many requests may be open at once; more wait. Default: no limit.
            limits: How much of a response is accepted.
            origin: A name for the server, if servers at several addresses are one; see `Origin`.

        Raises:
            ConfigurationError: No usable address, key or http_client, or options that an http_client brings itself.
        """
        super().__init__(
            api_key=api_key,
            base_url=server(base_url or os.environ.get("OLLAMA_HOST")),
            timeouts=timeouts,
            headers=headers,
            http_client=http_client,
            ssl_context=ssl_context,
            max_connections=max_connections,
            limits=limits,
            origin=origin,
        )
        self._sdk: ollama.AsyncClient | None = None
        self._discovered: dict[str, ModelCapabilities] = {}

    # ------------------------------------------------------------------------------------------- models

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What the caller declared, else what `discover` found, else all that the API has."""
        return model.capabilities or self._discovered.get(model.id) or UNKNOWN

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """What the server's ``/api/show`` says, asked once for each model; from then on `capabilities` knows it too.

        Raises:
            ProviderError, ProtocolError: the server does not know the model, was not reached, or answered nonsense.
        """
        found = self._discovered.get(model.id)
        if found is None:
            answer = await self._ask(lambda sdk: sdk.show(model.id), model.id)
            if answer.capabilities is None:  # servers before 0.6.4 do not say
                return self.capabilities(model)
            found = self._discovered[model.id] = described(answer.capabilities, answer.modelinfo or {})
        return found

    async def models(self) -> list[LLModel]:
        """The models that the server has, by its ``/api/tags``.

        Raises:
            ProviderError, ProtocolError: the server was not reached, or answered nonsense.
        """
        answer = await self._ask(lambda sdk: sdk.list(), "")
        return [LLModel(self.provider, entry.model) for entry in answer.models if entry.model]

    async def _ask(self, question: Callable[[ollama.AsyncClient], Awaitable[Any]], model: str) -> Any:
        if self._closed:
            raise InvalidInputError("the ollama client is closed")
        if self._sdk is None:
            import ollama  # noqa: PLC0415 - imported when it is first used

            # The SDK writes the question and reads the answer; connections and errors are those of the chat.
            self._sdk = ollama.AsyncClient(self.base_url, transport=_Bridge(self._transport, self.base_url))
        with self._redacting():
            try:
                async with asyncio.timeout(self._timeouts.first_frame):
                    return await question(self._sdk)
            except PromptportError:
                raise
            except Exception as error:
                failure = transport_error(error, provider=self.provider, model=model, base_url=self.base_url)
                if failure is None:
                    failure = ProtocolError("what the server says of its models cannot be read: is the base_url right?")
                # pydantic's quotes what the server said, in pieces where a key would not be found.
                raise failure from (None if type(error).__module__.startswith("pydantic") else error)

    # ----------------------------------------------------------------------- what `BaseClient` asks for

    def _check(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, streaming: bool) -> None:
        if prompt.params.tool_choice is ToolChoice.NONE:
            prompt, tools = prompt.with_params(tool_choice=None), ()  # none will be sent
        super()._check(prompt, model, tools, streaming=streaming)

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        body = chat_body(prompt, model, tools, stream=stream, origin=self.origin)
        try:
            msgspec.json.encode(body)
        except (TypeError, ValueError, OverflowError, RecursionError):
            # From None: the cause could quote the prompt.
            text = "ollama: the prompt, its extra or a schema holds what JSON cannot (a lone surrogate, an object)"
            raise InvalidInputError(text) from None
        return body

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        with _refusals(model):
            return await super()._open(body, model)

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        with _refusals(model):
            return await super()._post(body, model)


class _Bridge:
    """Sends the SDK's requests our way; a transport in httpx's sense."""

    def __init__(self, transport: Transport | SdkTransport, url: str) -> None:
        self._transport = transport
        self._url = url

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        import httpx  # noqa: PLC0415 - the SDK has imported it

        path = str(request.url).removeprefix(self._url)
        if request.method == "GET":
            data = await self._transport.get(path)
        else:
            body = msgspec.json.decode(request.content)
            data = await self._transport.post(path, body, body["model"])
        return httpx.Response(200, content=data)

    async def aclose(self) -> None:
        """The transport is not the SDK's to close."""


_LACKS = re.compile(r"does not support (\w+)|think value .* is not supported", re.IGNORECASE)
_MISSING = {"thinking": "reasoning_effort", "vision": "images", None: "this reasoning_effort"}
_INSTEAD = {
    "tools": "wrap the client in TextToolsClient, or choose a model that has tools",
    "reasoning_effort": "leave it out, or choose a model that thinks",
}


@contextmanager
def _refusals(model: LLModel) -> Iterator[None]:
    """HTTP 400 "… does not support tools" is what we would have said, had we known the model."""
    try:
        yield
    except BadRequestError as error:
        found = _LACKS.search(str(error)) if error.status == 400 else None
        if found is None:
            raise
        missing = _MISSING.get(found[1], found[1])
        instead = _INSTEAD.get(missing, "choose another model (discover(model) asks the server what it can do)")
        raise UnsupportedCapabilityError(
            provider=model.provider, model=model.id, missing=[missing], instead=instead
        ) from error
