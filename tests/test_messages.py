"""Prompts, messages and parts are values; what they cannot hold is refused with words that say what to do."""

from __future__ import annotations

import pickle
from typing import Any, assert_never

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import InvalidInputError, PromptportError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
    Usage,
)
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    LLMParams,
    Message,
    NamedTool,
    Origin,
    Prompt,
    ReasoningEffort,
    SystemMessage,
    TextPart,
    ToolChoice,
    ToolResultMessage,
    UserMessage,
    UserPart,
)
from promptport.stream import message_of
from promptport.testing import assert_valid_stream

TEXT = st.text(max_size=12)
NAME = st.text(min_size=1, max_size=6)
MAYBE = st.none() | TEXT
SECRET = "xyzzy"  # stands in whatever must not be shown
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=2)
URL = st.fixed_dictionaries({"url": NAME})
DATA = st.fixed_dictionaries({"data": st.binary(min_size=1), "media_type": NAME})
MEDIA = URL | DATA
USER_PART: st.SearchStrategy[UserPart] = st.one_of(
    st.builds(TextPart, TEXT, st.booleans()),
    st.builds(lambda where, **more: ImagePart(**where, **more), MEDIA, detail=MAYBE, cache=st.booleans()),
    st.builds(lambda where, **more: DocumentPart(**where, **more), MEDIA, name=MAYBE, cache=st.booleans()),
    st.builds(lambda where: AudioPart(**where), MEDIA),
)
ARGUMENTS = OBJECT.map(lambda value: msgspec.json.encode(value).decode())
CALL = st.builds(ToolCall, NAME, NAME, ARGUMENTS, st.none() | OBJECT)
ASSISTANT_PART = st.one_of(
    st.builds(TextPart, TEXT),
    st.builds(Reasoning, TEXT, st.none() | OBJECT),
    CALL,
    st.builds(InvalidToolCall, NAME, NAME, TEXT, TEXT),
    st.builds(Citation, MAYBE, MAYBE, MAYBE, st.none() | OBJECT),
    st.builds(ProviderItem, NAME, OBJECT),
)
ASSISTANT = st.builds(
    AssistantMessage,
    st.lists(ASSISTANT_PART, max_size=4).map(tuple),
    st.none() | st.sampled_from(FinishReason),
    MAYBE,
    st.builds(Usage, st.none() | st.integers(0, 99)),
    MAYBE,
    MAYBE,
    st.lists(st.builds(UnfinishedCall, TEXT, TEXT, TEXT), max_size=1).map(tuple),
)
MESSAGE: st.SearchStrategy[Message] = st.one_of(
    st.builds(SystemMessage, TEXT, st.booleans()),
    st.builds(UserMessage, st.lists(USER_PART, min_size=1, max_size=3).map(tuple)),
    ASSISTANT,
    st.builds(ToolResultMessage, NAME, NAME, TEXT | st.lists(USER_PART, max_size=2).map(tuple), MAYBE),
)
PARAMS = st.builds(
    LLMParams,
    st.none() | st.floats(0, 10),
    st.none() | st.integers(1, 99),
    st.lists(NAME, max_size=2).map(tuple),
    st.none() | st.integers(0, 99),
    st.none() | st.sampled_from(ToolChoice) | st.builds(NamedTool, NAME),
    st.none() | st.booleans(),
    st.none() | OBJECT,
    st.none() | st.sampled_from(ReasoningEffort),
    st.none() | st.integers(0, 99),
    MAYBE,
    OBJECT,
)
PROMPT = st.builds(Prompt, st.lists(MESSAGE, max_size=4).map(tuple), TEXT, PARAMS)

# ------------------------------------------------------------------------------------------------- values


@given(PROMPT)
def test_prompts_go_to_json_and_back_without_loss(prompt: Prompt) -> None:
    assert Prompt.from_json(prompt.to_json()) == prompt
    assert Prompt.from_json(prompt.to_json().decode()) == prompt


