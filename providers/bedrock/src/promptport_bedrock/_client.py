"""`BedrockClient`: Converse and ConverseStream over HTTP, signed, or with a bearer key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from promptport.provider import (
    APIKey,
    Capability,
    ConfigurationError,
    HTTPClient,
    HTTPRequest,
    LLModel,
    ModelCapabilities,
    ProtocolError,
    Timeouts,
    check_base_url,
    is_loopback,
)
from promptport_bedrock._credentials import Signer, is_aws, region_of
from promptport_bedrock._decode import ConverseDecoder, decode_complete
from promptport_bedrock._models import base_id, capabilities_of
from promptport_bedrock._request import converse_body

__all__ = ["BedrockClient"]

_TOKEN = "AWS_BEARER_TOKEN_BEDROCK"  # noqa: S105 - the name of a variable
_ENDPOINTS = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL")
_RUNTIME, _CONTROL = "://bedrock-runtime", "://bedrock"
_STREAM = "application/vnd.amazon.eventstream"


class BedrockClient(HTTPClient):
    """Models on AWS Bedrock; ``pp.client("bedrock", …)`` makes one. It belongs to one event loop."""

    provider = "bedrock"
    tool_dialect = "bedrock"
    answer_dialect = "bedrock-strict"
    accept = _STREAM
    models_path = "/foundation-models"
    needs_key = False
    body: ClassVar[Any] = converse_body
    decoder: ClassVar[Any] = ConverseDecoder
    complete: ClassVar[Any] = decode_complete

    def __init__(
        self,
        *,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        profile: str | None = None,
        api_key: APIKey | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        **options: Any,
    ) -> None:
        """Create a client. Nothing is sent, and no credential is looked up, before the first request.

        Args:
            region: The AWS region. Default: the region in ``base_url``, ``AWS_REGION``, ``AWS_DEFAULT_REGION`` or the
                profile.
            access_key: An access key's id. Default: what botocore finds (environment, profile, SSO, roles).
            secret_key: The secret of ``access_key``.
            session_token: The token of temporary credentials.
            profile: A profile of ``~/.aws``.
            api_key: A Bedrock API key, or a function that gives one for each request. Default, for an address of
                AWS: ``AWS_BEARER_TOKEN_BEDROCK``.
            base_url: The server. Default: ``AWS_ENDPOINT_URL_BEDROCK_RUNTIME``, ``AWS_ENDPOINT_URL``, or the region's.
                Credentials of the environment go to addresses of AWS only.
            timeouts: The timeouts of a request.
            options: What else `HTTPClient` takes: ``headers``, ``http_client``, ``ssl_context``, ``max_connections`` …

        Raises:
            ConfigurationError: No region, credentials that contradict each other or that may not go to ``base_url``,
                or an address that cannot be used.
        """
        passed = bool(access_key or profile)
        _check_credentials(access_key, secret_key, session_token, profile, api_key)
        url = base_url or next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
        if url is not None:
            url = check_base_url(url, provider=self.provider)
        aws = url is None or is_aws(url)
        key = api_key if api_key is not None or passed or not aws else os.environ.get(_TOKEN)
        named = region_of(region, url, profile) if key is None or url is None else region
        if named is None and (key is None or url is None):
            raise ConfigurationError("bedrock: no AWS region. Pass region='us-east-1', or set AWS_REGION.")
        if key is None and not passed and not aws:
            raise ConfigurationError(
                "bedrock: credentials of the environment go to addresses of AWS only. Pass access_key and secret_key,"
                " profile or api_key for this base_url."
            )
        if url is None:
            suffix = ".cn" if str(named).startswith("cn-") else ""
            url = f"https://bedrock-runtime.{named}.amazonaws.com{suffix}"
        if key is not None and url.startswith("http://") and not is_loopback(url):
            raise ConfigurationError("bedrock: an API key goes over https only. Write the base_url with https://.")
        self._signer: Signer | None = None
        if key is None:
            self._signer = Signer(
                str(named),
                access_key=access_key,
                secret_key=secret_key,
                session_token=session_token,
                profile=profile,
            )
        super().__init__(api_key=key, base_url=url, timeouts=timeouts, **options)

    # ------------------------------------------------------------------------------------------- models

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What this model can do here; without network."""
        return model.capabilities or capabilities_of(model.id)

    async def models(self) -> list[LLModel]:
        """The foundation models of the region that answer in text.

        Raises:
            ProviderError: The server refused or was not reached.
            ProtocolError: What it answered is not a list of models.
        """
        listed = await self._get(self.models_path)
        entries = listed.get("modelSummaries") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise ProtocolError("bedrock: the server's list of models cannot be read. Check the base_url.")
        names = [
            entry.get("modelId")
            for entry in entries
            if isinstance(entry, dict) and "TEXT" in (entry.get("outputModalities") or ["TEXT"])
        ]
        return [LLModel(self.provider, name) for name in names if isinstance(name, str) and name]

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """The table's capabilities, corrected by what the region says of the model's input.

        Raises:
            ProviderError: The server refused or was not reached.
        """
        found, base = self.capabilities(model), base_id(model.id)
        if model.capabilities or not base:
            return found
        answer = await self._get(f"{self.models_path}/{quote(base, safe='')}", model.id)
        details = answer.get("modelDetails") if isinstance(answer, dict) else None
        modalities = details.get("inputModalities") if isinstance(details, dict) else None
        if not isinstance(modalities, list):
            return found
        known = msgspec.structs.replace(found, known=True)
        return known.with_(Capability.IMAGES) if "IMAGE" in modalities else known.without(Capability.IMAGES)

    # --------------------------------------------------------------------------------- what `HTTPClient` asks for

    def _path(self, model: LLModel, *, stream: bool) -> str:
        return f"/model/{quote(model.id, safe='')}/{'converse-stream' if stream else 'converse'}"

    async def _prepare(self, request: HTTPRequest) -> None:
        if request.method == "GET" and is_aws(request.url):  # lists are on the control plane
            request.url = request.url.replace(_RUNTIME, _CONTROL, 1)
        if self._signer is not None:
            await self._signer.sign(request)


def _check_credentials(
    access_key: str | None,
    secret_key: str | None,
    session_token: str | None,
    profile: str | None,
    api_key: APIKey | None,
) -> None:
    """One way to say who asks. Raises `ConfigurationError`."""
    if bool(access_key) != bool(secret_key) or (session_token and not access_key):
        raise ConfigurationError("bedrock: pass access_key and secret_key together, and session_token with them.")
    ways: Mapping[str, object] = {"access_key": access_key, "profile": profile, "api_key": api_key}
    given = [name for name, value in ways.items() if value]
    if len(given) > 1:
        raise ConfigurationError(f"bedrock: {' and '.join(given)} exclude each other. Pass one of them.")
