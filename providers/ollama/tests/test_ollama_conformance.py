"""The contract, for Ollama's own API."""

from typing import ClassVar

from promptport_ollama.conformance import ChatContract


class TestChat(ChatContract):
    pass


class TestChatWithIds(ChatContract):
    """Servers since 0.12.10 give each call an id."""

    sends_call_ids: ClassVar[bool] = True
