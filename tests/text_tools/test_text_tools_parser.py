"""What each format's text means: calls, prose around them, calls that are broken, calls that are cut short."""

from __future__ import annotations

from typing import Any

import pytest

from promptport.errors import InvalidInputError
from promptport.frames import Append, InvalidToolCall, Reasoning, ReasoningAppend, StreamFrame, ToolCall, ToolCallDelta
from promptport.messages import TextPart, ToolResultMessage
from promptport.models import StreamedTools
from promptport.text_tools import detect
from promptport.text_tools.formats import FORMATS
from promptport.text_tools.machine import TextToolsParser
from promptport.tools import ToolDescriptor

WEATHER = ToolDescriptor(
    "get_weather",
    "Weather of a city",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
)
TOOLS = [WEATHER, ToolDescriptor("noop")]


def frames_of(format: str, text: str, **options: Any) -> tuple[list[StreamFrame], TextToolsParser]:
    parser = TextToolsParser(format, TOOLS, **options)
    return parser.feed(text) + parser.finish(), parser


def told(format: str, text: str, **options: Any) -> list[object]:
    """What the text says, in short: text, ("reasoning", …), ("call", …), ("invalid", …), ("unfinished", …)."""
    frames, parser = frames_of(format, text, **options)
    short: list[object] = []
    for frame in frames:
        if isinstance(frame, Append):
            joined = short.pop() if short and isinstance(short[-1], str) else ""
            short.append(f"{joined}{frame.text}")
        elif isinstance(frame, Reasoning):
            short.append(("reasoning", frame.text))
        elif isinstance(frame, ToolCall):
            short.append(("call", frame.name, frame.parsed()))
        elif isinstance(frame, InvalidToolCall):
            short.append(("invalid", frame.name, frame.arguments))
        else:
            assert isinstance(frame, ReasoningAppend | ToolCallDelta)
    return short + [("unfinished", call.name, call.arguments) for call in parser.unfinished]


def call(name: str, **arguments: Any) -> tuple[str, str, dict[str, Any]]:
    return ("call", name, arguments)


PARIS = call("get_weather", city="Paris")
NOOP = call("noop")
ONE = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
LLAMA = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
OTHER = '{"name": "noop", "arguments": {}}'
START = "<|start|>assistant"
THOUGHT = "<|channel|>analysis<|message|>hm<|end|>"
QUOTING = '{"a": "<|call|>"}'
SAID = "<|channel|>commentary<|message|>Let me see.<|end|>"
DONE = "<|channel|>final<|message|>Done.<|return|>"
KIMI = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    '{"city": "Paris"}<|tool_call_end|>'
    "<|tool_call_begin|>functions.noop:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
    "<|tool_calls_section_end|>"
)
GLM = (
    "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
    "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"
)
DEEPSEEK = (
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}<｜tool▁call▁end｜>'
    "<｜tool▁call▁begin｜>noop<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
)
MINIMAX = (
    '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
    '<parameter name="days">2</parameter>\n</invoke>\n<invoke name="noop">\n</invoke>\n</minimax:tool_call>'
)
GLM_OPEN = (
    "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris<arg_key>days</arg_key><arg_value>2</tool_call>"
)
MINIMAX_OPEN = (
    '<minimax:tool_call><invoke name="f"><parameter name="a">1<parameter name="b">2</invoke></minimax:tool_call>'
)
LOOSE_FENCE = '```\n{"name": "other", "arguments": {}} and\n```'
ALICE = '{"name": "Alice", "arguments": 5}'


