"""Each parameter of each public verb, with values of wrong types: `InvalidInputError` at once, in promptport's words.

Rule: the verbs are found by introspection, so that a new one must be given its row here.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import promptport as pp
from promptport import blocking, policies
from promptport.testing import ScriptedClient, ScriptedExecutor


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_for_other_tests() -> Iterator[None]:
    """What is made here is never closed: the warning that says so must not come in the middle of another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


MODEL = "scripted/m"


ANY: Any = pp  # type checkers tell the same


class Item(BaseModel):
    name: str = "lamp"


@pp.tool
def look(x: int) -> str:
    """Looks."""
    return ""


def plain(x: int) -> str:
    """Looks."""
    return ""


def executor() -> Any:
    return ScriptedExecutor(['{"name": "x"}'], repeat=True)


def client() -> Any:
    return ScriptedClient(["x"], repeat=True)


def session() -> pp.LLMSession:
    return pp.LLMSession(executor(), MODEL, "hi", [look])


async def transform(stream: Any) -> Any:
    return await stream.message()


def verb_of(make: Callable[[], Any], verb: str) -> Any:
    return getattr(make(), verb)


def route(model: Any, prompt: Any, tools: Any) -> Any:
    return model


LOOP = {
    "approve": None,
    "start": "eager",
    "max_concurrency": 1,
    "timeout": 1.0,
    "grace": 1.0,
    "max_steps": 1,
    "max_calls": 1,
    "max_failures": 1,
    "max_output_chars": 1,
    "store": None,
    "observers": (),
    "budget": None,
}
ASK = {"prompt": "hi", "model": MODEL, "tools": [look]}
PROMPT = pp.Prompt.of("x").tool_call("c", "look", {})
POLICY = {"when_tools_cannot_stream": "raise", "when_unsupported": "raise", "tools_in_text": False}
CONNECT = {"*": "ollama", **POLICY, "options": None, "retry": None, "fallback": None}

