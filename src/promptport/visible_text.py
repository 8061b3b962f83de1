"""Text that somebody else wrote, made fit for a terminal. Pure.

Rule: nothing that a model, a tool or a server wrote reaches a terminal raw. `visible` is the one function that text
passes; `visible_json` is its twin for JSON, which stays the same value.
"""

from __future__ import annotations

import json
import re

__all__ = ["visible", "visible_json"]

_CONTROLS = (
    "\x00-\x08\x0b-\x1f\x7f"  # C0 but for tab and line feed, and DEL
    "\x80-\x9f"  # C1: one byte that some terminals read as ESC [ or ESC ]
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi: text that reads in another order than it stands
    "\u2028\u2029\ufff9-\ufffb"  # other line ends, interlinear notes
    "\ud800-\udfff"  # halves of characters, which no output can encode
    "\U000e0000-\U000e007f"  # tags: letters that nobody sees
)
_UNSAFE = re.compile(f"[{_CONTROLS}]")
_UNSAFE_IN_LINE = re.compile(f"[{_CONTROLS}\t\n]")


def visible(text: str, *, one_line: bool = False) -> str:
    r"""Return the text with its control characters written out, as in ``\x1b``.

    Args:
        text: What somebody else wrote.
        one_line: Write out tabs and line ends too, for what must stay on its line.
    """
    return (_UNSAFE_IN_LINE if one_line else _UNSAFE).sub(_written, text)


def visible_json(data: bytes) -> str:
    """Return JSON of the same value, whose control characters are JSON's own escapes."""
    return _UNSAFE.sub(_written_in_json, data.decode())


def _written(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _written_in_json(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if match[0] != "\x7f" else "\\u007f"
