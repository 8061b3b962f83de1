"""The Ollama provider of promptport: native ``/api/chat``, on a server of one's own or on ollama.com."""

from promptport_ollama._client import OllamaClient

__all__ = ["OllamaClient", "client"]

client = OllamaClient
"""What the entry point ``ollama`` of ``promptport.providers`` names."""
