"""`api_routes`: the routes of OpenAI's and Anthropic's APIs, over any model. Needs the extra ``serve``.

Rules: a client that leaves cancels the provider's request. What fails before the first frame has a status; what fails
later is an error on the wire. What a client reads of an error says nothing of an exception's text.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from promptport.dispatch import DispatchFrame, ToolDispatcher
from promptport.errors import PromptportError
from promptport.front_ends.anthropic_messages import AnthropicMessagesEncoder
from promptport.front_ends.anthropic_requests import decode_messages_request
from promptport.front_ends.api_encoder import APIEncoder
from promptport.front_ends.api_errors import APIName, RequestRefused, api_error, error_body, refusal_of_status
from promptport.front_ends.api_request import APIRequest
from promptport.front_ends.chat_request import BodyLimits
from promptport.front_ends.opaque import OpaqueSeal
from promptport.front_ends.openai_chat import OpenAIChatEncoder
from promptport.front_ends.openai_chat_requests import decode_chat_request
from promptport.front_ends.openai_responses import OpenAIResponsesEncoder
from promptport.front_ends.openai_responses_requests import decode_responses_request
from promptport.front_ends.request_bodies import BodyReader
from promptport.front_ends.shown import EVENT_STREAM_HEADERS
from promptport.front_ends.writing import encode_frames
from promptport.messages import Origin, Prompt
from promptport.models import LLModel
from promptport.tools import ToolDescriptor

if TYPE_CHECKING:
    from promptport.executor import PromptExecutor

__all__ = ["APIChoose", "APITurn", "api_routes"]

_log = logging.getLogger("promptport")
_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_POSTED = ("chat/completions", "responses", "responses/input_tokens", "messages", "messages/count_tokens")
_NO_COUNT = (
    "body.model: the provider of this model counts no tokens before a request, and this server does not guess."
    " Read the usage of the response."
)
_NO_APPROVAL = "This call needs an approval, and the API has no way to ask for one."


class APITurn(msgspec.Struct, frozen=True):
    """Who answers one request of an API.

    Attributes:
        executor: Who is asked.
        model: The model to ask.
        tools: Tools that the server runs; the client sees nothing of their calls.
        prompt: The conversation to ask with. Default: the client's.
    """

    executor: PromptExecutor
    model: LLModel | str
    tools: tuple[ToolDescriptor, ...] = ()
    prompt: Prompt | None = None


APIChoose: TypeAlias = Callable[[Request, APIRequest], "APITurn | Awaitable[APITurn]"]
"""Chooses who answers; may raise `RequestRefused`, or starlette's ``HTTPException``."""


class _Frames(Protocol):
    def __aiter__(self) -> AsyncIterator[DispatchFrame]: ...
    async def aclose(self) -> None: ...


class _API(msgspec.Struct, frozen=True):
    name: APIName
    decode: Callable[..., APIRequest]
    encoder: type[APIEncoder]


_CHAT = _API("openai", decode_chat_request, OpenAIChatEncoder)
_RESPONSES = _API("openai", decode_responses_request, OpenAIResponsesEncoder)
_MESSAGES = _API("anthropic", decode_messages_request, AnthropicMessagesEncoder)


def api_routes(
    choose: APIChoose,
    *,
    models: Mapping[str, LLModel] | None = None,
    authorize: Callable[[Request], object] | None = None,
    path: str = "/v1",
    seal: OpaqueSeal | None = None,
    reasoning: bool = True,
    limits: BodyLimits | None = None,
    heartbeat: float | None = 15.0,
) -> list[Route]:
    """Make the routes ``chat/completions``, ``responses``, ``messages`` and ``models`` below a path.

    ``messages/count_tokens`` and ``responses/input_tokens`` count with the provider's own counter, by the executor's
    ``count_tokens``. If it has none, they are refused: no count is an estimate.

    Args:
        choose: Chooses executor, model and the server's own tools for a request.
        models: What ``models`` lists, by the names that clients use.
        authorize: Is asked before anything else is done; raises starlette's ``HTTPException`` to refuse a request.
            Default: everybody may do everything.
        path: Where the routes begin.
        seal: Closes what goes back to providers. Default: one for this process.
        reasoning: Whether clients get the model's reasoning. Default: true.
        limits: How much a client may post.
        heartbeat: Seconds after which a comment keeps a connection open.

    Examples:
        ```python
        from starlette.applications import Starlette

        from promptport.front_ends.api_routes import APITurn, api_routes
        from promptport.testing import ScriptedExecutor

        turn = APITurn(ScriptedExecutor(["Hello"]), "scripted/m")
        app = Starlette(routes=api_routes(lambda request, asked: turn))
        ```
    """
    serving = _Serving(
        choose, models or {}, authorize, seal or OpaqueSeal(), reasoning, limits or BodyLimits(), heartbeat
    )
    return [
        Route(f"{path}/chat/completions", serving.route(_CHAT), methods=["POST"]),
        Route(f"{path}/responses", serving.route(_RESPONSES), methods=["POST"]),
        Route(f"{path}/responses/input_tokens", serving.counter(_RESPONSES), methods=["POST"]),
        Route(f"{path}/messages", serving.route(_MESSAGES), methods=["POST"]),
        Route(f"{path}/messages/count_tokens", serving.counter(_MESSAGES), methods=["POST"]),
        Route(f"{path}/models", serving.list, methods=["GET"]),
        Route(f"{path}/models/{{name:path}}", serving.one, methods=["GET"]),
        Route(f"{path}/{{rest:path}}", serving.nothing, methods=_ALL_METHODS),
    ]


