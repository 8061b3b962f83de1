"""The tree of errors is the contract's; each crosses process boundaries whole, and each can be provoked.

Providers' errors are provoked over a real loopback socket.
"""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx  # before any clock runs: importing it takes longer than the clocks here
import pytest

from promptport import errors
from promptport.decoding import StreamDecoder
from promptport.dispatch import ToolDispatcher
from promptport.errors import (
    AuthenticationError,
    BadRequestError,
    BudgetExceededError,
    ConfigurationError,
    ContextLengthError,
    FirstFrameTimeout,
    IdleTimeout,
    IncompleteStreamError,
    InvalidInputError,
    InvalidToolArgumentsError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PromptportError,
    ProtocolError,
    ProviderError,
    ProviderStreamError,
    RateLimitError,
    ServerError,
    StepLimitError,
    StreamError,
    ToolError,
    ToolFailedError,
    ToolTimeoutError,
    TotalTimeout,
    TransportError,
    UnknownToolError,
    UnsupportedCapabilityError,
)
from promptport.frames import ToolCall
from promptport.http import BaseClient, ByteStream, HTTPTransport, check_api_key
from promptport.messages import AssistantMessage, Prompt, TextPart
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.policies import Budget, BudgetedExecutor
from promptport.protocols import ChatCompletionsDecoder, chat_body, decode_chat_completion
from promptport.stream import Timeouts
from promptport.testing import ScriptedClient, ScriptedExecutor, WireResponse, WireServer
from promptport.tools import Tool, ToolDescriptor, tool

MODEL = LLModel("server", "model-1")
PROMPT = Prompt.of("Hello")

# ------------------------------------------------------------------------------------------------ the tree

CONTRACT = """
    PromptportError
    ├── ConfigurationError
    ├── UnsupportedCapabilityError
    ├── ProviderError
    │   ├── AuthenticationError · PermissionDeniedError · ModelNotFoundError · BadRequestError · ContextLengthError
    │   ├── RateLimitError · OverloadedError · ServerError
    │   └── TransportError            connect, reset, and the three clocks: FirstFrameTimeout, IdleTimeout, TotalTimeout
    ├── StreamError
    │   ├── IncompleteStreamError
    │   ├── ProviderStreamError
    │   └── ProtocolError
    └── ToolError                     UnknownToolError · InvalidToolArgumentsError · ToolTimeoutError · ToolFailedError
"""
MORE = {"BudgetExceededError", "InvalidInputError", "StepLimitError"}


def tree(kind: type[BaseException] = PromptportError) -> list[type[BaseException]]:
    return [
        kind,
        *[below for child in kind.__subclasses__() if child.__module__ == kind.__module__ for below in tree(child)],
    ]


ALL = tree()


def test_the_tree_is_the_contracts() -> None:
    assert {kind.__name__ for kind in ALL} == set(re.findall(r"\w+(?:Error|Timeout)\b", CONTRACT)) | MORE
    for child, parent in (
        (ContextLengthError, BadRequestError),
        (BadRequestError, ProviderError),
        (TransportError, ProviderError),
        (FirstFrameTimeout, TransportError),
        (IdleTimeout, TransportError),
        (TotalTimeout, TransportError),
        (ProtocolError, StreamError),
        (ProviderStreamError, StreamError),
        (IncompleteStreamError, StreamError),
        (UnknownToolError, ToolError),
        (InvalidInputError, ValueError),
    ):
        assert issubclass(child, parent)
    assert not issubclass(StreamError, ProviderError)


def test_the_module_exports_its_errors_and_draws_them_all() -> None:
    assert set(errors.__all__) == {kind.__name__ for kind in ALL}
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in ALL)
    assert all(inspect.getdoc(kind) for kind in ALL)


# -------------------------------------------------------------------------------------------------- values

_MADE: dict[type[BaseException], dict[str, Any]] = {
    UnsupportedCapabilityError: {"provider": "p", "model": "m", "missing": ["tools"], "instead": "leave it out"},
    StepLimitError: {"max_steps": 3},
    BudgetExceededError: {"limits": {"requests": 1}, "used": {"requests": 1}},
    **{
        kind: {"provider": "p", "model": "m", "status": 400, "code": "c", "request_id": "r", "retry_after": 1.5}
        for kind in tree(ProviderError)
    },
    **{kind: {"code": "c"} for kind in tree(StreamError)},
    **{kind: {"tool": "f"} for kind in tree(ToolError)},
}


@pytest.mark.parametrize("kind", ALL)
def test_errors_pickle_with_all_their_attributes(kind: type[Any]) -> None:
    given = _MADE.get(kind, {})
    error = kind(**given) if kind is UnsupportedCapabilityError else kind("what happened", **given)
    if hasattr(error, "partial"):
        error.partial = AssistantMessage((TextPart("so far"),))
    error.add_note("a note")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert set(given) <= set(vars(error))


