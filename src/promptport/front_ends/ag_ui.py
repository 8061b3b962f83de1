"""`AGUIEncoder`: frames → the events of AG-UI, version 1.0 and the clients before it.

Rules: what is opened is closed, at every kind of end; a call has one result; nothing follows the run's last event; no
key is ``null`` and no delta empty; ids come from the run, so that a replay is the same bytes. What clients before 1.0
do not know is sent to none that does not say its version.

The protocol: <https://docs.ag-ui.com/concepts/events>.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from promptport.errors import IncompleteStreamError, InvalidInputError
from promptport.frames import (
    Append,
    Citation,
    End,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from promptport.front_ends.error_codes import error_code
from promptport.front_ends.frame_handlers import frame_handlers
from promptport.front_ends.shown import approval_id, event_data, output_json, usage_json
from promptport.messages import Origin

__all__ = ["AGUIEncoder"]

_encode = msgspec.json.Encoder().encode

_CUT = "The call was cut off."
_UNANSWERED = "The call has no result: the run ended before it."
_APPROVAL_SCHEMA = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}


class AGUIEncoder:
    """The events of one AG-UI run. See `FrameEncoder` for its methods.

    Examples:
        ```python
        from promptport import Append, End, FinishReason
        from promptport.front_ends import AGUIEncoder

        encoder = AGUIEncoder("thread-1", "run-1")
        body = b"".join(map(encoder.feed, [Append("Hello"), End(FinishReason.STOP)])) + encoder.close()
        print(body.decode())
        ```
    """

    def __init__(
        self,
        thread: str,
        run: str,
        *,
        run_id: str | None = None,
        protocol: str = "1.0",
        reasoning: bool = True,
        calls: Sequence[str] = (),
        origin: Origin | None = None,
        error_text: Callable[[BaseException | ToolResult], str] | None = None,
    ) -> None:
        """Make an encoder for one run.

        Args:
            thread: The conversation's id.
            run: The run's name, from which all ids are made; must be unique in the conversation.
            run_id: The run's id in the client's words. Default: `run`.
            protocol: The version that the client names; "" for a client before 1.0, which names none.
            reasoning: Whether the client gets the model's reasoning. Default: true.
            calls: Ids of calls that the client has from an earlier run, and that get their result now.
            origin: The server whose signatures the reasoning has; it comes back with the history.
            error_text: As in `UIMessageEncoder`.
        """
        self._thread = thread
        self._run = run
        self._run_id = run_id if run_id is not None else run
        self._modern = bool(protocol)
        self._shows_reasoning = reasoning
        self._origin = origin
        self._error_text = error_text
        self._calls = dict.fromkeys(calls, "available")  # begun → available → done; invalid → done
        self._steps = 0
        self._parts = 0
        self._started = False
        self._step = False
        self._text_head = b""  # of an event of the open message; what it ends with is the delta
        self._thought_head = b""
        self._call_heads: dict[str, bytes] = {}
        self._reasoning = ""
        self._interrupts: list[dict[str, Any]] = []
        self._outside: list[str] = []
        self._end: End | Usage | None = None
        self._over = False
        self._kinds = frame_handlers(self)

    # -------------------------------------------------------------------------------------------- in

    def feed(self, frame: DispatchFrame) -> bytes:
        """See `FrameEncoder.feed`.

        Raises:
            InvalidInputError: It is not a frame.
        """
        kind = type(frame)
        if kind is Append and self._text_head:  # most frames of most runs
            return b"%b%b}\n\n" % (self._text_head, _encode(frame.text)) if frame.text else b""  # type: ignore[union-attr]
        if self._over or isinstance(self._end, End):
            return b""
        out: list[bytes] = []
        self._start(out)
        handle = self._kinds.get(kind)
        if handle is None:
            raise InvalidInputError(f"AGUIEncoder: {kind.__name__} is not a frame.")
        handle(frame, out)
        return b"".join(out)

    def fail(self, error: BaseException) -> bytes:
        """See `FrameEncoder.fail`."""
        if self._over or isinstance(self._end, End):
            return self.close()
        code, message = error_code(error)
        if self._error_text is not None:
            message = self._error_text(error)
        out = self._all_closed()
        out.append(event_data("RUN_ERROR", message=message, code=code))
        return b"".join(out)

    def stop(self) -> bytes:
        """See `FrameEncoder.stop`."""
        if self._over or isinstance(self._end, End):
            return self.close()
        out = self._all_closed()
        if self._modern:
            out.append(self._finished({"type": "cancelled"}))
        else:
            out.append(event_data("RUN_ERROR", message="The run was stopped.", code="cancelled"))
        return b"".join(out)

    def close(self) -> bytes:
        """See `FrameEncoder.close`."""
        if self._over:
            return b""
        if self._end is None:
            return self.fail(IncompleteStreamError("the frames ended without their last"))
        self._over = True
        out: list[bytes] = []
        self._close_step(out, wait=True)
        outcome: dict[str, Any] | None = None
        if self._interrupts:
            outcome = {"type": "interrupt", "interrupts": self._interrupts}
        elif self._outside and self._modern:
            outcome = {"type": "success", "pendingToolCallIds": self._outside}
        out.append(self._finished(outcome))
        return b"".join(out)

    # -------------------------------------------------------------------------------------- the model's

    def _on_text(self, frame: Append, out: list[bytes]) -> None:
        if not frame.text:
            return
        self._open_step(out)
        if not self._text_head:
            self._text_head = _head("TEXT_MESSAGE_CONTENT", messageId=self._message)
            out.append(event_data("TEXT_MESSAGE_START", messageId=self._message, role="assistant"))
        out.append(b"%b%b}\n\n" % (self._text_head, _encode(frame.text)))

    def _on_thought(self, frame: ReasoningAppend, out: list[bytes]) -> None:
        if not frame.text or not self._shows_reasoning:
            return
        self._open_reasoning(out)
        out.append(b"%b%b}\n\n" % (self._thought_head, _encode(frame.text)))

    def _on_reasoning(self, frame: Reasoning, out: list[bytes]) -> None:
        if not self._shows_reasoning or not (self._reasoning or frame.text or frame.provider_data is not None):
            return
        if not self._reasoning:
            self._open_reasoning(out)
            if frame.text:
                out.append(event_data("REASONING_MESSAGE_CONTENT", messageId=self._reasoning, delta=frame.text))
        self._close_reasoning(out, frame.provider_data)

    def _on_delta(self, frame: ToolCallDelta, out: list[bytes]) -> None:
        if frame.id not in self._calls:
            self._open_step(out)
            self._calls[frame.id] = "begun"
            out.append(
                event_data(
                    "TOOL_CALL_START", toolCallId=frame.id, toolCallName=frame.name, parentMessageId=self._message
                )
            )
        if frame.arguments and self._calls[frame.id] == "begun":
            head = self._call_heads.get(frame.id)
            if head is None:
                head = self._call_heads[frame.id] = _head("TOOL_CALL_ARGS", toolCallId=frame.id)
            out.append(b"%b%b}\n\n" % (head, _encode(frame.arguments)))

    def _on_call(self, frame: ToolCall | InvalidToolCall, out: list[bytes]) -> None:
        if self._calls.get(frame.id, "begun") != "begun":
            return
        self._on_delta(
            ToolCallDelta(frame.id, frame.name, "" if frame.id in self._call_heads else frame.arguments), out
        )
        self._calls[frame.id] = "available" if isinstance(frame, ToolCall) else "invalid"
        out.append(event_data("TOOL_CALL_END", toolCallId=frame.id))
        if frame.provider_data is not None and self._shows_reasoning:
            out.append(self._opaque("tool-call", frame.id, frame.provider_data))

    def _on_invalid(self, frame: InvalidToolCall, out: list[bytes]) -> None:
        self._on_call(frame, out)

    def _on_citation(self, frame: Citation, out: list[bytes]) -> None:
        told = {"url": frame.url, "title": frame.title, "text": frame.text}
        value = {name: text for name, text in told.items() if text is not None}
        out.append(event_data("CUSTOM", name="citation", value={"messageId": self._message, **value}))

    def _on_item(self, frame: ProviderItem, out: list[bytes]) -> None:
        value = {"messageId": self._message, "type": frame.type, "data": frame.data}
        out.append(event_data("CUSTOM", name="provider_item", value=value))

    def _on_reset(self, frame: Restarted | StepReset, out: list[bytes]) -> None:
        """The answer of this step begins anew, as another message."""
        if self._step:
            message = self._message
            self._close_step(out)
            out.append(event_data("CUSTOM", name="restarted", value={"messageId": message}))

    # --------------------------------------------------------------------------------------- the loop's

    def _on_started(self, frame: ToolStarted, out: list[bytes]) -> None:
        """Says nothing: that the call is complete was said."""

    def _on_progress(self, frame: ToolProgress, out: list[bytes]) -> None:
        if self._calls.get(frame.id) == "available" and frame.data is not None:
            out.append(event_data("CUSTOM", name="tool_progress", value={"toolCallId": frame.id, "data": frame.data}))

    def _on_result(self, frame: ToolResult, out: list[bytes]) -> None:
        state = self._calls.get(frame.id)
        if state not in ("available", "invalid"):
            return  # told before, or the client has no such call
        if frame.error is None:
            shown = output_json(frame)
            text = shown if isinstance(shown, str) else _encode(shown).decode()
        elif frame.denied or state == "invalid":
            text = frame.error
        else:
            text = "The tool failed." if self._error_text is None else self._error_text(frame)
        self._result(frame.id, text, out)

    def _result(self, call: str, text: str, out: list[bytes]) -> None:
        self._calls[call] = "done"
        self._parts += 1
        message = f"{self._run}-result-{self._parts}"
        out.append(event_data("TOOL_CALL_RESULT", messageId=message, toolCallId=call, role="tool", content=text))

    def _on_step_end(self, frame: StepEnd, out: list[bytes]) -> None:
        self._close_step(out)

    def _on_approval(self, frame: ApprovalNeeded, out: list[bytes]) -> None:
        self._end = frame.usage
        self._interrupts += [
            {
                "id": approval_id(self._run, call.id),
                "reason": "tool_call",
                "toolCallId": call.id,
                "message": f"The model wants to call {call.name}.",
                "responseSchema": _APPROVAL_SCHEMA,
            }
            for call in frame.calls
        ]

    def _on_pending(self, frame: ToolsPending, out: list[bytes]) -> None:
        self._end = frame.usage
        self._outside += [call.id for call in frame.calls]

    def _on_end(self, frame: End, out: list[bytes]) -> None:
        self._end = frame
        self._close_step(out, wait=True)

    # ------------------------------------------------------------------------------- opening and closing

    @property
    def _message(self) -> str:
        """The message of the answer under way."""
        return f"{self._run}-message-{self._steps + (not self._step)}"

    def _start(self, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            more = {"protocolVersion": "1.0"} if self._modern else {}
            out.append(event_data("RUN_STARTED", threadId=self._thread, runId=self._run_id, **more))

    def _open_step(self, out: list[bytes]) -> None:
        if not self._step:
            self._step = True
            self._steps += 1
            out.append(event_data("STEP_STARTED", stepName=f"step-{self._steps}"))

    def _open_reasoning(self, out: list[bytes]) -> None:
        if not self._reasoning:
            self._open_step(out)
            self._parts += 1
            self._reasoning = f"{self._run}-reasoning-{self._parts}"
            self._thought_head = _head("REASONING_MESSAGE_CONTENT", messageId=self._reasoning)
            out.append(event_data("REASONING_START", messageId=self._reasoning))
            out.append(event_data("REASONING_MESSAGE_START", messageId=self._reasoning, role="reasoning"))

    def _close_reasoning(self, out: list[bytes], data: dict[str, Any] | None) -> None:
        if self._reasoning:
            out.append(event_data("REASONING_MESSAGE_END", messageId=self._reasoning))
            if data is not None:
                out.append(self._opaque("message", self._reasoning, data))
            out.append(event_data("REASONING_END", messageId=self._reasoning))
            self._reasoning = ""

    def _close_step(self, out: list[bytes], *, wait: bool = False) -> None:
        """Args: ``wait``: complete calls may stay without a result."""
        self._close_reasoning(out, None)
        if self._text_head:
            self._text_head = b""
            out.append(event_data("TEXT_MESSAGE_END", messageId=self._message))
        for call, state in list(self._calls.items()):
            if state == "begun":
                out.append(event_data("TOOL_CALL_END", toolCallId=call))
                self._result(call, _CUT, out)
            elif state == "invalid" or (state == "available" and not wait):
                self._result(call, _UNANSWERED, out)
        if self._step:
            out.append(event_data("STEP_FINISHED", stepName=f"step-{self._steps}"))
            self._step = False

    def _all_closed(self) -> list[bytes]:
        """What comes before an end that is not the run's own."""
        self._over = True
        out: list[bytes] = []
        self._start(out)
        self._close_step(out)
        return out

    def _finished(self, outcome: dict[str, Any] | None) -> bytes:
        more: dict[str, Any] = {} if outcome is None else {"outcome": outcome}
        usage = self._end.usage if isinstance(self._end, End) else self._end
        if self._modern and usage is not None:
            known = usage_json(usage)
            counts: dict[str, Any] = {name: known[name] for name in ("inputTokens", "outputTokens") if name in known}
            if isinstance(self._end, End) and self._end.model is not None:
                counts["model"] = self._end.model
            if counts:
                more["usage"] = [counts]
        return event_data("RUN_FINISHED", threadId=self._thread, runId=self._run_id, **more)

    def _opaque(self, kind: str, entity: str, data: dict[str, Any]) -> bytes:
        kept: dict[str, Any] = {"data": data}
        if self._origin is not None:
            kept["origin"] = self._origin
        value = _encode(kept).decode()
        return event_data("REASONING_ENCRYPTED_VALUE", subtype=kind, entityId=entity, encryptedValue=value)


def _head(kind: str, **fields: str) -> bytes:
    """An event up to its delta, which is the one thing that its many repetitions do not have in common."""
    return b'data: %b,"delta":' % _encode({"type": kind, **fields})[:-1]