# A verb by its name: what makes it, and good values for its parameters ("*" for those without a name).
VERBS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "client": (lambda: pp.client, {"provider": "ollama"}),
    "connect": (lambda: pp.connect, {**CONNECT, "limits": None}),
    "blocking.connect": (lambda: blocking.connect, CONNECT),
    "blocking.BlockingExecutor": (lambda: blocking.BlockingExecutor, {"make": executor}),
    "map_prompts": (
        lambda: pp.map_prompts,
        {
            "executor": executor(),
            "prompts": ["x"],
            "model": MODEL,
            "tools": [look],
            "concurrency": 1,
            "definition": None,
            "retries": 1,
        },
    ),
    "show": (lambda: pp.show, {"stream": executor().execute_streaming("x", MODEL), "file": None}),
    "tool": (
        lambda: pp.tool,
        {
            "*": plain,
            "name": None,
            "description": None,
            "timeout": None,
            "start": "eager",
            "needs_approval": False,
            "strict": None,
            "repeatable": False,
        },
    ),
    "message_of": (lambda: pp.message_of, {"frames": []}),
    "decode_frame": (lambda: pp.decode_frame, {"data": b'{"type":"append","text":"x"}'}),
    "decode_dispatch_frame": (lambda: pp.decode_dispatch_frame, {"data": b'{"type":"append","text":"x"}'}),
    "LLMSession": (
        lambda: pp.LLMSession,
        {"executor": executor(), "model": MODEL, "prompt": "x", "tools": [look], "when_cut": "text", **LOOP},
    ),
    "LLMSession.from_json": (
        lambda: pp.LLMSession.from_json,
        {"data": session().to_json(), "executor": executor(), "tools": [look]},
    ),
    "LLMSession.user": (lambda: session().user, {"*": "x"}),
    "LLMSession.system": (lambda: session().system, {"text": "x"}),
    "LLMSession.append": (lambda: session().append, {"*": pp.UserMessage.of("x")}),
    "LLMSession.add_tool_results": (lambda: session().add_tool_results, {"results": []}),
    "LLMSession.request_llm": (lambda: session().request_llm, {"definition": None}),
    "LLMSession.request_llm_streaming": (lambda: session().request_llm_streaming, {"definition": None}),
    "LLMSession.request_llm_streaming_with_tools": (
        lambda: session().request_llm_streaming_with_tools,
        {"definition": None},
    ),
    "LLMSession.request_llm_structured": (
        lambda: session().request_llm_structured,
        {"definition": Item, "retries": 0},
    ),
    "LLMSession.run": (lambda: session().run, {"*": "x"}),
    "LLMSession.execute_tools": (lambda: session().execute_tools, {"calls": pp.AssistantMessage.of("x")}),
    "LLMSession.as_tool": (lambda: session().as_tool, {"name": "a", "description": "b", "timeout": None}),
    "ToolDispatcher": (
        lambda: pp.ToolDispatcher,
        {
            "executor": executor(),
            "tools": [look],
            **LOOP,
            "tool_choice": None,
            "on_step": None,
            "workers": None,
            "workers_rerun": None,
            "journal": None,
        },
    ),
    "ToolDispatcher.stream": (
        lambda: pp.ToolDispatcher(executor(), [look]).stream,
        {"prompt": "x", "model": MODEL},
    ),
    "ToolDispatcher.execute": (
        lambda: pp.ToolDispatcher(executor(), [look]).execute,
        {"calls": pp.AssistantMessage.of("x")},
    ),
    "SingleClientExecutor": (lambda: pp.SingleClientExecutor, {"client": client(), **POLICY}),
    "MultiProviderExecutor": (lambda: pp.MultiProviderExecutor, {"clients": [client()], **POLICY}),
    "MultiProviderExecutor.models": (lambda: pp.MultiProviderExecutor([client()]).models, {"*": "scripted"}),
    "TextToolsClient": (lambda: pp.TextToolsClient, {"client": client(), "format": "auto", "chat_template": None}),
    "TextPart": (lambda: pp.TextPart, {"text": "x", "cache": False}),
    "ImagePart": (
        lambda: pp.ImagePart,
        {"data": b"x", "url": None, "media_type": "image/png", "detail": None, "cache": False},
    ),
    "AudioPart": (lambda: pp.AudioPart, {"data": b"x", "url": None, "media_type": "audio/wav"}),
    "DocumentPart": (
        lambda: pp.DocumentPart,
        {"data": b"x", "url": None, "media_type": "application/pdf", "name": None, "cache": False},
    ),
    **{
        f"{kind}.from_file": (
            partial(verb_of, partial(getattr, pp, kind), "from_file"),
            {"path": __file__, "media_type": media, "max_bytes": 10_000_000},
        )
        for kind, media in (("ImagePart", "image/png"), ("AudioPart", "audio/wav"), ("DocumentPart", "text/plain"))
    },
    "SystemMessage": (lambda: pp.SystemMessage, {"text": "x", "cache": False}),
    "UserMessage": (lambda: pp.UserMessage, {"parts": (pp.TextPart("x"),)}),
    "UserMessage.of": (lambda: pp.UserMessage.of, {"*": "x"}),
    "AssistantMessage": (
        lambda: pp.AssistantMessage,
        {
            "parts": (),
            "raw_finish_reason": None,
            "usage": pp.Usage(),
            "model": None,
            "response_id": None,
            "origin": None,
        },
    ),
    "AssistantMessage.of": (lambda: pp.AssistantMessage.of, {"*": "x"}),
    "ToolResultMessage": (
        lambda: pp.ToolResultMessage,
        {"call_id": "x", "name": "x", "output": "x", "error": None},
    ),
    "Prompt": (lambda: pp.Prompt, {"messages": (), "id": "x", "params": pp.LLMParams()}),
    "Prompt.of": (lambda: pp.Prompt.of, {"*": "x", "system": None, "id": ""}),
    "Prompt.system": (lambda: PROMPT.system, {"text": "x", "cache": False}),
    "Prompt.user": (lambda: PROMPT.user, {"*": "x"}),
    "Prompt.assistant": (lambda: PROMPT.assistant, {"*": "x"}),
    "Prompt.add": (lambda: PROMPT.add, {"*": pp.UserMessage.of("x")}),
    "Prompt.tool_call": (lambda: PROMPT.tool_call, {"id": "a", "name": "b", "arguments": "{}"}),
    "Prompt.tool_result": (lambda: PROMPT.tool_result, {"call_id": "c", "output": "", "error": None}),
    "Prompt.answered": (lambda: PROMPT.answered, {"error": "x"}),
    "Prompt.trimmed": (
        lambda: PROMPT.trimmed,
        {"max_tokens": None, "max_messages": 5, "keep": 0, "tokens": None},
    ),
    "Prompt.from_openai": (
        lambda: pp.Prompt.from_openai,
        {"messages": [{"role": "user", "content": "x"}], "id": ""},
    ),
    "Prompt.from_json": (lambda: pp.Prompt.from_json, {"data": PROMPT.to_json()}),
    "PausedRun.from_json": (lambda: pp.PausedRun.from_json, {"data": b"{}"}),
    "LLMParams": (
        lambda: pp.LLMParams,
        {
            **dict.fromkeys(pp.LLMParams.__struct_fields__),
            "stop": (),
            "extra": {},
            "foreign_reasoning": "omit",
        },
    ),
    "NamedTool": (lambda: pp.NamedTool, {"name": "x"}),
    "LLModel": (lambda: pp.LLModel, {"provider": "a", "id": "b", "capabilities": None}),
    "LLModel.parse": (lambda: pp.LLModel.parse, {"text": "a/b"}),
    "ModelCapabilities": (
        lambda: pp.ModelCapabilities,
        {
            "streamed_tools": pp.StreamedTools.NONE,
            "context_length": None,
            "max_output_tokens": None,
            "known": True,
            "schema_dialect": "",
            "efforts": (),
        },
    ),
    "ModelCapabilities.of": (
        lambda: pp.ModelCapabilities.of,
        {"streamed_tools": pp.StreamedTools.NONE, "capabilities": []},
    ),
    "ToolDescriptor": (lambda: pp.ToolDescriptor, {"name": "x", "description": "", "parameters": {}, "strict": None}),
    "Tool": (
        lambda: pp.Tool,
        {
            "name": "x",
            "description": "",
            "parameters": {},
            "strict": None,
            "function": plain,
            "timeout": None,
            "start": "eager",
            "needs_approval": False,
            "validator": None,
            "repeatable": False,
        },
    ),
    "Tool.validate": (lambda: look.validate, {"arguments": '{"x":1}'}),
    "Timeouts": (lambda: pp.Timeouts, dict.fromkeys(inspect.signature(pp.Timeouts).parameters)),
    "TokenBuffer": (lambda: pp.TokenBuffer, {"seconds": 0.05, "characters": None, "words": False}),
    "JsonDefinition": (lambda: pp.JsonDefinition, {"model": Item, "every": 1}),
    "MarkdownDefinition": (lambda: pp.MarkdownDefinition, {"instructions": "x"}),
    "MemoryPauseStore.take": (lambda: pp.MemoryPauseStore().take, {"id": "x"}),
    "FrameStream.of": (lambda: pp.FrameStream.of, {"frames": []}),
    "FrameStream.on_done": (
        lambda: executor().execute_streaming_with_tools("x", MODEL).on_done,
        {"callback": print},
    ),
    "node_llm_request_streaming_with_tools": (
        lambda: pp.node_llm_request_streaming_with_tools,
        {"name": "n", "definition": None, "transform": transform},
    ),
    "node_execute_tool": (lambda: pp.node_execute_tool, {"name": "n"}),
    "node_execute_multiple_tools": (lambda: pp.node_execute_multiple_tools, {"name": "n"}),
    "node_llm_send_tool_result": (lambda: pp.node_llm_send_tool_result, {"name": "n", "transform": transform}),
    "node_llm_send_multiple_tool_results": (
        lambda: pp.node_llm_send_multiple_tool_results,
        {"name": "n", "transform": transform},
    ),
    "policies.RetryConfig": (
        lambda: policies.RetryConfig,
        {
            "max_attempts": 1,
            "initial_delay": 1.0,
            "max_delay": 1.0,
            "backoff_multiplier": 1.0,
            "jitter_factor": 0.1,
            "max_retry_after": 1.0,
            "total": None,
            "retry_on": None,
        },
    ),
    "policies.RetryingClient": (
        lambda: policies.RetryingClient,
        {"client": client(), "config": policies.RetryConfig()},
    ),
    "policies.FallbackExecutor": (
        lambda: policies.FallbackExecutor,
        {
            "models": [MODEL],
            "executor": executor(),
            "on_partial": "raise",
            "on_refusal": True,
            "fall_back_on": policies.is_anothers_chance,
            "circuit": None,
        },
    ),
    "policies.Circuit": (lambda: policies.Circuit, {"max_failures": 1, "cooldown": 1.0, "clock": lambda: 0.0}),
    "policies.Limits": (
        lambda: policies.Limits,
        {
            "concurrency": 1,
            "requests_per_minute": None,
            "tokens_per_minute": None,
            "max_wait": 1.0,
            "name": "x",
            "storage": "async+memory://",
        },
    ),
    "policies.LimitedClient": (
        lambda: policies.LimitedClient,
        {"client": client(), "limits": policies.Limits(concurrency=1)},
    ),
    "policies.HedgedClient": (lambda: policies.HedgedClient, {"client": client(), "after": 1.0}),
    "policies.MemoryCache": (lambda: policies.MemoryCache, {"max_entries": 1}),
    "policies.FolderCache": (lambda: policies.FolderCache, {"folder": "x"}),
    "policies.CachedExecutor": (
        lambda: policies.CachedExecutor,
        {"executor": executor(), "store": None, "cache_calls": False, "pace": None},
    ),
    "policies.Budget": (
        lambda: policies.Budget,
        {"requests": 1, "input_tokens": None, "output_tokens": None, "cost": None, "price": None},
    ),
    "policies.BudgetedExecutor": (
        lambda: policies.BudgetedExecutor,
        {"executor": executor(), "budget": policies.Budget(requests=1)},
    ),
    "policies.RoutingExecutor": (lambda: policies.RoutingExecutor, {"executor": executor(), "route": route}),
    "policies.ObservedClient": (lambda: policies.ObservedClient, {"client": client()}),
    "policies.aliases": (lambda: policies.aliases, {"names": {"a": MODEL}}),
    "policies.round_robin": (lambda: policies.round_robin, {"name": "a", "models": [MODEL]}),
    "policies.weighted": (lambda: policies.weighted, {"name": "a", "weights": {MODEL: 1.0}, "chooser": None}),
    "policies.by_capability": (
        lambda: policies.by_capability,
        {"name": "a", "models": [MODEL], "capabilities": executor().capabilities},
    ),
}
ASKERS: dict[str, Callable[[], Any]] = {
    "SingleClientExecutor": lambda: pp.SingleClientExecutor(client()),
    "MultiProviderExecutor": lambda: pp.MultiProviderExecutor([client()]),
    "TextToolsClient": lambda: pp.TextToolsClient(client()),
    "policies.RetryingClient": lambda: policies.RetryingClient(client()),
    "policies.FallbackExecutor": lambda: policies.FallbackExecutor([MODEL], executor()),
    "policies.LimitedClient": lambda: policies.LimitedClient(client(), policies.Limits(concurrency=1)),
    "policies.HedgedClient": lambda: policies.HedgedClient(client(), after=9),
    "policies.CachedExecutor": lambda: policies.CachedExecutor(executor()),
    "policies.BudgetedExecutor": lambda: policies.BudgetedExecutor(executor(), policies.Budget(requests=999)),
    "policies.RoutingExecutor": lambda: policies.RoutingExecutor(executor(), route),
    "policies.ObservedClient": lambda: policies.ObservedClient(client()),
    **{
        f"client({name!r})": partial(pp.client, name, api_key="test-key", base_url="http://127.0.0.1:9")
        for name in ("openai", "openai-chat", "anthropic", "cohere", "google", "ollama", "local", "mistral")
    },
}
ASKING = ("execute", "execute_streaming", "execute_streaming_with_tools", "capabilities", "discover", "count_tokens")
for _name, _make in ASKERS.items():
    _own = _name.split("'")[1] if "'" in _name else "scripted"
    for _verb in ASKING:
        if hasattr(_made := _make(), _verb):
            _parameters = inspect.signature(getattr(_made, _verb)).parameters
            _good = {key: value for key, value in ASK.items() if key in _parameters}
            VERBS[f"{_name}.{_verb}"] = (
                partial(verb_of, _make, _verb),
                {**_good, "model": f"{_own}/m"},
            )

