"""The contract, for OpenAI's APIs through the real SDK."""

from promptport_openai.conformance import OpenAIChatContract, ResponsesContract


class TestChatCompletions(OpenAIChatContract):
    pass


class TestResponses(ResponsesContract):
    pass
