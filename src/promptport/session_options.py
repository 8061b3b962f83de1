"""`RunOptions`: the options of the tool loop that a session runs, as keywords.

Rule: names and types only, those of `ToolDispatcher`, which checks the values. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from promptport.arguments import closest
from promptport.checking import check_named
from promptport.dispatch import Approve, PauseStore
from promptport.errors import InvalidInputError
from promptport.telemetry import Observer
from promptport.tools import ToolStart

if TYPE_CHECKING:
    from promptport.policies import Budget

__all__ = ["RunOptions", "check_run_options"]


class RunOptions(TypedDict, total=False):
    """The options of `ToolDispatcher` that a session passes on, for type checkers."""

    approve: Approve | None
    start: ToolStart
    max_concurrency: int
    timeout: float | None
    grace: float
    max_steps: int
    max_calls: int | None
    max_failures: int | None
    max_output_chars: int | None
    store: PauseStore | None
    observers: Sequence[Observer]
    budget: Budget | None


def check_run_options(given: Mapping[str, Any]) -> None:
    """Checks the names of a session's options, and the types of their values.

    Raises:
        InvalidInputError: one does not exist (the error names the closest one, and all of them), or has another type.
    """
    known = sorted(RunOptions.__annotations__)
    for name in given:
        if name not in known:
            raise InvalidInputError(
                f"LLMSession: there is no option {name!r}.{closest(name, known)} Options: {', '.join(known)}."
            )
    check_named("LLMSession", RunOptions, given)
