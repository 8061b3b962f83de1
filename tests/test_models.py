"""Models and capabilities are values; a model string without a provider is refused with words that say what to do."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import ConfigurationError
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools

NAME = st.text(min_size=1, max_size=9)
COUNT = st.none() | st.integers(1, 10**7)
CAPABILITIES = st.builds(
    ModelCapabilities,
    st.sampled_from(StreamedTools),
    st.frozensets(st.sampled_from(Capability)),
    COUNT,
    COUNT,
    st.booleans(),
)
MODEL = st.builds(LLModel, NAME, NAME, st.none() | CAPABILITIES)


@given(MODEL)
def test_models_go_to_json_and_back_and_pickle(model: LLModel) -> None:
    assert msgspec.json.decode(msgspec.json.encode(model), type=LLModel) == model
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    assert hash(copy) == hash(model)


def test_models_are_frozen() -> None:
    with pytest.raises(AttributeError):
        LLModel("p", "m").id = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        ModelCapabilities().known = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "provider", "id"),
    [
        ("openai/gpt-5", "openai", "gpt-5"),
        (" openai/gpt-5\n", "openai", "gpt-5"),
        ("openrouter/anthropic/claude:beta", "openrouter", "anthropic/claude:beta"),
        ("local//models/a.gguf", "local", "/models/a.gguf"),
        ("ollama/qwen3:0.6b", "ollama", "qwen3:0.6b"),
    ],
)
def test_parse(text: str, provider: str, id: str) -> None:
    model = LLModel.parse(text)
    assert model == LLModel(provider, id)
    assert LLModel.parse(str(model)) == model


@pytest.mark.parametrize("text", ["", " ", "gpt-5", "/gpt-5", "openai/", "/", "openai/ ", " /gpt-5"])
def test_a_model_string_needs_a_provider_and_an_id(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"provider/id.*'openai/gpt-5'"):
        LLModel.parse(text)


@pytest.mark.parametrize(("provider", "id"), [("", "m"), ("p", ""), ("", "")])
def test_a_model_needs_a_provider_and_an_id(provider: str, id: str) -> None:
    with pytest.raises(ConfigurationError, match="provider and an id, such as 'openai/gpt-5'"):
        LLModel(provider, id)


def test_capabilities_are_asked_and_changed() -> None:
    some = ModelCapabilities.of(StreamedTools.DELTAS, [Capability.TOOLS, Capability.IMAGES], context_length=8)
    assert Capability.TOOLS in some
    assert Capability.AUDIO not in some
    assert some.context_length == 8
    assert some.known
    more = some.with_(Capability.AUDIO, Capability.TOOLS)
    assert Capability.AUDIO in more
    assert more.without(Capability.AUDIO) == some
    assert some.without(Capability.SEED) == some
    assert some == ModelCapabilities.of(StreamedTools.DELTAS, [Capability.TOOLS, Capability.IMAGES], context_length=8)


def test_what_nobody_declared_is_not_there() -> None:
    nothing = ModelCapabilities()
    assert nothing.streamed_tools is StreamedTools.NONE
    assert not any(capability in nothing for capability in Capability)


@given(st.data())
def test_every_combination_is_kept(data: Any) -> None:
    chosen = data.draw(st.frozensets(st.sampled_from(Capability)))
    assert ModelCapabilities.of(StreamedTools.WHOLE, chosen).capabilities == chosen
    assert ModelCapabilities().with_(*chosen).without(*Capability).capabilities == frozenset()