@pytest.mark.parametrize(
    ("format", "text", "expected"),
    [
        # -------------------------------------------------------------------------------- hermes
        ("hermes", f"A <tool_call>\n{ONE}\n</tool_call>\nB", ["A ", PARIS, "\nB"]),
        ("hermes", f"<tool_call>{ONE}</tool_call>\n<tool_call>{OTHER}</tool_call>", [PARIS, "\n", NOOP]),
        ("hermes", '<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>', [call("f", a=1)]),
        ("hermes", '<tool_call>{"id": 7, "name": "f", "more": [{"name": "g"}]}</tool_call>', [call("f")]),
        ("hermes", '<tool_call>{"name": "f", "arguments": null}</tool_call>', [("invalid", "f", "null")]),
        ("hermes", '<tool_call>{"name": "f", "parameters": "{\\"a\\": 1}"}</tool_call>', [call("f", a=1)]),
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "x\ny\t"}}</tool_call>', [call("f", a="x\ny\t")]),
        (
            "hermes",
            '<tool_call>{"name": "f", "arguments": {"a": "</tool_call>", "b": "\\"</tool_call>\\\\"}}</tool_call>',
            [call("f", a="</tool_call>", b='"</tool_call>\\')],
        ),
        ("hermes", f"<tool_call>{ONE}}}</tool_call>.", [PARIS, "."]),
        ("hermes", f"<tool_call>{ONE[:-1]}</tool_call>.", [PARIS, "."]),
        ("hermes", f"<tool_call>{ONE}\n<tool_call>{OTHER}</tool_call>", [PARIS, NOOP]),
        ("hermes", "The <tool_call> tag, <tool_call>x</tool_call>", ["The <tool_call> tag, <tool_call>x</tool_call>"]),
        ("hermes", "a </tool_call> b <tool_call", ["a </tool_call> b <tool_call"]),
        ("hermes", "<tool_<tool_call>" + OTHER + "</tool_call>", ["<tool_", NOOP]),
        ("hermes", '<tool_call>{name: "f"}</tool_call>.', [("invalid", "", '{name: "f"}'), "."]),
        ("hermes", '<tool_call>{"arguments": {}}</tool_call>', [("invalid", "", '{"arguments": {}}')]),
        ("hermes", '<tool_call>{"name": "f", "arguments": [1]}</tool_call>', [("invalid", "f", "[1]")]),
        (
            "hermes",  # the quote that is not escaped does not hide the closing marker
            '<tool_call>{"name": "f", "arguments": {"a": "5" tall"}}</tool_call> then',
            [("invalid", "f", '{"a": "5" tall"}}'), " then"],
        ),
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1}}', [("unfinished", "f", '{"a": 1}')]),
        ("hermes", '<tool_call>{"name": "f', [("unfinished", "", '{"name": "f')]),
        ("hermes", OTHER, [NOOP]),
        ("hermes", f"Sure:\n```json\n{ONE}\n```", ["Sure:\n", PARIS]),
        # ---------------------------------------------------------------------------- qwen_coder
        (
            "qwen_coder",
            "A\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>\nB",
            ["A\n", PARIS, "\nB"],
        ),
        ("qwen_coder", "<function=noop>\n</function>\n</tool_call> B", [NOOP, " B"]),
        ("qwen_coder", "<function=noop></function> B", [NOOP, " B"]),
        ("qwen_coder", "<tool_call><function=noop></function><function=noop></function></tool_call>", [NOOP, NOOP]),
        (
            "qwen_coder",
            "<function=get_weather><parameter=days>\n3\n</parameter><parameter=city>\n\n</function>\n\n</parameter></function>",
            [call("get_weather", days=3, city="\n</function>\n")],
        ),
        ("qwen_coder", '<function=f>{"a": 1}</function>', [call("f", a=1)]),
        ("qwen_coder", "<function=get_weather><parameter=city>Paris<parameter=days>3</parameter></function>",
         [call("get_weather", city="Paris", days=3)]),
        ("qwen_coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</function>\n</tool_call>\nB",
         [PARIS, "\nB"]),
        ("qwen_coder", "<function=get_weather><parameter=days>3\n<parameter=city>Paris\n</function>",
         [call("get_weather", days=3, city="Paris")]),
        ("qwen_coder", "<function=get_weather><parameter=city>Paris</function> Then", [PARIS, " Then"]),
        ("qwen_coder", "<function=get_weather><parameter=city>Paris</function>\n<function=noop></function>",
         [PARIS, NOOP]),
        ("qwen_coder", "<function=noop><parameter=a>x <parameter>= y</parameter></function>",
         [call("noop", a="x <parameter>= y")]),
        ("qwen_coder", "<function=f>junk</function>.", [("invalid", "f", "junk"), "."]),
        (
            "qwen_coder",
            "<function=get_weather><parameter=city>Par",
            [("unfinished", "get_weather", "<parameter=city>Par")],
        ),
        ("qwen_coder", "<function=a b> <tool_call>{}", ["<function=a b> <tool_call>{}"]),
        # -------------------------------------------------------------------------------- llama3
        ("llama3", f"<|python_tag|>{LLAMA}", [PARIS]),
        ("llama3", f"<|python_tag|>{LLAMA}; {OTHER}", [PARIS, NOOP]),
        ("llama3", '<|python_tag|>{"name": "unknown", "parameters": {}}', [call("unknown")]),
        ("llama3", f"{LLAMA};{OTHER}", [PARIS, NOOP]),
        ("llama3", f"A {LLAMA} B", ["A ", PARIS, " B"]),
        ("llama3", f"{LLAMA}; B", [PARIS, "; B"]),
        ("llama3", '{"type": "function", "name": "noop", "parameters": {}}\n', [NOOP, "\n"]),
        ("llama3", '{"name": "unknown", "parameters": {}}', [call("unknown")]),
        ("llama3", 'Say {"name": "unknown", "parameters": {}}', ['Say {"name": "unknown", "parameters": {}}']),
        ("llama3", '{"name": "noop", "age": 5}', ['{"name": "noop", "age": 5}']),
        ("llama3", '<|python_tag|>print("x")', ['<|python_tag|>print("x")']),
        ("llama3", LLAMA[:-2], [("unfinished", "get_weather", '{"city": "Paris"')]),
        ("llama3", '{"name": "noop", "parameters": {"a" 1}}', [("invalid", "noop", '{"a" 1}}')]),
        # ------------------------------------------------------------------------------ pythonic
        ("pythonic", 'A [get_weather(city="Paris"), noop()] B', ["A ", PARIS, NOOP, " B"]),
        ("pythonic", "[get_weather(city='it\\'s )]', days=-2,)]", [call("get_weather", city="it's )]", days=-2)]),
        ("pythonic", "[noop(a=[1, {'b': (None)}])]", [call("noop", a=[1, {"b": None}])]),
        ("pythonic", "[noop(a=(1, 'x'), b=(), c=(2,), d=((3), (4, [5, (6,)])))]",
         [call("noop", a=[1, "x"], b=[], c=[2], d=[3, [4, [5, [6]]]])]),
        ("pythonic", "[noop(a=f(1))]", [("invalid", "noop", "a=f(1)")]),
        ("pythonic", "[noop(a=[True, {'b': None,},], c=1_0)]", [call("noop", a=[True, {"b": None}], c=10)]),
        ("pythonic", '[get_weather("Paris")]', [("invalid", "get_weather", '"Paris"')]),
        ("pythonic", "[get_weather(city=Paris)]", [("invalid", "get_weather", "city=Paris")]),
        ("pythonic", "<|python_start|>[noop()]<|python_end|>.", [NOOP, "."]),
        ("pythonic", "<|tool_call_start|>[noop()]<|tool_call_end|>", [NOOP]),
        ("pythonic", "[unknown(a=1)] x[0] [1, 2]", ["[unknown(a=1)] x[0] [1, 2]"]),
        ("pythonic", '[noop(), get_weather(city="Pa', [NOOP, ("unfinished", "get_weather", 'city="Pa')]),
        # ------------------------------------------------------------------------------- mistral
        ("mistral", f"A[TOOL_CALLS] [{ONE}, {OTHER}]B", ["A", PARIS, NOOP, "B"]),
        ("mistral", '[TOOL_CALLS][{"name": "f", "arguments": {}, "id": "abcdefghi"}]', [call("f")]),
        ("mistral", '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}', [call("f", a=1), call("g")]),
        ("mistral", '[TOOL_CALLS]f{"a": "[TOOL_CALLS]"} B', [call("f", a="[TOOL_CALLS]"), " B"]),
        ("mistral", f"[TOOL_CALLS][{ONE}", [("unfinished", "get_weather", '{"city": "Paris"}')]),
        ("mistral", '[TOOL_CALLS]f[ARGS]{"a": ', [("unfinished", "f", '{"a": ')]),
        ("mistral", "[TOOL_CALLS]f[ARGS]{a}[TOOL_CALLS]g[ARGS]{}", [("invalid", "f", "{a}"), call("g")]),
        ("mistral", "[TOOL_CALLS] no [AVAILABLE]", ["[TOOL_CALLS] no [AVAILABLE]"]),
        ("mistral", "[THINK]hm[/THINK]A", [("reasoning", "hm"), "A"]),
        # ----------------------------------------------------------- Kimi, GLM, DeepSeek, MiniMax
        ("kimi", f"A{KIMI}B", ["A", PARIS, NOOP, "B"]),
        ("kimi", '<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": ', [("unfinished", "f", '{"a": ')]),
        ("kimi", "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>x<|tool_call_end|>",
         [("invalid", "f", "x")]),
        ("kimi", "<|tool_call_begin|>noop:3<|tool_call_argument_begin|><|tool_call_end|>.", [NOOP, "."]),
        ("glm", f"A\n{GLM}\n<tool_call>noop\n</tool_call>B",
         ["A\n", call("get_weather", city="Paris", days=2), "\n", NOOP, "B"]),
        ("glm", GLM_OPEN, [call("get_weather", city="Paris", days=2)]),
        ("glm", "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x</tool_call>\n<tool_call>noop</tool_call>",
         [call("f", a="x"), NOOP]),
        ("glm", "<tool_call>f<arg_key>a</arg_key><arg_value>x",
         [("unfinished", "f", "<arg_key>a</arg_key><arg_value>x")]),
        ("glm", "<tool_call>some words</tool_call>", ["<tool_call>some words</tool_call>"]),
        ("deepseek", f"A{DEEPSEEK}B", ["A", PARIS, NOOP, "B"]),
        ("deepseek", '<｜tool▁call▁begin｜>function<｜tool▁sep｜>noop\n```json\n{}\n```<｜tool▁call▁end｜>', [NOOP]),
        ("deepseek", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}", [("unfinished", "f", "{}")]),
        ("minimax", f"A\n{MINIMAX}B", ["A\n", call("get_weather", city="Paris", days=2), NOOP, "B"]),
        ("minimax", MINIMAX_OPEN, [call("f", a="1", b="2")]),
        ("minimax", '<minimax:tool_call><invoke name="f"><parameter name="a">1',
         [("unfinished", "f", '<parameter name="a">1')]),
        # ------------------------------------------------------------------------------- harmony
        (
            "harmony",
            f"{THOUGHT}{START}<|channel|>commentary to=functions.f <|constrain|>json<|message|>{QUOTING}<|call|>",
            [("reasoning", "hm"), call("f", a="<|call|>")],
        ),
        ("harmony", ' to=functions.f<|channel|>commentary json<|message|>{"a": 1}', [call("f", a=1)]),
        (
            "harmony",
            f"{SAID}{START} to=functions.noop<|channel|>commentary<|message|>{{}}<|call|>{START}{DONE}",
            ["Let me see.", NOOP, "Done."],
        ),
        ("harmony", "<|channel|>commentary to=python code<|message|>x()<|call|>", [("invalid", "python", "x()")]),
        ("harmony", '<|channel|>commentary to=functions.f<|message|>{"a": ', [("unfinished", "f", '{"a": ')]),
        ("harmony", "plain <|end|> to=x", ["plain <|end|> to=x"]),
        ("harmony", "<|channel|>final<|message|>a < b <|", ["a < b <|"]),
        # ---------------------------------------------------------------------------------- json
        ("json", f"A\n```json\n{ONE}\n```\nB", ["A\n", PARIS, "\nB"]),
        ("json", f"```\n[{ONE}, {OTHER}]\n```", [PARIS, NOOP]),
        ("json", f"```json\n{ONE}\n{OTHER}\n```", [PARIS, NOOP]),
        ("json", f"[{ONE}, {OTHER}]", [PARIS, NOOP]),
        ("json", f"Sure: {ONE}", ["Sure: ", PARIS]),
        ("json", f"```json\n{ONE}", [PARIS]),
        ("json", f"```json\n{ALICE}\n```", [f"```json\n{ALICE}\n```"]),
        ("json", '{"arguments": {"city": "Paris"}, "name": "get_weather"} B', [PARIS, " B"]),
        ("json", '{"function": "get_weather", "arguments": {"city": "Paris"}}', [PARIS]),
        ("json", f'{{"type": "function", "function": {ONE}}}', [PARIS]),
        ("json", f'A {{"id": "x", "type": "function", "function": {ONE}}} B', ["A ", PARIS, " B"]),
        ("json", f'{{"tool_calls": [{ONE}, {{"function": {OTHER}}}]}}', [PARIS, NOOP]),
        ("json", f"<json>\n{ONE}\n</json>\nB", [PARIS, "\nB"]),
        ("json", f"<tools>\n{ONE}\n{OTHER}\n</tools>", [PARIS, NOOP]),
        ("json", f"```json\n{ONE[:-1]}\n``` B", [PARIS, " B"]),
        ("json", f"```json\n{ONE}}}\n``` B", [PARIS, " B"]),
        ("json", '{"name": "noop"}', [NOOP]),
        ("json", 'The {"name": "noop"} tool', ['The {"name": "noop"} tool']),
        ("json", '```json\n{"name": "other", "arguments": {"a": 1}}\n```', [call("other", a=1)]),
        ("json", 'A\n```json\n{"name": "other", "arguments": {"a": 1}}\n``` B', ["A\n", call("other", a=1), " B"]),
        ("json", '{"name": "other", "arguments": {"a": 1}}\n', [call("other", a=1), "\n"]),
        ("json", '{"name": "other", "arguments": {"a": 1}} B', ['{"name": "other", "arguments": {"a": 1}} B']),
        ("json", LOOSE_FENCE, [LOOSE_FENCE]),
        ("json", 'A {"arguments": {"a": 1}, "x": 2} B', ['A {"arguments": {"a": 1}, "x": 2} B']),
        ("json", 'A {"arguments": {"a": 1', ['A {"arguments": {"a": 1']),
        ("json", f'{{"arguments": 1, "more": {ONE}}}', ['{"arguments": 1, "more": ', PARIS, "}"]),
        ("json", '{"name": "noop", "description": "x", "parameters": {"type": "object"}}',
         [("invalid", "noop", '{"type": "object"}')]),
        ("json", '{"name": "get_weather", "arguments": {"type": "object", "properties": {"city": {}}}}',
         [("invalid", "get_weather", '{"type": "object", "properties": {"city": {}}}')]),
        ("json", '{"name": "get_weather", "arguments": {"city": {"type": "string"}}}',
         [("invalid", "get_weather", '{"city": {"type": "string"}}')]),
        ("json", '{"name": "noop", "arguments": {"a": [1', [("unfinished", "noop", '{"a": [1')]),
        # ---------------------------------------------------------------------------------- auto
        ("auto", f"<tool_call>{ONE}</tool_call>[noop()]{OTHER}", [PARIS, NOOP, NOOP]),
        ("auto", "<tool_call><function=noop></function></tool_call><|python_tag|>" + LLAMA, [NOOP, PARIS]),
        ("auto", f"[TOOL_CALLS][{ONE}]<|channel|>final<|message|>x", [PARIS, "x"]),
        ("auto", " to=functions.noop<|channel|>commentary<|message|>{}", [NOOP]),
        ("auto", f"```json\n{OTHER}\n```", [NOOP]),
        # ----------------------------------------------------------------------------- reasoning
        ("none", "<think>hm\n</think>\n\nA", [("reasoning", "hm\n"), "\n\nA"]),
        ("none", "<think></think>A</think>", ["A</think>"]),
        ("hermes", f"<think><tool_call>{ONE}</think>A", [("reasoning", f"<tool_call>{ONE}"), "A"]),
        ("hermes", "<think>cut", [("reasoning", "cut")]),
        ("none", f"<tool_call>{ONE}</tool_call>", [f"<tool_call>{ONE}</tool_call>"]),
    ],
)  # fmt: skip
def test_what_a_text_means(format: str, text: str, expected: list[object]) -> None:
    assert told(format, text) == expected


