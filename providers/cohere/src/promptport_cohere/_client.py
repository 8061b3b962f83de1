"""`CohereClient`: Cohere's chat API, version 2, by key."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from promptport.provider import HTTPClient, LLModel, ModelCapabilities, ProtocolError, count_in, dict_in
from promptport_cohere._decode import ChatDecoder, decode_complete
from promptport_cohere._models import CHECKED, DESCRIBED, capabilities_of
from promptport_cohere._request import chat_body

__all__ = ["CohereClient"]


class CohereClient(HTTPClient):
    """Cohere's chat API; ``pp.client("cohere", …)`` makes one. It belongs to one event loop."""

    provider = "cohere"
    described_models = DESCRIBED
    described_on = CHECKED
    answer_dialect = "cohere"
    base_url = "https://api.cohere.com"
    path = "/v2/chat"
    models_path = "/v1/models?endpoint=chat&page_size=1000"
    url_variable = "CO_API_URL"
    key_variables = ("CO_API_KEY", "COHERE_API_KEY")
    body = chat_body
    decoder = ChatDecoder
    complete = decode_complete

    def __init__(self, **options: Any) -> None:
        """Create a client.

        Args:
            options: See `promptport.provider.HTTPClient`. ``api_key``: Default: ``CO_API_KEY``, then
                ``COHERE_API_KEY``. ``base_url``: Without ``/v2``. Default: ``CO_API_URL``, then Cohere's.

        Raises:
            ConfigurationError: No key, or a key, URL or option that cannot be used.
        """
        super().__init__(**options)

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What you declared, what `discover` found, or what the table of models says; without network."""
        return model.capabilities or self._discovered.get(model.id) or capabilities_of(model.id)

    async def _describe(self, model: LLModel) -> ModelCapabilities:
        told = await self._get(f"/v1/models/{quote(model.id, safe='')}", model.id)
        length = count_in(dict_in(told).get("context_length"))
        if length is None:
            raise ProtocolError(f"{self.provider}: the server does not describe a model. Check the base_url.")
        return msgspec.structs.replace(capabilities_of(model.id), context_length=length)
