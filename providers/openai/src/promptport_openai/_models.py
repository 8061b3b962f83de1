"""What OpenAI's models can do, family by family, for both of its APIs. Pure.

Rule: a model stands here only where a source describes it; any other is unknown, gets all that the API has, and the
server has the last word.

Sources, read on 2026-11-21: OpenAI's model pages and its guides to reasoning, GPT-6, prompt caching and deep research
(developers.openai.com/api/docs); the model list of its SDK, version 3.54.0; the limits and the
reasoning efforts of anomalyco/models.dev (of 2026-07-02; of GPT-5.6 a public thread lists them, of GPT-6 nobody); and,
for what the guides leave out, error texts of the API in public issue threads (``parallel_tool_calls`` and the o
series; function tools beside reasoning in Chat Completions; "encrypted content is not supported with this model").
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from promptport.provider import Capability, ModelCapabilities, StreamedTools

__all__ = ["CHECKED", "DESCRIBED", "chat_capabilities", "responses_capabilities"]

CHECKED = "2026-11-21"
"""When this table was compared with its sources."""

_ALWAYS = frozenset([Capability.SYSTEM, Capability.USER])
_TOOLS = frozenset([Capability.TOOLS, Capability.TOOL_CHOICE])
_SEEING = frozenset([Capability.IMAGES, Capability.DOCUMENTS])
_GPT4 = _ALWAYS | _TOOLS | {Capability.PARALLEL_TOOL_CALLS, Capability.TEMPERATURE}
_GPT4O = _GPT4 | _SEEING | {Capability.JSON_SCHEMA}
_REASONING = _ALWAYS | _TOOLS | {Capability.JSON_SCHEMA, Capability.REASONING, Capability.REASONING_EFFORT}
_O_SERIES = _REASONING | _SEEING
_GPT5 = _O_SERIES | {Capability.PARALLEL_TOOL_CALLS}
_GPT5_QUICK = _GPT5 | {Capability.TEMPERATURE}
_GPT6 = _GPT5 | {Capability.CACHE_CONTROL}
_AUDIO = _GPT4 | {Capability.AUDIO}

_RESPONSES_HAS_NOT = frozenset([Capability.AUDIO])
_CHAT_HAS_NOT = frozenset([Capability.REASONING, Capability.CACHE_CONTROL])


class _Family(msgspec.Struct, frozen=True):
    """Models that are alike.

    Attributes:
        names: their ids, without the date of a snapshot.
        capabilities: in the API that offers most of them.
        context: the context, in tokens.
        output: the longest answer, in tokens.
        streams: calls come while streaming.
        chat_tools: Chat Completions takes function tools.
        efforts: the reasoning efforts that they take; empty where no source lists them.
    """

    names: tuple[str, ...]
    capabilities: frozenset[Capability]
    context: int
    output: int
    streams: bool = True
    chat_tools: bool = True
    efforts: tuple[str, ...] = ()


_LOW = ("low", "medium", "high")
_MINIMAL = ("minimal", *_LOW)
_XHIGH = (*_LOW, "xhigh")
_QUICK = ("none", *_XHIGH)
_PRO = ("medium", "high", "xhigh")

_FAMILIES = (
    # These reason always, and Chat Completions takes no function tools beside reasoning.
    _Family(
        ("gpt-6-astra", "gpt-6.2-astra", "gpt-6.1-sol", "gpt-6.2-sol"), _GPT6, 1_050_000, 128_000, chat_tools=False
    ),
    # In Chat Completions these take function tools only with reasoning_effort NONE; the server says so.
    _Family(("gpt-6-sol", "gpt-6-luna", "gpt-6.1-terra"), _GPT6, 1_050_000, 128_000),
    _Family(
        ("gpt-5.6", "gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna"), _GPT6, 1_050_000, 128_000, efforts=(*_QUICK, "max")
    ),
    _Family(("gpt-5.5",), _GPT5, 1_050_000, 128_000, efforts=_QUICK),
    _Family(("gpt-5.5-pro",), _GPT5, 1_050_000, 128_000, streams=False, efforts=_PRO),
    # The effort of these is NONE unless one is asked for, and then they take a temperature.
    _Family(("gpt-5.4",), _GPT5_QUICK, 1_050_000, 128_000, efforts=_QUICK),
    _Family(("gpt-5.4-mini", "gpt-5.4-nano", "gpt-5.2"), _GPT5_QUICK, 400_000, 128_000, efforts=_QUICK),
    _Family(("gpt-5.1",), _GPT5_QUICK, 400_000, 128_000, efforts=("none", *_LOW)),
    _Family(("gpt-5.4-pro",), _GPT5, 1_050_000, 128_000, efforts=_PRO),
    _Family(("gpt-5.2-pro",), _GPT5, 400_000, 128_000, efforts=_PRO),
    _Family(("gpt-5", "gpt-5-mini", "gpt-5-nano"), _GPT5, 400_000, 128_000, efforts=_MINIMAL),
    _Family(("gpt-5-pro",), _GPT5, 400_000, 272_000, efforts=("high",)),
    _Family(("gpt-5.3-codex",), _GPT5, 400_000, 128_000, efforts=_QUICK),
    _Family(("gpt-5.2-codex", "gpt-5.1-codex-max"), _GPT5, 400_000, 128_000, efforts=_XHIGH),
    _Family(("gpt-5.1-codex", "gpt-5.1-codex-mini", "gpt-5-codex"), _GPT5, 400_000, 128_000, efforts=_LOW),
    _Family(("o4-mini", "o3", "o1"), _O_SERIES, 200_000, 100_000, efforts=_LOW),
    _Family(("o3-mini",), _REASONING, 200_000, 100_000, efforts=_LOW),
    _Family(("o3-pro", "o1-pro"), _O_SERIES, 200_000, 100_000, streams=False, efforts=_LOW),
    # Only the tools that OpenAI runs itself, which go in through ``extra``.
    _Family(("o3-deep-research", "o4-mini-deep-research"), _O_SERIES - _TOOLS, 200_000, 100_000, efforts=("medium",)),
    _Family(("gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"), _GPT4O, 1_047_576, 32_768),
    _Family(("gpt-4o", "gpt-4o-mini"), _GPT4O, 128_000, 16_384),
    _Family(("gpt-4o-2024-05-13",), _GPT4O - {Capability.JSON_SCHEMA}, 128_000, 4_096),
    _Family(("gpt-4-turbo",), _GPT4 | {Capability.IMAGES}, 128_000, 4_096),
    _Family(("gpt-4", "gpt-4-0613"), _GPT4, 8_192, 8_192),
    _Family(("gpt-3.5-turbo", "gpt-3.5-turbo-0125", "gpt-3.5-turbo-1106"), _GPT4, 16_385, 4_096),
    _Family(("gpt-audio", "gpt-audio-mini"), _AUDIO, 128_000, 16_384),
)

DESCRIBED = tuple([name for family in _FAMILIES for name in family.names])
"""The models of the table, for people who look it up."""


def _in_responses(capabilities: Iterable[Capability]) -> frozenset[Capability]:
    here = frozenset(capabilities) - _RESPONSES_HAS_NOT
    if Capability.TOOLS in here and Capability.IMAGES in here:
        here |= {Capability.TOOL_RESULT_IMAGES}
    return here


def _in_chat(capabilities: Iterable[Capability]) -> frozenset[Capability]:
    here = frozenset(capabilities)
    if Capability.REASONING not in here:
        here |= {Capability.STOP}  # o3 was the first to refuse it, and all that reason do since
    return (here - _CHAT_HAS_NOT) | {Capability.SEED}


def _table(*, chat: bool) -> dict[str, ModelCapabilities]:
    table = {}
    for family in _FAMILIES:
        capabilities = (_in_chat if chat else _in_responses)(family.capabilities)
        if chat and not family.chat_tools:
            capabilities -= _TOOLS | {Capability.PARALLEL_TOOL_CALLS}
        streams = family.streams and Capability.TOOLS in capabilities
        tools = StreamedTools.DELTAS if streams else StreamedTools.NONE
        for name in family.names:
            table[name] = ModelCapabilities(
                tools,
                capabilities,
                family.context,
                family.output,
                schema_dialect="openai",
                efforts=family.efforts if Capability.REASONING_EFFORT in capabilities else (),
            )
    return table


_RESPONSES = _table(chat=False)
_CHAT = _table(chat=True)

_UNKNOWN_RESPONSES = ModelCapabilities(
    StreamedTools.DELTAS, _in_responses(_GPT6 | {Capability.TEMPERATURE}), known=False, schema_dialect="openai"
)
_UNKNOWN_CHAT = ModelCapabilities(
    StreamedTools.DELTAS,
    frozenset(Capability) - {Capability.TOOL_RESULT_IMAGES, Capability.REASONING_BUDGET, Capability.CACHE_CONTROL},
    known=False,
    schema_dialect="openai",
)

_FINE_TUNED = re.compile(r"ft:([^:]+):")
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def responses_capabilities(model_id: str, own: bool = True) -> ModelCapabilities:
    """What a model can do through Responses; ``own``: the server is OpenAI's own, so that its table holds."""
    return _look_up(_RESPONSES, model_id, own) or _UNKNOWN_RESPONSES


def chat_capabilities(model_id: str, own: bool = True) -> ModelCapabilities:
    """What a model can do through Chat Completions; ``own`` as for `responses_capabilities`."""
    return _look_up(_CHAT, model_id, own) or _UNKNOWN_CHAT


def _look_up(table: dict[str, ModelCapabilities], model_id: str, own: bool) -> ModelCapabilities | None:
    if not own:
        return None
    fine_tuned = _FINE_TUNED.match(model_id)
    name = fine_tuned[1] if fine_tuned else model_id
    return table.get(name) or table.get(_SNAPSHOT.sub("", name))