@given(PROMPT)
def test_prompts_pickle_and_are_equal_by_value(prompt: Prompt) -> None:
    copy = pickle.loads(pickle.dumps(prompt))
    assert copy == prompt
    assert copy is not prompt


def test_changing_a_prompt_makes_another() -> None:
    prompt = Prompt.of("Hello", system="Be brief.", id="p1", temperature=0.5)
    before = prompt.to_json()
    changed = [
        prompt.user("more"),
        prompt.system("more"),
        prompt.assistant("more"),
        prompt.tool_call("1", "f"),
        prompt.tool_call("1", "f").tool_result("1", "x"),
        prompt.add(UserMessage.of("more")),
        prompt.with_params(temperature=1),
    ]
    assert prompt.to_json() == before
    assert all(other != prompt and other.id == "p1" for other in changed)
    with pytest.raises(AttributeError):
        prompt.id = "p2"  # type: ignore[misc]


def test_match_on_messages_is_exhaustive() -> None:
    def role(message: Message) -> str:
        match message:
            case SystemMessage():
                return "system"
            case UserMessage():
                return "user"
            case AssistantMessage():
                return "assistant"
            case ToolResultMessage():
                return "tool"
            case _:
                assert_never(message)

    prompt = Prompt.of("u", system="s").tool_call("1", "f").tool_result("1", "r")
    assert [role(message) for message in prompt.messages] == ["system", "user", "assistant", "tool"]


def test_lists_are_taken_and_become_tuples() -> None:
    parts: Any = [TextPart("a")]
    messages: Any = [UserMessage(parts)]
    calls: Any = [ToolCall("1", "f", "{}")]
    assert Prompt(messages).messages == (UserMessage((TextPart("a"),)),)
    assert UserMessage(parts) == UserMessage.of("a")
    assert AssistantMessage(calls) == AssistantMessage.of(ToolCall("1", "f", "{}"))
    assert ToolResultMessage("1", "f", parts) == ToolResultMessage("1", "f", (TextPart("a"),))
    stop: Any = ["a"]
    assert LLMParams(stop=stop).stop == ("a",)
    one: Any = "a"
    assert LLMParams(stop=one).stop == ("a",)


# ------------------------------------------------------------------------------------------------ builder


def test_the_builder_reads_well() -> None:
    picture = ImagePart(url="https://example.com/a.png")
    prompt = (
        Prompt()
        .system("Be brief.", cache=True)
        .user("What is in this picture?", picture)
        .assistant("I look it up.", Reasoning("hm"))
        .tool_call("1", "search", {"query": "cats"})
        .tool_call("2", "search", '{"query": "dogs"}')
        .tool_result("1", "A cat.")
        .tool_result("2", error="no dogs")
        .user("Thanks.")
    )
    assert prompt.messages == (
        SystemMessage("Be brief.", cache=True),
        UserMessage((TextPart("What is in this picture?"), picture)),
        AssistantMessage(
            (
                TextPart("I look it up."),
                Reasoning("hm"),
                ToolCall("1", "search", '{"query":"cats"}'),
                ToolCall("2", "search", '{"query": "dogs"}'),
            )
        ),
        ToolResultMessage("1", "search", "A cat."),
        ToolResultMessage("2", "search", "", "no dogs"),
        UserMessage.of("Thanks."),
    )
    assert prompt.call_ids() == {"1", "2"}


def test_of_takes_the_parameters() -> None:
    prompt = Prompt.of("Hi", system="s", temperature=0, max_tokens=5, tool_choice=NamedTool("f"))
    assert prompt.params == LLMParams(temperature=0, max_tokens=5, tool_choice=NamedTool("f"))
    assert Prompt.of("Hi").messages == (UserMessage.of("Hi"),)


