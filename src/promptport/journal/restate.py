"""`RestateJournal`: the journal of a Restate handler. The extra ``restate`` installs Restate's SDK.

Rules: Restate counts places, so each is drawn in the moment in which it is asked for; what raises is not recorded, and
is raised again to the handler, whose attempt ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from promptport.errors import ConfigurationError, InvalidInputError

__all__ = ["RestateJournal"]

_Work = Callable[[], Awaitable[bytes]]


class RestateJournal:
    """The journal of the Restate invocation that runs now; make one in the handler, for `ToolDispatcher`.

    Serve the handler over HTTP/2, for example with Hypercorn. Over HTTP/1.1, as with Uvicorn, Restate ends the attempt
    after each record, so a tool that is not repeatable would count as caught running, and not run.

    The server calls the handler again when its process died, and the run goes on. The prompt, model, tools and options
    must be the same in each attempt, and an ``on_step`` must depend on nothing else.

    Examples:
        ```py
        import restate
        import promptport as pp
        from promptport.journal.restate import RestateJournal

        agents = restate.Workflow("agents")

        @agents.main()
        async def answer(ctx: restate.WorkflowContext, question: str) -> str:
            async with pp.ToolDispatcher(executor, tools, journal=RestateJournal(ctx)) as dispatcher:
                async with dispatcher.stream(question, model) as stream:
                    return (await stream.message()).text

        app = restate.app([agents])
        ```
    """

    def __init__(self, ctx: Any) -> None:
        """Take the invocation.

        Args:
            ctx: The context that Restate gives to the handler.

        Raises:
            ConfigurationError: The package `restate-sdk` is not installed.
            InvalidInputError: This is not a context of Restate.
        """
        try:
            from restate.serde import BytesSerde  # noqa: PLC0415 - for those who use it
        except ImportError as error:
            raise ConfigurationError(
                'RestateJournal: the package restate-sdk is not installed. Run: pip install "promptport[restate]".'
            ) from error
        if not callable(getattr(ctx, "run_typed", None)) or not callable(getattr(ctx, "request", None)):
            raise InvalidInputError(
                f"RestateJournal: ctx is {type(ctx).__name__}. Pass the context that Restate gives to the handler."
            )
        self._serde = BytesSerde()
        self._ctx = ctx
        self._run = str(getattr(ctx, "key", lambda: "")() or ctx.request().id)

    @property
    def run(self) -> str:
        """The key of the workflow or object, or the invocation's id."""
        return self._run

    @property
    def attempt(self) -> int:
        """Always 1: Restate tells a handler nothing of its attempts. A call that is run again has 2 all the same."""
        return 1

    def step(self, key: str) -> Callable[[_Work], Awaitable[bytes]]:
        """Draw the next place of the invocation; see `Journal.step`.

        Args:
            key: What is recorded there; the name of the step.

        Returns:
            A function of the work.
        """
        from restate import RunOptions  # noqa: PLC0415 - see `__init__`

        wanted: asyncio.Future[_Work] = asyncio.get_running_loop().create_future()

        async def step() -> bytes:
            return await (await wanted)()

        recorded = self._ctx.run_typed(key, step, RunOptions(serde=self._serde, type_hint=bytes))

        async def place(work: _Work) -> bytes:
            if not wanted.done():
                wanted.set_result(work)
            value: bytes = await recorded
            return value

        return place
