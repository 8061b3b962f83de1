"""``promptport providers`` and ``promptport capabilities``: tables, without network and without a key."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptport.cli.application import app, one_line_errors
from promptport.cli.terminal import visible, visible_json
from promptport.errors import ConfigurationError
from promptport.models import Capability, LLModel, ModelCapabilities
from promptport.registry import client as make_client
from promptport.registry import providers as list_providers

__all__ = ["capabilities", "providers"]

_MOST_COLUMNS = 8


@app.command()
def providers(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the providers that are installed, and how to install the others.

    Examples:
    promptport providers

    promptport providers --json
    """
    infos = list_providers()
    if as_json:
        print(visible_json(msgspec.json.encode(infos)))  # noqa: T201
        return
    table = Table("provider", "distribution", "installed", "install with")
    for info in infos:
        cells = (info.name, info.distribution, "yes" if info.installed else "no", info.hint)
        table.add_row(*[Text(visible(cell, one_line=True)) for cell in cells])  # a Text has no markup
    # As wide as it is: a command that is broken into lines cannot be copied.
    Console(soft_wrap=True, width=500).print(table)


@app.command()
def capabilities(
    model: Annotated[
        str | None,
        typer.Argument(help="Model, as provider/id. Default: an unknown model of each installed provider."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a model can do, without network.

    Examples:
    promptport capabilities openai/gpt-5

    promptport capabilities --json
    """
    with one_line_errors(as_json=as_json):
        names = [LLModel.parse(model)] if model else [LLModel(i.name, "*") for i in list_providers() if i.installed]
        known = {name: _capabilities_of(name) for name in names}
    if as_json:
        told = {str(name): each for name, each in known.items()}
        print(visible_json(msgspec.json.encode(told, order="deterministic")))  # noqa: T201
        return
    Console(soft_wrap=True, width=500).print(_capability_table(known))


def _capabilities_of(name: LLModel) -> ModelCapabilities:
    """Capabilities need no key, and a client wants one; some want an address too (a region, a resource)."""
    try:
        made = make_client(name.provider, api_key="not-needed")
    except ConfigurationError:
        made = make_client(name.provider, api_key="not-needed", base_url="http://127.0.0.1")
    return made.capabilities(name)


def _wide_table(known: dict[LLModel, ModelCapabilities]) -> Table:
    """A row for each model, because so many columns fit on no screen."""
    table = Table("model", "described", "streamed tools", "context", "has")
    for name, each in known.items():
        has = ", ".join([capability.value for capability in Capability if capability in each])
        described = "yes" if each.known else "no"
        context = str(each.context_length or "?")
        table.add_row(Text(visible(str(name), one_line=True)), described, each.streamed_tools.value, context, has)
    return table


def _capability_table(known: dict[LLModel, ModelCapabilities]) -> Table:
    if len(known) > _MOST_COLUMNS:
        return _wide_table(known)
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