def test_a_call_after_a_user_message_makes_its_own_message() -> None:
    prompt = Prompt.of("Hi").tool_call("1", "f").tool_result("1").tool_call("2", "g")
    assert [type(message) for message in prompt.messages] == [
        UserMessage,
        AssistantMessage,
        ToolResultMessage,
        AssistantMessage,
    ]


def test_an_invalid_call_can_be_answered() -> None:
    prompt = Prompt.of("Hi").add(AssistantMessage((InvalidToolCall("1", "f", "[", "not JSON"),)))
    assert prompt.tool_result("1", error="not JSON").messages[-1] == ToolResultMessage("1", "f", "", "not JSON")
    assert prompt.call_ids() == {"1"}


def test_the_views_of_a_message() -> None:
    call, bad = ToolCall("1", "f", "{}"), InvalidToolCall("2", "f", "[", "no")
    message = AssistantMessage.of(Reasoning("a"), "b", call, Citation("u"), "c", bad, Reasoning("d"))
    assert (message.text, message.reasoning) == ("bc", "ad")
    assert (message.tool_calls, message.invalid_tool_calls) == ((call,), (bad,))
    assert UserMessage.of("a", ImagePart(url="u"), "b").text == "ab"
    assert ToolResultMessage("1", "f", "out").text == "out"
    assert ToolResultMessage("1", "f", (TextPart("a"), ImagePart(url="u"), TextPart("b"))).text == "ab"
    assert ToolResultMessage("1", "f", "out", error="failed").text == "failed"


def test_who_made_a_message_goes_to_json_and_makes_no_difference_to_what_it_says() -> None:
    message = AssistantMessage.of("a")
    made = msgspec.structs.replace(message, origin=Origin("openai", "api.openai.com/v1"))
    assert made == message
    assert hash(made) == hash(message)
    assert made != AssistantMessage.of("b")
    assert made != "a"
    prompt = Prompt.of("Hi").add(made)
    (_, stored) = Prompt.from_json(prompt.to_json()).messages
    assert isinstance(stored, AssistantMessage)
    assert stored.origin == made.origin
    assert b"origin" not in Prompt.of("Hi").add(message).to_json()


# ------------------------------------------------------------------------------------------ message ⇄ frames


def test_a_message_becomes_the_frames_of_a_stream() -> None:
    message = AssistantMessage(
        (Reasoning("hm", {"signature": "s"}), TextPart("a"), ToolCall("1", "f", '{"a":1}'), Citation("u")),
        FinishReason.TOOL_CALLS,
        "tool_use",
        Usage(1, 2),
        "m",
        "r",
    )
    frames = message.frames()
    assert frames == [
        ReasoningAppend("hm"),
        Reasoning("hm", {"signature": "s"}),
        Append("a"),
        ToolCallDelta("1", "f", '{"a":1}'),
        ToolCall("1", "f", '{"a":1}'),
        Citation("u"),
        End(FinishReason.TOOL_CALLS, "tool_use", Usage(1, 2), "m", "r"),
    ]
    assert_valid_stream(frames)
    assert message_of(frames) == message


def test_a_message_without_an_end_has_no_frames() -> None:
    with pytest.raises(InvalidInputError, match="finish_reason"):
        AssistantMessage.of("a").frames()


@given(ASSISTANT)
def test_the_message_of_the_frames_of_a_message_has_its_text_and_its_things(message: AssistantMessage) -> None:
    if message.finish_reason is None:
        return
    frames = message.frames()
    again = message_of(frames)
    assert (again.text, again.tool_calls, again.invalid_tool_calls) == (
        message.text,
        message.tool_calls,
        message.invalid_tool_calls,
    )
    assert [part for part in again.parts if not isinstance(part, TextPart)] == [
        part for part in message.parts if not isinstance(part, TextPart)
    ]
    assert again.finish_reason is message.finish_reason
    assert not any(isinstance(frame, Append | ReasoningAppend) and not frame.text for frame in frames)
    assert message_of(again.frames()) == again


# ---------------------------------------------------------------------------------------------- bad input


