"""`chat_routes`: routes for Starlette and FastAPI that chats post to, read again, and stop. Needs the extra ``serve``.

Rules: a run belongs to the log, and not to the request that began it; what a client decides is checked against the
pause that the server kept, and taken once; an error that a client reads says nothing of an exception's text.
"""

from __future__ import annotations

import inspect
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from promptport.dispatch import ApprovalNeeded, DispatchFrame, DispatchStream, PausedRun, ToolDispatcher, ToolsPending
from promptport.errors import InvalidInputError, PromptportError
from promptport.front_ends.chat_request import BodyLimits, ChatRequest
from promptport.front_ends.error_codes import error_code
from promptport.front_ends.kept_threads import KeptThread, MemoryThreadStore, ThreadStore
from promptport.front_ends.shown import approval_id, frames_before
from promptport.front_ends.ui_messages import UI_MESSAGE_HEADERS, SDKVersion, UIMessageEncoder
from promptport.front_ends.ui_requests import decode_ui_request
from promptport.front_ends.writing import encode_frames
from promptport.messages import Prompt
from promptport.models import LLModel

if TYPE_CHECKING:
    from promptport.run_log import RunLog, RunReader

__all__ = ["Authorize", "ChatTurn", "Choose", "chat_routes"]

_log = logging.getLogger("promptport")


class ChatTurn(msgspec.Struct, frozen=True):
    """Who answers one request of a chat.

    Attributes:
        dispatcher: The tool loop, with its tools.
        model: The model to ask.
        prompt: The conversation to ask with. Default: the one that the client posted.
    """

    dispatcher: ToolDispatcher
    model: LLModel | str
    prompt: Prompt | None = None


Choose: TypeAlias = Callable[[Request, ChatRequest], "ChatTurn | Awaitable[ChatTurn]"]
"""Chooses who answers; may raise starlette's ``HTTPException``."""

Authorize: TypeAlias = Callable[[Request, str], "object | Awaitable[object]"]
"""Called with each request and the id of its conversation; raises starlette's ``HTTPException`` to refuse it."""


def chat_routes(
    choose: Choose,
    *,
    log: RunLog,
    threads: ThreadStore | None = None,
    authorize: Authorize | None = None,
    path: str = "/chat",
    sdk: SDKVersion = "7",
    reasoning: bool = True,
    limits: BodyLimits | None = None,
    heartbeat: float | None = 15.0,
    error_text: Callable[..., str] | None = None,
) -> list[Route]:
    """Make the routes of a chat.

    ``POST path`` answers ``useChat`` of the AI SDK; ``GET path/{thread}/stream`` reads the active run again, and is 204
    if there is none; ``POST path/{thread}/stop`` stops it. A client names the version of its AI SDK with ``sdk`` in
    the body, or in the query of the GET.

    Args:
        choose: Chooses dispatcher, model and prompt for a request.
        log: Keeps the frames of runs: `MemoryRunLog`, or `RedisRunLog` for several processes.
        threads: Keeps what waits for a decision. Default: the memory of this process.
        authorize: Is asked before anything else is done. Default: everybody may do everything.
        path: Where the routes begin.
        sdk: The version of the AI SDK, if the client names none. Default: "7".
        reasoning: Whether the browser gets the model's reasoning. Default: true.
        limits: How much a client may post.
        heartbeat: Seconds after which a comment keeps a connection open.
        error_text: As in `UIMessageEncoder`.

    Examples:
        ```python
        from starlette.applications import Starlette

        import promptport as pp
        from promptport.front_ends.starlette import ChatTurn, chat_routes
        from promptport.run_log import MemoryRunLog
        from promptport.testing import ScriptedExecutor

        dispatcher = pp.ToolDispatcher(ScriptedExecutor(["Hello"]))
        turn = ChatTurn(dispatcher, "scripted/m")
        app = Starlette(routes=chat_routes(lambda request, chat: turn, log=MemoryRunLog()))
        ```
    """
    chat = _Chat(
        choose=choose,
        log=log,
        threads=threads if threads is not None else MemoryThreadStore(),
        authorize=authorize,
        sdk=sdk,
        reasoning=reasoning,
        limits=limits or BodyLimits(),
        heartbeat=heartbeat,
        error_text=error_text,
    )
    return [
        Route(path, chat.post, methods=["POST"]),
        Route(f"{path}/{{thread}}/stream", chat.replay, methods=["GET"]),
        Route(f"{path}/{{thread}}/stop", chat.stop, methods=["POST"]),
    ]


