"""`DbosJournal`: the journal of a DBOS workflow, on SQLite or Postgres. The extra ``dbos`` installs DBOS.

Rules: DBOS counts places, so each is reserved in the moment in which it is drawn; what raises is not recorded, since a
run that failed may be taken up; a process has an executor id of its own, or two of them run one workflow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from promptport.arguments import as_model, as_prompt
from promptport.dispatch import PausedRun, StreamingExecutor, ToolDispatcher, ToolResult, checked_answers
from promptport.errors import ConfigurationError, InvalidInputError
from promptport.frames import ToolCall
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.tools import ToolDescriptor

if TYPE_CHECKING:
    from dbos import WorkflowHandleAsync

__all__ = ["DbosJournal", "DurableAgent", "Leases", "take_over"]

_TOPIC = "promptport-decisions"
_PENDING = "promptport-pending"
_DECIDED = ""


class _Raised(BaseException):
    """Carries an exception through DBOS, which would record an ``Exception`` as the outcome of a step."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def _dbos() -> Any:
    try:
        from dbos import DBOS  # noqa: PLC0415 - two seconds, for those who use it
    except ImportError as error:
        raise ConfigurationError(
            'DbosJournal: the package dbos is not installed. Run: pip install "promptport[dbos]".'
        ) from error
    return DBOS


class DbosJournal:
    """The journal of the DBOS workflow that runs now; make one in the workflow, for `ToolDispatcher`.

    The workflow's prompt, model, tools and options must be the same in each attempt, and an ``on_step`` must depend on
    nothing else. Say ``application_version`` in DBOS's configuration: by default DBOS recovers the runs of the same
    code only. Give each process its own executor id (``DBOS__VMID``).

    Examples:
        ```py
        @DBOS.workflow()
        async def answer(question: str) -> str:
            async with ToolDispatcher(executor, tools, journal=DbosJournal()).stream(question, model) as stream:
                return (await stream.message()).text
        ```
    """

    def __init__(self) -> None:
        """Take the workflow that runs now.

        Raises:
            ConfigurationError: The package `dbos` is not installed.
            InvalidInputError: No workflow runs here, or a step of it does, such as a tool.
        """
        self._dbos = _dbos()
        self._run: str | None = self._dbos.workflow_id
        if self._run is None or self._dbos.step_id is not None:
            where = "no DBOS workflow runs here" if self._run is None else "a step of a DBOS workflow runs here"
            raise InvalidInputError(
                f"DbosJournal: {where}. Make it in a function that @DBOS.workflow() decorates, and not in a tool."
            )

    @property
    def run(self) -> str:
        """The workflow's id."""
        return self._run or ""

    @property
    def attempt(self) -> int:
        """Always 1: DBOS tells a workflow nothing of its attempts. A call that is run again has 2 all the same."""
        return 1

    def step(self, key: str) -> Callable[[Callable[[], Awaitable[bytes]]], Awaitable[bytes]]:
        """Reserve the next place of the workflow; see `Journal.step`.

        Args:
            key: What is recorded there; the name of the step.

        Returns:
            A function of the work.
        """
        reserved = self._dbos.reserve_step()

        async def place(work: Callable[[], Awaitable[bytes]]) -> bytes:
            async def step() -> str:
                try:
                    return (await work()).decode()
                except Exception as error:
                    raise _Raised(error) from error

            try:
                recorded: str = await reserved.run_async({"name": key}, step)
            except _Raised as raised:
                raise raised.error from None
            return recorded.encode()

        return place