def refused(match: str) -> Any:
    return pytest.raises(InvalidInputError, match=match)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"temperature": float("nan")}, "temperature.*from 0"),
        ({"temperature": float("inf")}, "temperature.*from 0"),
        ({"temperature": -0.1}, "temperature.*from 0"),
        ({"temperature": "hot"}, "temperature.*number"),
        ({"max_tokens": 0}, "max_tokens.*at least 1.*leave it out"),
        ({"max_tokens": -1}, "max_tokens.*at least 1"),
        ({"max_tokens": "5"}, "max_tokens.*number"),
        ({"max_tokens": 1.5}, "max_tokens.*number"),
        ({"reasoning_budget": -1}, "reasoning_budget.*0 or more"),
        ({"reasoning_budget": "much"}, "reasoning_budget.*number"),
        ({"seed": "x"}, "seed.*number"),
        ({"stop": ("",)}, "stop.*not be empty"),
        ({"stop": ""}, "stop.*not be empty"),
        ({"stop": (1,)}, "stop"),
        ({"stop": 1}, "stop"),
        ({"tool_choice": "sometimes"}, "tool_choice.*NamedTool"),
        ({"tool_choice": "get_weather"}, "tool_choice.*NamedTool"),
        ({"reasoning_effort": "very"}, "reasoning_effort.*low"),
        ({"response_schema": "{}"}, "response_schema.*dict"),
        ({"extra": [1]}, "extra.*dict"),
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(params: dict[str, Any], says: str) -> None:
    with refused(says):
        LLMParams(**params)
    with refused(says):
        Prompt.of("Hi", **params)
    with refused(says):
        Prompt.of("Hi").with_params(**params)


def test_words_for_choices_are_taken() -> None:
    choice: Any = "required"
    effort: Any = "high"
    assert LLMParams(tool_choice=choice, reasoning_effort=effort) == LLMParams(
        tool_choice=ToolChoice.REQUIRED, reasoning_effort=ReasoningEffort.HIGH
    )


def test_limits_are_taken() -> None:
    assert LLMParams(temperature=0, max_tokens=1, reasoning_budget=0, seed=0, stop=("a",))


def test_a_parameter_that_does_not_exist_is_refused() -> None:
    with refused("LLMParams.*temprature"):
        Prompt.of("Hi", temprature=1)  # type: ignore[call-arg]
    with refused("LLMParams.*max_token"):
        Prompt.of("Hi").with_params(max_token=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [ImagePart, DocumentPart, AudioPart])
def test_media_takes_data_with_its_type_or_a_url(kind: type[ImagePart | DocumentPart | AudioPart]) -> None:
    for wrong in ({}, {"data": b"x", "url": "u"}, {"data": b"x", "url": "u", "media_type": "image/png"}):
        with refused(f"{kind.__name__} takes either data or url"):
            kind(**wrong)  # type: ignore[arg-type]
    with refused(f"{kind.__name__} with data needs its media_type, such as"):
        kind(data=b"x")
    text: Any = "iVBORw0KGgo="
    with refused(f"{kind.__name__}: data takes bytes, not str"):
        kind(data=text, media_type="image/png")
    with refused(f"{kind.__name__} has no data"):
        kind(data=b"", media_type="image/png")
    assert kind(data=b"x", media_type="image/png") == kind(data=b"x", media_type="image/png")
    assert kind(url="u").data is None


def test_messages_need_parts_not_a_string() -> None:
    text: Any = "Hello"
    with refused("at least one part"):
        UserMessage(())
    with refused("at least one part"):
        Prompt().user()
    with refused(r"UserMessage\.of"):
        UserMessage(text)
    with refused(r"AssistantMessage\.of"):
        AssistantMessage(text)


def test_a_tool_result_needs_its_call() -> None:
    for prompt in (Prompt(), Prompt.of("Hi"), Prompt.of("Hi").tool_call("1", "f")):
        with refused("no call before has the id 'nope'"):
            prompt.tool_result("nope", "x")


