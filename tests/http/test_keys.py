"""A key goes only to whom it belongs, and is in nothing that an error shows."""

from __future__ import annotations

import asyncio
import html
import json
import pickle
import traceback
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import promptport as pp
from promptport.http import is_within
from promptport.http.redaction import redact, redacted
from promptport.provider import HTTPRequest, chat_provider
from promptport.testing import WireResponse, WireServer

KEY = "sk-secret-of-the-environment"
VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "openai-chat": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "ollama": "OLLAMA_API_KEY",
}
PROMPT = pp.Prompt.of("Hi.", max_tokens=9)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES.values(), "ANTHROPIC_AUTH_TOKEN", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)


async def refused(client: pp.LLMClient) -> pp.PromptportError:
    model = pp.LLModel(client.provider, "m")
    with pytest.raises(pp.PromptportError) as raised:
        await client.execute_streaming_with_tools(PROMPT, model).message()
    await client.aclose()
    return raised.value


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("by", ["argument", "variable"])
async def test_a_key_of_the_environment_goes_to_no_other_address(
    name: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[name], KEY)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"error": {"message": "who are you?"}}, 401))
        variable = {"ollama": "OLLAMA_HOST", "anthropic": "ANTHROPIC_BASE_URL"}.get(name, "OPENAI_BASE_URL")
        if by == "variable":
            monkeypatch.setenv(variable, server.url)
        options = {"base_url": server.url} if by == "argument" else {}
        error = await refused(pp.client(name, **options))
        passed = await refused(pp.client(name, api_key="sk-passed", **options))
    assert isinstance(error, pp.AuthenticationError)
    assert VARIABLES[name] in "".join(error.__notes__)
    assert not hasattr(passed, "__notes__")
    kept, sent = server.requests
    assert KEY not in str(kept.headers) + str(sent.headers)
    assert "authorization" not in kept.headers
    assert sent.headers["authorization"] == "Bearer sk-passed"


@pytest.mark.parametrize("name", VARIABLES)
def test_it_goes_home(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLES[name], KEY)
    options = {"base_url": "https://ollama.com"} if name == "ollama" else {}
    client: Any = pp.client(name, **options)
    assert KEY in client._known_secrets()
    assert KEY not in repr(client)


@pytest.mark.parametrize(
    ("url", "within"),
    [
        ("https://api.x.com/v2", True),
        ("https://API.X.com:443", True),
        ("https://eu.api.x.com", True),
        ("http://api.x.com", False),
        ("https://api.x.com:8443", False),
        ("https://evilapi.x.com", False),
        ("https://api.x.com.evil.com", False),
        ("https://api.x.com@evil.com", False),
        ("https://evil.com/api.x.com", False),
        ("https://evil.com#.api.x.com", False),
        ("nonsense", False),
    ],
)
def test_whose_address_it_is(url: str, within: bool) -> None:
    assert is_within(url, "https://api.x.com/v1") is within


@pytest.mark.parametrize(
    "host", ["evil.com%2f.{}", "evil.com%23.{}", "evil.com\\@{}", "{}%00.evil.com", "{}\\.evil.com"]
)
@pytest.mark.parametrize("name", [*VARIABLES, "google", "mistral", "cohere"])
def test_a_host_that_can_be_read_in_two_ways_is_refused(name: str, host: str) -> None:
    home = {"anthropic": "api.anthropic.com", "ollama": "ollama.com", "google": "generativelanguage.googleapis.com"}
    own = home.get(name, {"mistral": "api.mistral.ai", "cohere": "api.cohere.com"}.get(name, "api.openai.com"))
    with pytest.raises(pp.ConfigurationError, match="a host with characters that no host has"):
        pp.client(name, api_key="sk-1", base_url=f"https://{host.format(own)}/v1")


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("key", ["sk-1\n", "sk-1\r\nx-evil: 1", "sk 1", "sk-\u00e9", "sk-\x00", "sk-1\u2028"])
def test_a_key_with_a_line_end_is_refused(name: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pp.ConfigurationError, match="line end") as raised:
        pp.client(name, api_key=key, base_url="http://127.0.0.1:9")
    assert "sk" not in str(raised.value)
    with pytest.raises(pp.ConfigurationError, match="line end"):
        pp.client(name, api_key="sk-1", base_url="http://127.0.0.1:9", headers={"x-key": f"{key}\n"})
    if "\x00" not in key:
        monkeypatch.setenv(VARIABLES[name], key)
        with pytest.raises(pp.ConfigurationError, match="line end"):
            pp.client(name, **({"base_url": "https://ollama.com"} if name == "ollama" else {}))


