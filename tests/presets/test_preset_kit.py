"""A reduced kit run for each preset: its requests, the rules of its dialect, and the recorded wires of its server.

`golden/NAME.json` holds what a preset sends, a section for each kind of question; where the server has not what is
asked for, the section says what was refused before anything was sent. ``PROMPTPORT_WRITE_GOLDEN=1 pytest FILE`` writes
the files anew: read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.http.test_http_errors import BY_CODE, KINDS
from tests.test_corpus import EVERYTHING, RANDOM_CUTS, READ_OTHERWISE, check

import promptport as pp
from promptport.errors import PromptportError, ProviderError, StreamError, UnsupportedCapabilityError
from promptport.frames import Reasoning, StreamFrame, ToolCall
from promptport.messages import AssistantMessage, ImagePart, TextPart, ToolResultMessage, UserMessage
from promptport.models import LLModel
from promptport.presets import preset, table
from promptport.registry import client
from promptport.testing import RULES, WireResponse, WireServer, refusals, rules_for
from promptport.tools import ToolDescriptor

CORPUS = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "wire"))
GOLDEN = Path(__file__).with_name("golden")
BUILT_IN = sorted(tomllib.loads(table.BUILT_IN.read_text()))
ANSWER = WireResponse(
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
LOOK = ToolDescriptor(
    "look",
    "Looks.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city"],
    },
)
FIND = ToolDescriptor("find", "", {"type": "object", "properties": {}}, strict=True)
SCHEMA = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
PNG = ImagePart(data=b"\x89PNG", media_type="image/png")

# What a server gives with its reasoning, where its history says so; the others' is another server's.
OWN_THOUGHTS: dict[str, dict[str, Any]] = {
    "mistral": {"content": "thinking"},
    "openrouter": {"reasoning_details": [{"type": "reasoning.text", "text": "I look.", "signature": "s"}]},
    "vercel": {"reasoning_details": [{"type": "reasoning.text", "text": "I look.", "signature": "s"}]},
    "minimax": {"reasoning_details": [{"type": "reasoning.text", "text": "I look."}]},
    "groq": {"field": "reasoning"},
    "cerebras": {"field": "reasoning"},
    "stepfun": {"field": "reasoning"},
}


def history(own: AssistantMessage) -> pp.Prompt:
    """Thoughts and two calls of this server, their results, and a call of another server with its image."""
    foreign = AssistantMessage((ToolCall("toolu_01/x" + "y" * 60, "browser.tabs.open", "{}"),))
    return pp.Prompt.of("Weather?", system="Be brief.").add(
        own,
        ToolResultMessage("own-1", "look", "sunny"),
        ToolResultMessage("own-2", "look", error="no such city"),
        AssistantMessage.of("It is sunny."),
        UserMessage((TextPart("Open it."),)),
        foreign,
        ToolResultMessage(foreign.tool_calls[0].id, "browser.tabs.open", "opened"),
    )


def questions(name: str, made: Any) -> dict[str, tuple[pp.Prompt, tuple[ToolDescriptor, ...]]]:
    thoughts = OWN_THOUGHTS.get(name, {"field": "reasoning_content"})
    calls = (ToolCall("own-1", "look", '{"city": "Paris"}'), ToolCall("own-2", "look", '{"city": "Nowhere"}'))
    own = AssistantMessage((Reasoning("I look.", thoughts), *calls), model="m", origin=made.origin)
    plain = pp.Prompt.of("Hello", system="Be brief.", max_tokens=9, temperature=0.5)
    return {
        "plain": (plain, ()),
        "stop, seed and user": (pp.Prompt.of("Hi", stop=("x",), seed=7, user="u"), ()),
        "tools": (pp.Prompt.of("Hi"), (LOOK, FIND)),
        "tools, a call is required": (pp.Prompt.of("Hi", tool_choice="required"), (LOOK,)),
        "tools, one is named": (pp.Prompt.of("Hi", tool_choice=pp.NamedTool("look")), (LOOK,)),
        "tools, none may be called": (pp.Prompt.of("Hi", tool_choice="none"), (LOOK,)),
        "tools, one at a time": (pp.Prompt.of("Hi", parallel_tool_calls=False), (LOOK,)),
        "schema": (pp.Prompt.of("Hi", response_schema=SCHEMA), ()),
        "schema and tools": (pp.Prompt.of("Hi", response_schema=SCHEMA), (LOOK,)),
        "reasoning effort": (pp.Prompt.of("Hi", reasoning_effort="high"), ()),
        "no reasoning": (pp.Prompt.of("Hi", reasoning_effort="none"), ()),
        "reasoning budget": (pp.Prompt.of("Hi", reasoning_budget=2048), ()),
        "image": (pp.Prompt((UserMessage((TextPart("What?"), PNG)),)), ()),
        "history": (history(own), (LOOK,)),
    }


async def sections(name: str) -> tuple[dict[str, Any], list[str]]:
    """What the preset sends for each question, or why not; and what a strict server would refuse of it."""
    told: dict[str, Any] = {}
    refused: list[str] = []
    rules = rules_for(name, "chat-completions") or ""
    async with WireServer(*[ANSWER] * 20) as server:
        made: Any = client(name, base_url=server.url, api_key="k")
        for question, (prompt, tools) in questions(name, made).items():
            try:
                await made.execute_streaming_with_tools(prompt, LLModel(name, "m"), tools).message()
            except UnsupportedCapabilityError as error:
                told[question] = f"refused before sending: {', '.join(error.missing)}"
                continue
            body = server.requests[-1].json()
            told[question] = body
            refused += [f"{question}: {why}" for why in refusals(rules, body, "/chat/completions")]
        await made.aclose()
    return told, refused


@pytest.mark.parametrize("name", BUILT_IN)
async def test_requests_are_those_of_the_golden_file(name: str) -> None:
    told, refused = await sections(name)
    assert refused == []
    path = GOLDEN / f"{name}.json"
    text = json.dumps(told, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if os.environ.get("PROMPTPORT_WRITE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


def test_every_golden_file_has_a_preset() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_the_row_lacks_is_in_no_request(name: str) -> None:
    """The golden file once more, from the other side."""
    told = json.loads((GOLDEN / f"{name}.json").read_text())
    lacks = {str(each.value) for each in preset(name).lacks}
    for words, section in (("tools", "tools"), ("json_schema", "schema"), ("images", "image")):
        assert isinstance(told[section], str) is (words in lacks), section
    bodies = [body for body in told.values() if isinstance(body, dict)]
    fields = set().union(*bodies)
    for lacking, field in (("stop", "stop"), ("user", "user"), ("parallel_tool_calls", "parallel_tool_calls")):
        assert lacking not in lacks or field not in fields
    if "tool_choice" in lacks:
        assert not any(body.get("tool_choice") in ("required", "any") for body in bodies)


def test_the_dialects_of_strict_servers_have_rules_of_their_own() -> None:
    assert {"mistral", "chat-completions"} <= set(RULES)


# --------------------------------------------------------------------------------------------- recorded wires

PLACES = {"vercel-gateway": "vercel"}


def entries(protocol: str) -> list[Any]:
    if not CORPUS.is_dir():
        reason = "the corpus of recorded wires (../shared/wire) is not here"
        return [pytest.param(None, None, marks=pytest.mark.skip(reason=reason), id="no-corpus")]
    found = []
    for entry in json.loads((CORPUS / "manifest.json").read_text()):
        name = PLACES.get(entry["provider"], entry["provider"])
        if entry["protocol"] == protocol and name in BUILT_IN and "chat-completions" in entry["path"]:
            found.append(pytest.param(name, entry, id=entry["path"]))
    return found


@pytest.mark.parametrize(("name", "entry"), entries("openai-chat"))
async def test_a_wire_of_this_server_through_its_preset(name: str, entry: dict[str, Any]) -> None:
    """Whole and at five random cuts; byte by byte the decoder gets them in `test_corpus`."""
    body = (CORPUS / entry["path"]).read_bytes()
    cuts: list[Any] = ["whole", *RANDOM_CUTS]
    outcomes = []
    async with WireServer(*[WireResponse(body, cut=cut) for cut in cuts]) as server:
        made: Any = client(name, base_url=server.url, api_key="k")
        for _ in cuts:
            frames: list[StreamFrame] = []
            error: str | None = None
            try:
                stream = made.execute_streaming_with_tools("Hi", LLModel(name, "m", EVERYTHING))
                async with stream:
                    async for frame in stream:
                        frames.append(frame)
            except StreamError as raised:
                error = repr(raised)
            outcomes.append((frames, error))
        await made.aclose()
    assert all(outcome == outcomes[0] for outcome in outcomes)
    check(entry, *outcomes[0])
    assert entry["path"] not in READ_OTHERWISE or outcomes[0][1]


@pytest.mark.parametrize(("name", "entry"), entries("http-error"))
async def test_an_http_error_of_this_server_through_its_preset(name: str, entry: dict[str, Any]) -> None:
    body = (CORPUS / entry["path"]).read_bytes()
    refusal = WireResponse(body, status=entry["status"], content_type="application/json", headers={"retry-after": "7"})
    async with WireServer(refusal, refusal) as server:
        made: Any = client(name, base_url=server.url, api_key="k")
        for streamed in (True, False):
            with pytest.raises(PromptportError) as caught:
                if streamed:
                    await made.execute_streaming_with_tools("Hi", LLModel(name, "m")).message()
                else:
                    await made.execute("Hi", LLModel(name, "m"))
            error = caught.value
            if entry["status"] < 400:
                assert isinstance(error, StreamError)
                continue
            assert isinstance(error, ProviderError)
            assert type(error) is KINDS[BY_CODE.get(entry["path"], entry["status"])]
            assert (error.provider, error.status, error.retry_after) == (name, entry["status"], 7)
        await made.aclose()