def test_a_tool_result_is_text_or_parts() -> None:
    prompt = Prompt.of("Hi").tool_call("1", "f")
    for wrong in ({"city": "Paris"}, 5, [1], None, b"x"):
        output: Any = wrong
        with refused("text.*json"):
            prompt.tool_result("1", output)
        with refused("text.*json"):
            ToolResultMessage("1", "f", output)
    assert prompt.tool_result("1", [TextPart("a")]).messages[-1] == ToolResultMessage("1", "f", (TextPart("a"),))


@pytest.mark.parametrize("arguments", ["", "[]", "{", "1", "null", ["a"], 5, None, {"a": object()}, {1.5: float}])
def test_a_call_of_ours_has_arguments_that_are_an_object(arguments: Any) -> None:
    with refused("tool call 'f'"):
        Prompt.of("Hi").tool_call("1", "f", arguments)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"messages":[{"role":"robot"}]}',
        b'{"messages":[{"role":"user","parts":[]}]}',
        b"\xff",
        b'{"params":{"max_tokens":0}}',
    ],
)
def test_what_is_no_prompt_is_refused(data: bytes) -> None:
    with refused("not a prompt"):
        Prompt.from_json(data)


# --------------------------------------------------------------------------------------------------- reprs


def test_no_repr_shows_what_was_said() -> None:
    image = ImagePart(data=SECRET.encode(), media_type="image/png")
    prompt = Prompt(
        (
            SystemMessage(SECRET),
            UserMessage.of(SECRET, image, DocumentPart(url=SECRET, name=SECRET)),
            AssistantMessage(
                (
                    Reasoning(SECRET, {SECRET: SECRET}),
                    TextPart(SECRET),
                    ToolCall("1", "f", f'{{"a":"{SECRET}"}}', {"signature": SECRET}),
                    InvalidToolCall("2", "f", SECRET, SECRET),
                    Citation(SECRET, SECRET, SECRET, {SECRET: 1}),
                    ProviderItem("search", {"query": SECRET}),
                ),
                FinishReason.STOP,
                unfinished=(UnfinishedCall("3", "f", SECRET),),
            ),
            ToolResultMessage("1", "f", SECRET),
            ToolResultMessage("2", "f", (TextPart(SECRET), image), SECRET),
        ),
        SECRET,
        LLMParams(stop=(SECRET,), response_schema={SECRET: 1}, user=SECRET, extra={"key": SECRET}),
    )
    assert SECRET not in repr(prompt)
    for message in prompt.messages:
        if not isinstance(message, AssistantMessage):
            assert SECRET not in repr(message)
    assert "UserMessage" in repr(prompt)
    assert "<5 characters>" in repr(prompt)


def test_a_repr_shows_what_is_set() -> None:
    assert repr(LLMParams(temperature=0, max_tokens=7, parallel_tool_calls=False)) == (
        "LLMParams(temperature=0, max_tokens=7, parallel_tool_calls=False)"
    )
    assert repr(LLMParams()) == "LLMParams()"


def test_no_error_of_ours_quotes_a_prompt() -> None:
    prompt = Prompt.of(SECRET)
    tries: list[Any] = [
        lambda: prompt.tool_call("1", "f", f"{{{SECRET}"),
        lambda: Prompt.from_json(prompt.to_json()[:-2]),
        lambda: Prompt.from_json(prompt.to_json().replace(b'"text"', b'"words"')),
        lambda: UserMessage(SECRET),  # type: ignore[arg-type]
        lambda: ToolResultMessage("1", "f", {"a": SECRET}),  # type: ignore[arg-type]
        lambda: prompt.tool_call("1", "f", {"a": {SECRET}, "b": object()}),
    ]
    for attempt in tries:
        with pytest.raises(PromptportError) as caught:
            attempt()
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value)
