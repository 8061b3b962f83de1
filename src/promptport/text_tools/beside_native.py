"""`TextCallsClient`: native tools, and the calls that a model writes into its text all the same.

Rule: the request is the wrapped client's own, so that the model's template stays in use. Only what comes back is read
twice: frames pass as they are, and the answer's text goes through the parser, where tools were offered.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Literal, Self, TypeAlias

from msgspec.structs import replace

from promptport.arguments import as_model, as_prompt, as_tools
from promptport.errors import ConfigurationError
from promptport.llm_client import LLMClient
from promptport.messages import AssistantMessage, Origin, Prompt, ToolChoice
from promptport.models import LLModel, ModelCapabilities
from promptport.stream import FrameStream, TextStream, message_of
from promptport.text_tools.machine import TextToolsParser
from promptport.text_tools.reading import frames_of, parsed, skipped_by
from promptport.tools import ToolDescriptor

__all__ = ["TextCalls", "TextCallsClient", "read_beside", "read_message", "with_text_calls"]

TextCalls: TypeAlias = Literal["auto", "off"]
"""Whether calls are also read out of the text of an answer to which tools were offered: ``auto``, in every format that
`promptport.text_tools` knows, or ``off``. For self-hosted models; a hosted API parses its models' calls itself."""


class TextCallsClient:
    """An `LLMClient` around another one with native tools: calls in the answer's text become calls as well.

    Examples:
        ```python
        import promptport as pp
        from promptport.text_tools import TextCallsClient

        client = TextCallsClient(pp.client("openai-chat", base_url="http://127.0.0.1:8000/v1"))
        ```
    """

    def __init__(self, client: LLMClient) -> None:
        """Wrap a client.

        Args:
            client: The client that sends the requests. This one closes it.
        """
        self._client = client
        self._streams: weakref.WeakSet[FrameStream] = weakref.WeakSet()

    @property
    def provider(self) -> str:
        """The wrapped client's."""
        return self._client.provider

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """The wrapped client's."""
        return self._client.capabilities(model)

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """What the wrapped client discovers."""
        return await self._client.discover(model)

    async def models(self) -> list[LLModel]:
        """The wrapped client's."""
        return await self._client.models()

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `LLMClient`."""
        prompt, model, tools = as_prompt(prompt), as_model(model, provider=self.provider), as_tools(tools)
        native = self._client.execute_streaming_with_tools(prompt, model, tools)
        stream = read_beside(native, prompt, tools, named=(self.provider, model.id))
        if stream is not native:
            self._streams.add(stream)
        return stream

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """See `LLMClient`."""
        return self._client.execute_streaming(prompt, model)

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `LLMClient`."""
        prompt, model, tools = as_prompt(prompt), as_model(model, provider=self.provider), as_tools(tools)
        return read_message(await self._client.execute(prompt, model, tools), prompt, tools)

    @property
    def origin(self) -> Origin | None:
        """The wrapped client's, if it says."""
        return getattr(self._client, "origin", None)

    async def count_tokens(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor] = ()) -> int | None:
        """What the wrapped client counts; ``None`` if it does not."""
        count = getattr(self._client, "count_tokens", None)
        return None if count is None else await count(prompt, model, tools)

    async def aclose(self) -> None:
        """Closes the streams that are still open, and the wrapped client."""
        for stream in list(self._streams):
            await stream.aclose()
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def read_beside(
    native: FrameStream, prompt: Prompt, tools: Sequence[ToolDescriptor], *, named: tuple[str, str]
) -> FrameStream:
    """The stream with the calls in its text; the stream itself where its text can hold none.

    Args:
        native: What the server said. It is closed with the stream around it.
        prompt: What was asked.
        tools: What was offered.
        named: Provider and model, for errors.
    """
    parser = _parser(prompt, tools)
    if parser is None:
        return native
    return FrameStream(
        frames_of(native, parser),
        skipped=skipped_by(parser, native),
        named=named,
        origin=native.origin,
        used=lambda: native.usage,
    )


def read_message(message: AssistantMessage, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
    """The whole response with the calls in its text; see `read_beside`."""
    parser = _parser(prompt, tools)
    if parser is None:
        return message
    made = message_of([frame for inner in message.frames() for frame in parsed(inner, parser)])
    return replace(made, origin=message.origin)


def with_text_calls(client: LLMClient, text_calls: TextCalls, *, provider: str = "") -> LLMClient:
    """The client as the option ``text_calls`` wants it.

    Args:
        client: A client with native tools.
        text_calls: See `TextCalls`.
        provider: Whose option it is, for the error.

    Raises:
        ConfigurationError: The option is neither ``auto`` nor ``off``.
    """
    if text_calls not in ("auto", "off"):
        raise ConfigurationError(
            f"{provider or client.provider}: text_calls must be 'auto' or 'off', not {text_calls!r}."
        )
    return TextCallsClient(client) if text_calls == "auto" else client


def _parser(prompt: Prompt, tools: Sequence[ToolDescriptor]) -> TextToolsParser | None:
    """Who reads the text; ``None`` where it can hold no call: it is for a schema, or none may be made."""
    params = prompt.params
    if not tools or params.tool_choice is ToolChoice.NONE or params.response_schema is not None:
        return None
    return TextToolsParser("auto", tools, taken=prompt.call_ids(), ids="text")
