"""`checked_answers`: what a person decided and the front end gave, held against the calls of a pause.

Rule: one decision or result for each pending call, of its kind, and none for another; what does not fit is told before
anything is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptport.dispatch.tool_frames import PausedRun, ToolResult
from promptport.dispatch.tool_output import describe, output_of
from promptport.errors import InvalidInputError

__all__ = ["checked_answers"]


def checked_answers(
    paused: PausedRun,
    decisions: Mapping[str, bool | str] | None,
    results: Mapping[str, Any] | None,
    *,
    where: str = "resume()",
) -> tuple[dict[str, bool | str], dict[str, ToolResult]]:
    """The decisions and the results for `ToolDispatcher.resume`.

    Raises:
        InvalidInputError: The pause was changed, one is missing or of no pending call, or is not usable.
    """
    paused.check()
    asked = {call.id for call in paused.pending} - set(paused.client_calls)
    _match(f"{where}: decisions", asked, decisions or {})
    _match(f"{where}: results", set(paused.client_calls), results or {})
    for call_id, decision in (decisions or {}).items():
        if not isinstance(decision, bool | str):
            name = type(decision).__name__
            raise InvalidInputError(
                f"{where}: the decision for call {call_id!r} is {name}. Pass True, False or a reason."
            )
    names = {call.id: call.name for call in paused.pending}
    given = {call_id: _result_of(call_id, names[call_id], value, where) for call_id, value in (results or {}).items()}
    return dict(decisions or {}), given


def _match(name: str, wanted: set[str], given: Mapping[str, Any]) -> None:
    if wanted != set(given):
        missing, strange = sorted(wanted - set(given)), sorted(set(given) - wanted)
        raise InvalidInputError(
            f"{name}: missing for {missing}, and not asked for {strange}. Pass one for each pending call."
        )


def _result_of(id: str, name: str, value: Any, where: str) -> ToolResult:
    """What the front end gave for a call."""
    if isinstance(value, ToolResult):
        if (value.id, value.name) != (id, name):
            raise InvalidInputError(f"{where}: the result for call {id!r} of {name!r} is of call {value.id!r}.")
        return value
    try:
        output = output_of(value)
    except Exception as error:
        raise InvalidInputError(f"{where}: the result for call {id!r} is not usable: {describe(error)}") from error
    return ToolResult(id, name, output.output, json=output.json)
