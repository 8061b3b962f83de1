"""The contract, for OpenAI's APIs through the real SDK."""

from promptport_openai.conformance import ChatCompletionsContract


class TestChatCompletions(ChatCompletionsContract):
    pass
