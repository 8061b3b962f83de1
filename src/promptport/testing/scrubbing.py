"""`Scrubber`: takes keys, and whatever else a person names, out of what is written to disk.

Rule: it fails safe. What cannot be read is not written, and what is still in the text at the end is an error, not a
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

from promptport.errors import InvalidInputError

__all__ = ["SCRUBBED", "Scrubber"]

SCRUBBED = "[scrubbed]"

_SECRET_NAME = re.compile(r"auth|cookie|credential|key|passw|secret|signature|token|session|account", re.IGNORECASE)
_NO_SECRET = re.compile(r"^(x-|anthropic-)?ratelimit|^content-|token(s|_count|-limit)$|keep-alive", re.IGNORECASE)

_KEYS = (
    r"sk-[A-Za-z0-9_-]{12,}",  # OpenAI, Anthropic, OpenRouter, DeepSeek …
    r"(?:gsk|xai|pplx|nvapi|hf|fw|csk|r8|tgp)[-_][A-Za-z0-9_-]{12,}",
    r"AIza[A-Za-z0-9_-]{20,}",  # Google
    r"ya29\.[A-Za-z0-9._-]{10,}",
    r"(?:AKIA|ASIA)[A-Z0-9]{12,}",  # AWS
    r"(?:ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{16,}",
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+",  # JSON web tokens
    r"(?<=Bearer )[A-Za-z0-9._~+/=-]{8,}",
)
_SHORTEST = 4  # a shorter value stands in too many words to be taken out of them


class Scrubber:
    """Replaces secrets by `[scrubbed]`.

    What it knows: values of headers and query parameters whose names sound like keys, the usual forms of keys, and the
    patterns and values that it is given.
    """

    def __init__(self, patterns: Iterable[str] = (), values: Iterable[str] = ()) -> None:
        """Make a scrubber.

        Args:
            patterns: Regular expressions; what they match is replaced, or their first group if they have one.
            values: Texts to replace, such as a key; shorter than 4 characters they are ignored.

        Raises:
            InvalidInputError: A pattern is not a regular expression, or matches the empty text.
        """
        self._patterns: list[re.Pattern[str]] = [re.compile(pattern) for pattern in _KEYS]
        for pattern in patterns:
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise InvalidInputError(f"scrub: {pattern!r} is not a regular expression: {error}.") from None
            if compiled.search(""):
                raise InvalidInputError(f"scrub: {pattern!r} matches the empty text. Make it match a secret.")
            self._patterns.append(compiled)
        self._values: set[str] = set()
        self.learn(*values)

    def learn(self, *values: str) -> None:
        """From now on, replace these values everywhere."""
        self._values.update(value for value in values if len(value) >= _SHORTEST)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers without secrets, whose values are learned; names in lower case and sorted."""
        out = {}
        for name, value in sorted(headers.items()):
            lowered = name.lower()
            if self._is_secret(lowered):
                self.learn(value, value.partition(" ")[2])
                out[lowered] = SCRUBBED
            else:
                out[lowered] = self.text(value)
        return out

    def query(self, query: str) -> str:
        """A query without secrets, whose values are learned."""
        parts = []
        for part in query.split("&") if query else ():
            name, mark, value = part.partition("=")
            if self._is_secret(name):
                self.learn(value)
                value = SCRUBBED
            parts.append(f"{name}{mark}{self.text(value)}")
        return "&".join(parts)

    def text(self, text: str) -> str:
        """The text without secrets."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, SCRUBBED)
        for pattern in self._patterns:
            text = pattern.sub(_replaced, text)
        return text

    def chunks(self, chunks: Iterable[bytes]) -> list[bytes]:
        """A body in its chunks without secrets; one that is cut in two is found, and goes with its first chunk.

        Raises:
            ValueError: The body is not text, and so cannot be searched.
        """
        pieces = list(chunks)
        whole = b"".join(pieces)
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            raise ValueError("the body is not text") from None
        clean = self.text(text)
        if clean == text:
            return pieces
        # Where the same prefix and suffix stand around each replacement, the cuts are kept; inside one there is none.
        ends, at = [], 0
        for piece in pieces[:-1]:
            at += len(piece)
            ends.append(len(self.text(_decoded_prefix(whole, at)).encode()))
        encoded = clean.encode()
        offsets = [0, *sorted(min(end, len(encoded)) for end in ends), len(encoded)]
        return [encoded[start:end] for start, end in pairwise(offsets) if start < end]

    def check(self, text: str) -> None:
        """Look once more at what is about to be written.

        Raises:
            ValueError: A learned value, or the form of a key, is in it.
        """
        if any(value in text for value in self._values) or self.text(text) != text:
            raise ValueError("a secret is left in it")

    @staticmethod
    def _is_secret(name: str) -> bool:
        return _SECRET_NAME.search(name) is not None and _NO_SECRET.search(name) is None


def _replaced(match: re.Match[str]) -> str:
    if match.re.groups and match.group(1):
        start, end = match.start(1) - match.start(), match.end(1) - match.start()
        whole = match.group()
        return whole[:start] + SCRUBBED + whole[end:]
    return SCRUBBED


def _decoded_prefix(whole: bytes, size: int) -> str:
    return whole[:size].decode("utf-8", "ignore")
