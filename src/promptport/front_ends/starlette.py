"""`chat_routes`: routes for Starlette and FastAPI that chats post to, read again, and stop. Needs the extra ``serve``.

Rules: a run belongs to the log, and not to the request that began it; what a client decides is checked against the
pause that the server kept, and taken once; an error that a client reads says nothing of an exception's text.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from promptport.dispatch import ApprovalNeeded, DispatchFrame, DispatchStream, PausedRun, ToolDispatcher, ToolsPending
from promptport.errors import ConfigurationError, InvalidInputError, PromptportError, StreamError
from promptport.frames import InvalidToolCall, Reasoning, ToolCall
from promptport.front_ends.ag_ui import AGUIEncoder
from promptport.front_ends.ag_ui_requests import decode_agui_input
from promptport.front_ends.chat_request import BodyLimits, ChatRequest
from promptport.front_ends.error_codes import error_code
from promptport.front_ends.kept_threads import KeptThread, MemoryThreadStore, ThreadStore
from promptport.front_ends.opaque import OpaqueSeal
from promptport.front_ends.sealed_frames import sealed
from promptport.front_ends.shown import EVENT_STREAM_HEADERS, approval_id, frames_before
from promptport.front_ends.ui_messages import UI_MESSAGE_HEADERS, SDKVersion, UIMessageEncoder
from promptport.front_ends.ui_requests import decode_ui_request
from promptport.front_ends.writing import FrameEncoder, encode_frames
from promptport.messages import Prompt
from promptport.models import LLModel

if TYPE_CHECKING:
    from promptport.run_log import RunLog, RunReader

__all__ = ["Authorize", "ChatTurn", "Choose", "chat_routes"]

_log = logging.getLogger("promptport")


_Respond: TypeAlias = Callable[..., Response]


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
    agui_path: str = "/agui",
    sdk: SDKVersion = "7",
    reasoning: bool = True,
    limits: BodyLimits | None = None,
    heartbeat: float | None = 15.0,
    error_text: Callable[..., str] | None = None,
    seal: OpaqueSeal | None = None,
) -> list[Route]:
    """Make the routes of a chat.

    ``POST path`` answers ``useChat`` of the AI SDK; ``GET path/{thread}/stream`` reads the active run again, and is 204
    if there is none; ``POST path/{thread}/stop`` stops it. With ``?last=true`` the GET reads the last run after its end
    too, as long as the log keeps it: for a page that was away then. A client names the version of its AI SDK with
    ``sdk`` in the body, or in the query of the GET. Below ``agui_path`` are the same three routes for clients of AG-UI.

    Args:
        choose: Chooses dispatcher, model and prompt for a request.
        log: Keeps the frames of runs: `MemoryRunLog`, or `RedisRunLog` for several processes.
        threads: Keeps what waits for a decision. Default: the memory of this process.
        authorize: Is asked before anything else is done. Default: everybody may do everything.
        path: Where the routes for the AI SDK begin.
        agui_path: Where the routes for AG-UI begin.
        sdk: The version of the AI SDK, if the client names none. Default: "7".
        reasoning: Whether the browser gets the model's reasoning. Default: true.
        limits: How much a client may post.
        heartbeat: Seconds after which a comment keeps a connection open.
        error_text: As in `UIMessageEncoder`.
        seal: Closes signatures and encrypted reasoning, so that a client can bring them back and not make them.
            Default: one for this process; several processes need one with a common secret.

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
        seal=seal or OpaqueSeal(),
    )
    return [
        Route(path, chat.post, methods=["POST"]),
        Route(f"{path}/{{thread:path}}/stream", chat.replay, methods=["GET"]),
        Route(f"{path}/{{thread:path}}/stop", chat.stop, methods=["POST"]),
        Route(agui_path, chat.post_agui, methods=["POST"]),
        Route(f"{agui_path}/{{thread:path}}/stream", chat.replay_agui, methods=["GET"]),
        Route(f"{agui_path}/{{thread:path}}/stop", chat.stop, methods=["POST"]),
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
        seal: OpaqueSeal,
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
        self.seal = seal
        self._under_way: dict[str, KeptThread] = {}  # runs of this process, which outlive a store that forgets

    # ---------------------------------------------------------------------------------------- routes

    async def post(self, request: Request) -> Response:
        """A chat of the AI SDK posts: a new message, or what a waiting run needs."""
        return await self._post(request, decode_ui_request, self._ui_response)

    async def post_agui(self, request: Request) -> Response:
        """An AG-UI client posts."""
        return await self._post(request, decode_agui_input, self._agui_response)

    async def _post(self, request: Request, decode: Callable[..., ChatRequest], respond: _Respond) -> Response:
        try:
            chat = decode(await self._body(request), limits=self.limits, seal=self.seal)
        except InvalidInputError as error:
            return PlainTextResponse(str(error), 400)
        await self._allow(request, chat.thread)
        try:
            kept = await self._kept(chat.thread)
        except ConfigurationError as error:
            _log.warning("what waits for a decision cannot be read: %s", error)
            if _decides(chat):
                return PlainTextResponse(_NOT_NOW, 503)
            kept = None  # nothing is decided, so the run needs nothing of what is kept
        answered = self._decided(chat, kept, respond)
        if answered is not None:
            return answered
        chat = _with_calls(chat, kept)
        turn = await _value(self.choose(request, chat))
        if await self._active(chat.thread, begins=True) is not None:
            return PlainTextResponse("The conversation has an active response. Stop it first.", 409)
        try:
            return await self._run(turn, chat, kept, respond)
        except ConfigurationError as error:
            _log.warning("a decision cannot be taken now: %s", error)
            return PlainTextResponse(_NOT_NOW, 503)

    async def _run(self, turn: ChatTurn, chat: ChatRequest, kept: KeptThread | None, respond: _Respond) -> Response:
        """Starts the run of a request. Raises `ConfigurationError` where a decision cannot be taken."""
        try:
            now, stream = self._begin(turn, chat, kept)
        except PromptportError as error:
            _log.warning("a chat's request was refused: %s", type(error).__name__)
            return PlainTextResponse(error_code(error)[1], 400)
        gate = asyncio.Event()
        try:
            await self.log.start(now.run, self._keeping(stream, chat.thread, now, gate), thread=_in_log(chat.thread))
        except PromptportError as error:
            await stream.aclose()
            _log.warning("a chat's run was not started: %s", type(error).__name__)
            return PlainTextResponse(_NOT_CONTINUED, 409)
        try:
            meanwhile = await self._claimed(chat.thread, now, kept)
            if meanwhile is now:
                gate.set()
                return respond(now, chat.extra, thread=chat.thread)
        finally:
            if not gate.is_set():
                await self.log.stop(now.run)
                await stream.aclose()
        return self._decided(chat, meanwhile, respond) or PlainTextResponse(_NOT_CONTINUED, 409)

    async def _claimed(self, thread: str, now: KeptThread, kept: KeptThread | None) -> KeptThread | None:
        """Keeps this run, whose thread is its own now; or gives what is kept since another run took its decision."""
        meanwhile = await self._kept(thread) if now.before is not None else kept
        if meanwhile != kept:
            return meanwhile
        await self._keep(thread, now)
        return now

    def _decided(self, chat: ChatRequest, kept: KeptThread | None, respond: _Respond) -> Response | None:
        """The run that this decision started, if it was taken before."""
        named = _with_calls(chat, kept)
        if kept is None or _answers(named, kept.paused) or not _answers(named, kept.before):
            return None
        return respond(replace(kept, run_id=chat.run, protocol=chat.protocol), chat.extra, thread=chat.thread)

    async def replay(self, request: Request) -> Response:
        """The active run of a conversation, from its beginning."""
        return await self._replay(request, self._ui_response)

    async def replay_agui(self, request: Request) -> Response:
        """The active run of a conversation for an AG-UI client."""
        return await self._replay(request, self._agui_response)

    async def _replay(self, request: Request, respond: _Respond) -> Response:
        thread = request.path_params["thread"]
        await self._allow(request, thread)
        try:
            run = await self._active(thread)
            kept = await self._kept(thread)
        except ConfigurationError as error:
            _log.warning("a run cannot be read again: %s", error)
            return PlainTextResponse(_NOT_NOW, 503)
        if run is not None and (kept is None or kept.run != run):
            kept = self._under_way.get(run)
        elif run is None and kept is not None:
            last = request.query_params.get("last") == "true"
            kept = kept if last and await _is_kept(self.log.read(kept.run)) else None
        if kept is None:
            return Response(status_code=204)
        return respond(kept, request.query_params, thread=thread, again=True)

    async def stop(self, request: Request) -> Response:
        """Stops the active run of a conversation."""
        thread = request.path_params["thread"]
        await self._allow(request, thread)
        try:
            run = await self._active(thread)
            return JSONResponse({"stopped": run is not None and await self.log.stop(run)})
        except ConfigurationError as error:
            _log.warning("a run cannot be stopped: %s", error)
            return PlainTextResponse(_NOT_NOW, 503)

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
            now = KeptThread(run, kept.message_id, None, paused, kept.run, chat.run, chat.protocol)
            return now, stream
        prompt = turn.prompt if turn.prompt is not None else chat.prompt
        stream = turn.dispatcher.stream(prompt.answered(_UNANSWERED), turn.model)
        message_id = chat.message_id or f"msg-{run}"
        return KeptThread(run, message_id, run_id=chat.run, protocol=chat.protocol), stream

    async def _keeping(
        self, stream: DispatchStream, thread: str, kept: KeptThread, gate: asyncio.Event
    ) -> AsyncGenerator[DispatchFrame, None]:
        """The frames; what waits is kept before anybody is asked, since the answer may come at once."""
        async with stream:
            await gate.wait()
            self._under_way[kept.run] = kept
            try:
                async for frame in stream:
                    if isinstance(frame, ApprovalNeeded | ToolsPending):
                        await self._keep(thread, replace(kept, paused=stream.paused))
                    yield sealed(frame, stream.origin, self.seal) if isinstance(frame, _OPAQUE) else frame
            finally:
                del self._under_way[kept.run]

    def _ui_response(self, kept: KeptThread, named: Mapping[str, Any], *, thread: str, again: bool = False) -> Response:
        """The run as UI messages. ``again``: the reader has nothing of the message yet."""
        sdk = self._sdk(named)
        before: list[DispatchFrame] = []
        calls: list[str] = []
        if kept.before is not None and again and sdk in _RESETS:
            before = frames_before(kept.before)
        else:
            calls = sorted(_earlier(kept))
        encoder = UIMessageEncoder(
            kept.run,
            message_id=kept.message_id,
            sdk=sdk,
            reasoning=self.reasoning,
            calls=calls,
            error_text=self.error_text,
        )
        return self._response(kept, encoder, UI_MESSAGE_HEADERS, before)

    def _agui_response(
        self, kept: KeptThread, named: Mapping[str, Any], *, thread: str, again: bool = False
    ) -> Response:
        """The run as events of AG-UI."""
        encoder = AGUIEncoder(
            thread,
            kept.run,
            run_id=kept.run_id or None,
            protocol=kept.protocol,
            reasoning=self.reasoning,
            calls=sorted(_earlier(kept) - set(kept.before.client_calls if kept.before is not None else ())),
            error_text=self.error_text,
        )
        return self._response(kept, encoder, EVENT_STREAM_HEADERS, [])

    def _response(
        self, kept: KeptThread, encoder: FrameEncoder, headers: Mapping[str, str], before: list[DispatchFrame]
    ) -> Response:
        reader = self.log.read(kept.run)
        body = encode_frames(_frames(before, reader), encoder, heartbeat=self.heartbeat, stopped=lambda: reader.stopped)
        return StreamingResponse(body, headers=dict(headers))

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
        """Keeps it. A store that is away ends no run: what waits there cannot be decided, and the client is told so."""
        try:
            await _value(self.threads.put(thread, kept.to_json()))
        except ConfigurationError as error:
            if kept.before is not None and kept.paused is None:
                raise  # the decision would be taken twice
            _log.warning("what waits for a decision cannot be kept: %s", error)

    async def _active(self, thread: str, *, begins: bool = False) -> str | None:
        """The active run of a conversation. One that begins does so also where the log is away."""
        try:
            return await self.log.active(_in_log(thread))
        except InvalidInputError:
            return None  # no log has such a name
        except ConfigurationError as error:
            if not begins:
                raise
            _log.warning("the run log is away, so a run begins without it: %s", error)
            return None


_OPAQUE = (Reasoning, ToolCall, InvalidToolCall)
_RESETS = ("7", "6")
"""Versions whose ``useChat`` forgets its half of the message when a stream is read again."""

_NOT_CONTINUED = "The conversation cannot be continued now."
_NOT_NOW = "The conversation cannot be read or continued now. Try again later."
_UNANSWERED = "The call was interrupted before it had a result."


_IN_LOG = re.compile(r"(?!thread-)[A-Za-z0-9_.:-]{1,100}")


def _in_log(thread: str) -> str:
    """A conversation's id as a name for the log: clients choose any text, and a log takes few letters.

    No client can choose the name of another's: what looks like a made one is made into another.
    """
    if _IN_LOG.fullmatch(thread):
        return thread
    return f"thread-{hashlib.sha256(thread.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _earlier(kept: KeptThread) -> set[str]:
    """The calls that the client has from before this run, and that have no result yet."""
    if kept.before is None:
        return set()
    return {call.id for call in kept.before.message.tool_calls} - {result.id for result in kept.before.results}


def _with_calls(chat: ChatRequest, kept: KeptThread | None) -> ChatRequest:
    """The request with its decisions by calls, where the client named approvals."""
    if kept is None or not chat.interrupts:
        return chat
    decisions = dict(chat.decisions)
    for run, paused in ((kept.run, kept.paused), (kept.before_run, kept.before)):
        for call in paused.pending if paused is not None else ():
            approval = approval_id(run, call.id)
            if approval in chat.interrupts:
                decisions[call.id] = chat.interrupts[approval]
    return replace(chat, decisions=decisions)


def _decides(chat: ChatRequest) -> bool:
    return bool(chat.decisions or chat.results or chat.interrupts)


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


async def _is_kept(reader: RunReader) -> bool:
    """Whether the log still has this run, which is over."""
    try:
        await anext(reader)
    except StopAsyncIteration:
        return True  # stopped before its first frame
    except StreamError as error:
        return error.code != "unknown_run"
    finally:
        await reader.aclose()
    return True


async def _value(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given
