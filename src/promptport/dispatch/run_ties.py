"""What ties a run to its tools, and to the run whose tool began it: a context value, usage and budgets.

Rule: a run that a tool begins counts for the run of that tool, as long as the tool runs in its own task or thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from promptport.errors import InvalidInputError
from promptport.frames import Usage
from promptport.tools import Tool, ToolContext, ToolDescriptor

if TYPE_CHECKING:
    from promptport.dispatch.journaling import Ledger
    from promptport.policies import Budget

__all__ = ["RunTies", "enclosing_usage", "within_budgets"]

_TIES: ContextVar[RunTies | None] = ContextVar("promptport_run", default=None)


class RunTies:
    """One run's ties.

    Attributes:
        context: what its tools get as ``ToolContext.value``.
        ledger: the hand on its journal, if it has one.
        budgets: what holds for its requests, and for those of the runs below it.
        below: the tokens of the runs that its tools began.
        on_begin: called when the run begins.
        on_done: called with the run when it has ended, failed or been closed.
    """

    def __init__(self, context: Any, budget: Budget | None, ledger: Ledger | None = None) -> None:
        """Raises:
        InvalidInputError: The run above has this journal.
        """
        self.above = _TIES.get()
        self.ledger = ledger
        above = self.above if ledger is not None else None
        while above is not None and ledger is not None:
            if above.ledger is not None and ledger.is_of(above.ledger):
                raise InvalidInputError(
                    f"ToolDispatcher: journal: the run {ledger.run!r} is that of the tool which starts this one, and "
                    "their records would be mixed. Give the run in a tool a journal of its own, such as "
                    "SqliteJournal(path, pp.current_call().key), or none."
                )
            above = above.above
        self.context = context
        self.budgets: tuple[Budget, ...] = self.above.budgets if self.above is not None else ()
        if budget is not None and budget not in self.budgets:
            self.budgets += (budget,)
        self.below = Usage()
        self.on_begin: list[Callable[[], None]] = []
        self.on_done: list[Callable[[Any], None]] = []

    def enter(self) -> None:
        """Tells the code of a tool, in the tool's own task, whose it is."""
        _TIES.set(self)

    def tell(self, usage: Usage) -> None:
        """The run above counts this too."""
        if self.above is not None:
            self.above.add(usage)

    def add(self, usage: Usage) -> None:
        """Something that a tool of this run began used this."""
        self.below += usage
        self.tell(usage)

    def values(self, tool: Tool[Any], values: dict[str, Any]) -> dict[str, Any]:
        """What the tool's function is called with."""
        name = tool.context_parameter
        return values if name is None else {**values, name: ToolContext(self.context)}

    def check(self, tools: dict[str, ToolDescriptor]) -> None:
        """Checks that the context is what the tools want.

        Raises:
            InvalidInputError: One wants another type.
        """
        for tool in tools.values():
            wanted = tool.context_type if isinstance(tool, Tool) else None
            if wanted is None or _is(self.context, wanted):
                continue
            given = "none was given" if self.context is None else f"it is {type(self.context).__name__}"
            raise InvalidInputError(
                f"context: tool {tool.name!r} wants {wanted.__name__}, and {given}. Pass context={wanted.__name__}(…)."
            )

    def begin(self) -> None:
        """The run's first read."""
        for callback in self.on_begin:
            callback()

    def done(self, run: Any) -> None:
        """The run is over."""
        callbacks, self.on_done, self.on_begin = self.on_done, [], []
        for callback in callbacks:
            callback(run)


def _is(value: object, wanted: type) -> bool:
    try:
        return isinstance(value, wanted)
    except TypeError:  # a protocol that cannot be asked
        return True


def enclosing_usage() -> Callable[[Usage], None] | None:
    """Where a request that a tool makes by itself is counted; ``None`` outside of tools."""
    ties = _TIES.get()
    return None if ties is None else ties.add


def within_budgets(executor: Any, ties: RunTies | None = None) -> Any:
    """The executor, held to the budgets that hold here."""
    ties = ties or _TIES.get()
    if ties is None or not ties.budgets:
        return executor
    from promptport.policies import BudgetedExecutor  # noqa: PLC0415 - for those who have one

    for budget in ties.budgets:
        executor = BudgetedExecutor(executor, budget)
    return executor
