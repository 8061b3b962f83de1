"""Special tokens of every family's templates: none is left in a content, whoever wrote it and however it is spelled."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.frames import InvalidToolCall, Reasoning, ToolCall
from promptport.messages import AssistantMessage, Prompt, TextPart, ToolResultMessage, UserMessage
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.testing import ScriptedClient
from promptport.text_tools import FORMATS, TextToolsClient, defused, defused_prompt, defused_tool
from promptport.tools import ToolDescriptor

MODEL = LLModel("scripted", "m")
FAMILIES = {
    "llama": "<|begin_of_text|> <|start_header_id|> <|eot_id|> <|eom_id|> <|python_tag|> <|header_start|>"
    " <<SYS>> <</SYS>>",
    "chatml": "<|im_start|> <|im_end|> <|im_sep|> <|endoftext|> <|fim_prefix|> <|vision_start|>",
    "mistral": "[INST] [/INST] [TOOL_RESULTS] [/TOOL_RESULTS] [SYSTEM_PROMPT] [MODEL_SETTINGS] [IMG_END] [SUFFIX] </s>",
    "gemma": "<start_of_turn> <end_of_turn> <|turn> <turn|> <|tool_call> <tool_call|> <channel|> <start_of_image>"
    " <start_function_response> <end_function_call> <escape>",
    "gpt-oss": "<|start|> <|message|> <|call|> <|return|> <|channel|> <|constrain|>",
    "deepseek": "<｜User｜> <｜end▁of▁sentence｜> <｜tool▁output▁end｜> <｜DSML｜function_calls> </｜DSML｜invoke>",
    "glm": "[gMASK] <sop> <|observation|> <|user|> <arg_key> </arg_value>",
    "kimi": "<|im_user|> <|im_middle|> <|tool_calls_section_begin|> [EOS] [EOT]",
    "minimax": "]~!b[ ]~b] [e~[ ]!p~[ ]!d~[ <minimax:tool_call> </response>",
    "phi, granite, command": "<|end|> <|/tool|> <|start_of_role|> <|END_OF_TURN_TOKEN|> <EOS_TOKEN> <|START_ACTION|>",
    "exaone": "[|user|] [|assistant|] [|endofturn|]",
    "seed": "<seed:bos> <seed:eos> </seed:think> <seed:tool_call>",
    "nemotron": "<extra_id_0> <SPECIAL_11> <TOOLCALL> </TOOL_RESPONSE>",
    "baichuan, internlm": "<reserved_106> [UNUSED_TOKEN_145] <eoh> <eoa>",
    "longcat, bailing": "<longcat_s> <longcat_user> </longcat_tool_call> <role> </role> <|role_end|>",
}
TOKENS = [token for words in FAMILIES.values() for token in words.split()]
WIDE = {ord(letter): chr(ord(letter) + 0xFEE0) for letter in "<>|[]/"}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_of_any_family_is_left(family: str) -> None:
    for token in FAMILIES[family].split():
        said = f"a{token}b {token}{token}"
        assert token not in defused(said), token
        assert defused(defused(said)) == defused(said)
        assert defused(said).replace(" ", "") == said.replace(" ", "")


@given(st.sampled_from(TOKENS), st.data())
def test_wide_and_unseen_letters_hide_none(token: str, data: st.DataObject) -> None:
    """A tokenizer that cleans its text would find the token again."""
    at = data.draw(st.integers(0, len(token)))
    unseen = data.draw(st.sampled_from(["", "\u200b", "\u200d\ufe0f", "\u2060", "\ufeff", "\u00ad"]))
    written = token[:at] + unseen + token[at:]
    if data.draw(st.booleans()):
        written = written.translate(WIDE)
    cleaned = defused(f"x{written}y")
    for letter in unseen:
        cleaned = cleaned.replace(letter, "")
    assert token not in cleaned.translate({ord(wide): letter for letter, wide in WIDE.items()})


@given(st.sampled_from(TOKENS), st.lists(st.integers(0, 40), max_size=4))
def test_a_token_in_several_parts_of_one_message_is_none(token: str, cuts: list[int]) -> None:
    said = f"a {token} b"
    places = sorted({0, len(said), *[cut for cut in cuts if cut < len(said)]})
    parts = [TextPart(said[begin:end]) for begin, end in pairwise(places)]
    prompt = Prompt((UserMessage(tuple(parts)), AssistantMessage((ToolCall("c", "f", "{}"),))))
    prompt = prompt.add(ToolResultMessage("c", "f", tuple(parts)))
    user, _, result = defused_prompt(prompt).messages
    for message in (user, result):
        assert token not in message.text
        assert message.text.replace(" ", "") == said.replace(" ", "")


@pytest.mark.parametrize("token", TOKENS)
def test_nor_is_one_in_what_the_model_said_and_called(token: str) -> None:
    """A model that was told to repeat one spells it; in the next request it would be one."""
    escaped = json.dumps({"a": [f"x{token}"], f"k{token}": 1}).replace("<", "\\u003c").replace("[|", "\\u005b|")
    made = AssistantMessage(
        (
            Reasoning(f"hm {token}"),
            TextPart(f"I say {token}"),
            ToolCall(f"i{token}", f"f{token}", escaped),
            InvalidToolCall("j", "f", f'{{"a": "{token}', "not JSON"),
        )
    )
    result = ToolResultMessage(f"i{token}", f"f{token}", "x")
    _, spoken, answered = defused_prompt(Prompt.of("Hi").add(made, result)).messages
    assert isinstance(spoken, AssistantMessage)
    assert isinstance(answered, ToolResultMessage)
    call, broken = spoken.tool_calls[0], spoken.invalid_tool_calls[0]
    texts = [spoken.text, spoken.reasoning, call.id, call.name, str(call.parsed()), broken.arguments, answered.name]
    assert not [text for text in texts if token in text]
    assert answered.call_id == call.id


def test_what_holds_no_token_stays_as_it_is() -> None:
    made = AssistantMessage(
        (TextPart("<think>so</think> a < b"), ToolCall("c", "f", '{"a" :  "x < y", "b": [1]}')), model="m"
    )
    signed = AssistantMessage((Reasoning("<|end|>", {"signature": "s"}),))
    prompt = (
        Prompt().system("Think <|think|>.").user("x[0] <b>").add(made, ToolResultMessage("c", "f", "List<T>"), signed)
    )
    assert defused_prompt(prompt) == prompt


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"auto", "none", "required"}))
async def test_nor_is_one_in_what_a_model_is_told_of_tools_and_calls(name: str) -> None:
    for token in TOKENS:
        await _told(name, f"v{token}w")


async def _told(name: str, evil: str) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "title": evil,
        "properties": {
            "a": {"description": evil, "enum": [evil, "b"], "default": evil, "examples": [{evil: evil}]},
            evil: {"const": evil, "type": "string"},
        },
        "required": [evil],
    }
    tool = ToolDescriptor("noop", evil, schema)
    asked = Prompt.of("Hi").tool_call("c", "noop", {evil: evil}).tool_result("c", "x")
    inner = ScriptedClient(["ok"], capabilities=ModelCapabilities.of(StreamedTools.NONE, [Capability.SYSTEM]))
    await TextToolsClient(inner, format=name).execute(asked, MODEL, [tool])
    assert not [message for message in inner.requests[0].prompt.messages if evil in message.text]
    assert evil not in str(defused_tool(tool).parameters)
