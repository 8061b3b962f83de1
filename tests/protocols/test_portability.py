"""History goes to any provider: ids, names, what is opaque, blank text, roles, pictures, calls with results."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from promptport.errors import InvalidInputError
from promptport.frames import Citation, InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.history import check_results
from promptport.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    Origin,
    Prompt,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
)
from promptport.protocols import (
    ANY_ID,
    SAFE_IDS,
    SAFE_NAMES,
    FittingRule,
    HistoryRules,
    fitting_id,
    fitting_name,
    portable,
    role_runs,
)

HERE = Origin("here", "here.example")
THERE = Origin("there", "there.example")
NINE = FittingRule(r"[A-Za-z0-9]{9}", "", 9)
RULES = [SAFE_IDS, NINE, FittingRule(r"[A-Za-z0-9_-]{1,64}")]
PNG = ImagePart(data=b"png", media_type="image/png")
IDS = st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9]{9}", fullmatch=True) | st.sampled_from(["functions.f:0", "1"])


def calls_of(prompt: Prompt) -> list[Any]:
    return [
        part
        for message in prompt.messages
        if isinstance(message, AssistantMessage)
        for part in message.parts
        if isinstance(part, ToolCall | InvalidToolCall)
    ]


def conversation(ids: list[str], origin: Origin | None = THERE, name: str = "f") -> Prompt:
    prompt = Prompt.of("Hi")
    for one in ids:
        prompt = prompt.add(
            AssistantMessage((ToolCall(one, name, "{}"),), origin=origin), ToolResultMessage(one, name, one)
        )
    return prompt


# ---------------------------------------------------------------------------------------------------- ids


@given(st.lists(IDS, unique=True, max_size=8), st.sampled_from(RULES))
def test_ids_fit_are_injective_and_the_same_for_call_and_result(ids: list[str], rule: FittingRule) -> None:
    sent = portable(conversation(ids), HistoryRules(rule))
    made = [call.id for call in calls_of(sent)]
    assert len(set(made)) == len(ids)
    assert all(re.fullmatch(rule.pattern, one) for one in made)
    results = [message for message in sent.messages if isinstance(message, ToolResultMessage)]
    assert [message.call_id for message in results] == made
    assert [message.output for message in results] == [one if one.strip() else "" for one in ids]


@given(st.lists(IDS, unique=True, min_size=1, max_size=8), st.sampled_from(RULES), st.data())
def test_ids_are_the_same_in_every_request(ids: list[str], rule: FittingRule, data: st.DataObject) -> None:
    """What follows in a conversation changes nothing before it."""
    shorter = data.draw(st.integers(0, len(ids)))
    rules = HistoryRules(rule)
    first = [call.id for call in calls_of(portable(conversation(ids[:shorter]), rules))]
    assert [call.id for call in calls_of(portable(conversation(ids), rules))][:shorter] == first


@given(st.lists(IDS.filter(bool), unique=True, max_size=6), st.sampled_from(RULES))
def test_a_server_gets_the_ids_that_it_made(ids: list[str], rule: FittingRule) -> None:
    prompt = conversation(ids, HERE)
    assert portable(prompt, HistoryRules(rule, blank_text=True), HERE) is prompt


def test_an_id_that_looks_like_a_made_one_stays_another() -> None:
    made = fitting_id("a b", SAFE_IDS)
    sent = [call.id for call in calls_of(portable(conversation([made, "a b"]), HistoryRules()))]
    assert sent[0] == made
    assert sent[1] != made


def test_an_id_that_stands_for_two_calls_becomes_two() -> None:
    prompt = conversation(["1"]).add(*conversation(["1"]).messages)
    first, second = [call.id for call in calls_of(portable(prompt, HistoryRules()))]
    assert first == "1" != second
    results = [m.call_id for m in portable(prompt, HistoryRules()).messages if isinstance(m, ToolResultMessage)]
    assert results == [first, second]


def test_ids_are_hashes_and_not_counters() -> None:
    """Made once, and never to change: what providers cached of a request hangs on it."""
    assert fitting_id("functions.get_weather:0", SAFE_IDS) == "call_CxFlQMzsucA9W6BzTpwFQFHP"
    assert fitting_id("toolu_01A", NINE) == "xAGoDept3"
    assert fitting_id("toolu_01A", ANY_ID) == "toolu_01A"


# --------------------------------------------------------------------------------------------------- names


@given(st.text(max_size=90))
def test_names_fit(name: str) -> None:
    sent = portable(conversation(["1"], name=name), HistoryRules())
    (call,) = calls_of(sent)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", call.name)
    assert [m.name for m in sent.messages if isinstance(m, ToolResultMessage)] == [call.name]
    assert (call.name == name) is bool(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) or name == "unknown")


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, min_size=2, max_size=4))
def test_names_that_differ_go_on_differing(names: list[str]) -> None:
    assert len({fitting_name(name, SAFE_NAMES) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["browser.tabs.open", "$lookup", "búsqueda", "x" * 65, "", " "])
@pytest.mark.parametrize("origin", [HERE, THERE, None])
def test_a_name_that_no_tool_can_have_is_refused_at_home_too(name: str, origin: Origin | None) -> None:
    (call,) = calls_of(portable(conversation(["1"], origin, name), HistoryRules(), HERE))
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", call.name)


# -------------------------------------------------------------------------------------------------- opaque

OPAQUE = (
    Reasoning("hm", {"signature": "SECRET"}),
    Reasoning("", {"encrypted_content": "SECRET"}),
    TextPart("text"),
    Citation("u", "t", "w", {"encrypted_index": "SECRET"}),
    ProviderItem("web_search", {"id": "SECRET"}),
    ToolCall("1", "f", "{}", {"thought_signature": "SECRET"}),
    InvalidToolCall("2", "f", "[", "no", {"status": "SECRET"}),
)
ANSWERS = (ToolResultMessage("1", "f", "a"), ToolResultMessage("2", "f", "b"))


@pytest.mark.parametrize(
    "origin", [THERE, None, Origin("here", "elsewhere.example"), Origin("other-api", HERE.address)], ids=str
)
def test_what_is_opaque_goes_home_or_nowhere(origin: Origin | None) -> None:
    prompt = Prompt.of("Hi").add(AssistantMessage(OPAQUE, origin=origin), *ANSWERS)
    stored = Prompt.from_json(prompt.to_json())
    assert b"SECRET" in stored.to_json()
    sent = portable(stored, HistoryRules(), HERE)
    assert b"SECRET" not in sent.to_json()
    assert sent.messages[1].text == "text"


def test_its_own_comes_back_unchanged() -> None:
    prompt = Prompt.of("Hi").add(AssistantMessage(OPAQUE, origin=HERE), *ANSWERS)
    assert portable(Prompt.from_json(prompt.to_json()), HistoryRules(), HERE) == prompt


def test_reasoning_of_others_is_text_where_that_is_asked_for() -> None:
    message = AssistantMessage((Reasoning("Hm.", {"signature": "x"}), Reasoning(" "), TextPart("Yes.")), origin=THERE)
    prompt = Prompt.of("Hi", foreign_reasoning="text").add(message)
    assert portable(prompt, HistoryRules(), HERE).messages[1] == replace(
        message, parts=(TextPart("Hm."), TextPart("Yes."))
    )
    kept = replace(prompt, messages=(prompt.messages[0], replace(message, origin=HERE)))
    assert portable(kept, HistoryRules(), HERE).messages[1].parts[0] == message.parts[0]  # type: ignore[union-attr]


def test_a_refusal_is_what_the_model_said() -> None:
    message = AssistantMessage((ProviderItem("refusal", {"refusal": "I cannot."}),), origin=THERE)
    assert portable(Prompt.of("Hi").add(message), HistoryRules(), HERE).messages[1].text == "I cannot."


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://api.openai.com/v1", "api.openai.com/v1"),
        ("https://API.openai.com/v1/", "api.openai.com/v1"),
        ("http://user:pass@127.0.0.1:8000", "127.0.0.1:8000"),
        ("https://a.example/v1?api-version=3#x", "a.example/v1"),
    ],
)
def test_an_origin_is_a_name_and_an_address_without_secrets(url: str, address: str) -> None:
    assert Origin.at("p", url) == Origin("p", address)


# ------------------------------------------------------------------------------------------- blanks and roles

BLANK = st.sampled_from(["", " ", "\n\t", "\u00a0"])


@given(BLANK)
def test_blank_text_is_left_out_of_every_kind_of_message(blank: str) -> None:
    prompt = Prompt(
        (
            SystemMessage(blank),
            UserMessage.of(blank, "Hi"),
            AssistantMessage.of(blank, ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}"), ToolCall("3", "f", "{}")),
            ToolResultMessage("1", "f", blank),
            ToolResultMessage("2", "f", (TextPart(blank),)),
            ToolResultMessage("3", "f", error=blank),
            AssistantMessage.of(blank),
            UserMessage.of(blank),
            UserMessage.of("Go on."),
        )
    )
    sent = portable(prompt, HistoryRules())
    texts = [part.text for m in sent.messages for part in getattr(m, "parts", ()) if isinstance(part, TextPart)]
    assert texts == ["Hi", "Go on."]
    assert [m.text for m in sent.messages if isinstance(m, ToolResultMessage)] == ["", "", "error"]
    assert len(sent.messages) == 6


def test_a_prompt_of_blanks_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no user message"):
        portable(Prompt.of(" "), HistoryRules())


def test_roles_alternate_where_they_must() -> None:
    prompt = Prompt((AssistantMessage.of("Hello"), UserMessage.of("a"), UserMessage.of("b"))).assistant("c")
    prompt = prompt.add(AssistantMessage.of("d"))
    sent = portable(prompt, HistoryRules(alternate=True, user_first=True))
    assert [type(message).__name__ for message in sent.messages] == [
        *("UserMessage", "AssistantMessage", "UserMessage", "AssistantMessage")
    ]
    assert sent.messages[2] == UserMessage.of("a", "b")
    assert sent.messages[3] == AssistantMessage.of("c", "d")


def test_what_is_left_of_a_message_that_only_thought_is_nothing_and_roles_still_alternate() -> None:
    prompt = Prompt.of("a").add(AssistantMessage((Reasoning("hm", {"s": 1}),), origin=THERE)).user("b")
    assert portable(prompt, HistoryRules(alternate=True), HERE).messages == (UserMessage.of("a", "b"),)


def test_one_system_message_in_front() -> None:
    prompt = Prompt.of("Hi", system="a").system("b")
    assert portable(prompt, HistoryRules(one_system=True)).messages == (SystemMessage("a\n\nb"), UserMessage.of("Hi"))
    assert portable(prompt, HistoryRules()) is prompt


# --------------------------------------------------------------------------------------------- calls, results


def test_pictures_go_behind_the_results() -> None:
    prompt = Prompt.of("Hi").tool_call("1", "f").tool_call("2", "g")
    prompt = prompt.tool_result("1", [TextPart("a map"), PNG]).tool_result("2", "b").assistant("I see.")
    sent = portable(prompt, HistoryRules())
    kinds = [type(message).__name__ for message in sent.messages]
    assert kinds[1:] == [
        "AssistantMessage",
        "ToolResultMessage",
        "ToolResultMessage",
        "UserMessage",
        "AssistantMessage",
    ]
    picture = sent.messages[4]
    assert isinstance(picture, UserMessage)
    assert picture.parts == (TextPart("The image of the result of f:"), PNG)
    assert portable(prompt, HistoryRules(result_parts=frozenset(["image"]))) is prompt


def test_an_unanswered_call_is_named() -> None:
    prompt = Prompt.of("Hi").tool_call("1", "f").tool_call("2", "get_weather").tool_result("1", "a")
    with pytest.raises(InvalidInputError, match=r"call '2' of 'get_weather' has no result.*answered"):
        check_results(prompt.messages)
    with pytest.raises(InvalidInputError, match="'1'"):
        check_results(Prompt.of("Hi").tool_call("1", "f").user("And?").messages)
    check_results(prompt.tool_result("2", "b").messages)
    with pytest.raises(InvalidInputError, match="two results"):
        check_results(prompt.tool_result("2", "b").tool_result("2", "b").messages)


def test_results_stand_behind_their_calls() -> None:
    call = AssistantMessage.of(ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}"))
    messages: tuple[Message, ...] = (
        *(UserMessage.of("Hi"), call, ToolResultMessage("1", "f", "a"), UserMessage.of("Wait.")),
        *(ToolResultMessage("2", "f", "b"), UserMessage.of("Now?")),
    )
    sent = portable(Prompt(messages), HistoryRules()).messages
    assert sent == (messages[0], call, messages[2], messages[4], messages[3], messages[5])


def test_turns_have_the_results_first() -> None:
    messages = Prompt.of("Hi", system="s").tool_call("1", "f").tool_result("1", "a").user("b").messages
    assert role_runs(messages) == [
        ("user", [messages[1]]),
        ("assistant", [messages[2]]),
        ("user", [messages[3], messages[4]]),
    ]


@pytest.mark.parametrize("origin", [THERE, None])
def test_another_servers_calls_stand_behind_its_text(origin: Origin | None) -> None:
    parts = (ToolCall("1", "f", "{}"), TextPart("a"), ToolCall("2", "f", "{}"), Citation("u"))
    asked = Prompt.of("Hi").add(AssistantMessage(parts, origin=origin), *ANSWERS)
    message = portable(asked, HistoryRules(), HERE).messages[1]
    assert isinstance(message, AssistantMessage)
    assert message.parts == (parts[1], parts[3], parts[0], parts[2])
    own = Prompt.of("Hi").add(AssistantMessage(parts, origin=HERE), *ANSWERS)
    assert portable(own, HistoryRules(), HERE) is own


def test_an_id_of_the_servers_own_that_another_call_goes_by_already() -> None:
    foreign = AssistantMessage((ToolCall("1", "f", "{}"),), origin=THERE)
    own = AssistantMessage((ToolCall("1", "f", "{}"),), origin=HERE)
    result = ToolResultMessage("1", "f", "r")
    asked = portable(Prompt.of("Hi").add(foreign, result, own, result), HistoryRules(), HERE)
    first, second = calls_of(asked)
    assert first.id == "1" != second.id
    assert [m.call_id for m in asked.messages if isinstance(m, ToolResultMessage)] == [first.id, second.id]
    twice = Prompt.of("Hi").add(own, result, own, result)
    assert portable(twice, HistoryRules(), HERE) is twice, "what the server itself repeated"