def test_an_unsupported_capability_names_all_that_matters() -> None:
    error = UnsupportedCapabilityError(provider="p", model="m", missing=["tools", "images"], instead="leave them out")
    assert str(error) == "p/m does not support tools, images; leave them out"
    assert error.missing == ("tools", "images")
    assert str(UnsupportedCapabilityError(provider="p", model="m", missing=["seed"])) == "p/m does not support seed"


# ---------------------------------------------------------------------------------------------- provoked


class ServerClient(BaseClient):
    """Chat Completions over `HTTPTransport`."""

    provider = "server"

    def __init__(self, base_url: str, timeouts: Timeouts | None = None) -> None:
        super().__init__(timeouts=timeouts)
        headers = {"authorization": "Bearer key-of-the-test"}
        self._transport = HTTPTransport(base_url, provider="server", headers=headers, timeouts=self._timeouts)

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        return model.capabilities or ModelCapabilities.of(StreamedTools.DELTAS, Capability)

    async def models(self) -> list[LLModel]:
        return []

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        return chat_body(prompt, model, tools, stream=stream)

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        return await self._transport.open("/chat/completions", body, model.id)

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        return await self._transport.post("/chat/completions", body, model.id)

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        return ChatCompletionsDecoder(prompt.call_ids())

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return decode_chat_completion(data, prompt.call_ids())

    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        return self._transport.failure(error, model.id)

    async def _aclose(self) -> None:
        await self._transport.aclose()


@asynccontextmanager
async def served(response: WireResponse, timeouts: Timeouts | None = None) -> AsyncIterator[ServerClient]:
    async with WireServer(response) as server, ServerClient(server.url, timeouts) as client:
        yield client


def status(
    number: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any
) -> Callable[[], Awaitable[None]]:
    async def provoke() -> None:
        body = {"error": {"message": message, **error}}
        async with served(WireResponse.json(body, number, headers)) as client:
            await client.execute_streaming_with_tools(PROMPT, MODEL).message()

    return provoke


def answer(response: WireResponse, timeouts: Timeouts | None = None) -> Callable[[], Awaitable[None]]:
    async def provoke() -> None:
        async with served(response, timeouts) as client:
            await client.execute_streaming_with_tools(PROMPT, MODEL).message()

    return provoke


HALF = b'data: {"choices": [{"delta": {"content": "so far"}}]}\n\n'


async def nobody_listens() -> None:
    with socket.socket() as held:  # bound and not listening: whoever connects is refused
        held.bind(("127.0.0.1", 0))
        async with ServerClient(f"http://127.0.0.1:{held.getsockname()[1]}") as client:
            await client.execute_streaming_with_tools(PROMPT, MODEL).message()


async def unusable_key() -> None:
    check_api_key("key with blank", provider="server", variable="SERVER_API_KEY")


async def no_user_message() -> None:
    ScriptedClient([]).execute_streaming_with_tools(Prompt().system("s"), MODEL)


async def no_tools_there() -> None:
    client = ScriptedClient([], capabilities=ModelCapabilities())
    client.execute_streaming_with_tools(PROMPT, MODEL, [ToolDescriptor("f")])


def outcome(call: ToolCall, *tools: Tool[Any], approve: Any = None) -> Callable[[], Awaitable[None]]:
    """What became of one call, as it is told in ``outcomes``."""

    async def provoke() -> None:
        executor = ScriptedExecutor([call], ["done"])
        async with (
            ToolDispatcher(executor, tools, approve=approve) as dispatcher,
            dispatcher.stream(PROMPT, MODEL) as stream,
        ):
            await stream.message()
            (become,) = stream.outcomes
        assert become.error is not None
        raise become.error

    return provoke


@tool
async def greet(name: str) -> str:
    """Greets."""
    return f"Hello {name}"


@tool
async def fail() -> str:
    """Fails."""
    raise ZeroDivisionError("by zero")


@tool(timeout=0.01)
async def hang() -> str:
    """Never ends."""
    import asyncio

    await asyncio.Event().wait()
    return "never"


@tool(needs_approval=True)
async def risky() -> str:
    """Needs somebody's consent."""
    return "done"


async def denied(call: ToolCall) -> bool:
    return False


async def too_many_steps() -> None:
    executor = ScriptedExecutor([ToolCall("1", "greet", '{"name": "Ada"}')], repeat=True)
    async with ToolDispatcher(executor, [greet], max_steps=2) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        await stream.message()


async def over_budget() -> None:
    executor = BudgetedExecutor(ScriptedExecutor(["Hello"], repeat=True), Budget(requests=1))
    await executor.execute(PROMPT, MODEL)
    await executor.execute(PROMPT, MODEL)


