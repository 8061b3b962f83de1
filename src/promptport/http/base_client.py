"""`BaseClient`: what every client over HTTP shares: checks, streams, clocks, closing.

Rules: no exception of an SDK or HTTP library gets out; the response is closed whenever its stream is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from typing import Any, Protocol, Self

import msgspec

from promptport.arguments import as_model, as_prompt, as_tools
from promptport.decoding import DEFAULT_LIMITS, Limits, StreamDecoder
from promptport.errors import (
    ConfigurationError,
    IncompleteStreamError,
    InvalidInputError,
    PromptportError,
    ProtocolError,
    TotalTimeout,
    TransportError,
)
from promptport.history import last_usage
from promptport.http.answers import AnswerCheck, AnswerDecoder
from promptport.http.redaction import redact
from promptport.http.renamed_keys import RenamingDecoder, renamed_message
from promptport.llm_client import check_request
from promptport.messages import AssistantMessage, Origin, Prompt
from promptport.models import LLModel, ModelCapabilities
from promptport.stream import FrameBatches, FrameStream, TextStream, Timeouts
from promptport.telemetry import begin_request
from promptport.tools import DIALECTS, ToolDescriptor, renamed_properties

__all__ = ["BaseClient", "ByteStream"]

# For each read asyncio asks for 256 KiB and gives most of it back. glibc maps and unmaps a block of that size each
# time, a third of what an event costs that comes alone, until a larger block was freed once.
bytes(1 << 20)


class ByteStream(Protocol):
    """A successful HTTP response whose body has not been read."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body as it comes, decompressed."""
        ...

    async def aclose(self) -> None:
        """Closes the response, and its connection where the body was not read to the end."""
        ...


