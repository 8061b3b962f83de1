"""`APIEncoder`: what the encoders of the three APIs have in common. Pure.

Rules: what a client cannot take back is an error on its wire, and so is an answer that was cut. Calls of tools that
the server runs are not the client's, and are not shown to it. A call that is not complete never looks complete.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from promptport.dispatch import (
    ApprovalNeeded,
    DispatchFrame,
    StepEnd,
    StepReset,
    ToolProgress,
    ToolResult,
    ToolsPending,
    ToolStarted,
)
from promptport.errors import IncompleteStreamError, InvalidInputError, ProtocolError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    parse_arguments,
)
from promptport.front_ends.api_errors import APIError, api_error
from promptport.front_ends.opaque import OpaqueSeal, Sealed
from promptport.message_building import message_of
from promptport.messages import AssistantMessage, Origin

__all__ = ["APIEncoder", "OriginOf", "event_named", "is_object"]

OriginOf = Origin | Callable[[], Origin | None] | None
"""The server that makes the message, or who says it once it is known."""

_BETWEEN = (ToolStarted, ToolProgress, ToolResult)
_encode = msgspec.json.Encoder().encode


class APIEncoder(ABC):
    """The frames of one run as the response of one API. See `FrameEncoder` for its methods."""

    def __init__(
        self,
        run: str,
        *,
        model: str = "",
        created: int = 0,
        own_tools: Collection[str] = (),
        reasoning: bool = True,
        origin: OriginOf = None,
        seal: OpaqueSeal | None = None,
    ) -> None:
        """Make an encoder for one run.

        Args:
            run: The run's name, from which all ids are made.
            model: The model's name in the response, as the client wrote it.
            created: When the response began, in seconds since 1970; where the API shows it.
            own_tools: Names of the tools that the server runs. The client sees nothing of their calls.
            reasoning: Whether the client gets the model's reasoning. Default: true.
            origin: The server whose signatures the reasoning has; it stands inside the seal.
            seal: Closes what a provider wants back, so that it comes back unchanged. Default: data in the API's own
                form is sent as it is, and other data is left out.
        """
        self._run = run
        self._model = model
        self._created = created
        self._own = frozenset(own_tools)
        self._shows_reasoning = reasoning
        self._origin = origin
        self._seal = seal
        self._begun = self._shown = self._over = False
        self._hidden: set[str] = set()  # ids of the server's calls
        self._texts: dict[str, list[str]] = {}  # arguments of the calls that are open
        self._names: dict[str, str] = {}
        self._called = False
        self._text_delta: Callable[[str], bytes] | None = None  # the event of one more text delta, while text is open
        self._kinds: dict[type, Callable[[Any, list[bytes]], None]] = {
            Append: self._on_text,
            ReasoningAppend: self._on_thought,
            Reasoning: self._on_reasoning,
            ToolCallDelta: self._on_delta,
            ToolCall: self._on_call,
            InvalidToolCall: self._on_call,
            Citation: self._on_citation,
            ProviderItem: self._on_item,
        }

    # -------------------------------------------------------------------------------------------- in

    def feed(self, frame: DispatchFrame) -> bytes:
        """See `FrameEncoder.feed`.

        Raises:
            InvalidInputError: It is not a frame.
        """
        if self._over:
            return b""
        kind = type(frame)
        if kind is Append and self._text_delta is not None:  # most frames of most runs
            return self._text_delta(frame.text)  # type: ignore[union-attr, arg-type]
        out: list[bytes] = []
        if not self._begun:
            self._begun = True
            self._begin(out)
        handle = self._kinds.get(kind)
        if handle is not None:
            handle(frame, out)
        elif isinstance(frame, End):
            self._finish(frame, out)
        elif isinstance(frame, ToolsPending):
            self._finish(End(FinishReason.TOOL_CALLS, usage=frame.usage), out)
        elif isinstance(frame, StepEnd):
            self._close_parts(out)
        elif isinstance(frame, ApprovalNeeded):
            out.append(self.fail(ProtocolError("a call needs an approval, which this API cannot ask for")))
        elif isinstance(frame, Restarted | StepReset):
            if self._shown:  # and nothing takes it back
                out.append(self.fail(IncompleteStreamError("the response begins anew")))
        elif not isinstance(frame, _BETWEEN):
            raise InvalidInputError(f"{type(self).__name__}: {kind.__name__} is not a frame.")
        return b"".join(out)

    def fail(self, error: BaseException) -> bytes:
        """See `FrameEncoder.fail`."""
        if self._over:
            return b""
        out: list[bytes] = []
        if not self._begun:
            self._begun = True
            self._begin(out)
        self._over = True
        self._failed(api_error(error), out)
        return b"".join(out)

    def stop(self) -> bytes:
        """See `FrameEncoder.stop`."""
        return self.fail(IncompleteStreamError("the run was stopped"))

    def close(self) -> bytes:
        """See `FrameEncoder.close`."""
        return self.fail(IncompleteStreamError("the frames ended without their last"))

    def whole(self, frames: Iterable[DispatchFrame]) -> bytes:
        """The body of a response that does not stream. Use a new encoder for it.

        Args:
            frames: All frames of the run, to its last.

        Raises:
            IncompleteStreamError: The last frame is none that ends a run, or the API has no form for it.
        """
        kept: list[StreamFrame] = []
        for frame in frames:
            if isinstance(frame, ToolCallDelta | ToolCall | InvalidToolCall):
                if not self._is_own(frame.id, frame.name):
                    kept.append(frame)
            elif isinstance(frame, ToolsPending):
                kept.append(End(FinishReason.TOOL_CALLS, usage=frame.usage))
            elif isinstance(frame, Restarted):
                kept.append(frame)
            elif isinstance(frame, Reasoning | ReasoningAppend):
                if self._shows_reasoning:
                    kept.append(frame)
            elif isinstance(frame, Append | Citation | ProviderItem | End):
                kept.append(frame)
        message = message_of(kept)
        if message.finish_reason is None:
            raise IncompleteStreamError("the response did not end in a way that this API can tell")
        return self._body(message)

    # ----------------------------------------------------------------------------------------- calls

    def _is_own(self, id: str, name: str) -> bool:
        if name in self._own:
            self._hidden.add(id)
        return id in self._hidden

    def _on_delta(self, frame: ToolCallDelta, out: list[bytes]) -> None:
        if self._is_own(frame.id, frame.name):
            return
        self._shown = True
        texts = self._texts.get(frame.id)
        if texts is None:
            texts = self._texts[frame.id] = []
            self._names[frame.id] = frame.name
            self._start_call(frame.id, frame.name, out)
        if frame.arguments:
            texts.append(frame.arguments)
            self._grow_call(frame.id, frame.arguments, out)

    def _on_call(self, frame: ToolCall | InvalidToolCall, out: list[bytes]) -> None:
        if self._is_own(frame.id, frame.name):
            return
        if frame.id not in self._texts:
            self._on_delta(ToolCallDelta(frame.id, frame.name, frame.arguments), out)
        if isinstance(frame, InvalidToolCall) and frame.name and is_object(frame.arguments):
            # On these wires nothing tells it from a call that may run.
            out.append(self.fail(ProtocolError("a call is not usable, though its arguments are an object")))
            return
        del self._texts[frame.id]
        self._called = True
        self._end_call(frame, out)

    # ----------------------------------------------------------------------------------------- opaque

    def _sealed(self, data: dict[str, Any] | None, text: str = "") -> str | None:
        """The data for a client to bring back; `None` if there is nothing, or nobody whom it belongs to."""
        if data is None or self._seal is None:
            return None
        origin = self._origin() if callable(self._origin) else self._origin
        return None if origin is None else self._seal.close(Sealed(data, origin, text))

    # ---------------------------------------------------------------------------------- what differs

    @abstractmethod
    def _begin(self, out: list[bytes]) -> None:
        """The response begins."""

    @abstractmethod
    def _on_text(self, frame: Append, out: list[bytes]) -> None:
        """A text delta."""

    @abstractmethod
    def _on_thought(self, frame: ReasoningAppend, out: list[bytes]) -> None:
        """A reasoning delta."""

    @abstractmethod
    def _on_reasoning(self, frame: Reasoning, out: list[bytes]) -> None:
        """A reasoning block is complete."""

    @abstractmethod
    def _start_call(self, id: str, name: str, out: list[bytes]) -> None:
        """A call begins."""

    @abstractmethod
    def _grow_call(self, id: str, arguments: str, out: list[bytes]) -> None:
        """An argument delta."""

    @abstractmethod
    def _end_call(self, frame: ToolCall | InvalidToolCall, out: list[bytes]) -> None:
        """A call is complete."""

    @abstractmethod
    def _on_citation(self, frame: Citation, out: list[bytes]) -> None:
        """A source."""

    @abstractmethod
    def _on_item(self, frame: ProviderItem, out: list[bytes]) -> None:
        """An item that the provider ran."""

    @abstractmethod
    def _close_parts(self, out: list[bytes]) -> None:
        """A step is over: text and reasoning that are open end here."""

    @abstractmethod
    def _finish(self, frame: End, out: list[bytes]) -> None:
        """The response ends; sets ``_over``."""

    @abstractmethod
    def _failed(self, error: APIError, out: list[bytes]) -> None:
        """The response ends in an error."""

    @abstractmethod
    def _body(self, message: AssistantMessage) -> bytes:
        """A whole response."""


def is_object(arguments: str) -> bool:
    """Whether arguments are a JSON object, or blank, which stands for one.

    Args:
        arguments: The text of a call's arguments.
    """
    if not arguments or arguments.isspace():
        return True
    try:
        parse_arguments(arguments)
    except ValueError:
        return False
    return True


def event_named(kind: str, body: dict[str, Any]) -> bytes:
    """A server-sent event with a name, whose data begins with the same as its type.

    Args:
        kind: The event's name.
        body: The other fields.
    """
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **body}))