@pytest.mark.parametrize("name", VARIABLES)
async def test_user_and_password_in_the_base_url(name: str) -> None:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"error": {"message": "not you: p@ss-word"}}, 403))
        url = server.url.replace("://", "://ann:p%40ss-word@")
        error = await refused(pp.client(name, base_url=url))
        assert "ss-word" not in f"{error!r} {error}"
        assert "127.0.0.1" not in server.requests[0].headers["authorization"]
        assert server.requests[0].headers["authorization"] == "Basic " + b64encode(b"ann:p@ss-word").decode()
        with pytest.raises(pp.ConfigurationError, match="user and password"):
            pp.client(name, base_url=url, api_key="sk-1")


# ------------------------------------------------------------------------------------------- redaction


def shown(error: BaseException) -> str:
    """All that a program could print of an error."""
    copy = pickle.loads(pickle.dumps(error))
    return "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(vars(copy)) + str(copy) + repr(copy)


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("where", ["event", "status", "request id", "code", "gateway"])
async def test_a_key_that_the_provider_quotes(name: str, where: str) -> None:
    key = "sk-very-secret-1"
    words = {"error": {"message": f"bad key {key}", "type": f"bad_{key}", "code": f"c-{key}"}, "request_id": f"r-{key}"}
    answer = {
        "event": WireResponse(
            json.dumps({**words, "type": "error"}).encode() + b"\n"
            if name == "ollama"
            else b"event: error\ndata: " + json.dumps({**words, "type": "error"}).encode() + b"\n\n"
        ),
        "status": WireResponse.json(words, 400),
        "request id": WireResponse.json({}, 500, {"x-request-id": f"r-{key}"}),
        "code": WireResponse.json({"error": {"message": "no", "code": key}}, 401),
        "gateway": WireResponse.json(words, 502, {"x-request-id": key}),
    }[where]
    async with WireServer(answer) as server:
        options = {"headers": {"x-gateway-token": key}} if where == "gateway" else {}
        client = pp.client(name, base_url=server.url, api_key=key, **options)
        error = await refused(client)
    assert key not in shown(error)


async def test_tokens_that_change_with_each_request() -> None:
    tokens = iter(["token-number-1", "token-number-2"])

    async def token() -> str:
        return next(tokens)

    marmot = chat_provider("marmot", "https://marmot.example")
    async with WireServer() as server:
        server.answer(lambda request: WireResponse.json({"error": request.headers["authorization"]}, 401))
        for number in (1, 2):
            client = marmot(base_url=server.url, api_key=token)
            error = await refused(client)
            assert "token-number" not in shown(error)
            assert server.requests[-1].headers["authorization"] == f"Bearer token-number-{number}"


async def test_a_key_in_the_query_and_a_signature() -> None:
    class Signing(chat_provider("marmot", "https://marmot.example", "MARMOT_KEY")):  # type: ignore[misc]
        key_query = "key"

        def _path(self, model: pp.LLModel, *, stream: bool) -> str:
            return f"/models/a%3Ab%2F{model.id}:stream?alt=sse"

        async def _prepare(self, request: HTTPRequest) -> None:
            assert request.body is not None
            request.headers["x-signature"] = f"signed-{len(request.body)}"

    async with WireServer() as server:
        server.answer(lambda request: WireResponse.json({"error": f"{request.query} {request.headers}"}, 403))
        error = await refused(Signing(base_url=server.url, api_key="sk/query+1"))
    (request,) = server.requests
    assert request.path == "/models/a%3Ab%2Fm:stream", "an encoded URL stays as it is"
    assert request.query == "alt=sse&key=sk%2Fquery%2B1"
    assert request.headers["x-signature"] == f"signed-{len(request.body)}"
    assert "authorization" not in request.headers
    assert "sk/query" not in shown(error)
    assert f"signed-{len(request.body)}" not in shown(error)


def test_causes_whose_text_cannot_be_changed() -> None:
    class Stubborn(Exception):
        def __str__(self) -> str:
            return "quotes sk-very-secret-1"

    error = pp.TransportError("no sk-very-secret-1", provider="p")
    error.__cause__ = Stubborn()
    error.__cause__.__context__ = ValueError("header b'sk-very-secret-1'", b"sk-very-secret-1")
    error.add_note("see sk-very-secret-1")
    redact(error, ["sk-very-secret-1", "x", ""])
    assert "sk-very" not in shown(error)
    assert "Stubborn" in shown(error)
    assert "ValueError" in shown(error)


