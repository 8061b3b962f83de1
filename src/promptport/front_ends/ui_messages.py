"""`UIMessageEncoder`: frames → the UI message stream of the AI SDK, which ``useChat`` reads. Versions 7, 6 and 5.

Rules: what is opened is closed, at every kind of end; a call has one outcome; nothing follows the finish but
``[DONE]``; no key is ``null``; ids come from the run, so that a replay is the same bytes.

The protocol: <https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol>. Early versions 5 reject a chunk with a key that
they do not know, so version 5 gets the keys that all of it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

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
    FinishReason,
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
from promptport.front_ends.shown import EVENT_STREAM_HEADERS, approval_id, event_data, output_json, usage_json
from promptport.front_ends.ui_call import UICall
from promptport.messages import Origin

__all__ = ["UI_MESSAGE_HEADERS", "SDKVersion", "UIMessageEncoder"]

SDKVersion: TypeAlias = Literal["7", "6", "5", "5.0"]
"""The major version of the AI SDK in the browser. ``"5.0"`` is its first releases, which know less."""

UI_MESSAGE_HEADERS = {**EVENT_STREAM_HEADERS, "x-vercel-ai-ui-message-stream": "v1"}
"""The headers of a response that carries this stream."""

_encode = msgspec.json.Encoder().encode

_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTENT_FILTER: "content-filter",
    FinishReason.TOOL_CALLS: "tool-calls",
}
_CUT = "The call was cut off."
_UNANSWERED = "The call has no result: the run ended before it."


class UIMessageEncoder:
    """The chunks of one message of the AI SDK. See `FrameEncoder` for its methods.

    Examples:
        ```python
        from promptport import Append, End, FinishReason
        from promptport.front_ends import UIMessageEncoder

        encoder = UIMessageEncoder("run-1", sdk="7")
        body = b"".join(map(encoder.feed, [Append("Hello"), End(FinishReason.STOP)])) + encoder.close()
        print(body.decode())
        ```
    """

    def __init__(
        self,
        run: str,
        *,
        message_id: str | None = None,
        sdk: SDKVersion = "7",
        reasoning: bool = True,
        calls: Sequence[str] = (),
        dynamic: Sequence[str] = (),
        origin: Origin | None = None,
        error_text: Callable[[BaseException | ToolResult], str] | None = None,
    ) -> None:
        """Make an encoder for one run.

        Args:
            run: The run's name, from which all ids are made.
            message_id: The message that the run continues. Default: a new one, named after the run.
            sdk: The version of the AI SDK that reads the stream.
            reasoning: Whether the browser gets the model's reasoning. Default: true.
            calls: Ids of calls that the continued message already has, and that get their outcome now.
            dynamic: Names of tools that the front end was not built with, such as those of MCP servers.
            origin: The server whose signatures the reasoning has; it comes back with the history.
            error_text: Chooses what the browser reads of an error that ended the run, or of a failed `ToolResult`.
                Default: a sentence of promptport for each code. The text of an exception stays on the server.

        Raises:
            InvalidInputError: `sdk` is not one of the versions.
        """
        if sdk not in ("7", "6", "5", "5.0"):
            raise InvalidInputError(f"UIMessageEncoder: sdk={sdk!r} is not known. Use '7', '6', '5' or '5.0'.")
        self._run = run
        self._message_id = message_id if message_id is not None else f"msg-{run}"
        self._sdk = sdk
        self._modern = sdk in ("6", "7")
        self._shows_reasoning = reasoning
        self._dynamic = frozenset(dynamic)
        self._origin = origin
        self._error_text = error_text
        self._calls: dict[str, UICall] = {one: UICall(one, "", "available", earlier=True) for one in calls}
        self._parts = 0
        self._started = False
        self._step = False
        self._text = b""  # the JSON of the open part's id
        self._reasoning = b""
        self._paused: Usage | None = None
        self._complete = False  # the last frame was seen
        self._over = False
        self._kinds = frame_handlers(self)

    # -------------------------------------------------------------------------------------------- in

    def feed(self, frame: DispatchFrame) -> bytes:
        """See `FrameEncoder.feed`.

        Raises:
            InvalidInputError: It is not a frame.
        """
        if self._over or self._complete:
            return b""
        if type(frame) is Append and self._text:  # most frames of most runs
            return b'data: {"type":"text-delta","id":%b,"delta":%b}\n\n' % (self._text, _encode(frame.text))
        out: list[bytes] = []
        self._start(out)
        handle = self._kinds.get(type(frame))
        if handle is None:
            raise InvalidInputError(f"UIMessageEncoder: {type(frame).__name__} is not a frame.")
        handle(frame, out)
        return b"".join(out)

    def fail(self, error: BaseException) -> bytes:
        """See `FrameEncoder.fail`."""
        if self._over:
            return b""
        if self._complete:
            return self.close()
        code, message = error_code(error)
        if self._error_text is not None:
            message = self._error_text(error)
        out = self._all_closed()
        out.append(event_data("data-error", data={"code": code, "message": message}, transient=True))
        out.append(event_data("error", errorText=message))
        return self._done(out)

    def stop(self) -> bytes:
        """See `FrameEncoder.stop`."""
        if self._over:
            return b""
        if self._complete:
            return self.close()
        out = self._all_closed()
        out.append(event_data("abort", reason="stopped") if self._modern else event_data("abort"))
        return self._done(out)

    def close(self) -> bytes:
        """See `FrameEncoder.close`."""
        if self._over:
            return b""
        if self._complete:
            return self._done([])
        if self._paused is None:
            return self.fail(IncompleteStreamError("the frames ended without their last"))
        out: list[bytes] = []
        self._close_step(out, wait=True)
        self._finish(out, "tool-calls", self._paused, None)
        return self._done(out)

    # -------------------------------------------------------------------------------------- the model's

    def _on_text(self, frame: Append, out: list[bytes]) -> None:
        if not frame.text:
            return
        if not self._text:
            self._open_step(out)
            self._text = _encode(self._part())
            out.append(b'data: {"type":"text-start","id":%b}\n\n' % self._text)
        out.append(b'data: {"type":"text-delta","id":%b,"delta":%b}\n\n' % (self._text, _encode(frame.text)))

    def _on_thought(self, frame: ReasoningAppend, out: list[bytes]) -> None:
        if not frame.text or not self._shows_reasoning:
            return
        if not self._reasoning:
            self._open_reasoning(out)
        out.append(b'data: {"type":"reasoning-delta","id":%b,"delta":%b}\n\n' % (self._reasoning, _encode(frame.text)))

    def _on_reasoning(self, frame: Reasoning, out: list[bytes]) -> None:
        if not self._shows_reasoning:
            return
        if not self._reasoning:
            if not frame.text and frame.provider_data is None:
                return
            self._open_reasoning(out)
            if frame.text:
                text = _encode(frame.text)
                out.append(b'data: {"type":"reasoning-delta","id":%b,"delta":%b}\n\n' % (self._reasoning, text))
        self._close_reasoning(out, frame.provider_data)

    def _open_reasoning(self, out: list[bytes]) -> None:
        self._close_text(out)
        self._open_step(out)
        self._reasoning = _encode(self._part())
        out.append(b'data: {"type":"reasoning-start","id":%b}\n\n' % self._reasoning)

    def _on_delta(self, frame: ToolCallDelta, out: list[bytes]) -> None:
        call = self._calls.get(frame.id)
        if call is None:
            call = self._calls[frame.id] = UICall(frame.id, frame.name, "unnamed")
        if call.state == "unnamed":
            call.name = call.name or frame.name
            call.text += frame.arguments
            if call.name:
                self._begin(call, out)
        elif call.state == "streaming" and frame.arguments:
            call.text += frame.arguments
            out.append(event_data("tool-input-delta", toolCallId=call.id, inputTextDelta=frame.arguments))

    def _begin(self, call: UICall, out: list[bytes]) -> None:
        self._close_text(out)
        self._open_step(out)
        call.state = "streaming"
        out.append(event_data("tool-input-start", toolCallId=call.id, toolName=call.name, **self._kind(call.name)))
        if call.text:
            out.append(event_data("tool-input-delta", toolCallId=call.id, inputTextDelta=call.text))

    def _on_call(self, frame: ToolCall, out: list[bytes]) -> None:
        call = self._known(frame, out)
        if call is None:
            return
        call.state = "available"
        more = self._kind(frame.name)
        if frame.provider_data is not None and self._modern:
            more["providerMetadata"] = self._opaque(frame.provider_data)
        # JSON text on one line as it is: a line break can only stand between its tokens.
        text = frame.arguments.replace("\n", " ").replace("\r", " ")
        value = msgspec.Raw(text.encode("utf-8", "replace"))
        out.append(event_data("tool-input-available", toolCallId=call.id, toolName=call.name, input=value, **more))

    def _on_invalid(self, frame: InvalidToolCall, out: list[bytes]) -> None:
        call = self._known(frame, out)
        if call is not None:
            self._refuse(call, frame.arguments, frame.reason, out)

    def _known(self, frame: ToolCall | InvalidToolCall, out: list[bytes]) -> UICall | None:
        """The call of a frame that completes it, or nothing where it is complete."""
        call = self._calls.get(frame.id)
        if call is None or call.state == "unnamed":
            call = self._calls[frame.id] = UICall(frame.id, frame.name, "unnamed")
            self._close_text(out)
            self._open_step(out)
        return call if call.state in ("unnamed", "streaming") else None

    def _refuse(self, call: UICall, arguments: str, reason: str, out: list[bytes]) -> None:
        """A call whose arguments are not usable: its error is its one outcome."""
        call.state = "done"
        more = self._kind(call.name)
        if self._sdk == "5.0":
            shown = {"arguments": arguments}
            out.append(event_data("tool-input-available", toolCallId=call.id, toolName=call.name, input=shown, **more))
            out.append(event_data("tool-output-error", toolCallId=call.id, errorText=reason, **more))
            return
        out.append(
            event_data(
                "tool-input-error", toolCallId=call.id, toolName=call.name, input=arguments, errorText=reason, **more
            )
        )

    def _on_citation(self, frame: Citation, out: list[bytes]) -> None:
        self._close_text(out)
        self._open_step(out)
        if frame.url:
            more = {"title": frame.title} if frame.title else {}
            out.append(event_data("source-url", sourceId=self._part(), url=frame.url, **more))
        else:
            title = frame.title or frame.text or "Source"
            out.append(event_data("source-document", sourceId=self._part(), mediaType="text/plain", title=title))

    def _on_item(self, frame: ProviderItem, out: list[bytes]) -> None:
        self._close_text(out)
        self._open_step(out)
        data: dict[str, Any] = {"type": frame.type, "data": frame.data}
        if self._origin is not None:
            data["origin"] = self._origin
        out.append(event_data("data-provider_item", id=self._part(), data=data))

    def _on_reset(self, frame: Restarted | StepReset, out: list[bytes]) -> None:
        """The answer of this step begins anew."""
        if not self._step:
            return
        if self._sdk == "7":
            self._close_text(out)
            self._close_reasoning(out, None)
            self._calls = {call.id: call for call in self._calls.values() if call.earlier}
            out.append(event_data("reset-step"))
            return
        # Older clients can take nothing back: the step is over, and a part says that it does not count.
        self._close_step(out, mark=True)

    # --------------------------------------------------------------------------------------- the loop's

    def _on_started(self, frame: ToolStarted, out: list[bytes]) -> None:
        """Says nothing: that the call is complete was said."""

    def _on_progress(self, frame: ToolProgress, out: list[bytes]) -> None:
        call = self._calls.get(frame.id)
        if self._sdk == "5.0":
            return  # it knows no output before the last
        if call is not None and call.state == "available" and frame.data is not None:
            self._output(call, frame.data, out, preliminary=True)

    def _on_result(self, frame: ToolResult, out: list[bytes]) -> None:
        call = self._calls.get(frame.id)
        if call is None or call.state != "available":
            return  # told before, or the message has no such call
        call.state = "done"
        if frame.error is None:
            self._output(call, output_json(frame), out)
        elif frame.denied and self._modern:
            if not call.asked and not call.earlier:
                approval = approval_id(self._run, call.id)
                out.append(event_data("tool-approval-request", approvalId=approval, toolCallId=call.id))
                if self._sdk == "7":
                    out.append(
                        event_data("tool-approval-response", approvalId=approval, approved=False, reason=frame.error)
                    )
            out.append(event_data("tool-output-denied", toolCallId=call.id))
        else:
            text = frame.error if frame.denied else "The tool failed."
            if self._error_text is not None and not frame.denied:
                text = self._error_text(frame)
            self._output_error(call, text, out)

    def _output(self, call: UICall, value: Any, out: list[bytes], **more: Any) -> None:
        more |= {} if self._modern else self._kind(call.name)
        out.append(event_data("tool-output-available", toolCallId=call.id, output=value, **more))

    def _output_error(self, call: UICall, text: str, out: list[bytes]) -> None:
        call.state = "done"
        more = {} if self._modern else self._kind(call.name)
        out.append(event_data("tool-output-error", toolCallId=call.id, errorText=text, **more))

    def _on_step_end(self, frame: StepEnd, out: list[bytes]) -> None:
        self._close_step(out)

    def _on_approval(self, frame: ApprovalNeeded, out: list[bytes]) -> None:
        self._paused = frame.usage
        self._close_parts(out)
        waiting = []
        for call in map(self._pending, frame.calls):
            if call is None:
                continue
            call.asked = True
            approval = approval_id(self._run, call.id)
            if self._modern:
                out.append(event_data("tool-approval-request", approvalId=approval, toolCallId=call.id))
            else:
                waiting.append({"approvalId": approval, "toolCallId": call.id, "toolName": call.name})
        if waiting:
            out.append(event_data("data-approval_needed", id=self._part(), data={"calls": waiting}))

    def _on_pending(self, frame: ToolsPending, out: list[bytes]) -> None:
        self._paused = frame.usage
        self._close_parts(out)
        for call in map(self._pending, frame.calls):
            if call is not None:
                call.asked = True

    def _pending(self, pending: ToolCall) -> UICall | None:
        call = self._calls.get(pending.id)
        return call if call is not None and call.state == "available" else None

    def _on_end(self, frame: End, out: list[bytes]) -> None:
        self._close_step(out, wait=frame.finish_reason is FinishReason.TOOL_CALLS)
        self._finish(out, _REASONS.get(frame.finish_reason, "other"), frame.usage, frame.model)

    # ------------------------------------------------------------------------------- opening and closing

    def _start(self, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            out.append(event_data("start", messageId=self._message_id))

    def _open_step(self, out: list[bytes]) -> None:
        if not self._step:
            self._step = True
            out.append(b'data: {"type":"start-step"}\n\n')

    def _close_text(self, out: list[bytes]) -> None:
        if self._text:
            out.append(b'data: {"type":"text-end","id":%b}\n\n' % self._text)
            self._text = b""

    def _close_reasoning(self, out: list[bytes], data: dict[str, Any] | None) -> None:
        if self._reasoning:
            more = b"" if data is None else b',"providerMetadata":' + _encode(self._opaque(data))
            out.append(b'data: {"type":"reasoning-end","id":%b%b}\n\n' % (self._reasoning, more))
            self._reasoning = b""

    def _close_parts(self, out: list[bytes]) -> None:
        """Text, reasoning, and calls that were begun and never completed."""
        self._close_text(out)
        self._close_reasoning(out, None)
        for call in self._calls.values():
            if call.state == "streaming":
                self._refuse(call, call.text, _CUT, out)
            elif call.state == "unnamed":
                call.state = "done"

    def _close_step(self, out: list[bytes], *, wait: bool = False, mark: bool = False) -> None:
        """Args: ``wait``: calls without an outcome may stay so; ``mark``: the step does not count."""
        self._close_parts(out)
        if not wait:
            for call in self._calls.values():
                if call.state == "available":
                    self._output_error(call, _UNANSWERED, out)
        if self._step:
            if mark:
                out.append(event_data("data-restarted", id=self._part(), data={}))
            self._step = False
            out.append(b'data: {"type":"finish-step"}\n\n')

    def _all_closed(self) -> list[bytes]:
        """What comes before an end that is not the run's own."""
        out: list[bytes] = []
        self._start(out)
        self._close_step(out)
        return out

    def _finish(self, out: list[bytes], reason: str, usage: Usage, model: str | None) -> None:
        self._complete = True
        counts = usage_json(usage)
        metadata: dict[str, Any] = {"usage": counts} if counts else {}
        if model is not None:
            metadata["model"] = model
        more: dict[str, Any] = {"finishReason": reason} if self._modern else {}
        if metadata:
            more["messageMetadata"] = metadata
        out.append(event_data("finish", **more))

    def _done(self, out: list[bytes]) -> bytes:
        self._over = True
        out.append(b"data: [DONE]\n\n")
        return b"".join(out)

    # ------------------------------------------------------------------------------------------- names

    def _part(self) -> str:
        self._parts += 1
        return f"{self._run}-{self._parts}"

    def _kind(self, tool: str) -> dict[str, Any]:
        return {"dynamic": True} if tool in self._dynamic else {}

    def _opaque(self, data: dict[str, Any]) -> dict[str, Any]:
        """What a provider wants back, where the AI SDK keeps such things: two levels, as it demands."""
        kept: dict[str, Any] = {"data": data}
        if self._origin is not None:
            kept["origin"] = self._origin
        return {"promptport": kept}
