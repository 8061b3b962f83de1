"""The table of presets: every row is usable, asks what it should, keeps keys at home, and a user can add one."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

import promptport as pp
from promptport.errors import BadRequestError, ConfigurationError, UnsupportedCapabilityError
from promptport.models import Capability, LLModel
from promptport.presets import names, preset, register, table
from promptport.protocols import ChatDialect
from promptport.registry import client, providers
from promptport.testing import WireResponse, WireServer
from promptport.tools import ToolDescriptor

CORPUS = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "wire"))
ANSWER = WireResponse(
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
BUILT_IN = sorted(tomllib.loads(table.BUILT_IN.read_text()))
NAMED_BY_THE_ISSUE = frozenset(
    [
        *("deepseek", "openrouter", "groq", "xai", "together", "fireworks", "perplexity", "cerebras", "huggingface"),
        *("moonshot", "zai", "dashscope", "minimax", "nvidia", "github-models", "vercel", "azure", "sambanova"),
        *("nebius", "deepinfra", "venice", "cloudflare", "stepfun", "ovhcloud", "scaleway", "mistral", "lmstudio"),
        *("vllm", "sglang", "llamacpp", "litellm"),
    ]
)
TOOL = ToolDescriptor("look", "Looks.", {"type": "object", "properties": {}})


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTPORT_PROVIDERS", raising=False)
    for name in BUILT_IN:
        for variable in preset(name).key_env:
            monkeypatch.delenv(variable, raising=False)
    before = dict(table._registered)
    yield
    table._registered.clear()
    table._registered.update(before)


async def asked(name: str, prompt: pp.Prompt, model: str = "m", tools: Any = (), **options: Any) -> Any:
    """The request that the server gets, and its headers."""
    async with WireServer(ANSWER) as server:
        made = client(name, base_url=server.url, **options)
        assert made.provider == name
        message = await made.execute_streaming_with_tools(prompt, LLModel(name, model), tools).message()
        assert message.text == "Hi"
        await made.aclose()
        [request] = server.requests
    return request


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_row_is_whole(name: str) -> None:
    row = preset(name)
    parts = urlsplit(row.base_url)
    local = parts.hostname == "127.0.0.1"
    assert parts.scheme == ("http" if local else "https")
    assert not parts.query
    assert not row.base_url.endswith("/")
    assert local or row.key_env
    assert all(variable.isupper() for variable in row.key_env)
    assert row.page.startswith("https://")
    msgspec.convert(row.dialect, ChatDialect)
    for pattern in row.models:
        assert row.capabilities(pattern.replace("*", "x")).known
    for field in row.discover:
        assert field in ("context_length", "max_output_tokens") or Capability(field)


def test_the_issue_names_are_all_there() -> None:
    assert set(BUILT_IN) >= NAMED_BY_THE_ISSUE
    listed = {info.name: info for info in providers()}
    assert all(listed[name].installed for name in BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
async def test_each_is_a_provider_and_sends_its_key_where_it_was_passed(name: str) -> None:
    request = await asked(name, pp.Prompt.of("Hello", max_tokens=5), api_key="a-key")
    row = preset(name)
    body = request.json()
    limit = msgspec.convert(row.dialect, ChatDialect).max_tokens
    assert request.path == "/chat/completions"
    assert body[limit] == 5
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert request.headers[row.key_header] == ("Bearer a-key" if row.key_header == "authorization" else "a-key")


@pytest.mark.parametrize("name", [name for name in BUILT_IN if preset(name).key_env])
async def test_a_key_of_the_environment_stays_at_home(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = preset(name)
    filled = dict.fromkeys(row.holes, "mine")
    if not row.base_url.startswith("http://127"):
        with pytest.raises(ConfigurationError, match=row.key_env[0]):
            client(name, **filled)
    monkeypatch.setenv(row.key_env[0], "secret-key")
    client(name, **filled)  # at home it is enough
    request = await asked(name, pp.Prompt.of("Hi"))
    assert "secret-key" not in str(request.headers)


def test_holes_are_filled_by_options_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = client("azure", resource="my-res", api_key="k")
    assert made.base_url == "https://my-res.openai.azure.com/openai/v1"
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "abc")
    made = client("cloudflare", api_key="k")
    assert "/accounts/abc/" in made.base_url
    monkeypatch.delenv("CLOUDFLARE_ACCOUNT_ID")
    with pytest.raises(ConfigurationError, match="pass account=… or set CLOUDFLARE_ACCOUNT_ID"):
        client("cloudflare", api_key="k")


@pytest.mark.parametrize(
    "value",
    [
        *("evil.example/x", "evil.example#", "user@evil.example", "evil.example?", "evil.example:1", "a b", "a\n", "é"),
        *("evil.example", "..", ".", "-a", "a-", "{account}", "%2e", "a\\b", 7),
    ],
)
def test_a_holes_value_leads_to_no_other_address(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a part of an address"):
        client("azure", resource=value, api_key="k")
    if value not in ("evil.example", "-a", "a-"):  # below the host they are names like others
        with pytest.raises(ConfigurationError, match="cannot be a part of an address"):
            client("cloudflare", account=value, api_key="k")


@pytest.mark.parametrize("api", ["responses", "messages"])
def test_a_row_of_another_api_has_keys_holes_and_gaps_of_its_own(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "openai-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "anthropic-key")
    row = {"api": api, "base_url": "https://{region}.api.example/v1", "key_env": ["MINE_KEY"], "lacks": ["images"]}
    register({"mine": {**row, "models": {"small*": {"context_length": 5, "tools": "none"}}}})
    with pytest.raises(ConfigurationError, match="pass region=…"):
        client("mine")
    with pytest.raises(ConfigurationError, match="set MINE_KEY"):
        client("mine", region="eu")
    monkeypatch.setenv("MINE_KEY", "mine-key")
    made: Any = client("mine", region="eu")
    assert (made.base_url, made.provider) == ("https://eu.api.example/v1", "mine")
    assert Capability.IMAGES not in made.capabilities(LLModel("mine", "big"))
    assert made.capabilities(LLModel("mine", "small-1")).context_length == 5
    assert Capability.TOOLS not in made.capabilities(LLModel("mine", "small-1"))


@pytest.mark.parametrize(
    ("name", "params", "tools", "missing"),
    [
        ("perplexity", {}, [TOOL], "tools"),
        ("perplexity", {"stop": ("x",)}, [], "stop"),
        ("moonshot", {"tool_choice": "required"}, [TOOL], "tool_choice"),
        ("zai", {"tool_choice": "required"}, [TOOL], "tool_choice"),
        ("zai", {"user": "u"}, [], "user"),
        ("deepseek", {"response_schema": {"type": "object"}}, [], "json_schema"),
        ("cerebras", {"parallel_tool_calls": True}, [TOOL], "parallel_tool_calls"),
        ("groq", {"response_schema": {"type": "object"}}, [TOOL], "beside tools"),
        ("fireworks", {"reasoning_effort": "none"}, [], "reasoning_effort none"),
        ("mistral", {"user": "u"}, [], "user"),
    ],
)
async def test_what_a_server_has_not_is_refused_before_sending(
    name: str, params: dict[str, Any], tools: list[ToolDescriptor], missing: str
) -> None:
    made = client(name, api_key="k")
    with pytest.raises(UnsupportedCapabilityError, match=missing):
        made.execute_streaming_with_tools(pp.Prompt.of("Hi", **params), LLModel(name, "m"), tools)
    await made.aclose()


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("openrouter", {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ("openrouter", {"reasoning_budget": 99}, {"reasoning": {"max_tokens": 99}}),
        ("deepseek", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("deepseek", {"reasoning_effort": "max"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
        ("zai", {"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}),
        ("dashscope", {"reasoning_budget": 9}, {"enable_thinking": True, "thinking_budget": 9}),
        ("minimax", {}, {"reasoning_split": True}),
        ("mistral", {"seed": 7}, {"random_seed": 7}),
    ],
)
async def test_dialects(name: str, params: dict[str, Any], expected: dict[str, Any]) -> None:
    body = (await asked(name, pp.Prompt.of("Hi", **params), api_key="k")).json()
    extra = {field: value for field, value in body.items() if field not in ("model", "messages", "stream")}
    extra.pop("stream_options", None)
    assert extra == expected


@pytest.mark.parametrize(
    ("model", "effort", "advice"),
    [
        ("groq/openai/gpt-oss-120b", "none", "use low, medium, high"),
        ("groq/qwen/qwen3-32b", "high", "use none"),
        ("mistral/mistral-small-latest", "medium", "use none, high"),
        ("openai/gpt-5", "xhigh", "use minimal, low, medium, high"),
        ("openai/gpt-5-2025-08-07", "none", "use minimal, low, medium, high"),
        ("openai/gpt-5-pro", "low", "use high"),
        ("openai-chat/o3", "minimal", "use low, medium, high"),
        ("openai-chat/gpt-5.1", "minimal", "use none, low, medium, high"),
        ("mine/small", "high", "use low"),
    ],
)
async def test_an_effort_that_the_model_does_not_take_is_refused_before_sending(
    model: str, effort: Any, advice: str
) -> None:
    register({"mine": {"extends": "vllm", "models": {"small": {"efforts": ["low"]}}}})
    asked_of = LLModel.parse(model)
    made = client(asked_of.provider, api_key="k")
    with pytest.raises(UnsupportedCapabilityError, match=f"reasoning_effort {effort}.*{advice}"):
        made.execute_streaming_with_tools(pp.Prompt.of("Hi", reasoning_effort=effort), asked_of)
    usable: Any = made.capabilities(asked_of).efforts[-1]
    stream = made.execute_streaming_with_tools(pp.Prompt.of("Hi", reasoning_effort=usable), asked_of)
    await stream.aclose()
    await made.aclose()


async def test_mistral_gets_its_words_and_ids() -> None:
    prompt = pp.Prompt.of("Hi", tool_choice="required").tool_call("toolu_x", "look").tool_result("toolu_x", "seen")
    body = (await asked("mistral", prompt, tools=[TOOL], api_key="k")).json()
    assert body["tool_choice"] == "any"
    sent = body["messages"][1]["tool_calls"][0]["id"]
    assert len(sent) == 9
    assert body["messages"][2]["tool_call_id"] == sent


# ------------------------------------------------------------------------------------------------- a user's own


async def test_a_users_file_adds_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "promptport").mkdir()
    rows = '[gpu]\nextends = "vllm"\nbase_url = "http://gpu:8000/v1"\nkey_env = ["GPU_KEY"]\n'
    rows += '[gpu.models."qwen3*"]\ntools = "whole"\ncontext_length = 32768\n'
    (tmp_path / "promptport" / "providers.toml").write_text(rows)
    more = tmp_path / "more.toml"
    more.write_text('[proxy]\nextends = "gpu"\nbase_url = "http://proxy/v1"\n')
    monkeypatch.setenv("PROMPTPORT_PROVIDERS", str(more))
    assert {"gpu", "proxy"} <= {info.name for info in providers()}
    monkeypatch.setenv("GPU_KEY", "secret")
    made: Any = client("gpu")
    found = made.capabilities(LLModel("gpu", "qwen3-4b"))
    assert (found.context_length, found.streamed_tools.value, found.known) == (32768, "whole", True)
    assert preset("proxy").key_env == ()  # the key of another address stays there
    await asked("proxy", pp.Prompt.of("Hi"))


async def test_register_adds_one_and_refuses_what_is_not_usable() -> None:
    register({"mine": {"extends": "groq", "base_url": "http://127.0.0.1:9/v1"}})
    assert (await asked("mine", pp.Prompt.of("Hi", max_tokens=4), api_key="k")).json()["max_completion_tokens"] == 4
    for row, words in (
        ({"extends": "nothing"}, "there is no preset 'nothing'"),
        ({"base_url": "http://x", "kee_env": []}, "kee_env"),
        ({"extends": "bad"}, "extends itself"),
        ({}, "base_url"),
        ({"base_url": "http://x", "lacks": ["wings"]}, "wings"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            register({"bad": row})
    assert "bad" not in names()


def test_a_row_does_not_replace_a_package() -> None:
    register({"ollama": {"extends": "vllm"}})
    with pytest.raises(ConfigurationError, match="give the preset another name"):
        client("ollama")


def test_a_file_that_is_no_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[x\n")
    monkeypatch.setenv("PROMPTPORT_PROVIDERS", str(bad))
    with pytest.raises(ConfigurationError, match=r"bad\.toml"):
        names()
    monkeypatch.setenv("PROMPTPORT_PROVIDERS", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match="not there"):
        names()


# ---------------------------------------------------------------------------------------- what the server says


async def test_discover_reads_what_the_servers_list_says() -> None:
    entry = {
        "id": "a/b",
        "context_length": 1000,
        "top_provider": {"max_completion_tokens": 100},
        "supported_parameters": ["tools"],
        "architecture": {"input_modalities": ["text", "image"]},
    }
    async with WireServer(WireResponse.json({"data": [{"id": "other"}, entry]})) as server:
        made: Any = client("openrouter", base_url=server.url, api_key="k")
        found = await made.discover(LLModel("openrouter", "a/b"))
        await made.aclose()
    assert (found.context_length, found.max_output_tokens, found.known) == (1000, 100, True)
    assert Capability.TOOLS in found
    assert Capability.IMAGES in found
    assert Capability.AUDIO not in found
    assert Capability.REASONING not in found


LISTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "groq": ({"context_window": 9, "max_completion_tokens": 3}, {"context_length": 9, "max_output_tokens": 3}),
    "together": ({"context_length": 9}, {"context_length": 9}),
    "fireworks": (
        {"context_length": 9, "supports_tools": False, "supports_image_input": True},
        {"context_length": 9, "tools": False, "images": True},
    ),
    "vercel": (
        {"context_window": 9, "max_tokens": 3, "tags": ["vision", "reasoning"]},
        {"context_length": 9, "max_output_tokens": 3, "tools": False, "images": True, "reasoning": True},
    ),
    "huggingface": (
        {"providers": [{"context_length": 9, "supports_tools": False}, {"context_length": 7, "supports_tools": True}]},
        {"context_length": 7, "tools": True},
    ),
    "venice": (
        {
            "model_spec": {
                "availableContextTokens": 9,
                "capabilities": {"supportsFunctionCalling": True, "supportsVision": False, "supportsReasoning": True},
            }
        },
        {"context_length": 9, "tools": True, "images": False, "reasoning": True},
    ),
    "mistral": (
        {"max_context_length": 9, "capabilities": {"function_calling": False, "vision": True}},
        {"context_length": 9, "tools": False, "images": True},
    ),
    "moonshot": ({"context_length": 9, "supports_image_in": False}, {"context_length": 9, "images": False}),
    "chutes": ({"max_output_length": 3, "supported_features": ["tools"]}, {"max_output_tokens": 3, "tools": True}),
    "friendli": ({"context_length": 9, "max_completion_tokens": 3}, {"context_length": 9, "max_output_tokens": 3}),
    "ovhcloud": ({"context_length": 9, "max_output_length": 3}, {"context_length": 9, "max_output_tokens": 3}),
    "deepinfra": ({"metadata": {"context_length": 9}}, {"context_length": 9}),
    "vllm": ({"max_model_len": 9}, {"context_length": 9}),
    "sglang": ({"max_model_len": 9}, {"context_length": 9}),
    "llamacpp": ({"meta": {"n_ctx_train": 9}}, {"context_length": 9}),
    "wandb": ({"context_length": 9, "supported_features": []}, {"context_length": 9, "tools": False}),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("wrapped", [True, False])
async def test_each_servers_own_list_is_read(name: str, wrapped: bool) -> None:
    entry, expected = LISTS[name]
    listed: Any = [{"id": "other", **entry, "context_length": 1}, {"id": "a/b", **entry}, "odd", {"id": None}]
    async with WireServer(WireResponse.json({"data": listed} if wrapped else listed)) as server:
        made: Any = client(name, base_url=server.url, api_key="k")
        found = await made.discover(LLModel(name, "a/b"))
        await made.aclose()
    told = {
        field: getattr(found, field) if field.endswith(("length", "tokens")) else Capability(field) in found
        for field in expected
    }
    assert told == expected
    if "tools" in expected:
        assert (found.streamed_tools.value == "none") is not expected["tools"]


def test_every_list_that_the_table_reads_has_a_case() -> None:
    assert {name for name in BUILT_IN if preset(name).discover} == {*LISTS, "openrouter"}


@pytest.mark.parametrize("odd", [None, 7, "text", {"data": None}, {"data": [{"id": "m", "max_model_len": "x"}]}, []])
async def test_a_list_that_says_nothing_changes_nothing(odd: Any) -> None:
    async with WireServer(WireResponse.json(odd)) as server:
        made: Any = client("vllm", base_url=server.url)
        assert await made.discover(LLModel("vllm", "m")) == made.capabilities(LLModel("vllm", "m"))
        await made.aclose()


@pytest.mark.parametrize(
    ("model", "has", "lacks"),
    [
        ("deepseek/deepseek-v4-pro", "tools reasoning", "images tool_choice json_schema"),
        ("zai/glm-4.6v", "images tools", "tool_choice user"),
        ("zai/glm-5.2", "tools", "images"),
        ("xai/grok-4.3", "tools reasoning", "stop"),
        ("xai/grok-4.20-0309-non-reasoning", "tools stop", "reasoning reasoning_effort"),
        ("perplexity/sonar-pro", "", "tools stop seed"),
        ("groq/openai/gpt-oss-120b", "tools reasoning", "images"),
        ("moonshot/kimi-k2.6", "images reasoning", "tool_choice"),
    ],
)
def test_models_of_today_are_described(model: str, has: str, lacks: str) -> None:
    asked_for = LLModel.parse(model)
    found = client(asked_for.provider, api_key="k").capabilities(asked_for)
    assert found.known
    assert found.context_length is not None
    assert all(Capability(word) in found for word in has.split())
    assert not any(Capability(word) in found for word in lacks.split())


RECORDED = {"vercel-gateway": "vercel"}


def recordings() -> list[Any]:
    if not CORPUS.is_dir():
        reason = "the corpus of recorded wires (../shared/wire) is not here"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="no-corpus")]
    manifest = json.loads((CORPUS / "manifest.json").read_text())
    chosen = [
        entry
        for entry in manifest
        if entry["protocol"] == "openai-chat"
        and RECORDED.get(entry["provider"], entry["provider"]) in BUILT_IN
        and "error_in_stream" not in entry["features"]
        and "variant-b" not in entry["path"]
        and "derived-" not in entry["path"]
    ]
    return [pytest.param(entry, id=entry["path"]) for entry in chosen]


@pytest.mark.parametrize("entry", recordings())
async def test_recorded_answers_of_each_server_through_its_preset(entry: dict[str, Any]) -> None:
    name = RECORDED.get(entry["provider"], entry["provider"])
    reply = WireResponse((CORPUS / entry["path"]).read_bytes(), cut=("random", 1))
    async with WireServer(reply) as server:
        made = client(name, base_url=server.url, api_key="k")
        message = await made.execute_streaming_with_tools(pp.Prompt.of("Hi"), LLModel(name, "m")).message()
        await made.aclose()
    assert message.text == entry["expect"]["text"]
    calls: tuple[Any, ...] = (*message.tool_calls, *message.invalid_tool_calls, *message.unfinished)
    names_of_calls = sorted(str(call.name) for call in calls)
    assert names_of_calls == sorted(call["name"] for call in entry["expect"]["tool_calls"])


# ------------------------------------------------------------------------------------------ calls in the text

SELF_HOSTED = {"litellm", "llamacpp", "lmstudio", "sglang", "vllm"}
WRITTEN = WireResponse(
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"{\\"name\\": \\"look\\", \\"argu"}}]}\n\n'
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"ments\\": {}}"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
WRITTEN_WHOLE = WireResponse.json(
    {
        "id": "1",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": '{"name": "look", "arguments": {}}'},
                "finish_reason": "stop",
            }
        ],
    }
)


@pytest.mark.parametrize("name", BUILT_IN)
def test_calls_are_read_out_of_the_text_of_self_hosted_models(name: str) -> None:
    assert preset(name).text_calls == ("auto" if name in SELF_HOSTED else "off")


@pytest.mark.parametrize(
    ("name", "options", "calls"),
    [
        *[(name, {}, 1) for name in sorted(SELF_HOSTED)],
        ("vllm", {"text_calls": "off"}, 0),
        ("groq", {}, 0),
        ("groq", {"text_calls": "auto"}, 1),
        ("mine", {}, 1),
        ("openai-chat", {}, 0),
        ("openai-chat", {"text_calls": "auto"}, 1),
    ],
)
async def test_a_call_in_the_text_through_a_preset(name: str, options: dict[str, Any], calls: int) -> None:
    register({"mine": {"extends": "vllm", "base_url": "http://gpu:8000/v1"}})
    async with WireServer(WRITTEN, WRITTEN_WHOLE) as server:
        made = client(name, base_url=server.url, api_key="any", **options)
        model = LLModel(name, "m")
        streamed = await made.execute_streaming_with_tools(pp.Prompt.of("Hi"), model, [TOOL]).message()
        whole = await made.execute(pp.Prompt.of("Hi"), model, [TOOL])
        await made.aclose()
    for message in (streamed, whole):
        assert [call.name for call in message.tool_calls] == ["look"] * calls
        assert bool(message.text) is not bool(calls)
        assert message.finish_reason is (pp.FinishReason.TOOL_CALLS if calls else pp.FinishReason.STOP)
        assert message.origin is not None
        assert message.origin.provider == name


@pytest.mark.parametrize("name", ["vllm", "groq", "openai-chat"])
def test_another_word_for_text_calls_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="text_calls must be 'auto' or 'off', not 'on'"):
        client(name, base_url="http://127.0.0.1:1", api_key="any", text_calls="on")


async def test_azure_takes_a_key_in_its_own_header_and_an_entra_token_as_a_bearer_token() -> None:
    refusal = WireResponse.json({"error": {"message": "seen"}}, 400)
    async with WireServer(refusal, refusal) as server:
        for api_key in ("azure-key-0123", lambda: "entra-token-0123"):
            azure: Any = client("azure", base_url=server.url, api_key=api_key)
            with pytest.raises(BadRequestError):
                await azure.execute("Hi", "azure/gpt")
            await azure.aclose()
        sent = [(one.headers.get("api-key"), one.headers.get("authorization")) for one in server.requests]
    assert sent == [("azure-key-0123", None), (None, "Bearer entra-token-0123")]
