"""`BedrockClient`: Converse and ConverseStream over HTTP, signed, or with a bearer key."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from promptport.provider import (
    APIKey,
    AWSAccess,
    Capability,
    HTTPClient,
    HTTPRequest,
    LLModel,
    ModelCapabilities,
    dict_in,
)
from promptport_bedrock._decode import ConverseDecoder, decode_complete
from promptport_bedrock._models import CHECKED_ON, DESCRIBED, base_id, capabilities_of
from promptport_bedrock._request import converse_body

__all__ = ["BedrockClient"]


class BedrockClient(HTTPClient):
    """Models on AWS Bedrock; ``pp.client("bedrock", …)`` makes one. It belongs to one event loop."""

    provider = "bedrock"
    described_models = DESCRIBED
    described_on = CHECKED_ON
    tool_dialect = "bedrock"
    answer_dialect = "bedrock-strict"
    accept = "application/vnd.amazon.eventstream"
    models_path = "/foundation-models"
    model_lists = ("modelSummaries",)
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
            options: What else `HTTPClient` takes: ``timeouts``, ``headers``, ``http_client``, ``ssl_context`` …

        Raises:
            ConfigurationError: No region, credentials that contradict each other or that may not go to ``base_url``,
                or an address that cannot be used.
        """
        self._access = AWSAccess(
            provider=self.provider,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            profile=profile,
            api_key=api_key,
            base_url=base_url,
        )
        super().__init__(api_key=self._access.key, base_url=self._access.url, **options)

    # ------------------------------------------------------------------------------------------- models

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What this model can do here; without network."""
        return model.capabilities or self._discovered.get(model.id) or capabilities_of(model.id)

    # --------------------------------------------------------------------------------- what `HTTPClient` asks for

    def _model_id(self, entry: Any) -> Any:
        told = dict_in(entry)
        return told.get("modelId") if "TEXT" in (told.get("outputModalities") or ["TEXT"]) else None

    async def _describe(self, model: LLModel) -> ModelCapabilities | None:
        """The table's capabilities, corrected by what the region says of the model's input."""
        base = base_id(model.id)
        answer = await self._get(f"{self.models_path}/{quote(base, safe='')}", model.id) if base else None
        modalities = dict_in(dict_in(answer).get("modelDetails")).get("inputModalities")
        if not isinstance(modalities, list):
            return None
        known = msgspec.structs.replace(capabilities_of(model.id), known=True)
        return known.with_(Capability.IMAGES) if "IMAGE" in modalities else known.without(Capability.IMAGES)

    def _path(self, model: LLModel, *, stream: bool) -> str:
        return f"/model/{quote(model.id, safe='')}/{'converse-stream' if stream else 'converse'}"

    async def _prepare(self, request: HTTPRequest) -> None:
        await self._access.prepare(request)