PROVOKED: list[tuple[type[PromptportError], Callable[[], Awaitable[None]]]] = [
    (ConfigurationError, unusable_key),
    (InvalidInputError, no_user_message),
    (UnsupportedCapabilityError, no_tools_there),
    (ProviderError, status(304)),
    (AuthenticationError, status(401)),
    (PermissionDeniedError, status(403)),
    (ModelNotFoundError, status(404)),
    (BadRequestError, status(400)),
    (BadRequestError, status(422)),
    (ContextLengthError, status(400, code="context_length_exceeded")),
    (RateLimitError, status(429, headers={"retry-after": "7"})),
    (OverloadedError, status(503)),
    (OverloadedError, status(529)),
    (ServerError, status(500)),
    (TransportError, nobody_listens),
    (FirstFrameTimeout, answer(WireResponse(HALF, stall_after=0), Timeouts(first_frame=0.1))),
    (IdleTimeout, answer(WireResponse(HALF, stall_after=len(HALF)), Timeouts(idle=0.1))),
    (TotalTimeout, answer(WireResponse(HALF, stall_after=len(HALF)), Timeouts(total=0.1))),
    (IncompleteStreamError, answer(WireResponse(HALF))),
    (IncompleteStreamError, answer(WireResponse(HALF + HALF, drop_after=len(HALF)))),
    (IncompleteStreamError, answer(WireResponse(HALF + HALF, reset_after=len(HALF)))),
    (ProviderStreamError, answer(WireResponse(HALF + b'data: {"error": {"message": "oom"}}\n\n'))),
    (ProtocolError, answer(WireResponse(HALF + b"data: nonsense\n\n"))),
    (ProtocolError, answer(WireResponse(b"<html>Welcome</html>", content_type="text/html"))),
    (ToolError, outcome(ToolCall("1", "risky", "{}"), risky, approve=denied)),
    (UnknownToolError, outcome(ToolCall("1", "nothing_of_the_kind", "{}"), greet)),
    (InvalidToolArgumentsError, outcome(ToolCall("1", "greet", '{"nam": 1}'), greet)),
    (ToolTimeoutError, outcome(ToolCall("1", "hang", "{}"), hang)),
    (ToolFailedError, outcome(ToolCall("1", "fail", "{}"), fail)),
    (StepLimitError, too_many_steps),
    (BudgetExceededError, over_budget),
]


@pytest.mark.parametrize(
    ("kind", "provoke"), PROVOKED, ids=[f"{kind.__name__}-{n}" for n, (kind, _) in enumerate(PROVOKED)]
)
async def test_every_error_can_be_provoked(kind: type[PromptportError], provoke: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(PromptportError) as caught:
        await provoke()
    error = caught.value
    assert type(error) is kind, repr(error)
    assert str(error)
    assert "\n" not in str(error)
    assert "key-of-the-test" not in f"{error} {error!r}"
    if isinstance(error, ProviderError):
        assert (error.provider, error.model) == ("server", "model-1")
        assert error.partial is not None
    if isinstance(error, StreamError):
        assert error.partial is not None
    if isinstance(error, ToolError):
        assert error.tool
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), vars(again)) == (kind, vars(error))


def test_the_table_of_provoked_errors_has_them_all() -> None:
    families = {PromptportError, StreamError}  # never raised themselves
    assert {kind for kind, _ in PROVOKED} == set(ALL) - families


async def test_a_refusal_says_what_the_provider_said() -> None:
    with pytest.raises(RateLimitError) as caught:
        await status(429, "slow down", {"retry-after": "7", "x-request-id": "r1"}, code="too_fast")()
    error = caught.value
    assert (error.status, error.code, error.request_id, error.retry_after) == (429, "too_fast", "r1", 7.0)
    assert "slow down" in str(error)


async def test_what_arrived_before_a_break_is_in_partial() -> None:
    with pytest.raises(IncompleteStreamError) as caught:
        await answer(WireResponse(HALF + HALF, reset_after=len(HALF)))()
    assert caught.value.partial == AssistantMessage.of("so far")
    with pytest.raises(IdleTimeout) as timeout:
        await answer(WireResponse(HALF, stall_after=len(HALF)), Timeouts(idle=0.5, first_frame=math.inf))()
    assert timeout.value.partial == AssistantMessage.of("so far")


async def test_the_exception_of_a_tool_is_the_cause() -> None:
    with pytest.raises(ToolFailedError) as caught:
        await outcome(ToolCall("1", "fail", "{}"), fail)()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_the_exception_of_the_http_library_is_the_cause() -> None:
    with pytest.raises(TransportError) as caught:
        await nobody_listens()
    assert isinstance(caught.value.__cause__, httpx.HTTPError)
