"""The contract, for both of Google's APIs."""

from promptport_google.conformance import GeminiContract, VertexContract


class TestGemini(GeminiContract):
    pass


class TestVertex(VertexContract):
    pass