def _for_named_model(verb: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(verb)
    def asked(self: BaseClient, model: LLModel | str) -> Any:
        return verb(self, model if isinstance(model, LLModel) else as_model(model, provider=self.provider))

    return asked


_DRAIN_SECONDS = 0.05


_DRAIN_BYTES = 65536


class BaseClient(ABC):
    """What every client over HTTP shares: checks, streams, clocks, closing. Inheriting from it is a convenience.

    A subclass gives ``provider`` and the abstract methods; `_decoder` and `_complete` are pure.
    """

    provider: str

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the two verbs that a subclass writes take a string for the model, as all others do."""
        super().__init_subclass__(**options)
        for name in ("capabilities", "discover"):
            if name in cls.__dict__:
                setattr(cls, name, _for_named_model(cls.__dict__[name]))

    tool_dialect: str = ""
    """The name in `DIALECTS` to which tools are fitted, if that renames properties: calls get their own names back."""

    answer_dialect: str = ""
    """The name in `DIALECTS` that structured answers are held to: what it cannot say of a schema is checked here."""

    address: str = ""
    """The server's base URL, which the subclass sets: with ``provider`` it makes the `origin` of each message."""

    def __init__(
        self, *, timeouts: Timeouts | None = None, origin: str | None = None, limits: Limits | None = None
    ) -> None:
        """Args:
        timeouts: of the streams; ``None`` for the defaults.
        origin: a name for the server, in place of its address: servers of one name are the same to `AssistantMessage`.
        limits: how much of a response is accepted; ``None`` for the defaults.
        """
        if origin is not None and not (isinstance(origin, str) and origin.strip()):
            raise ConfigurationError(
                f"origin takes a name for the server, not {origin!r}. Leave it out for its address"
            )
        self._origin = origin
        if not isinstance(timeouts, Timeouts | None):
            raise InvalidInputError(
                f"timeouts: takes Timeouts, not {type(timeouts).__name__}. Write timeouts=Timeouts(total=60)."
            )
        if not isinstance(limits, Limits | None):
            raise InvalidInputError(
                f"limits: takes Limits, not {type(limits).__name__}. Write limits=Limits(answer=100_000_000)."
            )
        self._timeouts = timeouts if timeouts is not None else Timeouts()
        self.limits = limits if limits is not None else DEFAULT_LIMITS
        self._streams: weakref.WeakSet[FrameStream] = weakref.WeakSet()
        self._closed = False

    # ---------------------------------------------------------------------------- what a subclass gives

    @abstractmethod
    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What this model can do here; ``model.capabilities`` goes before any table."""

    @abstractmethod
    async def models(self) -> list[LLModel]:
        """The models that the server lists."""

    @abstractmethod
    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        """The request's JSON body. Raises `InvalidInputError`, `UnsupportedCapabilityError`."""

    @abstractmethod
    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        """Sends a streaming request; returns when the head of a successful response is there."""

    @abstractmethod
    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        """Sends a request that does not stream; the body of a successful response."""

    @abstractmethod
    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        """A decoder for the answer to this request."""

    @abstractmethod
    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        """The message in the body of a response that does not stream. Raises `StreamError`."""

    @abstractmethod
    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        """Our error for one of the SDK or HTTP library; ``None`` where it is none of theirs.

        It is asked for errors of `_open` and `_post`, and of reading a body: there a broken connection is a
        `TransportError`, which becomes an `IncompleteStreamError`.
        """

    @abstractmethod
    async def _aclose(self) -> None:
        """Closes the connections."""

    def _renamed(self, tools: Sequence[ToolDescriptor]) -> dict[str, dict[str, str]]:
        """By tool: the properties that go by another name on the wire, since the server refuses their own."""
        return renamed_properties(tools, DIALECTS[self.tool_dialect]) if tools and self.tool_dialect else {}

    def _in_callers_terms(
        self, decoder: StreamDecoder[Any], prompt: Prompt, tools: Sequence[ToolDescriptor]
    ) -> StreamDecoder[Any] | RenamingDecoder | AnswerDecoder:
        """The decoder, and around it what knows of the schemas more than their server."""
        names = self._renamed(tools)
        made = RenamingDecoder(decoder, names) if names else decoder
        check = AnswerCheck.of(prompt.params.response_schema, self.answer_dialect)
        return made if check is None else AnswerDecoder(made, check)

    @property
    def origin(self) -> Origin | None:
        """Whose messages these are: what is opaque in a message of this origin goes back to this server.

        ``None`` for a client that says neither its address nor a name.
        """
        if self._origin is not None:
            return Origin(self.provider, self._origin)
        return Origin.at(self.provider, self.address) if self.address else None

    def _known_secrets(self) -> Collection[str]:
        """Keys and tokens that no error of this client may quote."""
        return ()

    # ------------------------------------------------------------------------------------------- verbs

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """What the server says that this model can do; here what the table says."""
        return self.capabilities(model)

    async def count_tokens(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> int | None:
        """How many tokens the prompt comes to: by the server's counter, if it has one; else by its last usage.

        Returns:
            Tokens; ``None`` if the server has no counter and no message in the prompt has a usage. The last usage does
            not include what was added after it.
        """
        prompt = as_prompt(prompt)
        as_model(model, provider=self.provider), as_tools(tools)
        usage = last_usage(prompt.messages)
        return None if usage is None else usage[0]

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `LLMClient`."""
        prompt, model, tools = as_prompt(prompt), as_model(model, provider=self.provider), as_tools(tools)
        self._check(prompt, model, tools, streaming=True)
        body = self._body(prompt, model, tools, stream=True)
        decoder = self._decoder(prompt, model, tools)
        if self.limits is not DEFAULT_LIMITS:
            decoder.bound(self.limits)
        if tools:
            decoder.offer([tool.name for tool in tools])
        stream = FrameStream(
            self._read(body, model, self._in_callers_terms(decoder, prompt, tools)),
            timeouts=self._timeouts,
            skipped=decoder.skipped,
            named=(self.provider, model.id),
            observation=begin_request(prompt, model, tools, streaming=True, address=self._address()),
            origin=self.origin,
            used=decoder.used,
        )
        self._streams.add(stream)
        return stream

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """See `LLMClient`."""
        return self.execute_streaming_with_tools(prompt, model).text()

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `LLMClient`; of the clocks, ``total`` holds, or ``first_frame`` where there is no total."""
        prompt, model, tools = as_prompt(prompt), as_model(model, provider=self.provider), as_tools(tools)
        self._check(prompt, model, tools, streaming=False)
        observation = begin_request(prompt, model, tools, streaming=False, address=self._address())
        answer = self._executed(prompt, model, tools)
        return await (answer if observation is None else observation.call(answer))

    async def _executed(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        body = self._body(prompt, model, tools, stream=False)
        seconds = self._timeouts.total or self._timeouts.first_frame
        with self._redacting():
            try:
                async with asyncio.timeout(seconds) as clock:
                    data = await self._post(body, model)
            except TimeoutError as error:
                if not clock.expired():
                    raise self._translated(error, model) from error
                text = f"the answer was not complete within {seconds:g} s (timeouts.total, timeouts.first_frame)"
                raise TotalTimeout(text, provider=self.provider, model=model.id) from None
            except PromptportError:
                raise
            except Exception as error:
                raise self._translated(error, model) from error
            message, names = self._complete(data, prompt, tools), self._renamed(tools)
            message = renamed_message(message, names) if names else message
            check = AnswerCheck.of(prompt.params.response_schema, self.answer_dialect)
            message = message if check is None else check.message(message)
            return msgspec.structs.replace(message, origin=self.origin)

    async def aclose(self) -> None:
        """Closes the streams that are still open, and the connections. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            for stream in list(self._streams):
                await stream.aclose()
        finally:
            await self._aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ----------------------------------------------------------------------------------------- shared

    def _check(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, streaming: bool) -> None:
        if self._closed:
            self._refuse_closed()
        check_request(prompt, model, tools, self.capabilities(model), streaming=streaming)

    def _address(self) -> tuple[str, int] | None:
        """Host and port of the server, for observers; ``None`` for a model in this process."""
        return None

    def _refuse_closed(self) -> None:
        raise InvalidInputError(f"the {self.provider} client is closed")

    def _translated(self, error: Exception, model: LLModel) -> PromptportError:
        """Our error for theirs; raises ``error`` as it is where it is none of theirs."""
        failure = self._failure(error, model)
        if failure is None:
            raise error
        return failure

    @contextlib.contextmanager
    def _redacting(self) -> Iterator[None]:
        """Where all errors pass that a request may raise: keys that somebody quoted are taken out."""
        try:
            yield
        except Exception as error:
            redact(error, self._known_secrets())
            raise

    async def _read(
        self, body: dict[str, Any], model: LLModel, decoder: StreamDecoder[Any] | RenamingDecoder | AnswerDecoder
    ) -> FrameBatches:
        """One request: opens it, and decodes each read until the answer's end."""
        with self._redacting():
            try:
                response = await self._open(body, model)
            except PromptportError:
                raise
            except Exception as error:
                raise self._translated(error, model) from error
            try:
                feed = decoder.feed
                chunks = aiter(response)
                most = self.limits.answer
                try:
                    async for chunk in chunks:
                        most -= len(chunk)
                        if most < 0:
                            raise ProtocolError(
                                f"the response is larger than {self.limits.answer} bytes (limits.answer)"
                            )
                        yield feed(chunk)
                        if decoder.error is not None:
                            raise decoder.error
                        if decoder.ended:
                            break
                except PromptportError:
                    raise
                except Exception as error:
                    raise self._broken(error, model) from error
                if decoder.ended:
                    await _drain(chunks)
                    return
                yield decoder.close()
                if decoder.error is not None:
                    raise decoder.error
            finally:
                with contextlib.suppress(Exception):  # what became of the answer is known already
                    await response.aclose()

    def _broken(self, error: Exception, model: LLModel) -> PromptportError:
        failure = self._translated(error, model)
        if isinstance(failure, TransportError):
            return IncompleteStreamError("the connection broke before the provider's terminal")
        return failure


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Reads what follows the answer's end, so that the connection can be used again; gives up soon."""
    size = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in chunks:
                size += len(chunk)
                if size > _DRAIN_BYTES:
                    return
    except Exception:
        return
