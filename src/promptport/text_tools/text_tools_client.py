"""`TextToolsClient`: tool calls for models and servers that have none.

Rule: the wrapped client is asked for text alone, and everything else is text: the tools, the past calls and their
results on the way in, the calls and the reasoning on the way out. Only where a call is required, and the server can
hold an answer to a JSON schema, is it asked for that, so that even a very small model gives a valid call.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Self

from msgspec.structs import replace

from promptport.arguments import as_model, as_prompt, as_tools, check_asker
from promptport.checking import checked
from promptport.errors import UnsupportedCapabilityError
from promptport.llm_client import LLMClient, check_request
from promptport.messages import AssistantMessage, NamedTool, Prompt, ToolChoice
from promptport.models import Capability, LLModel, ModelCapabilities
from promptport.params import OwnSchema
from promptport.stream import FrameStream, TextStream, message_of
from promptport.text_tools.detection import detect
from promptport.text_tools.formats import FORMATS, TextFormat, format_of
from promptport.text_tools.machine import ReasoningTags, TextToolsParser
from promptport.text_tools.prompting import call_schema, calls_schema, text_prompt
from promptport.text_tools.reading import frames_of, parsed, skipped_by
from promptport.text_tools.special_tokens import defused_tool
from promptport.text_tools.writing import LISTED
from promptport.tools import ToolDescriptor

__all__ = ["TextToolsClient"]

_NATIVE = (
    Capability.TOOL_CHOICE,
    Capability.PARALLEL_TOOL_CALLS,
    Capability.TOOL_RESULT_IMAGES,
)


class TextToolsClient:
    """An `LLMClient` around another one, whose own tools, if it has any, are not used.

    ::

        client = TextToolsClient(pp.client("openai-chat", base_url="…"), format="hermes")

    Required and named tools (``LLMParams.tool_choice``) need a wrapped client with ``Capability.JSON_SCHEMA``.
    """

    @checked
    def __init__(
        self,
        client: LLMClient,
        *,
        format: str | TextFormat = "auto",
        reasoning: ReasoningTags = "on",
        chat_template: Callable[[LLModel], str | None] | None = None,
    ) -> None:
        """Args:
        client: closed with this one.
        format: a format, or its name in ``text_tools.FORMATS``. ``auto`` reads all of them, and writes the one that
            the model's name suggests, or ``json``.
        reasoning: see `ReasoningTags`.
        chat_template: gives a model's template (Jinja), which says more of its format than its name does.

        Raises:
            InvalidInputError: no such format.
        """
        check_asker(client, where="TextToolsClient: client")
        self._client = client
        self._format = format_of(format)
        self._reasoning: ReasoningTags = reasoning
        self._chat_template = chat_template
        self._streams: weakref.WeakSet[FrameStream] = weakref.WeakSet()

    @property
    def provider(self) -> str:
        """The wrapped client's."""
        return self._client.provider

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """The wrapped client's, with tools as text has them."""
        model = as_model(model)
        return self._with_tools(self._client.capabilities(model), model)

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """What the wrapped client discovers, with tools as text has them."""
        model = as_model(model)
        return self._with_tools(await self._client.discover(model), model)

    async def models(self) -> list[LLModel]:
        """The wrapped client's."""
        return await self._client.models()

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `LLMClient`.

        Raises:
            InvalidInputError, UnsupportedCapabilityError: at once, before anything is sent.
        """
        prompt, model, tools = as_prompt(prompt), as_model(model), as_tools(tools)
        asked, parser = self._request(prompt, model, tools, streaming=True)
        text = self._client.execute_streaming_with_tools(asked, model)
        stream = FrameStream(
            frames_of(text, parser),
            skipped=skipped_by(parser, text),
            named=(self.provider, model.id),
            origin=text.origin,
            used=lambda: text.usage,
        )
        self._streams.add(stream)
        return stream

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """See `LLMClient`."""
        return self.execute_streaming_with_tools(prompt, model).text()

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `LLMClient`."""
        prompt, model, tools = as_prompt(prompt), as_model(model), as_tools(tools)
        asked, parser = self._request(prompt, model, tools, streaming=False)
        message = await self._client.execute(asked, model)
        made = message_of([frame for inner in message.frames() for frame in parsed(inner, parser)])
        return replace(made, origin=message.origin)

    async def aclose(self) -> None:
        """Closes the streams that are still open, and the wrapped client."""
        for stream in list(self._streams):
            await stream.aclose()
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ------------------------------------------------------------------------------------------------ shared

    def _written(self, model: LLModel) -> TextFormat:
        """The format in which the model is told of calls."""
        if self._format.name != "auto":
            return self._format
        template = self._chat_template(model) if self._chat_template is not None else None
        return FORMATS[detect(model.id, template) or "json"]

    def _with_tools(self, capabilities: ModelCapabilities, model: LLModel) -> ModelCapabilities:
        named = capabilities.without(*_NATIVE).with_(Capability.TOOLS)
        if Capability.JSON_SCHEMA in capabilities:
            named = named.with_(Capability.TOOL_CHOICE, Capability.PARALLEL_TOOL_CALLS)
        if Capability.IMAGES in capabilities:
            named = named.with_(Capability.TOOL_RESULT_IMAGES)
        return replace(named, streamed_tools=self._written(model).streamed_tools)

    def _request(
        self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, streaming: bool
    ) -> tuple[Prompt, TextToolsParser]:
        """What the wrapped client is asked, and who reads its answer."""
        capabilities = self.capabilities(model)
        check_request(prompt, model, tools, capabilities, streaming=streaming)
        params = replace(prompt.params, tool_choice=None, parallel_tool_calls=None)
        choice = prompt.params.tool_choice
        written, read = self._written(model), self._format
        if choice is ToolChoice.NONE:
            tools = ()
        if tools and prompt.params.parallel_tool_calls is False and choice in (None, ToolChoice.AUTO):
            raise UnsupportedCapabilityError(
                provider=self.provider,
                model=model.id,
                missing=["parallel_tool_calls=False, where a call is not required"],
                instead="leave it out: nothing holds a model to one call in its text but a schema",
            )
        if tools and params.response_schema is not None:
            raise UnsupportedCapabilityError(
                provider=self.provider,
                model=model.id,
                missing=["tools together with response_schema"],
                instead="ask for one of them: an answer that follows the schema can hold no call",
            )
        described = written.writing
        if choice is ToolChoice.REQUIRED or isinstance(choice, NamedTool):
            tools = [tool for tool in tools if not isinstance(choice, NamedTool) or tool.name == choice.name]
            several = prompt.params.parallel_tool_calls is not False
            params = replace(params, response_schema=OwnSchema(calls_schema(tools) if several else call_schema(tools)))
            read = FORMATS["required"]
            described = LISTED if several else read.writing
        elif not tools:
            read = FORMATS["none"]
        asked = text_prompt(
            prompt,
            written.writing,
            description=described.describe([defused_tool(tool) for tool in tools]) if tools else "",
            params=params,
            system=Capability.SYSTEM in capabilities,
        )
        return asked, TextToolsParser(read, tools, taken=prompt.call_ids(), reasoning=self._reasoning)
