"""`serve_app`: the whole application of ``promptport serve``: the routes, a page to chat, and who may use them.

Rule: it is put together here, and does nothing by itself; a program may put its own together from the same parts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from promptport.dispatch import MemoryPauseStore, PauseStore, ToolDispatcher
from promptport.errors import InvalidInputError
from promptport.front_ends.api_errors import APIName, RequestRefused, error_body, refusal_of_status
from promptport.front_ends.api_request import APIRequest
from promptport.front_ends.api_routes import APITurn, api_routes
from promptport.front_ends.chat_request import BodyLimits, ChatRequest
from promptport.front_ends.guard import Guard
from promptport.front_ends.kept_threads import ThreadStore
from promptport.front_ends.opaque import OpaqueSeal
from promptport.front_ends.starlette import ChatTurn, chat_routes
from promptport.messages import SystemMessage
from promptport.models import LLModel
from promptport.tools import ToolDescriptor

if TYPE_CHECKING:
    from promptport.executor import PromptExecutor
    from promptport.run_log import RunLog

__all__ = ["serve_app"]

_PAGE = Path(__file__).parent / "page"
_PAGE_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Said here, since a system's own table may have another type for a script, and browsers run none of those."""

_App: TypeAlias = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


def serve_app(
    executor: PromptExecutor,
    models: Mapping[str, LLModel],
    tools: Sequence[ToolDescriptor] = (),
    *,
    log: RunLog,
    system: str | None = None,
    key: str | None = None,
    hosts: Iterable[str] | None = (),
    origins: Sequence[str] = (),
    limits: BodyLimits | None = None,
    threads: ThreadStore | None = None,
    pauses: PauseStore | None = None,
    seal: OpaqueSeal | None = None,
    page: Path | None = _PAGE,
) -> _App:
    """Make the application that ``promptport serve`` runs.

    Args:
        executor: Who asks the models; closed when the application shuts down.
        models: The models by the names that clients use. The first is the default.
        tools: What the server offers the models, and runs.
        log: Keeps the frames of the chats' runs; closed when the application shuts down.
        system: Instructions for conversations of the chat routes that have none.
        key: The key that each request must carry, see `Guard`.
        hosts: The hosts that requests may name, see `Guard`.
        origins: Origins of other pages that may ask, see `Guard`.
        limits: How much a client may post.
        threads: Keeps what waits for a decision. Default: the memory of this process.
        pauses: Remembers what was decided, see `PauseStore`. Default: the memory of this process.
        seal: Closes what goes through clients back to providers. Default: one for this process.
        page: The folder of a page, served under ``/``. Default: promptport's own.

    Raises:
        InvalidInputError: No model, two tools of one name, or a key that cannot be one.
    """
    if not models:
        raise InvalidInputError("serve_app(): models is empty. Pass at least one: {'m': LLModel('local', 'm')}.")
    remembered = pauses if pauses is not None else MemoryPauseStore()
    closed = seal if seal is not None else OpaqueSeal()
    dispatcher = ToolDispatcher(executor, tools, store=remembered)
    offered = {tool.name for tool in tools}

    def choose(request: Request, chat: ChatRequest) -> ChatTurn:
        prompt = chat.prompt
        if system is not None and not any(isinstance(message, SystemMessage) for message in prompt.messages):
            prompt = replace(prompt, messages=(SystemMessage(system), *prompt.messages))
        outside = [tool for tool in chat.tools if tool.name not in offered]
        loop = ToolDispatcher(executor, [*tools, *outside], store=remembered) if outside else dispatcher
        return ChatTurn(loop, _model(models, chat.extra.get("model")), prompt)

    def choose_api(request: Request, asked: APIRequest) -> APITurn:
        if asked.model not in models:
            known = ", ".join(models)
            raise RequestRefused(
                f"body.model: there is no such model here. Models: {known}.",
                status=404,
                code="model_not_found",
                param="model",
            )
        return APITurn(executor, models[asked.model], tuple(tools))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await log.aclose()
            await dispatcher.aclose()
            await executor.aclose()

    routes: list[BaseRoute] = [
        *chat_routes(choose, log=log, limits=limits, threads=threads, seal=closed),
        *api_routes(choose_api, models=models, limits=limits, seal=closed),
    ]
    files: list[str] = []
    if page is not None and (page / "index.html").is_file():
        files = ["/", *(f"/{one.relative_to(page).as_posix()}" for one in page.rglob("*") if one.is_file())]
        routes.append(Mount("/", _Page(directory=page, html=True)))
    cors = [
        Middleware(
            CORSMiddleware,
            allow_origins=[*origins],
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    ]
    app = Starlette(routes=routes, lifespan=lifespan, middleware=cors if origins else [])
    return Guard(app, key=key, hosts=hosts, origins=origins, open_paths=files, refusal=_refusal)


class _Page(StaticFiles):
    """Files that load nothing from elsewhere, and stand in no frame."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_PAGE_HEADERS)
        suffix = PurePosixPath(path).suffix or ".html"
        if response.status_code == 200 and suffix in _MEDIA_TYPES:
            response.headers["content-type"] = _MEDIA_TYPES[suffix]
        return response


def _model(models: Mapping[str, LLModel], name: object) -> LLModel:
    """The model that a chat names in the body's key ``model``, or the first."""
    if name is None:
        return next(iter(models.values()))
    if not isinstance(name, str) or name not in models:
        raise HTTPException(404, f"There is no such model. Models: {', '.join(models)}.")
    return models[name]


def _refusal(path: str, status: int, text: str) -> tuple[str, bytes]:
    """What the guard refuses, in the form of the API that was asked."""
    if not path.startswith("/v1/"):
        return "text/plain; charset=utf-8", text.encode()
    api: APIName = "anthropic" if path.startswith("/v1/messages") else "openai"
    return "application/json", error_body(api, refusal_of_status(status, text))
