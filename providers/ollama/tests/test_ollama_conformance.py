"""The contract, for Ollama's native API over aiohttp and over an httpx client of the caller's."""

from __future__ import annotations

import httpx

from promptport.client import LLMClient
from promptport.stream import Timeouts
from promptport_ollama import OllamaClient
from promptport_ollama.conformance import OllamaContract


class TestOllama(OllamaContract):
    pass


class OllamaOverHttpx(OllamaClient):
    """Closes the httpx client too, for the kit knows of no caller that would."""

    def __init__(self, base_url: str, timeouts: Timeouts) -> None:
        self.lent = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None))
        super().__init__(base_url=base_url, timeouts=timeouts, http_client=self.lent)

    async def _aclose(self) -> None:
        await super()._aclose()
        await self.lent.aclose()


class TestOllamaOverHttpx(OllamaContract):
    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        return OllamaOverHttpx(base_url, timeouts)