ODD_KEY = 'sk-Ab/12+34=56&q"zTop'
WRITTEN = {
    "in a URL": quote(ODD_KEY, safe=""),
    "in a URL, small": quote(ODD_KEY, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d"),
    "in a URL in a URL": quote(quote(ODD_KEY, safe=""), safe=""),
    "in JSON": json.dumps(ODD_KEY)[1:-1],
    "in JSON of PHP": json.dumps(ODD_KEY)[1:-1].replace("/", "\\/"),
    "in JSON of Go": json.dumps(ODD_KEY)[1:-1].replace("&", "\\u0026"),
    "in HTML": html.escape(ODD_KEY),
    "in base64": b64encode(ODD_KEY.encode()).decode(),
    "in Basic": b64encode(f"user:{ODD_KEY}".encode()).decode(),
    "in base64 of a header": b64encode(f"Bearer {ODD_KEY}".encode()).decode(),
    "in base64 for URLs": b64encode(ODD_KEY.encode()).decode().translate(str.maketrans("+/", "-_")).rstrip("="),
    "in hexadecimal": ODD_KEY.encode().hex(),
}


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize("where", ["event", "status", "text", "request id"])
@pytest.mark.parametrize("name", ["openai-chat", "anthropic"])
async def test_a_key_that_is_quoted_in_another_spelling(name: str, where: str, way: str) -> None:
    quoted = WRITTEN[way]
    said = {"error": {"message": f"bad key <{quoted}>", "type": "bad", "code": quoted}, "type": "error"}
    answer = {
        "event": WireResponse(b"event: error\ndata: " + json.dumps(said).encode() + b"\n\n"),
        "status": WireResponse.json(said, 400),
        "text": WireResponse(f"no {quoted}.".encode(), status=500, content_type="text/plain"),
        "request id": WireResponse.json({}, 500, {"x-request-id": quoted, "request-id": quoted}),
    }[where]
    async with WireServer(answer) as server:
        error = await refused(pp.client(name, base_url=server.url, api_key=ODD_KEY))
    told = shown(error)
    core = quoted.rstrip("=")[3:-2]  # the first and last letters of base64 depend on what stands beside them
    assert core not in told
    assert "redacted" in told


def test_short_words_are_not_taken_for_a_key_in_base64() -> None:
    error = pp.TransportError("the key of user test is wrong: dGVz", provider="p")
    redact(error, ["key!", "x"])
    assert str(error) == "the key of user test is wrong: dGVz"


@pytest.mark.parametrize("verb", ["models", "discover"])
async def test_a_key_that_a_list_of_models_quotes(verb: str) -> None:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"error": {"message": ODD_KEY, "code": ODD_KEY}}))
        client = pp.client("ollama", base_url=server.url, api_key=ODD_KEY)
        asked = client.models() if verb == "models" else client.discover(pp.LLModel("ollama", "m"))
        found = (await asyncio.gather(asked, return_exceptions=True))[0]
        await client.aclose()
    if verb == "models":
        assert isinstance(found, pp.ProtocolError)
    assert not isinstance(found, BaseException) or ODD_KEY[4:-4] not in shown(found)


ESCAPES: list[Callable[[str], str]] = [
    lambda letter: letter,
    lambda letter: "".join([f"%{byte:02X}" for byte in letter.encode()]),
    lambda letter: "".join([f"%25{byte:02x}" for byte in letter.encode()]),
    lambda letter: f"\\u{ord(letter):04x}",
    lambda letter: f"\\\\u{ord(letter):04X}",
    lambda letter: f"\\x{ord(letter):02x}",
    lambda letter: f"&#{ord(letter)};",
    lambda letter: f"&#x{ord(letter):X};",
]
INSIDE = ["", "", "", "\n", "\r\n  ", "\\n", '" "', "' + '", "\u200b"]


@given(st.lists(st.tuples(st.sampled_from(ESCAPES), st.sampled_from(INSIDE)), min_size=21, max_size=21))
def test_a_key_is_found_whichever_of_its_letters_are_escaped_and_wherever_a_line_ends(ways: list[Any]) -> None:
    written = "".join([escape(letter) + inside for letter, (escape, inside) in zip(ODD_KEY, ways, strict=True)])
    assert redacted(f"no <{written}> here", [ODD_KEY]).startswith("no <[redacted]")


@pytest.mark.parametrize("between", [" ", ":", "-", ","])
def test_a_key_is_found_in_a_dump(between: str) -> None:
    dump = between.join([f"{byte:02x}" for byte in ODD_KEY.encode()])
    assert redacted(f"bytes: {dump}", [ODD_KEY]) == "bytes: [redacted]"
