"""What all policies are made of: an asker around another one, and a stream that hands on another one's frames.

Rules: a policy is asked as whoever it wraps, a client or an executor; a stream of a policy hands on what one read
brought as one read; whatever ends it closes the stream under it.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self, TypeAlias, cast

from promptport.arguments import as_model, check_asker, model_for
from promptport.frames import StreamFrame, Usage
from promptport.messages import AssistantMessage, Origin, Prompt
from promptport.models import LLModel, ModelCapabilities
from promptport.stream import FrameStream, TextStream
from promptport.tools import ToolDescriptor

__all__ = ["Asker", "Relay", "Wrapper", "batches", "server_of"]


class Asker(Protocol):
    """Who can be asked: an `LLMClient` or a `PromptExecutor`."""

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `LLMClient`."""
        ...

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """See `LLMClient`."""
        ...

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `LLMClient`."""
        ...

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """See `LLMClient`."""
        ...

    async def aclose(self) -> None:
        """See `LLMClient`."""
        ...


class Relay(Mapping[str, int]):
    """The stream that a policy's stream hands on now; also the count of unknown events, as that one has it."""

    __slots__ = ("origin", "stream")

    def __init__(self, stream: FrameStream | None = None) -> None:
        self.stream = stream
        self.origin: Origin | None = None  # of a message that comes from no stream

    def __getitem__(self, name: str) -> int:
        return self._skipped()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._skipped())

    def __len__(self) -> int:
        return len(self._skipped())

    def made_by(self) -> Origin | None:
        """The server that makes the message that is handed on."""
        return self.stream.origin if self.stream is not None else self.origin

    def used(self) -> Usage:
        """The tokens that were told of so far."""
        return self.stream.usage if self.stream is not None else Usage()

    def _skipped(self) -> Mapping[str, int]:
        return self.stream.skipped if self.stream is not None else {}


def server_of(asker: Asker, model: LLModel) -> Origin | None:
    """The server that makes the messages of this model, as far as the asker can say."""
    say = getattr(asker, "origin_of", None)
    found = say(model) if say is not None else getattr(asker, "origin", None)
    return found if isinstance(found, Origin) else None


async def batches(stream: FrameStream) -> AsyncGenerator[list[StreamFrame], None]:
    """What each read of a stream brings; closes it."""
    async with stream:
        while batch := await stream.next_batch():
            yield batch


Source: TypeAlias = Callable[[Relay], AsyncGenerator[Sequence[StreamFrame], None]]


class Wrapper:
    """An asker around another one, which changes nothing; a policy overrides what it is about.

    Attributes:
        inner: who is asked; closed with this one.
    """

    def __init__(self, inner: Asker) -> None:
        """Wrap somebody.

        Args:
            inner: A client or an executor.

        Raises:
            InvalidInputError: It is neither.
        """
        check_asker(inner, where=type(self).__name__)
        self.inner = inner
        self._streams: weakref.WeakSet[FrameStream] = weakref.WeakSet()

    @property
    def provider(self) -> str:
        """The provider of a wrapped client. Raises `AttributeError` around an executor, which has several."""
        return cast("str", cast("Any", self.inner).provider)

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `LLMClient`."""
        return self.inner.execute_streaming_with_tools(prompt, model, tools)

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """See `LLMClient`."""
        return self.execute_streaming_with_tools(prompt, model).text()

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `LLMClient`."""
        return await self.inner.execute(prompt, model, tools)

    def capabilities(self, model: LLModel | str) -> ModelCapabilities:
        """See `LLMClient`."""
        routes = isinstance(model, str) and hasattr(self.inner, "resolve")
        return self.inner.capabilities(cast("LLModel", model) if routes else as_model(model))

    def resolve(self, model: LLModel | str, prompt: Prompt, tools: Sequence[ToolDescriptor] = ()) -> LLModel:
        """The model that is really asked; see `RoutingExecutor`. A policy around it speaks of that model too."""
        return model_for(self.inner, model, prompt, tools)

    def origin_of(self, model: LLModel) -> Origin | None:
        """The server that makes the messages of this model; `None` if nobody can say."""
        return server_of(self.inner, model)

    async def discover(self, model: LLModel | str) -> ModelCapabilities:
        """See `LLMClient`; around an executor that cannot ask, what it declares."""
        model = as_model(model)
        ask = getattr(self.inner, "discover", None)
        return await ask(model) if ask is not None else self.inner.capabilities(model)

    async def models(self) -> list[LLModel]:
        """See `LLMClient`. Raises `AttributeError` around an executor that has no list."""
        return cast("list[LLModel]", await cast("Any", self.inner).models())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    async def aclose(self) -> None:
        """Closes the streams that are still open, and whoever is wrapped."""
        try:
            for stream in list(self._streams):
                await stream.aclose()
        finally:
            await self.inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _stream(self, source: Source, first: FrameStream | None, model: LLModel) -> FrameStream:
        """A stream over what ``source`` yields; ``source`` keeps in the relay which stream it hands on."""
        relay = Relay(first)
        stream = FrameStream(
            source(relay),
            skipped=relay,
            named=(model.provider, model.id),
            origin=relay.made_by,
            used=relay.used,
            dropped=lambda: relay.stream.dropped if relay.stream is not None else (),
        )
        self._streams.add(stream)
        return stream
