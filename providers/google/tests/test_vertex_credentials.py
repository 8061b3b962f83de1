"""Google's credentials by the real google-auth, against a token server on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import promptport_google
from promptport.errors import AuthenticationError, ConfigurationError, TransportError
from promptport.messages import Prompt
from promptport.models import LLModel
from promptport.provider import GoogleCredentials
from promptport.testing import WireResponse, WireServer

vertex_client: Any = promptport_google.vertex_client
service_account: Any = pytest.importorskip("google.oauth2.service_account")

STOP = WireResponse(b'data: {"candidates":[{"finishReason":"STOP"}]}\r\n\r\n')
HI = Prompt.of("Hi")
MODEL = LLModel("google-vertex", "gemini-2.5-pro")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def info(private_key: str) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "project-of-the-file",
        "private_key": private_key,
        "private_key_id": "1",
        "client_email": "kit@example.iam.gserviceaccount.com",
        "token_uri": "",
    }


def token(text: str = "ya29.secret", seconds: int = 3600) -> WireResponse:
    body = {"access_token": text, "expires_in": seconds, "token_type": "Bearer"}
    return WireResponse(json.dumps(body).encode(), content_type="application/json")


async def test_a_token_is_fetched_once_and_sent(info: dict[str, Any]) -> None:
    async with WireServer(token()) as tokens, WireServer(STOP, STOP) as server:
        given = service_account.Credentials.from_service_account_info({**info, "token_uri": f"{tokens.url}/token"})
        given = given.with_quota_project("who-pays")
        async with vertex_client(base_url=server.url, credentials=given, location="eu") as made:
            for _ in range(2):
                await made.execute_streaming_with_tools(HI, MODEL).message()
        assert len(tokens.requests) == 1
        assert b"jwt-bearer" in tokens.requests[0].body
        for request in server.requests:
            assert request.headers["authorization"] == "Bearer ya29.secret"
            assert request.headers["x-goog-user-project"] == "who-pays"
            resource = "projects/project-of-the-file/locations/eu/publishers/google/models/gemini-2.5-pro"
            assert request.path == f"/v1beta1/{resource}:streamGenerateContent"


async def test_one_at_a_time(info: dict[str, Any]) -> None:
    async with WireServer(token()) as tokens:
        given = service_account.Credentials.from_service_account_info({**info, "token_uri": f"{tokens.url}/token"})
        found = GoogleCredentials(given, provider="google-vertex")
        headers = await asyncio.gather(*[found.headers() for _ in range(20)])
        assert len(tokens.requests) == 1
    assert headers == [{"authorization": "Bearer ya29.secret"}] * 20


async def test_a_token_that_expired_is_renewed(info: dict[str, Any]) -> None:
    async with WireServer(token("ya29.first", 1), token("ya29.second")) as tokens:
        given = service_account.Credentials.from_service_account_info({**info, "token_uri": f"{tokens.url}/token"})
        found = GoogleCredentials(given, provider="google-vertex")
        assert [(await found.headers())["authorization"] for _ in range(3)] == [
            "Bearer ya29.first",  # google-auth takes a token for expired minutes before it is
            "Bearer ya29.second",
            "Bearer ya29.second",
        ]


async def test_the_applications_default_credentials(
    info: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WireServer(token()) as tokens:
        file = tmp_path / "credentials.json"
        file.write_text(json.dumps({**info, "token_uri": f"{tokens.url}/token"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        found = GoogleCredentials(None, provider="google-vertex")
        assert await found.headers() == {"authorization": "Bearer ya29.secret"}
        assert found.project == "project-of-the-file"


async def test_credentials_without_a_project() -> None:
    from google.oauth2.credentials import Credentials

    given: Any = Credentials("ya29.user")  # type: ignore[no-untyped-call]
    async with WireServer(STOP) as server:
        async with vertex_client(base_url=server.url, credentials=given) as made:
            with pytest.raises(ConfigurationError, match="Pass project="):
                await made.execute(HI, MODEL)
        assert server.requests == []
        async with vertex_client(base_url=server.url, credentials=given, project="mine") as made:
            await made.execute_streaming_with_tools(HI, MODEL).message()
        assert server.requests[0].headers["authorization"] == "Bearer ya29.user"
        assert "/projects/mine/" in server.requests[0].path


async def test_google_auth_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(ConfigurationError, match=r"promptport\[vertex\]"):
        await GoogleCredentials(None, provider="google-vertex").headers()


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(ConfigurationError, match="gcloud auth application-default login"):
        await GoogleCredentials(None, provider="google-vertex").headers()


async def test_a_server_of_tokens_that_refuses(info: dict[str, Any]) -> None:
    refused = WireResponse(b'{"error":"invalid_grant"}', status=400, content_type="application/json")
    async with WireServer(refused) as tokens, WireServer() as server:
        given = service_account.Credentials.from_service_account_info({**info, "token_uri": f"{tokens.url}/token"})
        async with vertex_client(base_url=server.url, credentials=given) as made:
            with pytest.raises(AuthenticationError, match="access token"):
                await made.execute(HI, MODEL)
        assert server.requests == []


async def test_a_server_of_tokens_that_is_not_there(info: dict[str, Any]) -> None:
    async with WireServer() as gone:
        address = gone.url
    given = service_account.Credentials.from_service_account_info({**info, "token_uri": f"{address}/token"})
    with pytest.raises(TransportError, match="not reached"):
        await GoogleCredentials(given, provider="google-vertex").headers()


async def test_the_token_is_in_no_error(info: dict[str, Any]) -> None:
    quoted = WireResponse(
        b'{"error":{"code":401,"message":"bad token ya29.secret","status":"UNAUTHENTICATED"}}',
        status=401,
        content_type="application/json",
    )
    async with WireServer(token()) as tokens, WireServer(quoted) as server:
        given = service_account.Credentials.from_service_account_info({**info, "token_uri": f"{tokens.url}/token"})
        async with vertex_client(base_url=server.url, credentials=given) as made:
            with pytest.raises(AuthenticationError) as caught:
                await made.execute(HI, MODEL)
    assert "ya29.secret" not in str(caught.value)
