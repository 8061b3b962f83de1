"""Rules of a request that several servers share, and what is said when one is broken. Pure.

Rule: what stands here is true for more than one provider, word for word; what a single one wants is in its package.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import InvalidToolCall, ToolCall
from promptport.messages import AudioPart, DocumentPart, ImagePart, LLMParams, ReasoningEffort
from promptport.models import LLModel

__all__ = [
    "base64_of",
    "call_input",
    "check_forced_call",
    "check_room",
    "inline_of",
    "text_of_document",
    "thinking_is_off",
    "unsupported",
]


def unsupported(model: LLModel, missing: str, instead: str) -> UnsupportedCapabilityError:
    """The error for what a model, or the API of its provider, has no form for.

    Examples:
        ```python
        from promptport.provider import LLModel, unsupported

        raise unsupported(LLModel("my-provider", "m"), "seed", "leave it out")
        ```
    """
    return UnsupportedCapabilityError(provider=model.provider, model=model.id, missing=[missing], instead=instead)


def base64_of(part: ImagePart | DocumentPart | AudioPart) -> str:
    """The data of a part as base64; an empty string for a part by address."""
    return base64.b64encode(part.data or b"").decode()


def inline_of(part: ImagePart | DocumentPart | AudioPart) -> tuple[str, str] | None:
    """The media type and the base64 of a part whose data is here, or in a ``data:`` URL; ``None`` for an address."""
    if part.data is not None:
        return part.media_type or "", base64_of(part)
    head, comma, data = (part.url or "").partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return head.removeprefix("data:").removesuffix(";base64"), data
    return None


def text_of_document(part: DocumentPart) -> str:
    """The text of a document of type ``text/…``.

    Raises:
        InvalidInputError: It is not UTF-8.
    """
    try:
        return (part.data or b"").decode()
    except UnicodeDecodeError:
        raise InvalidInputError("a document of type text/… must be UTF-8") from None


def call_input(call: ToolCall | InvalidToolCall, wrong: str) -> Any:
    """The arguments of a call as the object that a server wants, in the model's own spelling of numbers.

    Args:
        call: From the history.
        wrong: The field under which the model is shown what it wrote, where that was not an object.

    Raises:
        InvalidInputError: The arguments of a `ToolCall`, which somebody made by hand, are not an object.
    """
    if isinstance(call, InvalidToolCall):
        return {wrong: call.arguments}
    try:
        call.parsed()
    except ValueError as error:
        raise InvalidInputError(f"tool call {call.name!r}: {error}") from None
    return msgspec.Raw(call.arguments.encode("utf-8", "surrogatepass"))


def thinking_is_off(params: LLMParams) -> bool:
    """Whether the model is asked not to think: by an effort of ``none``, or by a budget of 0.

    Raises:
        InvalidInputError: The effort and the budget say different things.
    """
    effort, budget = params.reasoning_effort, params.reasoning_budget
    off = effort is ReasoningEffort.NONE or budget == 0
    if off and (budget or effort not in (None, ReasoningEffort.NONE)):
        raise InvalidInputError("reasoning_effort and reasoning_budget contradict each other")
    return off


def check_room(max_tokens: int | None, budget: int | None) -> None:
    """Checks that a limit of tokens leaves some for an answer, where thoughts count as well.

    Raises:
        InvalidInputError: It leaves none.
    """
    if max_tokens is not None and budget is not None and max_tokens <= budget:
        raise InvalidInputError(
            f"max_tokens={max_tokens} leaves no room for an answer beside reasoning_budget={budget}. "
            "Raise max_tokens above the budget, or leave it out"
        )


def check_forced_call(thinking: Any, choice: Any, forced: tuple[str, ...], model: LLModel) -> None:
    """Checks that no call is forced beside thinking, which Claude refuses: only ``auto`` and ``none`` go with it.

    Args:
        thinking: The body's field, in Claude's form.
        choice: The kind of the body's tool choice.
        forced: The kinds that force a call.
        model: For the error.

    Raises:
        UnsupportedCapabilityError: A call is forced.
    """
    if isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive") and choice in forced:
        instead = "use tool_choice 'auto', or turn thinking off with reasoning_effort 'none'"
        raise unsupported(model, "tool_choice that forces a call, together with reasoning", instead)