class DurableAgent:
    """A tool loop as a DBOS workflow: it survives its process, and waits for a person as long as it takes.

    Make it before ``DBOS.launch()``, at the same place in each process.

    Examples:
        ```py
        from dbos import DBOS
        from promptport.journal.dbos import DurableAgent

        DBOS(config={"name": "shop", "system_database_url": "sqlite:///shop.sqlite", "application_version": "1"})
        agent = DurableAgent("support", executor, [refund], model="openai/gpt-5")
        DBOS.launch()
        handle = await agent.start("Refund order 17", run="order-17")
        print(await agent.pending("order-17"))
        await agent.decide("order-17", {"call_1": True})
        print((await agent.message("order-17")).text)
        ```
    """

    def __init__(
        self,
        name: str,
        executor: StreamingExecutor,
        tools: Iterable[ToolDescriptor] = (),
        *,
        model: LLModel | str,
        **options: Any,
    ) -> None:
        """Register the workflow.

        Args:
            name: The workflow's name in DBOS; one agent has it.
            executor: Who asks the model.
            tools: What the model may call.
            model: The model to ask.
            **options: As in `ToolDispatcher`.

        Raises:
            ConfigurationError: The package `dbos` is not installed.
            InvalidInputError: The options or the tools are not valid.
        """
        self._dbos = _dbos()
        self._executor = executor
        self._tools = tuple(tools)
        self._model = as_model(model)
        self._options = options
        self._decided: set[str] = set()
        ToolDispatcher(executor, self._tools, **options)  # what is wrong is told now

        async def workflow(prompt: str) -> str:
            return await self._work(Prompt.from_json(prompt))

        self._workflow: Any = self._dbos.workflow(name=name)(workflow)

    async def _work(self, prompt: Prompt) -> str:
        journal = DbosJournal()
        async with ToolDispatcher(self._executor, self._tools, journal=journal, **self._options) as dispatcher:
            stream = dispatcher.stream(prompt, self._model)
            while True:
                async with stream:
                    message = await stream.message()
                if stream.paused is None:
                    return msgspec.json.encode(message).decode()
                await self._dbos.set_event_async(_PENDING, stream.paused.to_json().decode())
                stream = await self._resumed(dispatcher, stream.paused)
                await self._dbos.set_event_async(_PENDING, _DECIDED)

    async def _resumed(self, dispatcher: ToolDispatcher, paused: PausedRun) -> Any:
        while True:
            given = await self._dbos.recv_async(_TOPIC, timeout_seconds=_LONG)
            if given is not None:  # `decide` has checked it
                results = msgspec.convert(given["results"], dict[str, ToolResult])
                return dispatcher.resume(paused, given["decisions"], results=results)

    async def start(self, prompt: Prompt | str, *, run: str | None = None) -> WorkflowHandleAsync[str]:
        """Start a run; one of this name that is there already is not started again.

        Args:
            prompt: The conversation so far.
            run: The run's name, which is the workflow's id. Default: a random one.

        Returns:
            DBOS's handle; see `message` for its result.
        """
        from dbos import SetWorkflowID  # noqa: PLC0415 - see `_dbos`

        text = as_prompt(prompt).to_json().decode()
        if run is None:
            return await self._dbos.start_workflow_async(self._workflow, text)  # type: ignore[no-any-return]
        with SetWorkflowID(run):
            return await self._dbos.start_workflow_async(self._workflow, text)  # type: ignore[no-any-return]

    async def message(self, run: str) -> AssistantMessage:
        """Wait for the end of a run; its last answer."""
        handle = await self._dbos.retrieve_workflow_async(run)
        return msgspec.json.decode(await handle.get_result(), type=AssistantMessage)

    async def pending(self, run: str, *, wait: float = 60.0) -> Sequence[ToolCall]:
        """The calls that wait for a decision, or for a result of the front end; none if the run is over.

        Args:
            run: The run's name.
            wait: Seconds to wait for the run to pause. Default: 60.0.
        """
        paused = await self._paused(run, wait)
        return paused.pending if paused is not None else ()

    async def _paused(self, run: str, wait: float) -> PausedRun | None:
        """The pause that nobody decided yet, as far as is known here."""
        until = time.monotonic() + wait
        while True:
            saved = await self._dbos.get_event_async(
                run, _PENDING, timeout_seconds=min(_LOOK, max(0.0, until - time.monotonic()))
            )
            if saved:
                paused = PausedRun.from_json(saved)
                if paused.id not in self._decided:
                    return paused
            status = await self._dbos.get_workflow_status_async(run)
            if time.monotonic() > until or (status is not None and status.status in _OVER):
                return None
            if saved is not None:
                await asyncio.sleep(0.05)

    async def decide(
        self, run: str, decisions: Mapping[str, bool | str] | None = None, *, results: Mapping[str, Any] | None = None
    ) -> None:
        """Tell a run that waits what a person decided; from any process of the same database.

        The first decision holds. Its process need not live: the decision waits for whoever takes the run up.

        Args:
            run: The run's name.
            decisions: As in `ToolDispatcher.resume`.
            results: As in `ToolDispatcher.resume`.

        Raises:
            InvalidInputError: The run does not wait, waits for other calls, or a value is not usable; nothing is sent.
        """
        paused = await self._paused(run, 60.0)
        if paused is None:
            raise InvalidInputError(f"decide(): the run {run!r} does not wait for a decision. See pending(run).")
        decided, given = checked_answers(paused, decisions, results, where="decide()")
        payload = {"decisions": decided, "results": msgspec.to_builtins(given)}
        await self._dbos.send_async(run, payload, _TOPIC, idempotency_key=f"{run}/{paused.step}")
        self._decided.add(paused.id)


_LONG = 86_400.0 * 365
_LOOK = 1.0
_OVER = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


class Leases(Protocol):
    """Who knows which runs have a living producer: `promptport.run_log.redis.RedisRunLog`."""

    async def is_led(self, run: str) -> bool:
        """Whether somebody holds the run's lease."""
        ...


async def take_over(leases: Leases) -> list[str]:
    """Take up the runs of executors that died: those that DBOS holds for running, and whose lease nobody holds.

    Call it now and then in each process that can run them, with a log in which every run is written.

    Args:
        leases: The run log.

    Returns:
        The names of the runs that were taken up.
    """
    dbos = _dbos()
    taken = []
    for status in await dbos.list_workflows_async(status="PENDING"):
        if status.executor_id == dbos.executor_id or await leases.is_led(status.workflow_id):
            continue
        await dbos.resume_workflow_async(status.workflow_id)
        taken.append(status.workflow_id)
    return taken
