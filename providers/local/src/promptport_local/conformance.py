"""How llama.cpp's server writes down what a model says: the contract tests of `promptport.testing` for it.

Written from what the embedded server sent (recordings in this package's tests): a first chunk whose content is null,
calls in increments, an error as ``data: {"error": …}`` in place of a chunk, usage in a last chunk without choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from promptport.provider import Capability, FinishReason, LLMClient, LLModel, ModelCapabilities, StreamedTools, Timeouts
from promptport.testing import ChatCompletionsContract, Fail
from promptport_local import client

__all__ = ["LlamaServerContract"]

_TRAINED = ModelCapabilities.of(
    StreamedTools.DELTAS,
    (
        Capability.TOOLS,
        Capability.PARALLEL_TOOL_CALLS,
        Capability.SYSTEM,
        Capability.TEMPERATURE,
        Capability.STOP,
        Capability.SEED,
        Capability.JSON_SCHEMA,
    ),
)


class LlamaServerContract(ChatCompletionsContract):
    """A llama.cpp server elsewhere, with a model that was trained to call tools."""

    model: ClassVar[LLModel] = LLModel("local", "test-model", _TRAINED)
    floor: ClassVar[int] = 175
    head: ClassVar[Mapping[str, Any]] = {**ChatCompletionsContract.head, "system_fingerprint": "b0-unknown"}
    words: ClassVar[Mapping[FinishReason, str]] = {
        FinishReason.STOP: "stop",
        FinishReason.LENGTH: "length",
        FinishReason.TOOL_CALLS: "tool_calls",
    }
    opening: ClassVar[Mapping[str, Any]] = {"role": "assistant", "content": None}
    unknown: ClassVar[bytes] = b'event: slot\ndata: {"object":"slot","id":0}\n\n'

    known: ClassVar[Mapping[str, str]] = {
        "rule_8_a_whole_answer_leaves_the_connection_usable": "llama.cpp closes the connection after a streamed answer,"
        " though it says that it keeps it; so every request asks for a connection of its own, and none finds its"
        " connection closed under its feet. The model is on this machine, where a connection costs next to nothing."
    }

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return client(base_url=f"{base_url}/v1", api_key="test-key", timeouts=timeouts)

    def error(self, fail: Fail) -> dict[str, Any]:
        """See `ChatCompletionsContract.error`."""
        return {"error": {"code": 500, "message": fail.message, "type": fail.code}}
