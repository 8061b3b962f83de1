"""The table of models: the longest prefix wins, and what nobody described may be asked for everything."""

from __future__ import annotations

import datetime

import pytest

from promptport.models import Capability, StreamedTools
from promptport_google._models import CHECKED, capabilities_of, family_of

PLACES = ("", "models/", "google/", "publishers/google/models/", "projects/p/locations/l/publishers/google/models/")


@pytest.mark.parametrize(
    ("id", "levels", "budget", "third"),
    [
        ("gemini-2.5-pro", (), (128, 32_768), False),
        ("gemini-2.5-flash", (), (1, 24_576), False),
        ("gemini-2.5-flash-lite-preview-09-2025", (), (512, 24_576), False),
        ("gemini-3-flash-preview", ("minimal", "low", "medium", "high"), (), True),
        ("gemini-3-pro-preview", ("low", "high"), (), True),
        ("gemini-3.1-pro-preview-customtools", ("low", "medium", "high"), (), True),
        ("gemini-3.1-flash-lite", ("minimal", "low", "medium", "high"), (), True),
        ("gemini-3.8-flash", ("low", "medium", "high"), (), True),
    ],
)
def test_families(id: str, levels: tuple[str, ...], budget: tuple[int, ...], third: bool) -> None:
    for place in PLACES:
        family = family_of(place + id)
        assert family is not None
        assert (family.levels, family.budget, family.third) == (levels, budget, third)
    found = capabilities_of(id)
    assert (found.known, found.streamed_tools, found.context_length) == (True, StreamedTools.WHOLE, 1_048_576)
    assert Capability.REASONING_EFFORT in found
    assert (Capability.REASONING_BUDGET in found) is bool(budget)
    assert not {Capability.USER, Capability.CACHE_CONTROL, Capability.PARALLEL_TOOL_CALLS} & found.capabilities


def test_models_of_pictures_have_no_tools() -> None:
    for name in ("gemini-2.5-flash-image", "gemini-3-pro-image-preview", "gemini-3.1-flash-image-preview"):
        found = capabilities_of(name)
        assert Capability.TOOLS not in found
        assert Capability.IMAGES in found


def test_gemma() -> None:
    found = capabilities_of("gemma-4-31b-it")
    assert (Capability.AUDIO in found, found.context_length) == (False, 262_144)


def test_an_unknown_model() -> None:
    found = capabilities_of("gemini-9-quark", streamed_tools=StreamedTools.DELTAS)
    assert (found.known, found.streamed_tools) == (False, StreamedTools.DELTAS)
    assert {Capability.REASONING_EFFORT, Capability.REASONING_BUDGET, Capability.TOOLS} <= found.capabilities


def test_the_table_says_when_it_was_checked() -> None:
    assert datetime.date.fromisoformat(CHECKED).year >= 2026
