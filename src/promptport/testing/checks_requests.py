"""What goes out, as checks: prompts, tools, results, parts, parameters; and what is refused before anything does.

Rule: what is declared reaches the server, and what is not is refused. A request is read as JSON of any shape: a check
looks for what must be in it, and for what makes it differ from the request without.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from promptport.errors import InvalidInputError, PromptportError, UnsupportedCapabilityError
from promptport.frames import InvalidToolCall, ToolCall
from promptport.llm_client import LLMClient
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    NamedTool,
    Prompt,
    ReasoningEffort,
    TextPart,
    ToolChoice,
    ToolResultMessage,
    UserPart,
)
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.stream import message_of
from promptport.testing.bench import LONG, QUESTION, TOOLS, Bench, not_applicable, run, scenario_named
from promptport.testing.wire_server import RecordedRequest, WireResponse
from promptport.tools import ToolDescriptor

__all__ = ["RequestChecks"]

_SCHEMA = {
    "type": "object",
    "properties": {"zebra": {"type": "string"}},
    "required": ["zebra"],
    "additionalProperties": False,
}
_PARAMS: tuple[tuple[str, Any, Capability | None, Any], ...] = (
    # What is asked, the capability that it needs, and what must stand in the request.
    ("temperature", 0.125, Capability.TEMPERATURE, 0.125),
    ("max_tokens", 4321, None, 4321),
    ("stop", ("STOPPER",), Capability.STOP, "STOPPER"),
    ("seed", 424242, Capability.SEED, 424242),
    ("response_schema", _SCHEMA, Capability.JSON_SCHEMA, "zebra"),
    ("reasoning_effort", ReasoningEffort.HIGH, Capability.REASONING_EFFORT, None),
    ("reasoning_budget", 2345, Capability.REASONING_BUDGET, 2345),
    ("user", "user-77", Capability.USER, "user-77"),
    ("extra", {"kit_option": "kit-value"}, None, "kit-value"),
)
_TOOL_PARAMS: tuple[tuple[str, Any, Capability | None, Any], ...] = (
    ("tool_choice", ToolChoice.NONE, None, None),
    ("tool_choice", ToolChoice.REQUIRED, Capability.TOOL_CHOICE, None),
    ("tool_choice", NamedTool("get_time"), Capability.TOOL_CHOICE, "get_time"),
    ("parallel_tool_calls", False, Capability.PARALLEL_TOOL_CALLS, None),
)
_BYTES = b"\x89PNG these are bytes of the kit"
_TEXT = "This is the text of the kit."
_TEXT_DOCUMENT = DocumentPart(data=_TEXT.encode(), media_type="text/plain", name="kit.txt")
_PARTS: dict[str, tuple[Capability, UserPart]] = {
    "image": (Capability.IMAGES, ImagePart(data=_BYTES, media_type="image/png")),
    "image by address": (Capability.IMAGES, ImagePart(url="https://example.com/kit.png")),
    "document": (Capability.DOCUMENTS, DocumentPart(data=_BYTES, media_type="application/pdf", name="kit.pdf")),
    "audio": (Capability.AUDIO, AudioPart(data=_BYTES, media_type="audio/wav")),
}


class RequestChecks:
    """What a client must send, and what it must refuse."""

    bench: Bench

    # ---------------------------------------------------------------------------------------- the request

    def test_the_prompt_is_in_the_request(self) -> None:
        """The conversation's texts in their order, and the model's id."""
        prompt = self.bench.prompt.add(AssistantMessage.of("It is sunny.")).user("And in Rome?")
        (request,) = self.bench.requests([prompt])
        sent = request.body.decode()
        places = [sent.find(text) for text in (QUESTION, "It is sunny.", "And in Rome?")]
        assert -1 not in places, places
        assert sorted(places) == places, "the messages are not in their order"
        for message in self.bench.prompt.messages:
            assert getattr(message, "text", "") in sent
        assert self.bench.model.id in sent + request.path

    def test_tools_are_in_the_request(self) -> None:
        """Each tool's name, description and parameters reach the server, streamed or not."""
        tools = self.bench.tools
        requests = self.bench.requests([self.bench.prompt], tools, "call")
        whole = self.bench.contract.encode_complete(scenario_named("call").steps)
        if whole is not None:
            requests += run(self._asked_whole(whole, tools))
        for request in requests:
            sent = request.body.decode()
            for tool in tools:
                assert f'"{tool.name}"' in sent, f"the tool {tool.name} is not in the request"
                assert tool.description in sent
                for name in tool.parameters.get("properties", {}):
                    assert f'"{name}"' in sent

    async def _asked_whole(self, body: bytes, tools: Sequence[ToolDescriptor]) -> list[RecordedRequest]:
        response = WireResponse(body, content_type="application/json", framing="length")
        async with self.bench.client(response) as (server, client):
            await client.execute(self.bench.prompt, self.bench.model, tools)
            return server.requests

    def test_results_go_back_with_their_calls(self) -> None:
        """The second request has the calls, their arguments and their results, in order; errors too."""
        tools = self.bench.tools
        frames = self.bench.answer(scenario_named("parallel calls").steps, tools)
        answer = message_of(frames)
        calls = answer.tool_calls
        answer = replace(answer, parts=(TextPart("Let me see."), *answer.parts))
        results = [
            ToolResultMessage(calls[0].id, calls[0].name, "21 degrees Celsius"),
            ToolResultMessage(calls[1].id, calls[1].name, error="the clock is broken"),
        ]
        prompt = self.bench.prompt.add(answer, *results)
        request, stored = self.bench.requests([prompt, Prompt.from_json(prompt.to_json())], tools)
        sent = request.body.decode()
        wanted = ("Let me see.", "Paris", "21 degrees Celsius", "the clock is broken")
        places = [sent.find(text) for text in wanted]
        assert -1 not in places, dict(zip(wanted, places, strict=True))
        assert sorted(places[2:]) == places[2:], "the results are not in the order of the calls"
        if self.bench.contract.sends_call_ids:
            assert all(sent.count(call.id) == 2 for call in calls), "each call's id stands with the call and its result"
        assert stored.json() == request.json(), "a prompt that was stored as JSON makes another request"

    def test_an_invalid_call_can_be_answered(self) -> None:
        """History with an `InvalidToolCall` and its error makes a request."""
        message = AssistantMessage.of(InvalidToolCall("call_a", "get_weather", '{"city', "not JSON"))
        prompt = self.bench.prompt.add(message, ToolResultMessage("call_a", "get_weather", error="not JSON"))
        (request,) = self.bench.requests([prompt], self.bench.tools)
        request.json()
        sent = request.body.decode()
        assert "not JSON" in sent
        if self.bench.contract.sends_call_ids:
            assert sent.count("call_a") == 2, "the call's id stands with the call and its result"

    def test_an_answer_with_reasoning_can_be_sent_back(self) -> None:
        """Reasoning comes out as one block, and the answer that holds it is a message of the next prompt."""
        scenario = scenario_named("reasoning")
        message = message_of(self.bench.answer(scenario.steps))
        assert message.reasoning == "Let me think."
        prompt = self.bench.prompt.add(message).user("And tomorrow?")
        (request,) = self.bench.requests([Prompt.from_json(prompt.to_json())])
        assert "It is sunny." in request.body.decode()

    def test_another_providers_answer_can_be_sent(self) -> None:
        """Calls, reasoning and items with what another provider wanted back make a request that this one can read."""
        answer = AssistantMessage.of(
            "Let me see.", ToolCall("toolu_1-x.y", "get_weather", '{"city":"Paris"}', {"kit_secret": "foreign"})
        )
        answer = replace(answer, response_id="kit-1", raw_finish_reason="kit_word", model="kit/other")
        prompt = self.bench.prompt.add(answer, ToolResultMessage("toolu_1-x.y", "get_weather", "sunny"))
        (request,) = self.bench.requests([prompt], self.bench.tools)
        sent = request.body.decode()
        assert "Let me see." in sent
        assert "sunny" in sent

    # ---------------------------------------------------------------------------------- parts, parameters

    @pytest.mark.parametrize("kind", _PARTS)
    def test_parts_are_sent_or_refused(self, kind: str) -> None:
        """Images, documents and audio: in the request where they are declared, refused where they are not."""
        capability, part = _PARTS[kind]
        prompt = self.bench.prompt.user("Look at this.", part)
        if kind == "document" and capability in self.bench.can and run(self._refusal(prompt, ())) is not None:
            part, sent = _TEXT_DOCUMENT, _TEXT  # some read text and no PDF
            self._sent_or_refused(self.bench.prompt.user("Look at this.", part), capability, sent)
            return
        self._sent_or_refused(prompt, capability, _content_of(part), optional=kind == "image by address")

    def test_images_in_results_are_sent_or_refused(self) -> None:
        """The same for an image that a tool gives."""
        _, image = _PARTS["image"]
        call = ToolCall("call_a", "get_weather", "{}")
        result = ToolResultMessage("call_a", "get_weather", (TextPart("a map"), image))
        prompt = self.bench.prompt.add(AssistantMessage.of(call), result)
        if Capability.TOOLS not in self.bench.can:
            not_applicable("no tools")
        images = Capability.IMAGES in self.bench.can  # then they may go behind the results
        self._sent_or_refused(
            prompt, Capability.IMAGES if images else Capability.TOOL_RESULT_IMAGES, _content_of(image)
        )

    def test_cache_marks_are_sent_or_refused(self) -> None:
        """A mark for the cache changes the request where that is declared; elsewhere it is a hint that nobody takes."""
        marked = self.bench.prompt.user(TextPart("Remember this.", cache=True))
        plain = self.bench.prompt.user(TextPart("Remember this."))
        first, second = self.bench.requests([marked, plain])
        declared = Capability.CACHE_CONTROL in self.bench.can
        assert (first.json() != second.json()) is declared, "a mark is sent where CACHE_CONTROL is declared, only there"

    @pytest.mark.parametrize(("name", "value", "capability", "sent"), _PARAMS, ids=[entry[0] for entry in _PARAMS])
    def test_parameters_are_sent_or_refused(
        self, name: str, value: Any, capability: Capability | None, sent: Any
    ) -> None:
        """A declared parameter is in the request; another raises. None is dropped silently."""
        prompt = self.bench.prompt.with_params(**{name: value})
        self._sent_or_refused(prompt, capability, sent, without=self.bench.prompt)

    @pytest.mark.parametrize(
        ("name", "value", "capability", "sent"), _TOOL_PARAMS, ids=["none", "required", "named", "parallel"]
    )
    def test_tool_parameters_are_sent_or_refused(
        self, name: str, value: Any, capability: Capability | None, sent: Any
    ) -> None:
        """The same for what is said about tools; forbidding calls is always possible."""
        prompt = self.bench.prompt.with_params(**{name: value})
        self._sent_or_refused(prompt, capability, sent, without=self.bench.prompt, tools=self.bench.tools)

    def _sent_or_refused(
        self,
        prompt: Prompt,
        capability: Capability | None,
        sent: Any,
        *,
        without: Prompt | None = None,
        tools: Sequence[ToolDescriptor] = (),
        optional: bool = False,
    ) -> None:
        """``sent`` must be in the request, and not in the one ``without``; ``None``: they must differ.

        Where the capability is not declared, or the form is ``optional``, the client may refuse.
        """
        declared = capability is None or capability in self.bench.can
        if not declared or optional:
            error = run(self._refusal(prompt, tools))
            if error is not None:
                missing = getattr(error, "missing", ("it",))
                assert missing, "the error does not say what is missing"
                return
            assert declared, f"{capability} is not declared, and a prompt that needs it is not refused"
        first, *others = self.bench.requests([prompt] if without is None else [prompt, without], tools)
        atoms = _atoms(first.json())
        if without is not None:
            atoms -= _atoms(others[0].json())
            assert first.json() != others[0].json(), "it was dropped: the request is as if it had not been asked for"
        if sent is not None:
            found = any(
                sent.casefold() in atom.casefold() if isinstance(atom, str) and isinstance(sent, str) else atom == sent
                for atom in atoms
            )
            if isinstance(
                prompt.params.tool_choice, NamedTool
            ):  # where there is no word for it: this tool, and no other
                others_names = [f'"{tool.name}"' for tool in tools if tool.name != sent]
                found = found or not any(name in first.body.decode() for name in others_names)
            assert found, f"{sent!r} is not in the request"

    async def _refusal(self, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> PromptportError | None:
        async with self.bench.client() as (server, client):
            try:
                await client.execute_streaming_with_tools(prompt, self.bench.model, tools).aclose()
            except (UnsupportedCapabilityError, InvalidInputError) as error:
                assert server.requests == []
                return error
        return None

    # ------------------------------------------------------------------------------------ capabilities

    def test_capabilities_are_declared_without_network(self) -> None:
        """``capabilities`` needs no server; the caller's word goes before the table's; a stranger is unknown."""
        can = self.bench.can
        assert isinstance(can.streamed_tools, StreamedTools)
        assert (Capability.TOOLS in can) or can.streamed_tools is StreamedTools.NONE

        async def check() -> None:
            client = self.bench.contract.make_client("http://127.0.0.1:9", LONG)
            stranger = LLModel(client.provider, "a-model-that-nobody-described")
            assert client.provider == self.bench.model.provider
            assert not client.capabilities(stranger).known
            own = ModelCapabilities(StreamedTools.NONE, frozenset([Capability.SYSTEM]), 123)
            assert client.capabilities(replace(stranger, capabilities=own)) == own
            await client.aclose()

        run(check())

    def test_what_is_not_there_is_refused_before_anything_is_sent(self) -> None:
        """An image to a model without vision, tools to one without: the error says whose, what, and what instead."""
        bare = replace(self.bench.model, capabilities=ModelCapabilities(capabilities=frozenset([Capability.SYSTEM])))
        silent = replace(self.bench.model, capabilities=ModelCapabilities(StreamedTools.NONE, frozenset([*Capability])))
        image = Prompt().user("What is this?", ImagePart(data=_BYTES, media_type="image/png"))
        question = Prompt.of(QUESTION)

        async def check() -> None:
            async with self.bench.client() as (server, client):
                await _refused(client, image, bare, (), "images")
                await _refused(client, question, bare, TOOLS, "tools")
                await _refused(client, question, silent, TOOLS, "tool", streaming_only=True)
                assert server.requests == []

        run(check())

    def test_a_prompt_that_makes_no_sense_is_refused(self) -> None:
        """No user message; a result without its call; two tools of one name."""
        result = ToolResultMessage("call_x", "get_weather", "sunny")
        prompts: list[tuple[Prompt, tuple[ToolDescriptor, ...]]] = [
            (Prompt().add(AssistantMessage.of("Hello")), ()),
            (Prompt.of("Hi").add(result), ()),
        ]
        if Capability.TOOLS in self.bench.can:
            prompts.append((Prompt.of("Hi"), (TOOLS[0], TOOLS[0])))

        async def check() -> None:
            async with self.bench.client() as (server, client):
                for prompt, tools in prompts:
                    with pytest.raises(InvalidInputError):
                        client.execute_streaming_with_tools(prompt, self.bench.model, tools)
                    with pytest.raises(InvalidInputError):
                        await client.execute(prompt, self.bench.model, tools)
                assert server.requests == []

        run(check())


# ------------------------------------------------------------------------------------------------ helpers


async def _refused(
    client: LLMClient,
    prompt: Prompt,
    model: LLModel,
    tools: Sequence[ToolDescriptor],
    what: str,
    *,
    streaming_only: bool = False,
) -> None:
    with pytest.raises(UnsupportedCapabilityError) as caught:
        client.execute_streaming_with_tools(prompt, model, tools)
    error = caught.value
    assert (error.provider, error.model) == (client.provider, model.id)
    assert any(what in missing for missing in error.missing), error.missing
    assert error.instead, "the error does not say what would work"
    assert all(word in str(error) for word in (client.provider, model.id, *error.missing, error.instead))
    if not streaming_only:
        with pytest.raises(UnsupportedCapabilityError):
            await client.execute(prompt, model, tools)


def _content_of(part: UserPart) -> str:
    """The part's address, or its bytes as JSON can hold them."""
    return getattr(part, "url", None) or base64.b64encode(_BYTES).decode()


def _atoms(value: Any) -> Counter[Any]:
    """Every name and every plain value in a JSON value."""
    if isinstance(value, dict):
        return sum((_atoms(entry) for entry in value.values()), Counter(value.keys()))
    if isinstance(value, list):
        return sum(map(_atoms, value), Counter())
    return Counter([value])
