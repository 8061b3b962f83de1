"""The conformance kit over `TextToolsClient`: calls as text, through the client of Chat Completions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from promptport.frames import FinishReason
from promptport.llm_client import LLMClient
from promptport.models import LLModel, ModelCapabilities
from promptport.stream import Timeouts
from promptport.testing import Arguments, Finish, Say, Seal, Start, Step, WireProtocol
from promptport.text_tools.text_tools_client import TextToolsClient
from promptport_openai.conformance import OpenAIChatContract

ABLE = OpenAIChatContract.model.capabilities or ModelCapabilities()


class TestTextTools(OpenAIChatContract):
    model: ClassVar[LLModel] = LLModel("openai-chat", "qwen2.5", ABLE)
    sends_call_ids: ClassVar[bool] = False
    mutators: ClassVar[WireProtocol | None] = None
    floor: ClassVar[int] = 100
    known: ClassVar[Mapping[str, str]] = {
        "the_messages_are_in_the_request": "the tools stand in the first message, in words",
        "tools_are_in_the_request": "quotes are escaped where JSON stands in a message's text",
        "capabilities_are_declared_without_network": "they are the wrapped client's, and tools come on top",
        "what_is_not_there_is_refused_before_anything_is_sent": "text tools are there for models that have none",
    }

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        return TextToolsClient(super().make_client(base_url, timeouts), format="hermes")

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        text = as_text(steps)
        return None if text is None else super().encode(text)

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        text = as_text(steps)
        return None if text is None else super().encode_complete(text)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def as_text(steps: Sequence[Step]) -> list[Step] | None:
    """The same answer with its calls as Hermes writes them; ``None`` where text cannot say it."""
    written: list[Step] = []
    open_key: int | None = None
    sent = ""
    for step in steps:
        if isinstance(step, Start):
            if open_key is not None:
                return None  # a text has one call after the other
            open_key, sent = step.key, ""
            written.append(Say(f'<tool_call>\n{{"name": "{step.name}", "arguments": '))
        elif isinstance(step, Arguments):
            sent += step.text
            written.append(Say(step.text))
        elif isinstance(step, Seal):
            if not _is_json(sent or "{}"):
                return None  # nor where such a value would end inside another
            written.append(Say("}\n</tool_call>" if sent else "{}}\n</tool_call>"))
            open_key = None
        elif isinstance(step, Finish) and step.reason is FinishReason.TOOL_CALLS:
            written.append(Finish(FinishReason.STOP))
        else:
            written.append(step)
    return written
