"""The two APIs of OpenAI, each a row: path, request, decoding, capabilities. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptport.provider import (
    ChatCompletionsDecoder,
    ChatDialect,
    LLModel,
    Origin,
    Prompt,
    ResponsesDecoder,
    ToolDescriptor,
    chat_body,
    decode_chat_completion,
    decode_response,
)
from promptport_openai._client import OpenAIAPI
from promptport_openai._models import chat_capabilities, responses_capabilities
from promptport_openai._responses_request import responses_body

__all__ = ["chat_completions", "responses"]

_OPENAI = ChatDialect(max_tokens="max_completion_tokens", user="safety_identifier", schemas="openai", says_strict=True)
_CLONE = ChatDialect()


def chat_completions(own: bool) -> OpenAIAPI:
    """Chat Completions. OpenAI itself has renamed two fields that the compatible servers still go by."""
    dialect = _OPENAI if own else _CLONE

    def body(
        prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], stream: bool, origin: Origin | None
    ) -> dict[str, Any]:
        return chat_body(prompt, model, tools, stream=stream, dialect=dialect, origin=origin)

    return OpenAIAPI(
        provider="openai-chat",
        path="/chat/completions",
        body=body,
        decoder=ChatCompletionsDecoder,
        complete=decode_chat_completion,
        capabilities=chat_capabilities,
        answers="openai-strict",
    )


def responses(own: bool) -> OpenAIAPI:
    """Responses; ``own`` makes no difference to it."""

    def body(
        prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], stream: bool, origin: Origin | None
    ) -> dict[str, Any]:
        return responses_body(prompt, model, tools, stream=stream, origin=origin)

    return OpenAIAPI(
        provider="openai",
        path="/responses",
        body=body,
        decoder=ResponsesDecoder,
        complete=decode_response,
        capabilities=responses_capabilities,
        answers="openai-strict",
    )