def test_reasoning_tags_are_the_callers_choice() -> None:
    assert told("none", "<think>a</think>b", reasoning="off") == ["<think>a</think>b"]
    assert told("none", "a</think>b", reasoning="open") == [("reasoning", "a"), "b"]
    assert told("none", "\n<think>a</think>b", reasoning="open") == [("reasoning", "a"), "b"]


def test_nothing_of_a_call_goes_out_before_its_name_ends() -> None:
    parser = TextToolsParser("hermes", TOOLS)
    assert parser.feed('<tool_call>{"arguments": {"city": "Paris"}, "name": "get_weather') == []
    first, *rest = parser.feed('"')
    assert first == ToolCallDelta("call00001", "get_weather", "")
    assert rest == [ToolCallDelta("call00001", "get_weather", '{"city": "Paris"}')]


def test_arguments_go_out_as_they_come() -> None:
    parser = TextToolsParser("hermes", TOOLS)
    parser.feed('<tool_call>{"name": "f", "arguments": ')
    assert parser.feed('{ "a') == [ToolCallDelta("call00001", "f", '{ "a')]
    assert parser.feed('": 1 }') == [ToolCallDelta("call00001", "f", '": 1 }')]
    assert parser.feed("}\n</tool_call") == []
    assert parser.feed(">") == [ToolCall("call00001", "f", '{ "a": 1 }')]


