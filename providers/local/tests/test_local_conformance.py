"""The contract, for a llama.cpp server elsewhere."""

from promptport_local.conformance import LlamaServerContract


class TestLlamaServer(LlamaServerContract):
    pass
