"""Which format a model writes its calls in. Pure.

Rule: a chat template that knows calls is the truth; else the model's name is a good guess; else ``None``.
"""

from __future__ import annotations

import re

__all__ = ["detect"]

# In order: the format, what a template of it holds, what it does not.
_SIGNS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("harmony", ("<|channel|>", "<|message|>"), ()),
    ("kimi", ("<|tool_call_argument_begin|>",), ()),
    ("deepseek", ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"), ()),
    ("minimax", ("minimax:tool_call", "<invoke name="), ()),
    ("glm", ("<tool_call>", "<arg_key>"), ()),
    ("qwen_coder", ("<function=", "<parameter="), ()),
    ("mistral", ("[TOOL_CALLS]",), ()),
    ("pythonic", ("<|tool_call_start|>[",), ()),
    ("pythonic", ("func_name1(",), ()),
    ("hermes", ("<tool_call>", "arguments"), ()),
    ("llama3", ("ipython", '"parameters": '), ()),
)
_NAMES = (
    ("harmony", r"gpt-?oss"),
    ("qwen_coder", r"qwen-?3-?coder|qwen-?3\.[5-9]"),
    ("kimi", r"kimi-?(?:k2|linear)"),
    ("glm", r"glm-?(?:4\.[5-9]|[5-9])"),
    ("deepseek", r"deepseek-?(?:v3(?!\.[2-9])|r1(?!-distill)|chat|reasoner)"),
    ("minimax", r"minimax-?m2"),
    ("hermes", r"hermes|qwen|qwq|smollm-?3"),
    ("pythonic", r"llama-?4|lfm-?2"),
    ("llama3", r"llama-?3"),
    ("mistral", r"mistral|mixtral|ministral|magistral|devstral|codestral|pixtral"),
)


def detect(model_id: str, chat_template: str | None = None) -> str | None:
    """The name of the format that the model was trained on.

    Args:
        model_id: the model's name, in any provider's spelling.
        chat_template: its Jinja template, where the server shows it.

    Returns:
        A name in ``FORMATS``, or ``None`` where nothing tells.
    """
    if chat_template:
        for name, present, absent in _SIGNS:
            if all(sign in chat_template for sign in present) and not any(sign in chat_template for sign in absent):
                return name
    lower = model_id.replace("\\", "/").rpartition("/")[2].lower()  # folders say nothing of the files in them
    return next((name for name, pattern in _NAMES if re.search(pattern, lower)), None)
