"""The contract, for OpenAI's APIs through the real SDK."""

from promptport_openai.conformance import ChatCompletionsContract, ResponsesContract


class TestChatCompletions(ChatCompletionsContract):
    pass


class TestResponses(ResponsesContract):
    pass
