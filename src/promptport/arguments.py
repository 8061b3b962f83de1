"""What callers pass to the verbs, as the values that the verbs work with.

Rule: a string means what it says: the text of a prompt, a model as ``provider/id``. What cannot be meant is an
`InvalidInputError` at once, with the right spelling; every client, executor, dispatcher and session asks here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from promptport.errors import ConfigurationError, InvalidInputError
from promptport.messages import Prompt, TextPart, UserMessage
from promptport.models import LLModel
from promptport.tools import ToolDescriptor

__all__ = ["as_model", "as_prompt", "as_tools", "check_asker", "check_number", "check_options", "closest", "model_for"]


def as_prompt(prompt: object, *, where: str = "prompt") -> Prompt:
    """Return the prompt that a caller means: a `Prompt`, or the text of one user message.

    Args:
        prompt: What the caller passed.
        where: The argument, for the error.

    Raises:
        InvalidInputError: It is neither a prompt nor a string.
    """
    if isinstance(prompt, Prompt):
        return prompt
    if isinstance(prompt, str):
        return Prompt((UserMessage((TextPart(prompt),)),))
    raise InvalidInputError(
        f"{where}: a prompt is a Prompt or a string, not {_kind(prompt)}. "
        "Write Prompt.of('Hello'), or Prompt().system('…').user('…') for several messages."
    )


def as_model(model: object, *, provider: str | None = None, where: str = "model") -> LLModel:
    """Return the model that a caller means: an `LLModel`, or its name as ``provider/id``.

    Args:
        model: What the caller passed.
        provider: The only provider that can be asked, or ``None``.
        where: The argument, for the error.

    Raises:
        InvalidInputError: It is neither a model nor a string, or a model of another provider.
        ConfigurationError: The string is not ``provider/id``.
    """
    if isinstance(model, str):
        model = LLModel.parse(model)
    elif not isinstance(model, LLModel):
        raise InvalidInputError(
            f"{where}: a model is an LLModel or a string, not {_kind(model)}. Write 'openai/gpt-5', "
            "or LLModel('openai', 'gpt-5')."
        )
    if provider is not None and model.provider != provider:
        raise InvalidInputError(
            f"{where}: {model} is a model of {model.provider!r}, and this client asks {provider!r}. "
            f"Write {f'{provider}/{model.id}'!r}, or use connect({model.provider!r})."
        )
    return model


def model_for(
    executor: object, model: object, prompt: Prompt, tools: Sequence[ToolDescriptor] = (), *, where: str = "model"
) -> LLModel:
    """Return the model that is really asked: as `as_model`, but that an executor that routes resolves a string first.

    Args:
        executor: Who is asked.
        model: What the caller passed.
        prompt: What is asked.
        tools: What is offered.
        where: The argument, for the error.

    Raises:
        InvalidInputError: It is neither a model nor a string.
        ConfigurationError: The string is not ``provider/id``.
    """
    resolve = getattr(executor, "resolve", None) if isinstance(model, str) else None
    return as_model(model if resolve is None else resolve(model, prompt, tools), where=where)


def as_tools(tools: object, *, where: str = "tools") -> tuple[ToolDescriptor, ...]:
    """Return the tools of a request.

    Args:
        tools: What the caller passed.
        where: The argument, for the error.

    Raises:
        InvalidInputError: It is not a sequence of `ToolDescriptor`; a plain function is told of ``@tool``.
    """
    if isinstance(tools, ToolDescriptor) or not isinstance(tools, Iterable) or isinstance(tools, str | Mapping):
        raise InvalidInputError(f"{where}: takes a sequence of tools, not {_kind(tools)}. Write [get_weather].")
    offered = tools if isinstance(tools, tuple) else tuple(tools)
    for each in offered:
        if not isinstance(each, ToolDescriptor):
            raise InvalidInputError(f"{where}: {_not_a_tool(each)}")
    return offered


def _not_a_tool(value: object) -> str:
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        return f"{name!r} is a plain function, not a tool. Write @tool above it, or pass tool({name})."
    return (
        f"each tool is a Tool or a ToolDescriptor, not {_kind(value)}. "
        "Write ToolDescriptor(name, description, parameters)."
    )


def check_asker(value: object, *, where: str, verb: str = "execute_streaming_with_tools") -> None:
    """Check that this is an executor or a client, not its name.

    Args:
        value: What the caller passed.
        where: The class and argument, for the error.
        verb: The method that it must have.

    Raises:
        InvalidInputError: It has no such method, or is a class.
    """
    if isinstance(value, type) or not callable(getattr(value, verb, None)):
        name = value if isinstance(value, str) and _is_name(value) else "openai"
        raise InvalidInputError(
            f"{where} takes an executor or a client, not {_kind(value)}. Write connect({name!r}) or client({name!r})."
        )


def check_number(
    where: str,
    value: object,
    *,
    least: float | None = None,
    over: float | None = None,
    most: float | None = None,
    whole: bool = False,
    finite: bool = True,
    hint: str = "",
) -> None:
    """Check a number that a caller passed.

    Args:
        where: The class or function, and the name of the option.
        value: What the caller passed.
        least: The lowest number that is allowed.
        over: All allowed numbers are above this one.
        most: The highest number that is allowed.
        whole: Only whole numbers.
        finite: Not infinity.
        hint: A sentence for the end of the error.

    Raises:
        InvalidInputError: It is out of range, or no such number; a truth value and NaN never are.
    """
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if is_number:
        number = cast("float", value)
        low = (least is None or number >= least) and (over is None or number > over)
        if low and (most is None or number <= most) and not math.isnan(number) and not (finite and math.isinf(number)):
            return
    kind = "" if is_number else " It takes a whole number." if whole else " It takes a number."
    bounds = f"from {least:g} to {most:g}" if most is not None else f"over {over:g}" if over is not None else ""
    bounds = bounds or (f"at least {least:g}" if least is not None else "a number")
    raise InvalidInputError(f"{where} must be {bounds}, not {value!r}.{kind}{' ' if hint else ''}{hint}")


def check_options(given: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Check the names of a client's options.

    Args:
        given: The names that the caller passed.
        known: The names that exist.
        where: The client, for the error.

    Raises:
        ConfigurationError: One does not exist; the error names the closest one, and all of them.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f"{where}: there is no option {name!r}.{closest(name, known)} Options: {', '.join(known)}."
            )


def closest(word: str, words: Iterable[str]) -> str:
    """Return "Did you mean …?" with the closest of the words, or an empty string."""
    near = difflib.get_close_matches(word, list(words), 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _kind(value: Any) -> str:
    """A value in an error: its type, and the value only if it is a short name or a number."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str):
        return f"the string {value!r}" if _is_name(value) else "a string"
    return "None" if value is None else type(value).__name__


def _is_name(text: str) -> bool:
    """Whether it reads as a provider's name; anything longer might be a key or a prompt, which no error quotes."""
    return len(text) <= 20 and text.replace("-", "").isalnum()
