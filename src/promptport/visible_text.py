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
    "\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff"  # without width, and no part of any writing
    "\ud800-\udfff"  # halves of characters, which no output can encode
    "\U000e0000-\U000e007f"  # tags: letters that nobody sees
)
_UNSAFE = re.compile(f"[{_CONTROLS}]")
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u200c\u200d\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0080-\U000e01ef"
)  # of prose and pictures; in a name they make two of one look
_UNSAFE_IN_LINE = re.compile(f"[{_CONTROLS}{_INVISIBLE}\t\n]")


_NOT_ASCII = re.compile("[^\x00-\x7f]")


def visible(text: str, *, one_line: bool = False) -> str:
    r"""Return the text with its control characters written out, as in ``\x1b``.

    Args:
        text: What somebody else wrote.
        one_line: Write out tabs, line ends and all that has no width too: for names, and for what a person decides on.
    """
    return (_UNSAFE_IN_LINE if one_line else _UNSAFE).sub(_written, text)


def visible_json(data: bytes, *, encoding: str = "utf-8") -> str:
    """Return JSON of the same value, whose control characters are JSON's own escapes.

    Args:
        data: The JSON.
        encoding: Of the output it goes to. What cannot be written in it is an escape too.
    """
    text = _UNSAFE.sub(_written_in_json, data.decode())
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return _NOT_ASCII.sub(_written_in_json, text)
    return text


def _written(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _written_in_json(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if match[0] != "\x7f" else "\\u007f"
