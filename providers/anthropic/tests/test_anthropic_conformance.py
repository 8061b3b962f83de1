"""The contract, for Anthropic's API through the real SDK."""

from promptport_anthropic.conformance import MessagesContract


class TestMessages(MessagesContract):
    pass
