"""What can be done to a conversation so that it goes on: open calls closed, old messages cut, OpenAI's dicts read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import InvalidInputError
from promptport.frames import InvalidToolCall, ProviderItem, Reasoning, ToolCall, Usage
from promptport.history import check_results
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Prompt,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
)

PNG = ImagePart(data=b"png", media_type="image/png")


@st.composite
def conversations(draw: st.DrawFn) -> Prompt:
    """Turns of a user and a model with calls, some answered; now and then a system message, or a mark."""
    messages: list[Message] = [SystemMessage("s")] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 6))):
        messages.append(UserMessage((TextPart(f"u{turn}", cache=draw(st.integers(0, 9)) == 0),)))
        for step in range(draw(st.integers(0, 2))):
            ids = [f"{turn}-{step}-{i}" for i in range(draw(st.integers(0, 3)))]
            calls = [ToolCall(one, "f", "{}") for one in ids]
            messages.append(AssistantMessage((TextPart("a"), *calls), usage=Usage(50 * turn + 9, 5)))
            for one in draw(st.permutations(ids)):
                messages.append(ToolResultMessage(one, "f", "r" * draw(st.integers(0, 30))))
    return Prompt(tuple(messages))


# ------------------------------------------------------------------------------------------------ answered


@given(conversations(), st.data())
def test_answered_closes_exactly_the_open_calls(prompt: Prompt, data: st.DataObject) -> None:
    results = [i for i, message in enumerate(prompt.messages) if isinstance(message, ToolResultMessage)]
    lost = set(data.draw(st.lists(st.sampled_from(results), max_size=4))) if results else set()
    cut = Prompt(tuple([message for i, message in enumerate(prompt.messages) if i not in lost]))
    closed = cut.answered("It was stopped.")
    check_results((*closed.messages, UserMessage.of("And now?")))
    assert [m for m in closed.messages if getattr(m, "error", None) is None] == list(cut.messages)
    assert len(closed.messages) == len(prompt.messages)
    assert closed.answered("again") is closed


def test_answered_names_tool_and_call() -> None:
    calls = AssistantMessage.of(ToolCall("1", "f", "{}"), InvalidToolCall("2", "g", "[", "no"))
    prompt = Prompt.of("Hi").add(calls, ToolResultMessage("1", "f", "a"), UserMessage.of("Stop."))
    assert prompt.answered("Stopped.").messages[2:4] == (
        ToolResultMessage("1", "f", "a"),
        ToolResultMessage("2", "g", error="Stopped."),
    )


# ------------------------------------------------------------------------------------------------- trimmed


@given(conversations(), st.integers(1, 20), st.integers(0, 2), st.booleans())
def test_trimming_never_parts_a_call_from_its_result(prompt: Prompt, limit: int, keep: int, by_tokens: bool) -> None:
    if by_tokens:
        short = prompt.trimmed(max_tokens=limit * 10, keep=keep, tokens=400)
    else:
        short = prompt.trimmed(max_messages=limit, keep=keep)
    check_results((*short.messages, UserMessage.of("And now?")))
    assert sorted(map(id, [*short.messages, *short.cut])) == sorted(map(id, prompt.messages))
    left = iter(prompt.messages)
    assert all(any(message is each for each in left) for message in short.messages), "the order is kept"
    assert [m for m in short.messages if isinstance(m, SystemMessage)] == [
        m for m in prompt.messages if isinstance(m, SystemMessage)
    ]
    marked = [
        i
        for i, m in enumerate(prompt.messages)
        if isinstance(m, UserMessage) and any(p.cache for p in m.parts if isinstance(p, TextPart))
    ]
    prefix = prompt.messages[: marked[-1] + 1 if marked else 0]
    assert short.messages[: len(prefix)] == prefix, "what the provider keeps in its cache stays"
    assert any(isinstance(message, UserMessage) for message in short.messages)
    if len(prompt.messages) <= limit and not by_tokens:
        assert short.cut == ()


def test_trimming_cuts_the_oldest_and_says_what() -> None:
    prompt = Prompt.of("one", system="s").assistant("1").user("two").assistant("2").user("three")
    short = prompt.trimmed(max_messages=4)
    assert [message.text for message in short.messages] == ["s", "two", "2", "three"]
    assert [message.text for message in short.cut] == ["one", "1"]
    assert short.user("more").messages[-1] == UserMessage.of("more")
    assert [m.text for m in prompt.trimmed(max_messages=4, keep=1).messages] == ["s", "one", "three"]
    kept = prompt.trimmed(max_messages=3, keep=lambda message: message.text == "1")
    assert [m.text for m in kept.messages] == ["s", "1", "three"]


def test_trimming_counts_by_the_last_usage() -> None:
    long = AssistantMessage((TextPart("x" * 400),), usage=Usage(1000, 100))
    prompt = Prompt.of("y" * 400).add(long).user("now")
    assert prompt.trimmed(max_tokens=2000).cut == ()
    assert len(prompt.trimmed(max_tokens=500).cut) == 2
    with pytest.raises(InvalidInputError, match=r"count_tokens"):
        Prompt.of("Hi").trimmed(max_tokens=5)
    for wrong in ({}, {"max_tokens": 1, "max_messages": 1}, {"max_messages": 0}):
        with pytest.raises(InvalidInputError, match=r"trimmed\(\)"):
            prompt.trimmed(**wrong)


# -------------------------------------------------------------------------------------------- OpenAI's dicts

DICTS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
            {"type": "input_audio", "input_audio": {"data": "cG5n", "format": "wav"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,cG5n"}},
        ],
    },
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
    {"role": "assistant", "content": None, "refusal": "I cannot."},
    {"role": "user", "content": "Why?"},
]


def test_openai_dicts_come_in_and_go_out() -> None:
    prompt = Prompt.from_openai(DICTS, temperature=0.5)
    assert prompt.params.temperature == 0.5
    assert prompt.messages == (
        SystemMessage("Be brief."),
        UserMessage.of(
            "What is this?",
            ImagePart(url="https://a.example/x.png", detail="low"),
            PNG,
            AudioPart(data=b"png", media_type="audio/wav"),
            DocumentPart(data=b"png", media_type="application/pdf", name="a.pdf"),
        ),
        AssistantMessage.of("I look.", ToolCall("call_1", "look", '{"at": 1}')),
        ToolResultMessage("call_1", "look", "a cat"),
        AssistantMessage.of(ProviderItem("refusal", {"refusal": "I cannot."})),
        UserMessage.of("Why?"),
    )
    assert json.loads(json.dumps(prompt.to_openai())) == DICTS
    assert Prompt.from_openai(prompt.to_openai()).messages == prompt.messages


@given(conversations())
def test_what_openai_can_say_comes_back(prompt: Prompt) -> None:
    again = Prompt.from_openai(prompt.to_openai())
    assert again.to_openai() == prompt.to_openai()
    check_results(again.messages)


def test_old_and_odd_dicts() -> None:
    prompt = Prompt.from_openai(
        [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": ""},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "r"},
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": "hm",
                "tool_calls": [{"id": "1", "function": {"name": "g", "arguments": "[1"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "bad"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "ok"}]},
        ]
    )
    check_results(prompt.messages)
    assert prompt.messages[4].parts[0] == Reasoning("hm", {"field": "reasoning_content"})  # type: ignore[union-attr]
    assert isinstance(prompt.messages[4].parts[1], InvalidToolCall)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"role": "robot", "content": "x"}, r"messages\[0\] has the role 'robot'. Use system"),
        ({"content": "x"}, "role None"),
        ({"role": "user", "content": 5}, "neither text nor a list"),
        ({"role": "user", "content": [{"type": "video"}]}, "part of type 'video'. Use text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "without a URL"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,?"}]}, "not base64"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}, "file by its id"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "without a function"),
        ("hello", r"messages\[0\] takes a mapping"),
    ],
)
def test_dicts_that_are_no_messages_are_refused(bad: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        Prompt.from_openai([bad])
