"""Where the server is: the ways to write it."""

from __future__ import annotations

import pytest

from promptport.errors import ConfigurationError
from promptport_ollama._server import server


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (None, "http://127.0.0.1:11434"),
        ("", "http://127.0.0.1:11434"),
        (" 'gpu' ", "http://gpu:11434"),
        ("gpu:8080", "http://gpu:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("[fe80::1]", "http://[fe80::1]:11434"),
        ("http://gpu", "http://gpu:80"),
        ("HTTPS://gpu", "https://gpu:443"),
        ("https://ollama.com", "https://ollama.com:443"),
        ("https://gpu:8443/ollama/", "https://gpu:8443/ollama"),
        ("gpu/ollama", "http://gpu:11434/ollama"),
        ("/ollama", "http://127.0.0.1:11434/ollama"),
    ],
)
def test_addresses(address: str | None, url: str) -> None:
    assert server(address) == url


def test_user_and_password_stay_for_the_transport() -> None:
    assert server("https://ann:p%40ss@gpu:8443") == "https://ann:p%40ss@gpu:8443"


@pytest.mark.parametrize("address", ["ftp://gpu", "gpu:port", "http://", "http://gpu?x=1", "g pu", "::1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        server(address)
