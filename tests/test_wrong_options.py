"""Options of the wrong type, for every provider and preset: refused at once, in promptport's words."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Any

import pytest

import promptport as pp

NAMES = sorted({point.name for point in entry_points(group="promptport.providers")} - {"local"})
WRONG: list[tuple[str, Any]] = [
    *[("api_key", key) for key in ("a\n", "a\r\nx: 1", "a b", "a\x00", "\u00e9", 5, b"abcd", ["abcd"])],
    *[("timeouts", timeouts) for timeouts in (5, "5", {"total": 5})],
    *[("headers", headers) for headers in ("a: b", [("a", "b")], {"a": 5}, {5: "a"}, {"a": "b\n"}, {"a b": "c"}, 5)],
    *[("limits", limits) for limits in (5, {"answer": 5})],
    *[("max_connections", number) for number in (0, -1, "5", 1.5, True)],
    *[("http_client", http_client) for http_client in (5, "x", object)],
    *[
        ("base_url", base_url)
        for base_url in (5, b"http://x", "x y", "ftp://x", "http://", "http://x?y=1", "http://x#y")
    ],
    ("ssl_context", True),
    ("ssl_context", "/etc/ssl"),
    ("origin", 5),
    ("temprature", 0.5),
]


@pytest.mark.parametrize("name", NAMES)
def test_an_option_of_the_wrong_type_is_refused_at_creation(name: str) -> None:
    for option, value in WRONG:
        options = {"api_key": "test-key", "base_url": "http://127.0.0.1:9", option: value}
        with pytest.raises((pp.InvalidInputError, pp.ConfigurationError)) as raised:
            pp.client(name, **options)
        said = str(raised.value)
        word = {"api_key": "key", "headers": "header"}.get(option, option)
        assert re.search(word, said, re.IGNORECASE), (option, value, said)
        assert "__init__" not in said
        assert "abcd" not in said


@pytest.mark.parametrize("name", [5, None, ["openai"], object(), b"openai"])
def test_a_provider_has_a_name(name: Any) -> None:
    with pytest.raises(pp.InvalidInputError, match="Write client"):
        pp.client(name)
    with pytest.raises(pp.PromptportError):
        pp.connect(name)


@pytest.mark.parametrize("seconds", ["5", -1, 0, float("nan"), True, [1]])
def test_timeouts_are_seconds(seconds: Any) -> None:
    with pytest.raises(pp.InvalidInputError, match="total"):
        pp.Timeouts(total=seconds)
