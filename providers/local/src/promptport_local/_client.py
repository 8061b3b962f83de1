"""The client `local`: models in GGUF files, run by llama.cpp in this process, or by a llama.cpp server elsewhere.

Rule: it speaks Chat Completions over the core's transport, so that the first answer imports no SDK. What a model was
not trained for, `TextToolsClient` gives it: calls in text, and held to their JSON schema where one is required.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from promptport import (
    AssistantMessage,
    ConfigurationError,
    FrameStream,
    LLMClient,
    LLModel,
    ModelCapabilities,
    NamedTool,
    Prompt,
    PromptportError,
    ProtocolError,
    TextStream,
    Timeouts,
    ToolChoice,
    ToolDescriptor,
)
from promptport.provider import (
    BaseClient,
    ByteStream,
    ChatCompletionsDecoder,
    TextCalls,
    TextToolsClient,
    Transport,
    as_model,
    as_prompt,
    as_tools,
    chat_body,
    check_base_url,
    check_request,
    decode_chat_completion,
    defused_prompt,
    defused_tool,
    new_transport,
    with_text_calls,
)
from promptport_local._fitting import fit_request
from promptport_local._models import (
    DEFAULT_MODEL,
    PROVIDER,
    Tools,
    Weights,
    capabilities_of,
    find_weights,
    unknown_capabilities,
    weights_at,
)
from promptport_local._running import CountedStream
from promptport_local._server import LocalServer, headers_for, usable_context
from promptport_local._writing import SMALL, decided

if TYPE_CHECKING:
    import ssl

__all__ = ["LocalClient", "client"]

_PATH = "/v1/chat/completions"


class _PlainClient(BaseClient):
    """What the server itself can do: text, and the tools of models that were trained with them."""

    provider = PROVIDER
    answer_dialect = "llamacpp"

    def __init__(
        self,
        *,
        origin: str | None,
        address: str,
        timeouts: Timeouts | None,
        elsewhere: Transport | None,
        configured: Weights | None,
        server_options: dict[str, Any],
    ) -> None:
        super().__init__(timeouts=timeouts, origin=origin)
        self.address = address
        self._elsewhere = elsewhere
        self._configured = configured
        self._server_options = server_options
        self._servers: dict[str, LocalServer] = {}
        self._ways: dict[str, Transport] = {}

    def weights(self, model: LLModel) -> Weights | None:
        """The file that the model's id means; ``None`` where it means none, or the server is elsewhere."""
        if self._elsewhere is not None:
            return None
        try:
            return find_weights(model.id, self._configured)
        except PromptportError:
            return None

    def template(self, model: LLModel) -> str | None:
        """The chat template in the model's file."""
        weights = self.weights(model)
        return weights.own_template if weights is not None else None

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        if model.capabilities is not None:
            return model.capabilities
        weights = self.weights(model)
        if weights is None:
            return unknown_capabilities()
        return capabilities_of(weights, usable_context(weights, self._server_options["context_length"]))

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """Asks a server elsewhere for its context; of a file, all is known."""
        known = self.capabilities(model)
        if self._elsewhere is None or model.capabilities is not None:
            return known
        settings = _object(await self._elsewhere.get("/props")).get("default_generation_settings")
        length = settings.get("n_ctx") if isinstance(settings, dict) else None
        return msgspec.structs.replace(known, context_length=length if isinstance(length, int) else None, known=True)

    async def models(self) -> list[LLModel]:
        if self._elsewhere is not None:
            listed = _object(await self._elsewhere.get("/v1/models")).get("data")
            entries = listed if isinstance(listed, list) else []
            return [LLModel(PROVIDER, entry["id"]) for entry in entries if isinstance(entry, dict) and entry.get("id")]
        found = [] if self._configured is None else [LLModel(PROVIDER, self._configured.id)]
        return [*found, DEFAULT_MODEL] if self.weights(DEFAULT_MODEL) is not None else found

    # ------------------------------------------------------------------------- what BaseClient asks for

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        # llama.cpp reads special tokens wherever they stand: in what users and tools say, they would end turns.
        told = [defused_tool(tool) for tool in tools]
        body = chat_body(defused_prompt(prompt), model, told, stream=stream, origin=self.origin)
        fit_request(body)
        return body

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> ChatCompletionsDecoder:
        return ChatCompletionsDecoder(prompt.call_ids())

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return decode_chat_completion(data, prompt.call_ids())

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        if self._elsewhere is not None:
            return await self._reached(self._elsewhere, model).open(_PATH, body, model.id)
        server = self._server(model)
        server.requests.begin()
        try:
            way = self._reached(await server.ready(), model)
            # Beside other streams, llama.cpp looks after a client that left only where it has something to say to it.
            progress = {"return_progress": True} if server.requests.running > 1 else {}
            return CountedStream(await way.open(_PATH, {**body, **progress}, model.id), server.requests)
        except BaseException:
            server.requests.ended(whole=False)
            raise

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        if self._elsewhere is not None:
            return await self._reached(self._elsewhere, model).post(_PATH, body, model.id)
        server, whole = self._server(model), False
        server.requests.begin()
        try:
            data = await self._reached(await server.ready(), model).post(_PATH, body, model.id)
            whole = True
        finally:
            server.requests.ended(whole=whole)
        return data

    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        way = self._ways.get(model.id)
        return way.failure(error, model.id) if way is not None else None

    def _known_secrets(self) -> Collection[str]:
        own = [server.api_key for server in self._servers.values()]
        return own if self._elsewhere is None else [*own, *self._elsewhere.secrets]

    async def _aclose(self) -> None:
        if self._elsewhere is not None:
            await self._elsewhere.aclose()
        await asyncio.gather(*[server.stop() for server in self._servers.values()])

    def _reached(self, way: Transport, model: LLModel) -> Transport:
        """The way, kept for what its errors mean."""
        self._ways[model.id] = way
        return way

    def _server(self, model: LLModel) -> LocalServer:
        """The server here that has this model, running or not."""
        weights = find_weights(model.id, self._configured)
        server = self._servers.get(str(weights.path))
        if server is None:
            server = self._servers[str(weights.path)] = LocalServer(weights, **self._server_options)
        return server


