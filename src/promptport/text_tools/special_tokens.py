"""Special tokens in what users, tools and models say. Pure.

Rule: in a chat template's text, a token that ends a turn is one wherever it stands, and so is a tag that ends a tool's
result. So a blank goes into those that stand in contents: people and models still read them, and nothing obeys them.
Instructions are the program's own words, and stay as they are.

The tokens are those of the chat templates and tokenizers of Llama, Qwen, Mistral, Gemma, gpt-oss, DeepSeek, GLM, Kimi,
MiniMax, Phi, Granite, Command, EXAONE, Seed, InternLM, Nemotron, Baichuan, LongCat and Hunyuan.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from promptport.frames import InvalidToolCall, Reasoning, ToolCall, parse_arguments
from promptport.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    Prompt,
    TextPart,
    ToolResultMessage,
    UserMessage,
)
from promptport.tools import ToolDescriptor

__all__ = ["defused", "defused_prompt", "defused_tool"]

_TAGS = (
    *("tool_call", "tool_response", "tool_calls", "tools", "think", "function_call", "function_calls", "response"),
    *("minimax:tool_call", "start_of_turn", "end_of_turn", "bos", "eos", "pad", "unk", "s", "sop", "eop", "eom"),
    *("eoh", "eoa", "role", "escape", "function", "parameter", "arg_key", "arg_value", "TOOLCALL", "TOOL_RESPONSE"),
    *("function_results", "invoke", "answer", "mask", "cls", "sep", "tool_output", "tool_result", "observation"),
)
_WORDS = (
    *("INST", "SYSTEM_PROMPT", "TOOL_CALLS", "TOOL_RESULTS", "TOOL_CONTENT", "AVAILABLE_TOOLS", "CALL_ID", "ARGS"),
    *("THINK", "IMG", "gMASK", "IMG_BREAK", "IMG_END", "AUDIO", "BEGIN_AUDIO", "TRANSCRIBE", "PREFIX", "MIDDLE"),
    *("SUFFIX", "MODEL_SETTINGS", "TOOL_RESPONSE", "BOS", "EOS", "EOT", "PAD", "UNK", "MASK", "CLS", "SEP", "sMASK"),
    *("STREAMING_PAD", "start_header_id", "end_header_id"),
)
_THINKING = re.compile(r"/?think>")
_TOKEN = re.compile(
    r"<(?=/?\|[^<>|\s]{1,64}\|?>)"  # <|im_start|> and its kind
    r"|<(?=[^<>|\s]{1,64}\|>)"  # <turn|>
    r"|<(?=/?\|[^<>]{0,64}\|>)|<(?=/?\|DSML\|)"  # DeepSeek's, whose bars are wide
    rf"|<(?=/?(?:{'|'.join(_TAGS)})>)"
    r"|<(?=/?(?:function|parameter)=)|<(?=(?:invoke|parameter)\s+name=)"
    r"|<(?=/?(?:start|end)_(?:of|function)_[a-z_]{1,40}>)"
    r"|<(?=/?(?:seed:|longcat_|steptml:|xai:|minimax:)\w{1,40}[ >])"
    r"|<(?=(?:extra_id_|SPECIAL_|reserved_|unused_?)\d{1,6}>)|<(?=[A-Z_]{2,40}_TOKEN>)"
    rf"|\[(?=/?(?:{'|'.join(_WORDS)})\])"
    r"|\[(?=\|[^\[\]|\s]{1,64}\|\])|\[(?=(?:UNUSED_TOKEN|control)_\d{1,6}\])"
    r"|<(?=<SYS>>|</SYS>>)"
    r"|\](?=[~!]{1,2}[a-z]?~?[\[\]])|\[(?=e~\[)"  # MiniMax's
)

_UNSEEN = (
    *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x180B, 0x1810),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
    *range(0xE0000, 0xE1000),
)
_FOLDED: dict[int, str | None] = dict.fromkeys(_UNSEEN)
_FOLDED |= {code: unicodedata.normalize("NFKC", chr(code)) for code in (*range(0xFF01, 0xFF5F), *range(0xFE50, 0xFE6C))}
"""What a tokenizer that cleans its text makes of a letter: nothing of one that nobody sees, the usual form of a wide or
small one. Each of the latter is one letter in both forms."""
_FOLDED = {code: letter for code, letter in _FOLDED.items() if letter is None or len(letter) == 1}


def defused(text: str) -> str:
    """The text, with a blank behind the first character of each token."""
    return _broken(text, _places(text))


def _places(text: str, *, thoughts: bool = True) -> list[int]:
    """Where the blanks go: behind the first character of each token, also of one with wide or unseen letters."""
    plain = text.isascii()
    folded = text if plain else text.translate(_FOLDED)
    ends = [match.end() for match in _TOKEN.finditer(folded)]
    if not thoughts:
        ends = [end for end in ends if not _THINKING.match(folded, end)]
    if not ends or len(folded) == len(text):
        return ends
    seen = [place for place, letter in enumerate(text) if _FOLDED.get(ord(letter), letter) is not None]
    return [seen[end - 1] + 1 for end in ends]


def _broken(text: str, places: Iterable[int]) -> str:
    pieces: list[str] = []
    start = 0
    for place in places:
        pieces += [text[start:place], " "]
        start = place
    return "".join([*pieces, text[start:]]) if pieces else text


def _defused_parts(parts: Sequence[Any], *, thoughts: bool = True) -> tuple[Any, ...]:
    """The parts, with their texts so; a token may begin in one and end in the next, where nothing stands between."""
    made: list[Any] = []
    run: list[TextPart] = []
    for part in [*parts, None]:
        if isinstance(part, TextPart):
            run.append(part)
            continue
        made += _defused_run(run, thoughts=thoughts)
        run = []
        if part is not None:
            made.append(part)
    return tuple(made)


def _defused_run(run: Sequence[TextPart], *, thoughts: bool) -> list[TextPart]:
    places = _places("".join([part.text for part in run]), thoughts=thoughts)
    if not places:
        return list(run)
    made: list[TextPart] = []
    begin = 0
    for part in run:
        end = begin + len(part.text)
        own = [place - begin for place in places if begin < place <= end]
        made.append(replace(part, text=_broken(part.text, own)))
        begin = end
    return made


def defused_prompt(prompt: Prompt) -> Prompt:
    """The prompt, with all that users, tools and models say in it so; its instructions stay."""
    return replace(prompt, messages=tuple(map(_defused_message, prompt.messages)))


def _defused_message(message: Message) -> Message:
    if isinstance(message, UserMessage):
        return UserMessage(_defused_parts(message.parts))
    if isinstance(message, AssistantMessage):
        # A model spells a token that it was told to repeat; sent back, it would be one. Its thoughts stay marked.
        parts = _defused_parts([_defused_part(part) for part in message.parts], thoughts=False)
        return message if parts == message.parts else replace(message, parts=parts)
    if isinstance(message, ToolResultMessage):
        output, error = message.output, message.error
        told = defused(output) if isinstance(output, str) else _defused_parts(output)
        names = {"call_id": defused(message.call_id), "name": defused(message.name)}
        return replace(message, output=told, error=None if error is None else defused(error), **names)
    return message


def _defused_part(part: AssistantPart) -> AssistantPart:
    if isinstance(part, ToolCall | InvalidToolCall):
        return replace(part, id=defused(part.id), name=defused(part.name), arguments=_defused_json(part.arguments))
    if isinstance(part, Reasoning) and part.provider_data is None:  # else a signature holds it as it is
        return replace(part, text=defused(part.text))
    return part


def _defused_json(arguments: str) -> str:
    """Arguments, whose texts and keys are so; escapes hide no token, for a template reads them too."""
    try:
        values = parse_arguments(arguments)
    except ValueError:
        return defused(arguments)
    made = _each_text(values, defused)
    return arguments if made == values else msgspec.json.encode(made).decode()


def defused_tool(tool: ToolDescriptor) -> ToolDescriptor:
    """The tool, with all texts of its description and schema so. What it is told of is not what is checked."""
    parameters = _each_text(tool.parameters, defused)
    return ToolDescriptor(tool.name, defused(tool.description), parameters, tool.strict)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _each_text(item, change) for key, item in value.items()}
    return [_each_text(item, change) for item in value] if isinstance(value, list | tuple) else value
