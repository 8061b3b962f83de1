"""`LLMClient`, one for each provider API, and the check of a request.

Rule: nothing is sent before the request is checked against what the model can do. A mark for the provider's cache is a
hint: it is no part of what the model must be able to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.history import check_results
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    LLMParams,
    NamedTool,
    Prompt,
    SystemMessage,
    ToolChoice,
    ToolResultMessage,
    UserMessage,
    UserPart,
)
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.stream import FrameStream, TextStream
from promptport.tools import ToolDescriptor

__all__ = ["LLMClient", "check_request", "missing_capabilities", "unsupported_parameters"]


class LLMClient(Protocol):
    """One provider API: a request out, frames in. Nobody has to inherit from anything."""

    @property
    def provider(self) -> str:
        """The name that ``model.provider`` has for this client."""
        ...

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """The answer as frames. The request is sent when the stream is first iterated.

        A string as ``prompt`` is the text of one user message, and a string as ``model`` is ``provider/id``.

        Raises:
            InvalidInputError, UnsupportedCapabilityError: at once, before anything is sent.
        """
        ...

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """The text of ``execute_streaming_with_tools(prompt, model)``: its `Append` frames."""
        ...

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """The whole answer, from a request that does not stream."""
        ...

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What this model can do here; without network."""
        ...

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """What the server says that this model can do; as `capabilities` where it cannot say."""
        ...

    async def models(self) -> list[LLModel]:
        """The models that the server lists."""
        ...

    async def aclose(self) -> None:
        """Closes the connections, and the streams that are still open."""
        ...


_PARAMETERS: tuple[tuple[str, Capability], ...] = (
    ("temperature", Capability.TEMPERATURE),
    ("stop", Capability.STOP),
    ("seed", Capability.SEED),
    ("response_schema", Capability.JSON_SCHEMA),
    ("reasoning_effort", Capability.REASONING_EFFORT),
    ("reasoning_budget", Capability.REASONING_BUDGET),
    ("user", Capability.USER),
)


_WORDS = {**{name: capability.value for name, capability in _PARAMETERS}, "tool_choice": "tool_choice"}
_WORDS["parallel_tool_calls"] = Capability.PARALLEL_TOOL_CALLS.value
_DROPPABLE = tuple(_WORDS)
_EFFORT = f"{Capability.REASONING_EFFORT.value} "

_PARTS: Mapping[type, Capability] = {
    ImagePart: Capability.IMAGES,
    DocumentPart: Capability.DOCUMENTS,
    AudioPart: Capability.AUDIO,
}


def check_request(
    prompt: Prompt,
    model: LLModel,
    tools: Sequence[ToolDescriptor],
    capabilities: ModelCapabilities,
    *,
    streaming: bool = True,
) -> None:
    """Checks that this model can be asked this.

    Raises:
        InvalidInputError: the prompt, its parameters or the tools do not hold together.
        UnsupportedCapabilityError: they do, and the model lacks something.
    """
    _check_prompt(prompt, tools)
    missing = missing_capabilities(prompt, tools, capabilities)
    if missing:
        raise UnsupportedCapabilityError(
            provider=model.provider, model=model.id, missing=missing, instead=_instead(missing, capabilities)
        )
    if tools and streaming and capabilities.streamed_tools is StreamedTools.NONE:
        raise UnsupportedCapabilityError(
            provider=model.provider,
            model=model.id,
            missing=["streamed tool calls"],
            instead="use execute(), or an executor with when_tools_cannot_stream='complete' or 'text'",
        )


def missing_capabilities(prompt: Prompt, tools: Sequence[ToolDescriptor], capabilities: ModelCapabilities) -> list[str]:
    """What a request needs and the model lacks, in the words of `Capability`; empty where it can be asked."""
    missing = [capability.value for capability in _needed(prompt, tools) if not _has(capabilities, capability)]
    effort, known = prompt.params.reasoning_effort, capabilities.efforts
    if effort is not None and known and effort.value not in known and Capability.REASONING_EFFORT in capabilities:
        missing.append(f"{_EFFORT}{effort.value}")
    return missing


def unsupported_parameters(params: LLMParams, missing: Iterable[str]) -> tuple[str, ...]:
    """The parameters, set in ``params``, that an error names as missing; none if it names more."""
    found: list[str] = []
    for words in missing:
        name = next((name for name in _DROPPABLE if words in (name, _WORDS[name]) or name in words.split()), None)
        name = name or ("reasoning_effort" if "reasoning effort" in words or "thinking" in words else None)
        if name is None or getattr(params, name) in (None, ()):
            return ()
        found.append(name)
    return tuple(dict.fromkeys(found))


def _has(capabilities: ModelCapabilities, needed: Capability) -> bool:
    if needed is Capability.TOOL_RESULT_IMAGES:  # if need be, they go into a user message behind the results
        return needed in capabilities or Capability.IMAGES in capabilities
    return needed in capabilities


def _instead(missing: Sequence[str], capabilities: ModelCapabilities) -> str:
    if all(word.startswith(_EFFORT) for word in missing):
        return f"use {', '.join(capabilities.efforts)}"
    if Capability.TOOLS.value in missing:
        return "wrap the client in TextToolsClient, or choose a model that has tools"
    return f"leave {'it' if len(missing) == 1 else 'them'} out, or choose another model (see capabilities(model))"


def _needed(prompt: Prompt, tools: Sequence[ToolDescriptor]) -> list[Capability]:
    params = prompt.params
    needed = {capability: True for name, capability in _PARAMETERS if getattr(params, name) not in (None, ())}
    if tools:
        needed[Capability.TOOLS] = True
        if params.tool_choice is ToolChoice.REQUIRED or isinstance(params.tool_choice, NamedTool):
            needed[Capability.TOOL_CHOICE] = True
        if params.parallel_tool_calls is not None:
            needed[Capability.PARALLEL_TOOL_CALLS] = True
    for message in prompt.messages:
        if isinstance(message, SystemMessage):
            needed[Capability.SYSTEM] = True
        elif isinstance(message, UserMessage):
            needed.update(dict.fromkeys(_needed_by_parts(message.parts), True))
        elif isinstance(message, ToolResultMessage) and not isinstance(message.output, str):
            for capability in _needed_by_parts(message.output):
                result = capability is Capability.IMAGES
                needed[Capability.TOOL_RESULT_IMAGES if result else capability] = True
    return list(needed)


def _needed_by_parts(parts: Sequence[UserPart]) -> list[Capability]:
    return [_PARTS[type(part)] for part in parts if type(part) in _PARTS]


def _check_prompt(prompt: Prompt, tools: Sequence[ToolDescriptor]) -> None:
    messages = prompt.messages
    if not any(isinstance(message, UserMessage) for message in messages):
        raise InvalidInputError("the prompt has no user message; add one with .user(...)")
    check_results(messages)
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidInputError(f"two tools are named {', '.join(map(repr, twice))}; names must differ")
    choice = prompt.params.tool_choice
    if isinstance(choice, NamedTool) and choice.name not in names:
        raise InvalidInputError(f"tool_choice names {choice.name!r}, which is not among the tools")
    if choice is ToolChoice.REQUIRED and not tools:
        raise InvalidInputError("tool_choice requires a call, and no tools are given")