@pytest.mark.parametrize(
    ("format", "text"),
    [("qwen_coder", "<function=noop><parameter=a>1</parameter></function>"), ("pythonic", '[noop(a="1")]')],
)
def test_a_whole_call_comes_in_one_piece(format: str, text: str) -> None:
    assert FORMATS[format].streamed_tools is StreamedTools.WHOLE
    parser = TextToolsParser(format, TOOLS)
    batches = [parser.feed(character) for character in text]
    assert [batch for batch in batches if batch] == [
        [ToolCallDelta("call00001", "noop", '{"a": "1"}'), ToolCall("call00001", "noop", '{"a": "1"}')]
    ]


def test_a_call_without_closing_marker_is_sealed_by_what_follows() -> None:
    parser = TextToolsParser("llama3", TOOLS)
    assert not any(isinstance(frame, ToolCall) for frame in parser.feed(LLAMA + " "))
    assert parser.feed("x") == [ToolCall("call00001", "get_weather", '{"city": "Paris"}'), Append(" x")]


CLOSERS = {
    "hermes": "</tool_call>", "qwen_coder": "</function>", "pythonic": ")", "mistral": "]", "llama3": "}}",
    "json": "}}", "harmony": "}", "kimi": "<|tool_call_end|>", "glm": "</tool_call>", "deepseek": "<｜tool▁call▁end｜>",
    "minimax": "</invoke>",
}  # fmt: skip


