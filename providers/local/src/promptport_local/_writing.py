"""How SmolLM2 is told of tools, calls and results: the words that work with a model that was trained with none. Pure.

Found by trying them (this package's README has the numbers). Its calls are held to a JSON schema, so that only past
ones are written here: whatever a past call looks like, the model says it again, so it is only hinted at. A result has
to come with the question once more.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from promptport import InvalidToolCall, Prompt, StreamedTools, ToolCall, ToolChoice, ToolResultMessage
from promptport.provider import FORMATS, TextFormat, Writing

__all__ = ["SMALL", "decided"]


def _calls(calls: Sequence[ToolCall | InvalidToolCall]) -> str:
    return "Let me look that up."


def _result(result: ToolResultMessage) -> str:
    kind = "information" if result.error is None else "error"
    return f"The {kind} is: {result.text}. So, what is the answer to my question?"


SMALL = TextFormat(
    "small", StreamedTools.DELTAS, FORMATS["json"].grammar, Writing(FORMATS["json"].writing.describe, _calls, _result)
)
"""For `TextToolsClient`."""


def decided(prompt: Prompt) -> Prompt:
    """The prompt with the choice made that this model cannot make.

    Asked whether to call a tool, it says yes to everything, or no to everything. So tools that it may call, it calls;
    and after their results, it answers. Both without chance, unless a temperature is given.
    """
    params = prompt.params
    if params.tool_choice in (None, ToolChoice.AUTO):
        answered = bool(prompt.messages) and isinstance(prompt.messages[-1], ToolResultMessage)
        params = replace(params, tool_choice=ToolChoice.NONE if answered else ToolChoice.REQUIRED)
    if params.parallel_tool_calls is None:
        params = replace(params, parallel_tool_calls=False)  # a list of calls it does not end
    if params.temperature is None:
        params = replace(params, temperature=0.0)
    return replace(prompt, params=params)
