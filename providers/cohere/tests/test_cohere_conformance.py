"""The contract, for Cohere's chat API."""

from promptport_cohere.conformance import ChatContract


class TestChat(ChatContract):
    pass