class _Chat:
    def __init__(
        self,
        *,
        choose: Choose,
        log: RunLog,
        threads: ThreadStore,
        authorize: Authorize | None,
        sdk: SDKVersion,
        reasoning: bool,
        limits: BodyLimits,
        heartbeat: float | None,
        error_text: Callable[..., str] | None,
    ) -> None:
        self.choose = choose
        self.log = log
        self.threads = threads
        self.authorize = authorize
        self.sdk = sdk
        self.reasoning = reasoning
        self.limits = limits
        self.heartbeat = heartbeat
        self.error_text = error_text

    # ---------------------------------------------------------------------------------------- routes

    async def post(self, request: Request) -> Response:
        """A chat posts: a new message, or what a waiting run needs."""
        try:
            chat = decode_ui_request(await self._body(request), limits=self.limits)
        except InvalidInputError as error:
            return PlainTextResponse(str(error), 400)
        await self._allow(request, chat.thread)
        kept = await self._kept(chat.thread)
        sdk = self._sdk(chat.extra)
        if kept is not None and not _answers(chat, kept.paused) and _answers(chat, kept.before):
            return self._response(kept, sdk)  # decided before: the run that the decision started
        turn = await _value(self.choose(request, chat))
        if await self.log.active(chat.thread) is not None:
            return PlainTextResponse("The conversation has an active response. Stop it first.", 409)
        try:
            now, stream = self._begin(turn, chat, kept)
        except PromptportError as error:
            _log.warning("a chat's request was refused: %s", type(error).__name__)
            return PlainTextResponse(error_code(error)[1], 400)
        await self._keep(chat.thread, now)
        try:
            await self.log.start(now.run, self._keeping(stream, chat.thread, now), thread=chat.thread)
        except PromptportError as error:
            await stream.aclose()
            if kept is not None:
                await self._keep(chat.thread, kept)
            _log.warning("a chat's run was not started: %s", type(error).__name__)
            return PlainTextResponse("The conversation cannot be continued now.", 409)
        return self._response(now, sdk)

    async def replay(self, request: Request) -> Response:
        """The active run of a conversation, from its beginning."""
        thread = request.path_params["thread"]
        await self._allow(request, thread)
        run = await self.log.active(thread)
        kept = await self._kept(thread)
        if run is None or kept is None or kept.run != run:
            return Response(status_code=204)
        return self._response(kept, self._sdk(request.query_params), again=True)

    async def stop(self, request: Request) -> Response:
        """Stops the active run of a conversation."""
        thread = request.path_params["thread"]
        await self._allow(request, thread)
        run = await self.log.active(thread)
        return JSONResponse({"stopped": run is not None and await self.log.stop(run)})

    # ------------------------------------------------------------------------------------------ parts

    def _begin(self, turn: ChatTurn, chat: ChatRequest, kept: KeptThread | None) -> tuple[KeptThread, DispatchStream]:
        """A run for this request: it goes on with the one that waits, or is a new one."""
        run = f"run-{secrets.token_hex(12)}"
        paused = kept.paused if kept is not None else None
        if kept is not None and paused is not None and _answers(chat, paused):
            outside = set(paused.client_calls)
            asked = [call.id for call in paused.pending if call.id not in outside]
            for call in asked:
                given = chat.approvals.get(call)
                if given is not None and given != approval_id(kept.run, call):
                    raise InvalidInputError(f"the decision for call {call!r} is for another approval.")
            stream = turn.dispatcher.resume(
                paused,
                {call: chat.decisions[call] for call in asked if call in chat.decisions},
                results={call: chat.results[call] for call in paused.client_calls if call in chat.results},
            )
            return KeptThread(run, kept.message_id, before=paused), stream
        prompt = turn.prompt if turn.prompt is not None else chat.prompt
        stream = turn.dispatcher.stream(prompt.answered(_UNANSWERED), turn.model)
        return KeptThread(run, chat.message_id or f"msg-{run}"), stream

    async def _keeping(
        self, stream: DispatchStream, thread: str, kept: KeptThread
    ) -> AsyncGenerator[DispatchFrame, None]:
        """The frames; what waits is kept before anybody is asked, since the answer may come at once."""
        async with stream:
            async for frame in stream:
                if isinstance(frame, ApprovalNeeded | ToolsPending):
                    await self._keep(thread, replace(kept, paused=stream.paused))
                yield frame

    def _response(self, kept: KeptThread, sdk: SDKVersion, *, again: bool = False) -> Response:
        """The run, from its beginning.

        Args:
            kept: The run.
            sdk: The version that reads.
            again: The reader has nothing of the message yet.
        """
        before: list[DispatchFrame] = []
        calls: list[str] = []
        if kept.before is not None and again and sdk in _RESETS:
            before = frames_before(kept.before)
        elif kept.before is not None:
            calls = [call.id for call in kept.before.message.tool_calls]
        encoder = UIMessageEncoder(
            kept.run,
            message_id=kept.message_id,
            sdk=sdk,
            reasoning=self.reasoning,
            calls=calls,
            error_text=self.error_text,
        )
        reader = self.log.read(kept.run)
        body = encode_frames(_frames(before, reader), encoder, heartbeat=self.heartbeat, stopped=lambda: reader.stopped)
        return StreamingResponse(body, headers=UI_MESSAGE_HEADERS)

    async def _body(self, request: Request) -> bytes:
        """The body, as far as it may go."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.limits.max_bytes:
                raise InvalidInputError(f"body: is too large. Send at most {self.limits.max_bytes:,} bytes.")
        return bytes(body)

    def _sdk(self, named: Mapping[str, Any]) -> SDKVersion:
        version = str(named.get("sdk", self.sdk))
        return cast("SDKVersion", version) if version in ("7", "6", "5", "5.0") else self.sdk

    async def _allow(self, request: Request, thread: str) -> None:
        if self.authorize is not None:
            await _value(self.authorize(request, thread))

    async def _kept(self, thread: str) -> KeptThread | None:
        kept = await _value(self.threads.get(thread))
        return None if kept is None else KeptThread.from_json(kept)

    async def _keep(self, thread: str, kept: KeptThread) -> None:
        await _value(self.threads.put(thread, kept.to_json()))


_RESETS = ("7", "6")
"""Versions whose ``useChat`` forgets its half of the message when a stream is read again."""

_UNANSWERED = "The call was interrupted before it had a result."


def _answers(chat: ChatRequest, paused: PausedRun | None) -> bool:
    """Whether the client says something about a call that waits there."""
    if paused is None:
        return False
    outside = set(paused.client_calls)
    return any(call.id in (chat.results if call.id in outside else chat.decisions) for call in paused.pending)


async def _frames(before: list[DispatchFrame], reader: RunReader) -> AsyncGenerator[DispatchFrame, None]:
    try:
        for frame in before:
            yield frame
        async for logged in reader:
            yield logged.frame
    finally:
        await reader.aclose()


async def _value(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given
