"""Keys that somebody quoted, taken out of an error. Pure.

Rule: this is done once, where all errors of a client pass, for all that a traceback or a pickle shows of one. A key is
found as it is, and as URLs, JSON, HTML, Basic authentication and dumps write it: also where only some of its letters
are escaped, and where a line end or a quotation mark stands inside.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from promptport.errors import PromptportError

__all__ = ["redact", "redacted"]

_REDACTED = "[redacted]"
_SECRET_LENGTH = 4  # a shorter "key" (a local server's "x") stands in too many words to be taken out of them
_SPLIT_LENGTH = 8  # a shorter one, with something inside, stands in a text by chance
_ENCODED_LENGTH = 8  # of base64: a shorter piece of it stands in other words too
_CHAIN_LENGTH = 50


def redacted(text: str, secrets: Collection[str]) -> str:
    """The text without the secrets; those that are shorter than four characters stay.

    Args:
        text: What somebody else wrote.
        secrets: Keys, tokens and passwords.
    """
    return _without(text, _written(secrets))


class _Written(NamedTuple):
    """The secrets as somebody may quote them: the longest texts first, and patterns."""

    texts: list[str]
    patterns: list[re.Pattern[str]]


def _written(secrets: Collection[str]) -> _Written | None:
    """``None`` if there is nothing to find."""
    long = [secret for secret in secrets if len(secret) >= _SECRET_LENGTH]
    forms = {form for secret in long for form in _forms(secret)}
    patterns = [re.compile(_spelled(secret), re.IGNORECASE) for secret in sorted(long, key=len, reverse=True)]
    return _Written(sorted(forms, key=len, reverse=True), patterns) if forms else None


def _spelled(secret: str) -> str:
    """A pattern for the secret with any of its letters escaped, or in hexadecimal with something between the bytes."""
    between = _BETWEEN if len(secret) >= _SPLIT_LENGTH else ""
    letters = between.join(map(_letter, secret))
    numbers = "[ :,-]".join([f"(?:0x)?{byte:02x}" for byte in secret.encode("utf-8", "surrogatepass")])
    return f"{letters}|{numbers}"


_BETWEEN = r"(?:\\+[nrt]|[\s\"'+\u200b\u2060\u00ad]|\\(?![nrtux])){0,8}"


def _letter(letter: str) -> str:
    code = ord(letter)
    escaped = "".join([f"%(?:25)*{byte:02x}" for byte in letter.encode("utf-8", "surrogatepass")])
    forms = [f"(?-i:{re.escape(letter)})", escaped, rf"\\+u\{{?0*{code:x}\}}?", f"&(?:amp;)*#0*{code};"]
    forms += [f"&(?:amp;)*#x0*{code:x};", *([rf"\\+x{code:02x}"] if code < 256 else [])]
    return f"(?:{'|'.join(forms)})"


def _forms(secret: str) -> Iterator[str]:
    data = secret.encode("utf-8", "surrogatepass")
    escaped = json.dumps(secret)[1:-1]
    yield from (secret, escaped, escaped.replace("/", "\\/"), repr(secret)[1:-1], html.escape(secret))
    yield escaped.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")  # as Go writes it
    yield "".join([f"\\u{ord(letter):04x}" for letter in secret])
    for safe in ("", "/"):
        once = quote(data, safe=safe)
        yield from (once, _lower_escapes(once), quote(once, safe=safe))
    yield from (data.hex(), data.hex().upper())
    for before in range(3):  # inside base64, a text looks in one of three ways: by where it begins
        core = b64encode(b"\0" * before + data).decode()[(0, 2, 3)[before] :]
        if core.endswith("="):
            core = core.rstrip("=")[:-1]  # its last letter depends on what follows
        if len(core) >= _ENCODED_LENGTH:
            yield from (core, core.replace("+", "-").replace("/", "_"), quote(core, safe=""))


def _lower_escapes(text: str) -> str:
    parts = text.split("%")
    return "%".join([parts[0], *[part[:2].lower() + part[2:] for part in parts[1:]]])


def _without(text: str, written: _Written | None) -> str:
    if written is None:
        return text
    for form in written.texts:
        if form in text:
            text = text.replace(form, _REDACTED)
    for pattern in written.patterns:
        text = pattern.sub(_REDACTED, text)
    return text


def redact(error: BaseException, secrets: Collection[str]) -> None:
    """Takes the secrets out of an error, its notes and attributes, and of all that a traceback prints with it.

    An exception of another library whose text cannot be changed gives way to a `PromptportError` with its class's name.

    Args:
        error: The error; it is changed in place, and its causes with it.
        secrets: Keys, tokens and passwords.
    """
    written = _written(secrets)
    if written is None:
        return
    for current in _chain(error):
        _redact_one(current, written)
        for link in ("__cause__", "__context__"):
            linked = getattr(current, link)
            if linked is not None:
                _redact_one(linked, written)
                if _quotes(linked, written):
                    suppressed = current.__suppress_context__
                    stand_in = PromptportError(f"{type(linked).__name__} {_REDACTED}")
                    stand_in.__cause__, stand_in.__context__ = linked.__cause__, linked.__context__
                    stand_in.__suppress_context__ = linked.__suppress_context__
                    stand_in.__traceback__ = linked.__traceback__
                    setattr(current, link, stand_in)
                    current.__suppress_context__ = suppressed


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, each once; what `redact` puts in its place is seen too."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < _CHAIN_LENGTH:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [linked for linked in (current.__cause__, current.__context__) if linked is not None]
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions


def _redact_one(error: BaseException, written: _Written) -> None:
    try:
        error.args = tuple([_redacted_value(value, written) for value in error.args])
        for name, value in list(vars(error).items()):
            changed = _redacted_value(value, written)
            if changed is not value:
                setattr(error, name, changed)
    except Exception:  # noqa: S110 - one that cannot be changed is replaced, where it still quotes
        pass


def _redacted_value(value: Any, written: _Written) -> Any:
    if isinstance(value, str):
        return _without(value, written)
    if isinstance(value, bytes | bytearray):
        text = value.decode("latin-1")
        changed = _without(text, written)
        return value if changed == text else type(value)(changed.encode("latin-1", "replace"))
    if type(value) in (list, tuple, set, frozenset):
        return type(value)([_redacted_value(item, written) for item in value])
    if type(value) is dict:
        return {_redacted_value(key, written): _redacted_value(item, written) for key, item in value.items()}
    return value


def _quotes(error: BaseException, written: _Written) -> bool:
    try:
        text = f"{error} {error!r}"
    except Exception:
        return True
    return _without(text, written) != text