@pytest.mark.parametrize("format", CLOSERS)
def test_a_text_that_is_cut_gives_no_call(format: str) -> None:
    writing = FORMATS[format].writing
    text = writing.calls([ToolCall("a", "get_weather", '{"city": "Paris"}')])
    end = text.rindex(CLOSERS[format]) + len(CLOSERS[format])
    assert told(format, text[:end]) == [PARIS]
    unfinished = 0
    for size in range(end):
        short = told(format, text[:size])
        assert len(short) <= 1
        if short and not isinstance(short[0], str):
            assert short[0][0] == "unfinished"  # type: ignore[index]
            unfinished += 1
        else:
            assert short == ([text[:size]] if size else []), "what was no call comes back"
    assert unfinished >= 8


def test_ids_differ_from_those_of_the_conversation() -> None:
    frames, parser = frames_of(
        "mistral", "[TOOL_CALLS]a[CALL_ID]x1[ARGS]{}[TOOL_CALLS]b[CALL_ID]x2[ARGS]{}", taken={"x1"}
    )
    assert [frame.id for frame in frames if isinstance(frame, ToolCall)] == ["call00002", "x2"]
    assert parser.sealed == 2


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no text format is named 'xml'; there are hermes"):
        TextToolsParser("xml")


# ---------------------------------------------------------------------------------------- the other direction


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("auto", "none")])
def test_what_is_written_is_read_back(format: str) -> None:
    writing = FORMATS[format].writing
    parts: list[TextPart | ToolCall] = [
        TextPart("Let me look."),
        ToolCall("id1", "get_weather", '{"city": "Zürich \\"x\\"\\n", "days": 2}'),
        ToolCall("id2", "noop", "{}"),
        TextPart("And again:"),
        ToolCall("id3", "noop", '{"deep": {"a": [1, null, true, "é"]}}'),
    ]
    if FORMATS[format].streamed_tools is StreamedTools.WHOLE and format != "pythonic":
        parts[-1] = ToolCall("id3", "noop", '{"deep": "a\\n"}')
    short = told(format, writing.assistant(parts))
    calls = [item for item in short if not isinstance(item, str)]
    assert calls == [("call", part.name, part.parsed()) for part in parts if isinstance(part, ToolCall)]
    words = [item.strip() for item in short if isinstance(item, str) and item.strip()]
    assert words == ["Let me look.", "And again:"]


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("auto", "none")])
def test_tools_and_results_are_told(format: str) -> None:
    writing = FORMATS[format].writing
    told_tools = writing.describe(TOOLS)
    for word in ("get_weather", "Weather of a city", "city", "days", "noop"):
        assert word in told_tools
    result = ToolResultMessage("id1", "get_weather", 'sunny, "hot"')
    assert "sunny" in writing.result(result)
    assert "no such city" in writing.result(ToolResultMessage("id1", "get_weather", "", error="no such city"))


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("auto", "none")])
def test_a_call_that_is_no_json_goes_back_as_it_was(format: str) -> None:
    writing = FORMATS[format].writing
    assert "{broken" in writing.calls([InvalidToolCall("id", "noop", "{broken", "no JSON")])


# ----------------------------------------------------------------------------------------------- detection


@pytest.mark.parametrize(
    ("model", "format"),
    [
        ("qwen2.5:7b", "hermes"), ("Qwen/Qwen3-Coder-30B-A3B", "qwen_coder"), ("qwen3-coder:30b", "qwen_coder"),
        ("Qwen3.5-4B", "qwen_coder"), ("NousResearch/Hermes-3-Llama-3.1-8B", "hermes"), ("llama3.2:1b", "llama3"),
        ("meta-llama/Llama-4-Scout", "pythonic"), ("gpt-oss:20b", "harmony"), ("mistral-nemo", "mistral"),
        ("Ministral-8B-Instruct", "mistral"), ("SmolLM2-135M-Instruct", None), ("gemma-3", None),
    ],
)  # fmt: skip
def test_a_format_is_detected_by_name(model: str, format: str | None) -> None:
    assert detect(model) == format


def test_a_chat_template_goes_before_the_name() -> None:
    assert detect("llama3", "… <tool_call> {arguments} …") == "hermes"
    assert detect("llama3", "{{ message.content }}") == "llama3"
    assert detect("unknown", "{{ '[TOOL_CALLS]' + calls }}") == "mistral"
