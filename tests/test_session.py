"""LLMSession and nodes: the conversation grows by itself, and can always be sent."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

import pytest
from pydantic import BaseModel

from promptport.dispatch import ToolResult
from promptport.errors import ConfigurationError, IncompleteStreamError, InvalidInputError
from promptport.frames import Append, Reasoning, ToolCall, ToolCallDelta
from promptport.messages import (
    AssistantMessage,
    AssistantPart,
    Prompt,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
)
from promptport.models import LLModel, ModelCapabilities
from promptport.nodes import node_llm_request_streaming_with_tools
from promptport.policies import FallbackExecutor
from promptport.session import CutPolicy, LLMSession
from promptport.stream import FrameStream
from promptport.structured import JsonDefinition, MarkdownDefinition, MarkdownHeader, Partial
from promptport.testing import CUT, ScriptedAnswer, ScriptedExecutor
from promptport.tools import ToolDescriptor

MODEL = LLModel("scripted", "m")
TOOL = ToolDescriptor("get_weather", "Weather.")
CALL = ToolCall("c1", "get_weather", '{"city":"Paris"}')


def session(*answers: ScriptedAnswer, when_cut: CutPolicy = "text", **options: object) -> LLMSession:
    return LLMSession(ScriptedExecutor(*answers), MODEL, Prompt.of("Hi"), [TOOL], when_cut=when_cut)


async def test_the_turn_is_appended_when_its_stream_ends() -> None:
    talk = session([Reasoning("hm", {"signature": "s"}), "Let me ", "see.", CALL])
    async with talk.request_llm_streaming_with_tools() as stream:
        assert await anext(stream)
        assert len(talk.prompt.messages) == 1, "not before its end"
        message = await stream.message()
    assert talk.prompt.messages[-1] == message
    assert message.parts == (Reasoning("hm", {"signature": "s"}), TextPart("Let me see."), CALL)


async def test_results_are_added_and_the_next_request_has_them() -> None:
    talk = session([CALL], ["It is sunny."])
    async with talk.request_llm_streaming_with_tools() as stream:
        await stream.message()
    talk.add_tool_results([ToolResult("c1", "get_weather", "sunny")])
    async with talk.request_llm_streaming_with_tools() as stream:
        await stream.message()
    assert isinstance(talk.executor, ScriptedExecutor)
    second = talk.executor.requests[1]
    assert second.prompt.messages[-1] == ToolResultMessage("c1", "get_weather", "sunny")
    assert second.tools == (TOOL,)
    assert talk.prompt.messages[-1].text == "It is sunny."


def test_a_result_for_no_call_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'nope'"):
        session().add_tool_results([ToolResultMessage("nope", "f", "x")])


@pytest.mark.parametrize(
    ("when_cut", "parts"),
    [("text", (TextPart("It is"),)), ("keep", (Reasoning("hm"), TextPart("It is"), CALL)), ("drop", None)],
)
@pytest.mark.parametrize("how", ["error", "break"])
async def test_a_cut_turn_is_appended_by_the_policy(
    when_cut: CutPolicy, parts: tuple[AssistantPart, ...] | None, how: str
) -> None:
    talk = session([Reasoning("hm"), "It is", CALL, ToolCallDelta("c2", "get_weather", '{"ci'), CUT], when_cut=when_cut)
    with pytest.raises(IncompleteStreamError):
        async with talk.request_llm_streaming_with_tools() as stream:
            async for frame in stream:
                if how == "break" and isinstance(frame, ToolCallDelta) and frame.id == "c2":
                    raise IncompleteStreamError("the consumer's own")
    turns = talk.prompt.messages[1:]
    assert turns == (() if parts is None else (AssistantMessage(parts, unfinished=turns[0].unfinished),))  # type: ignore[union-attr]


async def test_the_conversation_goes_on_after_a_turn_that_was_cut() -> None:
    talk = session(["It is", CALL, CUT], ["Well."], when_cut="keep")
    with pytest.raises(IncompleteStreamError):
        await talk.request_llm_streaming_with_tools().message()
    talk.user("Go on.")
    assert (await talk.request_llm()).text == "Well."
    kinds = [type(message).__name__ for message in talk.prompt.messages]
    assert kinds[1:] == ["AssistantMessage", "ToolResultMessage", "UserMessage", "AssistantMessage"]
    closed = talk.prompt.messages[2]
    assert isinstance(closed, ToolResultMessage)
    assert (closed.call_id, closed.error) == (CALL.id, "not run: the response was cut off")


async def test_a_cut_turn_without_text_appends_nothing() -> None:
    talk = session([CUT])
    with pytest.raises(IncompleteStreamError):
        await talk.request_llm_streaming_with_tools().message()
    assert len(talk.prompt.messages) == 1


async def test_a_stream_that_was_never_iterated_appends_nothing() -> None:
    talk = session(["x"])
    await talk.request_llm_streaming_with_tools().aclose()
    assert len(talk.prompt.messages) == 1


async def test_text_streams_and_whole_requests_append_too() -> None:
    talk = session(["One"], ["Two"])
    async with talk.request_llm_streaming() as texts:
        assert [text async for text in texts] == ["One"]
    assert (await talk.request_llm()).text == "Two"
    assert [message.text for message in talk.prompt.messages[1:]] == ["One", "Two"]
    assert isinstance(talk.executor, ScriptedExecutor)
    assert talk.executor.requests[0].tools == ()


class City(BaseModel):
    name: str


async def test_a_definition_adds_to_the_request_and_not_to_the_session() -> None:
    talk = session(['{"name": "Par', 'is"}'], ["# Paris"])
    items = [item async for item in talk.request_llm_streaming(JsonDefinition(City))]
    assert items[-1] == City(name="Paris")
    assert isinstance(items[0], Partial)
    elements = [item async for item in talk.request_llm_streaming(MarkdownDefinition("Use headers."))]
    assert elements == [MarkdownHeader(1, "Paris")]
    assert isinstance(talk.executor, ScriptedExecutor)
    assert talk.executor.requests[0].prompt.params.response_schema == City.model_json_schema()
    assert talk.executor.requests[1].prompt.messages[0] == SystemMessage("Use headers.")
    assert [type(message) for message in talk.prompt.messages] == [UserMessage, AssistantMessage, AssistantMessage]
    assert talk.prompt.params.response_schema is None


async def test_forks_do_not_see_each_other() -> None:
    talk = session(["One"], ["Two"])
    other = talk.fork()
    await talk.request_llm()
    assert len(other.prompt.messages) == 1
    other.user("And?")
    await other.request_llm()
    assert [len(talk.prompt.messages), len(other.prompt.messages)] == [2, 3]


async def test_saved_and_loaded() -> None:
    talk = session([Reasoning("hm", {"signature": "s"}), CALL], when_cut="keep")
    await talk.request_llm()
    loaded = LLMSession.from_json(talk.to_json(), talk.executor, [TOOL])
    assert (loaded.prompt, loaded.model, loaded.tools) == (talk.prompt, talk.model, talk.tools)
    assert loaded.to_json() == talk.to_json()
    with pytest.raises(InvalidInputError, match="get_weather"):
        LLMSession.from_json(talk.to_json(), talk.executor)
    with pytest.raises(InvalidInputError, match="not a session"):
        LLMSession.from_json(b"{}", talk.executor)


def test_a_policy_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="when_cut"):
        session(when_cut="half")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- nodes


async def test_a_node_asks_and_appends() -> None:
    talk = session(["Sunny."])
    node = node_llm_request_streaming_with_tools("ask")
    message = await node(talk)
    assert (node.name, message.text) == ("ask", "Sunny.")
    assert talk.prompt.messages[-1] == message


async def test_a_node_transforms_the_stream_and_closes_it() -> None:
    async def first_words(stream: FrameStream) -> str:
        async for frame in stream:
            if isinstance(frame, Append):
                return frame.text
        return ""

    talk = session(["Sun", "ny."])
    assert await node_llm_request_streaming_with_tools("ask", transform=first_words)(talk) == "Sun"
    assert isinstance(talk.executor, ScriptedExecutor)
    assert talk.executor.client.closed == 1
    assert talk.prompt.messages[-1].text == "Sun"


async def test_a_node_with_a_definition() -> None:
    talk = session(["# Hi"])
    await node_llm_request_streaming_with_tools("ask", MarkdownDefinition("Use headers."))(talk)
    assert isinstance(talk.executor, ScriptedExecutor)
    assert talk.executor.requests[0].prompt.messages[0] == SystemMessage("Use headers.")


async def test_a_definition_can_be_anybodys() -> None:
    class Words:
        def prepare(self, prompt: Prompt, capabilities: ModelCapabilities) -> Prompt:
            return prompt.system("One word a line.")

        async def parse(self, text: AsyncIterable[str]) -> AsyncIterator[str]:
            async for piece in text:
                for word in piece.split():
                    yield word

    talk = session(["a b", " c"])
    assert [word async for word in talk.request_llm_streaming(Words())] == ["a", "b", "c"]
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_a_definition_gets_only_the_text_after_a_restart() -> None:
    class Both(JsonDefinition[City]):
        """Notes which texts it is given."""

        given: list[list[str]]

        async def parse(self, text: AsyncIterable[str]) -> AsyncIterator[Partial | City]:
            given: list[str] = []
            self.given.append(given)

            async def noted() -> AsyncIterator[str]:
                async for piece in text:
                    given.append(piece)
                    yield piece

            async for item in super().parse(noted()):
                yield item

    first, whole = '{"name": "Rom', '{"name": "Paris"}'
    script = ScriptedExecutor([first, CUT], [first[:5], CUT], [whole])
    other, third = LLModel("scripted", "other"), LLModel("scripted", "third")
    talk = LLMSession(FallbackExecutor([other, third], script, on_partial="restart"), MODEL, "Where?")
    definition = Both(City)
    definition.given = []
    items = [item async for item in talk.request_llm_streaming(definition)]
    assert ["".join(texts) for texts in definition.given] == [first, first[:5], whole]
    assert items[-1] == City(name="Paris")
    assert sum(not isinstance(item, Partial) for item in items) == 1
    assert talk.prompt.messages[-1].text == whole


async def test_an_answer_that_breaks_for_good_after_a_restart_is_raised_from_a_definition() -> None:
    script = ScriptedExecutor(["# One\n", CUT], ["# Two\n# Th", CUT])
    talk = LLMSession(FallbackExecutor([LLModel("scripted", "other")], script, on_partial="restart"), MODEL, "Go")
    items = []
    with pytest.raises(IncompleteStreamError):
        async for item in talk.request_llm_streaming(MarkdownDefinition()):
            items.append(item)
    assert items == [MarkdownHeader(1, "One"), MarkdownHeader(1, "Two")]
