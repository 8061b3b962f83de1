"""`PromptExecutor`: chooses a client, checks what the model can do, adds policy.

Rule: what a model cannot do is the caller's decision, made by ``when_tools_cannot_stream``, and never a silent one.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol, Self, TypeAlias

from msgspec.structs import replace

from promptport.arguments import as_model, as_prompt, as_tools, check_asker
from promptport.checking import checked
from promptport.errors import ConfigurationError, InvalidInputError, UnsupportedCapabilityError
from promptport.llm_client import LLMClient, check_request, unsupported_parameters
from promptport.messages import AssistantMessage, LLMParams, Origin, Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.stream import FrameBatches, FrameStream, TextStream
from promptport.telemetry import leaving_out
from promptport.tools import ToolDescriptor

__all__ = [
    "MultiProviderExecutor",
    "ParametersPolicy",
    "PromptExecutor",
    "SingleClientExecutor",
    "ToolsPolicy",
]

ToolsPolicy: TypeAlias = Literal["raise", "complete", "text"]
"""What to do where tools are given and the model cannot stream calls: ``raise`` `UnsupportedCapabilityError`;
``complete``: ask without streaming, and give the frames of the whole answer; ``text``: put the tools into the prompt
and parse the calls out of the text."""

ParametersPolicy: TypeAlias = Literal["raise", "drop"]
"""What to do with a parameter that the model does not take: ``raise`` `UnsupportedCapabilityError`; ``drop``: leave it
out, and say so in ``stream.dropped`` and the log. Tools, messages and their parts are never dropped."""

_DEFAULTS = LLMParams()
_log = logging.getLogger("promptport")


class PromptExecutor(Protocol):
    """What programs call. Nobody has to inherit from anything."""

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """The answer as frames; see `LLMClient.execute_streaming_with_tools`."""
        ...

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """The answer's text as it comes: the `Append` frames of `execute_streaming_with_tools` without tools."""
        ...

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """The whole answer, from a request that does not stream."""
        ...

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What the model can do here; without network."""
        ...

    async def aclose(self) -> None:
        """Closes the clients."""
        ...


class SingleClientExecutor:
    """An executor over one client."""

    @checked
    def __init__(
        self,
        client: LLMClient,
        *,
        when_tools_cannot_stream: ToolsPolicy = "raise",
        when_unsupported: ParametersPolicy = "raise",
        tools_in_text: bool = False,
    ) -> None:
        """Args:
        client: whose models are asked; the executor closes it.
        when_tools_cannot_stream: see `ToolsPolicy`.
        when_unsupported: see `ParametersPolicy`.
        tools_in_text: Put tools into the prompt of every model, as ``when_tools_cannot_stream="text"`` does for those
            that cannot stream calls: for models with a template for tools that call better without it.
        """
        if when_tools_cannot_stream not in ("raise", "complete", "text"):
            raise ConfigurationError(
                f"when_tools_cannot_stream takes 'raise', 'complete' or 'text', not {when_tools_cannot_stream!r}"
            )
        check_asker(client, where="SingleClientExecutor: client")
        if when_unsupported not in ("raise", "drop"):
            raise ConfigurationError(f"when_unsupported takes 'raise' or 'drop', not {when_unsupported!r}")
        self._client = client
        self._drops = when_unsupported == "drop"
        self._policy = when_tools_cannot_stream
        self._forced = tools_in_text
        self._text_client: LLMClient | None = None
        self._streams: weakref.WeakSet[FrameStream] = weakref.WeakSet()

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `PromptExecutor`."""
        prompt, model, tools = as_prompt(prompt), as_model(model), as_tools(tools)
        dropped: tuple[str, ...] = ()
        while True:
            try:
                with leaving_out(dropped):
                    stream = self._asked(prompt, model, tools)
            except UnsupportedCapabilityError as error:
                prompt, dropped = self._without(prompt, error, dropped)
            else:
                return stream.with_dropped(dropped) if dropped else stream

    def _without(
        self, prompt: Prompt, error: UnsupportedCapabilityError, dropped: tuple[str, ...]
    ) -> tuple[Prompt, tuple[str, ...]]:
        """The prompt without the parameters that the model lacks; raises the error if it is not about parameters."""
        names = unsupported_parameters(prompt.params, error.missing) if self._drops else ()
        if not names:
            raise error
        _log.info("%s/%s: left out %s (when_unsupported='drop')", error.provider, error.model, ", ".join(names))
        return prompt.with_params(**{name: getattr(_DEFAULTS, name) for name in names}), (*dropped, *names)

    def _asked(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> FrameStream:
        if self._forces(prompt, tools):
            return self._in_text().execute_streaming_with_tools(prompt, model, tools)
        if tools and self._policy != "raise":
            capabilities = self._client.capabilities(model)
            if capabilities.streamed_tools is StreamedTools.NONE:
                if self._policy == "text":
                    return self._in_text().execute_streaming_with_tools(prompt, model, tools)
                if Capability.TOOLS in capabilities:
                    check_request(prompt, model, tools, capabilities, streaming=False)
                    stream = FrameStream(
                        _completed(self._client, prompt, model, tools), origin=getattr(self._client, "origin", None)
                    )
                    self._streams.add(stream)
                    return stream
        return self._client.execute_streaming_with_tools(prompt, model, tools)

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """See `PromptExecutor`."""
        return self.execute_streaming_with_tools(prompt, model).text()

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `PromptExecutor`."""
        prompt, model, tools = as_prompt(prompt), as_model(model), as_tools(tools)
        dropped: tuple[str, ...] = ()
        while True:
            try:
                with leaving_out(dropped):
                    return await self._asked_whole(prompt, model, tools)
            except UnsupportedCapabilityError as error:
                prompt, dropped = self._without(prompt, error, dropped)

    async def _asked_whole(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        if self._forces(prompt, tools) or (
            tools and self._policy == "text" and Capability.TOOLS not in self._client.capabilities(model)
        ):
            return await self._in_text().execute(prompt, model, tools)
        return await self._client.execute(prompt, model, tools)

    def capabilities(self, model: LLModel | str) -> ModelCapabilities:
        """See `PromptExecutor`."""
        return (self._in_text() if self._forced else self._client).capabilities(as_model(model))

    async def count_tokens(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> int | None:
        """How many tokens the prompt comes to, as the client counts them; `None` if it does not.

        Args:
            prompt: What would be sent.
            model: The model that would read it.
            tools: The tools that would be offered.

        Raises:
            ProviderError: The server refused or was not reached.
        """
        prompt, model, tools = as_prompt(prompt), as_model(model), as_tools(tools)
        count = getattr(self._client, "count_tokens", None)
        return None if count is None else await count(prompt, model, tools)

    def origin_of(self, model: LLModel) -> Origin | None:
        """The server that makes the messages of this model; `None` if its client does not say."""
        say = getattr(self._client, "origin_of", None)
        found = say(model) if say is not None else getattr(self._client, "origin", None)
        return found if isinstance(found, Origin) else None

    async def models(self) -> list[LLModel]:
        """The models that the server lists."""
        return await self._client.models()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client.provider!r})"

    async def aclose(self) -> None:
        """See `PromptExecutor`."""
        try:
            for stream in list(self._streams):
                await stream.aclose()
        finally:
            await (self._text_client or self._client).aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _forces(self, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> bool:
        """Whether tools, or calls of the history, are text here for every model."""
        return self._forced and bool(tools or prompt.call_ids())

    def _in_text(self) -> LLMClient:
        if self._text_client is None:
            from promptport.text_tools import TextToolsClient  # noqa: PLC0415 - only where it is asked for

            template = getattr(self._client, "chat_template", None)  # a client that knows its models' files
            self._text_client = TextToolsClient(self._client, chat_template=template)
        return self._text_client


async def _completed(
    client: LLMClient, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]
) -> FrameBatches:
    message = await client.execute(prompt, model, tools)
    yield message.frames()


class MultiProviderExecutor:
    """An executor over several clients: ``model.provider`` says which one is asked."""

    def __init__(
        self,
        clients: Mapping[str, LLMClient] | Iterable[LLMClient],
        *,
        when_tools_cannot_stream: ToolsPolicy = "raise",
        when_unsupported: ParametersPolicy = "raise",
        tools_in_text: bool = False,
    ) -> None:
        """Args:
            clients: by provider name, or as they name themselves; the executor closes them.
            when_tools_cannot_stream: see `ToolsPolicy`.
            when_unsupported: see `ParametersPolicy`.
            tools_in_text: see `SingleClientExecutor`.

        Raises:
            ConfigurationError: two clients of one name.
        """
        if not isinstance(clients, Iterable):
            raise InvalidInputError(
                f"MultiProviderExecutor: clients takes several clients, not {type(clients).__name__}. "
                "Write [client('openai')]."
            )
        given = list(
            clients.values() if isinstance(clients, Mapping) else [clients] if isinstance(clients, str) else clients
        )
        for each in given:
            check_asker(each, where="MultiProviderExecutor: each of clients")
        names = list(clients) if isinstance(clients, Mapping) else [each.provider for each in given]
        self._executors: dict[str, SingleClientExecutor] = {}
        self._providers: dict[str, str] = {}
        for name, each in zip(names, given, strict=True):
            if name in self._executors:
                raise ConfigurationError(f"two clients for the provider {name!r}; give them names: {{'{name}-2': …}}")
            self._executors[name] = SingleClientExecutor(
                each,
                when_tools_cannot_stream=when_tools_cannot_stream,
                when_unsupported=when_unsupported,
                tools_in_text=tools_in_text,
            )
            self._providers[name] = each.provider

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `PromptExecutor`. Raises `ConfigurationError` where no client has the model's provider."""
        executor, model = self._for(model)
        return executor.execute_streaming_with_tools(prompt, model, tools)

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """See `PromptExecutor`."""
        executor, model = self._for(model)
        return executor.execute_streaming(prompt, model)

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `PromptExecutor`."""
        executor, model = self._for(model)
        return await executor.execute(prompt, model, tools)

    def capabilities(self, model: LLModel | str) -> ModelCapabilities:
        """See `PromptExecutor`."""
        executor, model = self._for(model)
        return executor.capabilities(model)

    async def count_tokens(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> int | None:
        """How many tokens the prompt comes to; see `SingleClientExecutor.count_tokens`.

        Args:
            prompt: What would be sent.
            model: The model that would read it.
            tools: The tools that would be offered.

        Raises:
            ConfigurationError: No client has the model's provider.
            ProviderError: The server refused or was not reached.
        """
        executor, model = self._for(model)
        return await executor.count_tokens(prompt, model, tools)

    def origin_of(self, model: LLModel) -> Origin | None:
        """The server that makes the messages of this model; `None` if its client does not say."""
        executor, model = self._for(model)
        return executor.origin_of(model)

    @checked
    async def models(self, *providers: str) -> list[LLModel]:
        """The models that the servers list, by the provider names of this executor.

        Args:
            providers: whose models; all providers if none is named.

        Raises:
            ConfigurationError: no client has the name.
            ProviderError: a server did not answer. Name the providers to ask only some.
        """
        for name in providers:
            if name not in self._executors:
                have = ", ".join(sorted(self._executors)) or "none"
                raise ConfigurationError(f"models(): no client for {name!r}. The executor has {have}.")
        names = list(dict.fromkeys(providers or self._executors))
        found = await asyncio.gather(*[self._executors[name].models() for name in names])
        return [replace(model, provider=name) for name, models in zip(names, found, strict=True) for model in models]

    def __repr__(self) -> str:
        return f"MultiProviderExecutor({', '.join(map(repr, self._executors))})"

    async def aclose(self) -> None:
        """Closes all clients, also when one of them fails to close."""
        errors: list[Exception] = []
        for executor in self._executors.values():
            try:
                await executor.aclose()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _for(self, model: LLModel | str) -> tuple[SingleClientExecutor, LLModel]:
        """The executor for this model, and the model by the name that its client has for it."""
        model = as_model(model)
        executor = self._executors.get(model.provider)
        if executor is None:
            have = ", ".join(sorted(self._executors)) or "none"
            raise ConfigurationError(f"no client for {model}: the executor has {have}; connect({model.provider!r}, …)")
        own = self._providers[model.provider]
        return executor, model if own == model.provider else replace(model, provider=own)