class LocalClient:
    """An `LLMClient` for models in GGUF files; see `client`."""

    provider = PROVIDER

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        *,
        alias: str | None = None,
        context_length: int | None = None,
        threads: int | None = None,
        parallel: int = 2,
        api_key: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: Any = None,
        ssl_context: ssl.SSLContext | None = None,
        on_load: Callable[[str], None] | None = None,
        verbose: bool = False,
        origin: str | None = None,
        batch_size: int = 64,
        prompt_cache: int = 0,
        text_calls: TextCalls = "auto",
        tools: Literal["auto", "text"] = "auto",
    ) -> None:
        """Nothing is loaded before the first request. One server runs for each model that is used, until `aclose`.

        Args:
            model_path: a GGUF file; its model id is ``alias``, or the path. Without it, the bundled model; and any
                other file, by a path for a model id.
            alias: the model id of ``model_path``.
            context_length: see `LocalServer`.
            threads: see `LocalServer`.
            parallel: see `LocalServer`.
            api_key: what the server asks for; without it a random key, or none where the server is elsewhere.
            base_url: a llama.cpp server that runs elsewhere, with or without ``/v1``; then nothing is loaded here.
            timeouts: the clocks; loading the model counts as waiting for the first frame.
            headers: Sent with every request to the server at `base_url`.
            http_client: Your own `aiohttp.ClientSession` or `httpx.AsyncClient`. promptport does not close it.
            ssl_context: The certificates to trust, for the server at `base_url`. Default: the system's.
            on_load: see `LocalServer`.
            verbose: see `LocalServer`.
            origin: a name for the server, if servers at several addresses are one; see `Origin`.
            batch_size: see `LocalServer`.
            prompt_cache: see `LocalServer`.
            text_calls: Whether calls are also read out of the text of a model that was trained to call tools, for small
                ones often forget the tags of their template. ``auto`` or ``off``.
            tools: ``text`` tells every model of its tools in the prompt, as ``when_tools_cannot_stream="text"`` does,
                also one whose template knows tools. ``auto`` does so only where the template knows none.

        Raises:
            ConfigurationError: the file, the URL, or options that exclude each other.
        """
        if base_url is not None and model_path is not None:
            raise ConfigurationError(
                "local: model_path is loaded here, base_url is a server elsewhere; give one of them"
            )
        if alias is not None and model_path is None:
            raise ConfigurationError("local: alias names the model of model_path, which is not given")
        elsewhere, address = None, "in-process"
        for name, value in (("headers", headers), ("ssl_context", ssl_context)):
            if value is not None and base_url is None:
                raise ConfigurationError(f"local: {name} is for a server elsewhere. Pass its base_url too.")
        if base_url is not None:
            address = check_base_url(base_url, provider=PROVIDER).removesuffix("/v1")
            elsewhere = new_transport(
                address,
                provider=PROVIDER,
                headers={**(headers or {}), **headers_for(api_key)},
                timeouts=timeouts or Timeouts(),
                secrets=[api_key] if api_key else [],
                http_client=http_client,
                ssl_context=ssl_context,
            )
        self._plain = _PlainClient(
            origin=origin,
            address=address,
            timeouts=timeouts,
            elsewhere=elsewhere,
            configured=weights_at(model_path, id=alias) if model_path is not None else None,
            server_options={
                "context_length": context_length,
                "threads": threads,
                "parallel": parallel,
                "api_key": api_key,
                "http_client": http_client,
                "on_load": on_load,
                "verbose": verbose,
                "batch_size": batch_size,
                "prompt_cache": prompt_cache,
            },
        )
        if tools not in ("auto", "text"):
            raise ConfigurationError(f"local: tools must be 'auto' or 'text', not {tools!r}.")
        self._native = with_text_calls(self._plain, text_calls, provider=PROVIDER)
        self._always_text = tools == "text"
        self._with_text_tools = TextToolsClient(self._plain, chat_template=self._plain.template)
        self._with_small_tools = TextToolsClient(self._plain, format=SMALL)

    # ------------------------------------------------------------------------------------------- verbs

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """See `LLMClient`."""
        model = as_model(model, provider=self.provider)
        return model.capabilities or self._offering(model).capabilities(model)

    def chat_template(self, model: LLModel) -> str | None:
        """The chat template in the model's file; ``None`` where there is none, or the server is elsewhere."""
        return self._plain.template(as_model(model, provider=self.provider))

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """See `LLMClient`; asks a server elsewhere for its context."""
        model = as_model(model, provider=self.provider)
        return await self._offering(model).discover(model)

    async def models(self) -> list[LLModel]:
        """The file that the client was made for, and the bundled model; or what the server elsewhere lists."""
        return await self._plain.models()

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `LLMClient`."""
        prompt, model, tools = as_prompt(prompt), as_model(model, provider=self.provider), as_tools(tools)
        client, asked = self._route(prompt, model, tools, streaming=True)
        return client.execute_streaming_with_tools(asked, model, tools)

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """See `LLMClient`."""
        return self.execute_streaming_with_tools(prompt, model).text()

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `LLMClient`."""
        prompt, model, tools = as_prompt(prompt), as_model(model, provider=self.provider), as_tools(tools)
        client, asked = self._route(prompt, model, tools, streaming=False)
        return await client.execute(asked, model, tools)

    async def aclose(self) -> None:
        """Closes the streams that are still open, and ends the servers."""
        await self._plain.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ----------------------------------------------------------------------------------------- the way

    def _offering(self, model: LLModel) -> LLMClient:
        """Who gives this model its tools."""
        weights = self._plain.weights(model)
        if weights is None:  # a server elsewhere: it has what the caller says, or what every one has
            native = model.capabilities is not None and not self._always_text
            return self._native if native else self._with_text_tools
        ways: dict[Tools, LLMClient] = {
            Tools.NATIVE: self._with_text_tools if self._always_text else self._native,
            Tools.TEXT: self._with_text_tools,
            Tools.FORCED: self._with_small_tools,
        }
        return ways[weights.tools]

    def _route(
        self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, streaming: bool
    ) -> tuple[LLMClient, Prompt]:
        """Who answers this request, and what is asked."""
        check_request(prompt, model, tools, self.capabilities(model), streaming=streaming)
        offering = self._offering(model)
        choice = prompt.params.tool_choice
        if offering is self._native:
            # llama.cpp does not hold every model to a call that is required; a JSON schema does.
            required = bool(tools) and (choice is ToolChoice.REQUIRED or isinstance(choice, NamedTool))
            return (self._with_text_tools, prompt) if required else (self._native, prompt)
        if not tools and not prompt.call_ids():
            return self._plain, prompt
        return offering, decided(prompt) if tools and offering is self._with_small_tools else prompt


client = LocalClient
"""What the entry point ``local`` of ``promptport.providers`` names."""


def _object(data: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(data)
    except msgspec.DecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        raise ProtocolError("local: the server's answer is not a JSON object")
    return decoded
