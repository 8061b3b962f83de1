"""Capabilities as tables: for a terminal of 80 columns, and as the page of the docs. Pure.

Rule: a row is one line in 80 columns. A letter stands for a capability, and what it stands for is told below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from promptport.cli.terminal import visible
from promptport.models import Capability, LLModel, ModelCapabilities

__all__ = ["LETTERS", "capability_lines", "markdown_page"]

LETTERS: Mapping[Capability, str] = {
    Capability.TOOLS: "T",
    Capability.TOOL_CHOICE: "C",
    Capability.PARALLEL_TOOL_CALLS: "P",
    Capability.TOOL_RESULT_IMAGES: "V",
    Capability.IMAGES: "I",
    Capability.DOCUMENTS: "D",
    Capability.AUDIO: "A",
    Capability.JSON_SCHEMA: "J",
    Capability.REASONING: "R",
    Capability.REASONING_EFFORT: "E",
    Capability.REASONING_BUDGET: "B",
    Capability.CACHE_CONTROL: "K",
    Capability.TEMPERATURE: "t",
    Capability.STOP: "s",
    Capability.SEED: "n",
    Capability.USER: "u",
    Capability.SYSTEM: "y",
}
_WIDTH = 80
_TITLES = ("model", "tools", "context", "output", "has")
_WIDTHS = (31, 6, 9, 9, len(LETTERS))


def capability_lines(known: Mapping[LLModel, ModelCapabilities]) -> list[str]:
    """The lines of the table and of its legend; a name that is too long stands on a line of its own."""
    lines = [_line(_TITLES), "  ".join(["-" * width for width in _WIDTHS])]
    for model, each in known.items():
        name = visible(str(model), one_line=True)
        cells = _cells(each)
        if len(name) > _WIDTHS[0]:
            lines.append(name)
            name = ""
        lines.append(_line((name, *cells)))
    return [*lines, "", *_legend()]


def _line(cells: Sequence[str]) -> str:
    return "  ".join([cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)]).rstrip()


def _cells(each: ModelCapabilities) -> tuple[str, str, str, str]:
    has = "".join([letter if capability in each else "·" for capability, letter in LETTERS.items()])
    return each.streamed_tools.value, _count(each.context_length), _count(each.max_output_tokens), has


def _count(tokens: int | None) -> str:
    return "-" if tokens is None else f"{tokens:,}"


def _legend() -> list[str]:
    told = [f"{letter} {capability.value.replace('_', ' ')}" for capability, letter in LETTERS.items()]
    lines = [
        "tools: how calls arrive (streamed tools: deltas, whole or none)",
        "context, output: tokens; - is unknown. PROVIDER/* is a model that no table has.",
    ]
    line = "has:"
    for each in told:
        if len(line) + len(each) + 3 > _WIDTH:
            lines.append(line)
            line = "    "
        line += f" {each}," if each is not told[-1] else f" {each}."
    return [*lines, line]


def markdown_page(tables: Iterable[tuple[str, str, Mapping[str, ModelCapabilities]]]) -> str:
    """The page of the docs: for each provider its source, and a row for each model.

    Args:
        tables: the provider's name, a line that says where its facts stand, and capabilities by model id.
    """
    out = [
        "# See what a model can do",
        "",
        "Look up the capabilities (features, limits) that promptport knows for each provider and model. You need this",
        "page to choose a model, or to read an `UnsupportedCapabilityError`.",
        "",
        "`promptport capabilities --all --markdown` writes this page. Do not edit it.",
        "`promptport capabilities PROVIDER` prints one table, and `promptport capabilities PROVIDER/MODEL` one model.",
        "",
        "The row `*` is a model that no table describes: promptport allows what the API has, and the server decides.",
        "*Tools* says how tool calls arrive in a stream. *Context* and *output* are tokens.",
        "",
        "| letter | capability |",
        "|---|---|",
        *[f"| {letter} | `{capability.value}` |" for capability, letter in LETTERS.items()],
    ]
    for name, source, known in tables:
        out += ["", f"## {name}", "", *([source, ""] if source else [])]
        out += ["| model | tools | context | output | has |", "|---|---|---|---|---|"]
        for model, each in known.items():
            cells = " | ".join(_cells(each))
            out.append(f"| `{visible(model, one_line=True)}` | {cells} |")
    return "\n".join(out) + "\n"
