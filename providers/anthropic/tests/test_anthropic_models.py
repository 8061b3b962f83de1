"""What Claude models can do."""

from __future__ import annotations

import pytest

from promptport.models import Capability, StreamedTools
from promptport_anthropic._models import capabilities_of, family_of


@pytest.mark.parametrize(
    ("model_id", "family"),
    [
        ("claude-opus-5", "claude-opus-5"),
        ("claude-opus-5-20260724", "claude-opus-5"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
    ],
)
def test_the_longest_prefix_wins(model_id: str, family: str) -> None:
    assert family_of(model_id) is family_of(family)


@pytest.mark.parametrize("model_id", ["claude-opus-50", "claude-3-haiku-20240307", "llama", "x-claude-opus-5"])
def test_unknown_models_are_allowed_everything(model_id: str) -> None:
    found = capabilities_of(model_id, sampling=False)
    assert not found.known
    assert found.streamed_tools is StreamedTools.DELTAS
    assert found.max_output_tokens is None
    for capability in (Capability.TOOLS, Capability.REASONING_BUDGET, Capability.REASONING_EFFORT, Capability.IMAGES):
        assert capability in found
    for capability in (Capability.SEED, Capability.AUDIO, Capability.TEMPERATURE):
        assert capability not in found
    assert Capability.TEMPERATURE in capabilities_of(model_id, sampling=True)


def test_what_tells_the_families_apart() -> None:
    opus = capabilities_of("claude-opus-5-5", sampling=True)
    assert (opus.known, opus.context_length, opus.max_output_tokens) == (True, 1_000_000, 128_000)
    assert Capability.TOOL_CHOICE not in opus
    assert Capability.TEMPERATURE not in opus
    assert Capability.REASONING_BUDGET not in opus
    haiku = capabilities_of("claude-haiku-4-5", sampling=True)
    assert Capability.TOOL_CHOICE in haiku
    assert Capability.TEMPERATURE in haiku
    assert Capability.REASONING_BUDGET in haiku
    assert Capability.REASONING_EFFORT not in haiku
    assert Capability.TEMPERATURE not in capabilities_of("claude-haiku-4-5", sampling=False)


def test_every_model_that_the_sdk_names_is_known() -> None:
    from typing import get_args

    from anthropic.types.model import Model

    gone = {"claude-mythos-preview"}
    for model_id in get_args(get_args(Model)[0]):
        assert capabilities_of(model_id, sampling=False).known or model_id in gone, model_id
