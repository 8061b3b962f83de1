"""Options that several commands take alike.

Rule: an option of one command only stands in that command.
"""

from typing import Annotated, TypeAlias

import typer

__all__ = [
    "DEFAULT_MODEL",
    "BaseURLOption",
    "MaxTokensOption",
    "ModelOption",
    "SystemOption",
    "TemperatureOption",
    "ToolsOption",
]

DEFAULT_MODEL = "local/smollm2-135m"

ModelOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--model", "-m", envvar="PROMPTPORT_MODEL", help="Model to ask, as provider/id. Example: openai/gpt-5."
    ),
]
SystemOption: TypeAlias = Annotated[str | None, typer.Option("--system", "-s", help="Instructions to the model.")]
ToolsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        "-t",
        help="Tool to offer: module:function, path.py:function or path.py:Class.method. Repeat for more.",
    ),
]
MaxTokensOption: TypeAlias = Annotated[
    int | None, typer.Option(help="Limit of each response, in tokens. Default: the provider's.")
]
TemperatureOption: TypeAlias = Annotated[float | None, typer.Option(help="From 0 up. Default: the provider's.")]
BaseURLOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Another server of the provider's API. Example: http://localhost:8000/v1.")
]
