"""The capability tables of OpenAI's models."""

import pytest

from promptport.models import Capability, StreamedTools
from promptport_openai._models import _FAMILIES, chat_capabilities, responses_capabilities


def test_a_model_that_reasons() -> None:
    responses, chat = responses_capabilities("gpt-5"), chat_capabilities("gpt-5")
    assert responses.known
    assert (responses.context_length, responses.max_output_tokens) == (400_000, 128_000)
    assert responses.streamed_tools is StreamedTools.DELTAS
    for capability in (Capability.REASONING, Capability.REASONING_EFFORT, Capability.TOOL_RESULT_IMAGES):
        assert capability in responses
    for capability in (Capability.TEMPERATURE, Capability.STOP, Capability.SEED, Capability.AUDIO):
        assert capability not in responses
    assert Capability.REASONING_EFFORT in chat
    assert Capability.SEED in chat
    for capability in (Capability.REASONING, Capability.STOP, Capability.TOOL_RESULT_IMAGES):
        assert capability not in chat


def test_a_model_that_does_not() -> None:
    responses, chat = responses_capabilities("gpt-4.1"), chat_capabilities("gpt-4.1")
    assert Capability.TEMPERATURE in responses
    assert Capability.REASONING not in responses
    assert {Capability.STOP, Capability.SEED} <= chat.capabilities


@pytest.mark.parametrize("model", ["gpt-5-2025-08-07", "ft:gpt-5:my-org::abc", "ft:gpt-5-2025-08-07:my-org:x:abc"])
def test_snapshots_and_fine_tuned_models_are_of_the_family(model: str) -> None:
    assert responses_capabilities(model) == responses_capabilities("gpt-5")


def test_a_snapshot_of_its_own() -> None:
    assert Capability.JSON_SCHEMA in responses_capabilities("gpt-4o-2024-08-06")
    assert Capability.JSON_SCHEMA not in responses_capabilities("gpt-4o-2024-05-13")


@pytest.mark.parametrize("model", ["gpt-9", "gpt-5-chat-latest", "gpt-4o-realtime-preview", "openai/gpt-5", "llama3"])
def test_unknown_models_are_allowed_what_the_api_has(model: str) -> None:
    for capabilities in (responses_capabilities(model), chat_capabilities(model)):
        assert not capabilities.known
        assert capabilities.streamed_tools is StreamedTools.DELTAS
        assert {Capability.TOOLS, Capability.REASONING, Capability.TEMPERATURE} <= capabilities.capabilities
        assert Capability.REASONING_BUDGET not in capabilities
    assert not {Capability.STOP, Capability.SEED, Capability.AUDIO} & responses_capabilities(model).capabilities
    assert {Capability.STOP, Capability.SEED, Capability.AUDIO} <= chat_capabilities(model).capabilities


def test_the_table_does_not_hold_for_other_servers() -> None:
    assert not responses_capabilities("gpt-5", own=False).known
    assert not chat_capabilities("gpt-5", own=False).known


def test_models_that_stream_nothing_or_call_nothing() -> None:
    assert responses_capabilities("o3-pro").streamed_tools is StreamedTools.NONE
    assert Capability.TOOLS in responses_capabilities("o3-pro")
    assert Capability.TOOLS not in responses_capabilities("o3-deep-research")
    assert Capability.TOOLS in responses_capabilities("gpt-6-astra")
    assert Capability.TOOLS not in chat_capabilities("gpt-6-astra")
    assert chat_capabilities("gpt-6-astra").streamed_tools is StreamedTools.NONE


def test_the_table_and_the_sdk() -> None:
    """Every name in the table is a model that the SDK lists; which of its models are not in the table is known too."""
    from typing import get_args

    from openai.types.shared.all_models import AllModels
    from openai.types.shared.chat_model import ChatModel

    listed = {name for part in get_args(AllModels) for name in get_args(part)} | set(get_args(ChatModel))
    ours = {name for family in _FAMILIES for name in family.names}
    newer = {"gpt-5.6", "gpt-5.4-pro", "gpt-5.3-codex", "gpt-5.2-codex", "gpt-5.1-codex-mini", "gpt-audio"}
    assert ours - listed == newer  # OpenAI's pages have them, the SDK's list does not
    assert len(ours) == sum(len(family.names) for family in _FAMILIES)
