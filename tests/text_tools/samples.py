"""What a small model wrote, and what a person reads in it: the shared sample, beside the checkout or elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from promptport.tools import ToolDescriptor

__all__ = ["Sample", "samples"]

_CORPUS = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).parents[3] / "shared" / "wire"))


class Sample(NamedTuple):
    """One answer.

    Attributes:
        id: its number.
        tools: what was offered.
        raw: all that the model wrote.
        finish: the server's reason.
    """

    id: int
    tools: list[ToolDescriptor]
    raw: str
    finish: str


def samples() -> list[Sample]:
    """All of them; none where the sample is not there."""
    path = next(
        (
            folder / "local-model-outputs.json"
            for folder in (_CORPUS, _CORPUS.parent)
            if (folder / "local-model-outputs.json").is_file()
        ),
        None,
    )
    if path is None:
        return []
    cases: list[dict[str, Any]] = json.loads(path.read_bytes())["cases"]
    return [
        Sample(
            case["id"],
            [ToolDescriptor(tool["name"], tool["description"], tool["parameters"]) for tool in case["tools"]],
            case["raw"],
            case["wire_finish_reason"],
        )
        for case in cases
    ]
