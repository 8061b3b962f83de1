"""The contract, for a llama.cpp server elsewhere."""

import pytest

from promptport_local.conformance import LlamaServerContract


class TestLlamaServer(LlamaServerContract):
    @pytest.mark.xfail(
        reason="llama.cpp closes the connection after a streamed answer, though it says that it keeps it; so every"
        " request asks for a connection of its own, and none finds its connection closed under its feet"
    )
    def test_rule_8_a_whole_answer_leaves_the_connection_usable(self) -> None:
        """See the kit; the model is on this machine, where a new connection costs next to nothing."""
        super().test_rule_8_a_whole_answer_leaves_the_connection_usable()