class _Serving(msgspec.Struct):
    choose: APIChoose
    models: Mapping[str, LLModel]
    authorize: Callable[[Request], object] | None
    seal: OpaqueSeal
    reasoning: bool
    limits: BodyLimits
    heartbeat: float | None

    def route(self, api: _API) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return await self._answer(request, api)
            except Exception as error:
                return _failure(api.name, error)

        return answer

    async def _answer(self, request: Request, api: _API) -> Response:
        await self._allow(request)
        asked = api.decode(await self._body(request), limits=self.limits, seal=self.seal)
        turn = cast("APITurn", await _value(self.choose(request, asked)))
        stream, origin = _begin(turn, asked)
        more: dict[str, Any] = {"usage": asked.usage} if api is _CHAT else {}
        encoder = api.encoder(
            secrets.token_hex(12),
            model=asked.model,
            created=int(time.time()),
            own_tools=[tool.name for tool in turn.tools],
            reasoning=self.reasoning,
            origin=origin,
            seal=self.seal,
            **more,
        )
        headers = {"x-promptport-ignored": ", ".join(asked.ignored)} if asked.ignored else {}
        source = _Source(stream)
        gone = asyncio.create_task(_gone(request), name="promptport-api-gone")
        try:
            if asked.stream:
                await source.first(gone, self.heartbeat)
                body = encode_frames(source.frames(), encoder, heartbeat=self.heartbeat, on_error=_told)
                return _Streamed(body, headers={**EVENT_STREAM_HEADERS, **headers})
            frames = await source.all(gone)
        except BaseException:
            await source.aclose()
            raise
        finally:
            gone.cancel()
        return Response(encoder.whole(frames), media_type="application/json", headers=headers)

    def counter(self, api: _API) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return _json(await self._count(request, api))
            except Exception as error:
                return _failure(api.name, error)

        return answer

    async def _count(self, request: Request, api: _API) -> dict[str, Any]:
        await self._allow(request)
        more = {"counting": True} if api is _MESSAGES else {}
        asked = api.decode(await self._body(request), limits=self.limits, seal=self.seal, **more)
        turn = cast("APITurn", await _value(self.choose(request, asked)))
        count = getattr(turn.executor, "count_tokens", None)
        prompt = turn.prompt if turn.prompt is not None else asked.prompt
        tools = (*turn.tools, *asked.tools)
        tokens = None if count is None else await count(prompt, turn.model, tools)
        if tokens is None:
            raise RequestRefused(_NO_COUNT, code="unsupported", param="model")
        kind = {} if api is _MESSAGES else {"object": "response.input_tokens"}
        return {**kind, "input_tokens": tokens}

    async def list(self, request: Request) -> Response:
        """The models, in the form of the API that asks."""
        try:
            await self._allow(request)
        except Exception as error:
            return _failure(_asks(request), error)
        names = list(self.models)
        if _asks(request) == "anthropic":
            told: dict[str, Any] = {"data": [_anthropic_model(name) for name in names], "has_more": False}
            return _json({**told, "first_id": names[0] if names else None, "last_id": names[-1] if names else None})
        return _json({"object": "list", "data": [_openai_model(name, self.models[name]) for name in names]})

    async def one(self, request: Request) -> Response:
        """One model."""
        name = request.path_params["name"]
        try:
            await self._allow(request)
            if name not in self.models:
                raise RequestRefused("There is no such model.", status=404, code="model_not_found", param="model")
        except Exception as error:
            return _failure(_asks(request), error)
        asks = _asks(request)
        return _json(_anthropic_model(name) if asks == "anthropic" else _openai_model(name, self.models[name]))

    async def nothing(self, request: Request) -> Response:
        """Everything else below the path, and other methods of what is there."""
        rest = request.path_params["rest"].rstrip("/")
        allowed = "POST" if rest in _POSTED else "GET, HEAD" if rest.partition("/")[0] == "models" else ""
        if not allowed:
            return _failure(
                _asks(request), RequestRefused("This server has no such route.", status=404, code="not_found")
            )
        headers = {"allow": f"{allowed}, OPTIONS"}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        api: APIName = "anthropic" if rest.startswith("messages") else _asks(request)
        refused = RequestRefused(f"This route takes {allowed}, and not {request.method}.", status=405)
        response = _failure(api, refused)
        response.headers.update(headers)
        return response

    async def _allow(self, request: Request) -> None:
        if self.authorize is not None:
            await _value(self.authorize(request))

    async def _body(self, request: Request) -> bytes:
        encoding, length = request.headers.get("content-encoding", ""), request.headers.get("content-length", "")
        reader = BodyReader(self.limits.max_bytes, encoding=encoding, length=length)
        async for chunk in request.stream():
            reader.feed(chunk)
        return reader.close()