VERBS = {name: row for name, row in VERBS.items() if not name.startswith("policies.")}  # see tests/policies

ANYTHING = {
    *("*", "context"),  # what has no name is told by its words
    *("prompts", "journal"),
}
"""Parameters that a message may tell of in other words."""

# What has no verb with parameters that a caller writes: values of ours, protocols, errors, what others make.
NO_VERBS = {
    *("FrameStream", "TextStream", "DispatchStream", "PromptMap", "MappedPrompt", "TrimmedPrompt"),
    *("PausedRun", "Partial", "StreamingNode", "SendingNode", "ToolNode", "ToolsNode", "RunOutcome"),
    *("StepChange", "StepState", "ToolOutcome", "ProviderInfo", "CallContext", "ToolContext", "Origin"),
    *("RunOptions", "MemoryPauseStore", "StructuredDataDefinition", "MarkdownBullet", "MarkdownCode"),
    *("MarkdownHeader", "MarkdownText", "Wrapper", "FrameBatches", "class_of", "is_passing"),
    *("is_anothers_chance", "retry_after_of", "current_call", "progress", "providers", "encode_frame"),
    *("encode_dispatch_frame", "parse_arguments", "BlockingStream", "BlockingFrameStream", "Capability"),
    *(
        "FinishReason",
        "ReasoningEffort",
        "StreamedTools",
        "ToolChoice",
    ),
}
FRAMES = {
    *("Append", "ApprovalNeeded", "Citation", "End", "InvalidToolCall", "ProviderItem", "Reasoning", "ReasoningAppend"),
    *("Restarted", "StepEnd", "StepReset", "ToolCall", "ToolCallDelta", "ToolProgress", "ToolResult", "ToolStarted"),
    *("ToolsPending", "UnfinishedCall", "Usage"),
}


