"""``promptport providers`` and ``promptport capabilities``: tables, without network and without a key."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptport.cli.application import app, one_line_errors
from promptport.cli.capability_tables import capability_lines, markdown_page
from promptport.cli.terminal import print_json, visible
from promptport.errors import ConfigurationError
from promptport.llm_client import LLMClient
from promptport.models import Capability, LLModel, ModelCapabilities
from promptport.presets import names as preset_names
from promptport.presets import preset
from promptport.registry import client as make_client
from promptport.registry import providers as list_providers

__all__ = ["capabilities", "providers"]


@app.command()
def providers(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the providers that are installed, and how to install the others.

    Examples:
    promptport providers

    promptport providers --json
    """
    with one_line_errors(as_json=as_json):
        infos = list_providers()
    if as_json:
        print_json(msgspec.json.encode(infos))
        return
    width = max([len(info.name) for info in infos], default=8)
    print("provider".ljust(width), "distribution".ljust(24), "installed", sep="  ")  # noqa: T201
    for info in infos:
        cells = (info.name.ljust(width), info.distribution.ljust(24), "yes" if info.installed else "no")
        print(*[visible(cell, one_line=True) for cell in cells], sep="  ")  # noqa: T201
    hints = {info.hint: None for info in infos if info.hint}
    for hint in hints:  # on a line of its own, so that it can be copied
        print(visible(f"Install: {hint}", one_line=True))  # noqa: T201


@app.command()
def capabilities(
    model: Annotated[
        str | None,
        typer.Argument(help="Model, as provider/id, or a provider. Default: an unknown model of each provider."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every model that a table describes.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, as in the docs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what models can do, without network.

    Examples:
    promptport capabilities openai/gpt-5

    promptport capabilities groq
    """
    with one_line_errors(as_json=as_json):
        if model in {info.name for info in list_providers()}:
            names = [str(model)]
        else:
            names = [] if model else [info.name for info in list_providers() if info.installed]
        if markdown:
            print(markdown_page([_page(name) for name in names]), end="")  # noqa: T201
            return
        known: dict[LLModel, ModelCapabilities] = {}
        for name in names:
            made = _client(name)
            for each in ("*", *(_described(name, made) if everything or model else ())):
                known[LLModel(name, each)] = made.capabilities(LLModel(name, each))
        if model and not names:
            asked = LLModel.parse(model)
            known[asked] = _client(asked.provider).capabilities(asked)
    if as_json:
        told = {str(name): each for name, each in known.items()}
        print_json(msgspec.json.encode(told, order="deterministic"))
        return
    if model and not names:
        Console(soft_wrap=True, width=500).print(_one_table(known))
        return
    for line in capability_lines(known):
        print(line)  # noqa: T201


_ADDRESSES = {"bedrock": {"region": "us-east-1"}}  # else botocore is imported to look for one


def _client(provider: str) -> LLMClient:
    """Capabilities need no key, and a client wants one; some want an address too (a region, a resource)."""
    try:
        return make_client(provider, api_key="not-needed", **_ADDRESSES.get(provider, {}))
    except ConfigurationError:
        return make_client(provider, api_key="not-needed", base_url="http://127.0.0.1")


def _described(provider: str, made: LLMClient) -> tuple[str, ...]:
    """The models, or patterns, that a table describes."""
    if provider in preset_names():
        return tuple(preset(provider).models)
    return tuple(getattr(made, "described_models", ()))


def _page(provider: str) -> tuple[str, str, dict[str, ModelCapabilities]]:
    made = _client(provider)
    known = {each: made.capabilities(LLModel(provider, each)) for each in ("*", *_described(provider, made))}
    source = ""
    if provider in preset_names():
        row = preset(provider)
        source = f"Server: <{row.page}>, looked up on {row.checked}."
        if row.models_page:
            source += f" Models: <{row.models_page}>, looked up on {row.models_checked}."
    elif on := getattr(made, "described_on", ""):
        source = f"Looked up on {on}."
    return provider, source, known


def _one_table(known: dict[LLModel, ModelCapabilities]) -> Table:
    table = Table("")
    for name in known:
        table.add_column(Text(visible(str(name), one_line=True)))
    table.add_row("described", *["yes" if each.known else "no" for each in known.values()])
    table.add_row("streamed tools", *[each.streamed_tools for each in known.values()])
    for capability in Capability:
        table.add_row(capability.replace("_", " "), *["yes" if capability in each else "-" for each in known.values()])
    for title, field in (("context, tokens", "context_length"), ("longest answer, tokens", "max_output_tokens")):
        table.add_row(title, *[str(getattr(each, field) or "?") for each in known.values()])
    return table