def _begin(turn: APITurn, asked: APIRequest) -> tuple[_Frames, Callable[[], Origin | None]]:
    """The stream that answers, and who says which server makes it."""
    prompt = turn.prompt if turn.prompt is not None else asked.prompt
    if not turn.tools:
        stream = turn.executor.execute_streaming_with_tools(prompt, turn.model, asked.tools)
        return cast("_Frames", stream), lambda: stream.origin
    twice = {tool.name for tool in turn.tools} & {tool.name for tool in asked.tools}
    if twice:
        raise RequestRefused(
            f"body.tools: the server has a tool {min(twice)!r} too. Give yours another name.", param="tools"
        )
    loop = ToolDispatcher(turn.executor, [*turn.tools, *asked.tools], approve=lambda call: _NO_APPROVAL)
    run = loop.stream(prompt, turn.model)
    return cast("_Frames", run), lambda: run.origin


class _Source:
    """A stream of frames whose first is looked at before anything is said."""

    def __init__(self, stream: _Frames) -> None:
        self._stream = stream
        self._iterator = aiter(stream)
        self._first: asyncio.Task[DispatchFrame] | None = None

    async def first(self, gone: asyncio.Task[None], seconds: float | None) -> None:
        """Waits for the first frame, as long as a connection may be silent. Raises what the stream raises."""
        self._first = asyncio.create_task(_next(self._iterator), name="promptport-api-first")
        await asyncio.wait({self._first, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._first.done():
            self._first.result()
        elif gone.done():
            raise ClientDisconnect

    async def frames(self) -> AsyncGenerator[DispatchFrame, None]:
        """All frames."""
        try:
            if self._first is not None:
                yield await self._first
            async for frame in self._iterator:
                yield frame
        finally:
            await self.aclose()

    async def all(self, gone: asyncio.Task[None]) -> list[DispatchFrame]:
        """All frames at once. Raises what the stream raises."""
        reading = asyncio.create_task(self._all(), name="promptport-api-whole")
        try:
            await asyncio.wait({reading, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise ClientDisconnect
            return reading.result()
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _all(self) -> list[DispatchFrame]:
        try:
            return [frame async for frame in self._iterator]
        finally:
            await self._stream.aclose()

    async def aclose(self) -> None:
        if self._first is not None and not self._first.done():
            self._first.cancel()
            await asyncio.wait([self._first])
        await self._stream.aclose()


async def _next(iterator: AsyncIterator[DispatchFrame]) -> DispatchFrame:
    return await anext(iterator)


async def _gone(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Streamed(StreamingResponse):
    """A stream that is closed when the client leaves, and not when somebody collects it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await cast("AsyncGenerator[bytes, None]", self.body_iterator).aclose()


def _failure(api: APIName, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        told = refusal_of_status(error.status_code, str(error.detail))
    else:
        if not isinstance(error, RequestRefused | ClientDisconnect):
            _told(error)
        told = api_error(error)
    headers = {} if told.retry_after is None else {"retry-after": str(max(1, round(told.retry_after)))}
    return Response(error_body(api, told), told.status, media_type="application/json", headers=headers)


def _told(error: Exception) -> None:
    """The server's own log: what kind of error it was, and of others' all of it."""
    if isinstance(error, PromptportError):
        _log.warning("a request of an API failed: %s", type(error).__name__)
    else:
        _log.error("a request of an API failed", exc_info=error)


def _asks(request: Request) -> APIName:
    return "anthropic" if "anthropic-version" in request.headers else "openai"


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _openai_model(name: str, model: LLModel) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": model.provider}


def _anthropic_model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


async def _value(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given