def test_every_public_verb_has_its_row() -> None:
    missing = []
    for module, prefix in ((pp, ""), (blocking, "blocking.")):
        for name in module.__all__:
            one = getattr(module, name)
            is_verb = inspect.isfunction(one) or inspect.isclass(one)
            is_error = inspect.isclass(one) and issubclass(one, Exception)
            is_protocol = getattr(one, "_is_protocol", False)
            if is_verb and not is_error and not is_protocol and name not in NO_VERBS | FRAMES:
                missing += [f"{prefix}{name}"] if f"{prefix}{name}" not in VERBS else []
    assert not missing, "give each new verb a row in VERBS, with a good value for each parameter"


def test_every_row_names_all_parameters() -> None:
    lacking = {}
    for name, (make, good) in VERBS.items():
        parameters = inspect.signature(make()).parameters.values()
        wanted = {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
        left = wanted - set(good) - UNTYPED
        if left and "*" not in good:
            lacking[name] = left
    assert not lacking


UNTYPED = {
    *("context", "finish_reason", "unfinished", "capabilities", "reasoning", "unbound", "context_parameter"),
    *("context_type", "provider_options", "options", "params"),
}

WRONG: list[Any] = [object(), 5, -1.5, "no\x00", b"b", True, None, [1], (1,), {"a": 1}, {1: 2}, int, len, Item()]


async def attempt(make: Callable[[], Any], good: dict[str, Any]) -> None:
    """Calls a verb, and closes what it gives."""
    given = dict(good)
    unnamed = [given.pop("*")] if "*" in given else []
    made = make()(*unnamed, **given)
    if inspect.isawaitable(made):
        async with asyncio.timeout(20):
            made = await made
    close = getattr(made, "aclose", None) or getattr(made, "close", None)
    if close is not None:
        closing = close()
        if inspect.isawaitable(closing):
            await closing


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("verb", VERBS)
async def test_a_value_of_a_wrong_type_is_told_at_once(verb: str, tmp_path: Path) -> None:
    make, good = VERBS[verb]
    for name in good:
        for wrong in WRONG:
            if wrong in (len, int) and name in ("make", "keep"):
                continue  # a function that fails by itself
            where = f"{verb}({name}={wrong!r})"
            try:
                await attempt(make, {**good, name: wrong})
            except pp.TransportError:
                accepted = True
            except pp.PromptportError as error:
                accepted, refused = False, error
            except BaseException as error:
                pytest.fail(f"{where}: {type(error).__name__} comes from the inside: {error}")
            else:
                accepted = True
            if not accepted and wrong is WRONG[0]:
                told = str(refused)
                words = name.startswith("when_")  # an unknown word is one of configuration, whatever its type
                assert words or isinstance(refused, pp.InvalidInputError), f"{where}: {refused!r}"
                assert "\n" not in told, where
                assert name in told or name in ANYTHING or name.rstrip("s") in told, f"{where}: {told}"
            assert not accepted or wrong is not WRONG[0], f"{where} is accepted"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: ANY.ToolDispatcher(executor(), timeout="5"),
            r"ToolDispatcher: timeout takes a number or None, not the",
        ),
        (lambda: ANY.ToolDispatcher(executor(), max_steps=True), "max_steps takes a whole number, not True"),
        (lambda: ANY.LLMSession(executor(), MODEL, max_steps="3"), "LLMSession: max_steps takes a whole number"),
        (lambda: ANY.LLMSession(executor(), MODEL, max_steps=0), "max_steps must be at least 1"),
        (lambda: ANY.LLMSession(executor(), MODEL, observers=[5]), r"LLMSession: observers\[0\] takes an Observer"),
        (
            lambda: ANY.connect("ollama", limits=5),
            r"connect\(\): limits takes Limits, a mapping \(a dict\) or None, not 5",
        ),
        (lambda: ANY.map_prompts(executor(), "hi", MODEL), r"map_prompts\(\): prompts takes several values"),
        (lambda: ANY.map_prompts(executor(), ["hi", 5], MODEL), r"map_prompts\(\): prompts\[1\]: a prompt is"),
        (lambda: ANY.JsonDefinition({"type": "object"}), "JsonDefinition: model takes a class, not dict"),
        (lambda: ANY.JsonDefinition(int), "JsonDefinition: model takes a pydantic model, not the class int"),
        (lambda: ANY.ImagePart(data="x", media_type="image/png"), "ImagePart: data takes bytes, not str"),
        (lambda: ANY.SystemMessage(["x"]), "SystemMessage: text takes a string, not list"),
        (lambda: ANY.AssistantMessage.of(5), "AssistantMessage: parts takes text"),
        (lambda: ANY.Tool(name="x", function=print, repeatable="yes"), "Tool: repeatable takes True or False"),
    ],
)
def test_the_words_name_the_parameter_and_the_right_spelling(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(pp.InvalidInputError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
