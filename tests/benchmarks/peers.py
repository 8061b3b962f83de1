"""Other libraries that stream from several providers, each in an environment of its own (`environments`).

Rule: as in `contenders`. Their modules are not there for whoever checks this file, so that they are imported by name.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from tests.benchmarks.contenders import (
    CHAT_TOOLS,
    KEY,
    MESSAGES,
    MESSAGES_TOOLS,
    PROMPT,
    RESPONSES_TOOLS,
    Make,
    Stream,
    Take,
    base_url,
    take_chat,
)
from tests.benchmarks.wires import MODELS, TOOL


def pydantic_ai(api: str, url: str, tool: bool) -> Stream:
    """Its direct way to a model, without an agent."""
    ask = import_module("pydantic_ai.direct").model_request_stream
    models = import_module("pydantic_ai.models")
    messages = import_module("pydantic_ai.messages")
    definition = import_module("pydantic_ai.tools").ToolDefinition
    model = pydantic_ai_model(api, url)
    prompt = [messages.ModelRequest.user_text_prompt(PROMPT)]
    offered = definition(
        name=TOOL["name"], description=TOOL["description"], parameters_json_schema=TOOL["parameters"], strict=False
    )
    parameters = models.ModelRequestParameters(function_tools=[offered] if tool else [])
    started, grown = messages.PartStartEvent, messages.PartDeltaEvent

    async def stream(take: Take) -> None:
        async with ask(model, prompt, model_request_parameters=parameters) as events:
            async for event in events:
                kind = type(event)
                if kind is grown:
                    delta = event.delta
                    text = delta.content_delta if delta.part_delta_kind == "text" else delta.args_delta
                elif kind is started:
                    text = event.part.content if event.part.part_kind == "text" else event.part.args
                else:
                    continue
                if text:
                    take(text)

    return stream


def pydantic_ai_model(api: str, url: str) -> Any:
    """Its model of an API, at this server."""
    vendor = "anthropic" if api == "anthropic" else "openai"
    provider = getattr(import_module(f"pydantic_ai.providers.{vendor}"), f"{_VENDORS[vendor]}Provider")
    names = {"chat": "OpenAIChatModel", "responses": "OpenAIResponsesModel", "anthropic": "AnthropicModel"}
    module = import_module(f"pydantic_ai.models.{vendor}")
    if vendor == "anthropic":
        client = import_module("anthropic").AsyncAnthropic(api_key=KEY, base_url=base_url(api, url), timeout=600)
        return module.AnthropicModel(MODELS[api], provider=provider(anthropic_client=client))
    return getattr(module, names[api])(MODELS[api], provider=provider(base_url=base_url(api, url), api_key=KEY))


_VENDORS = {"anthropic": "Anthropic", "openai": "OpenAI"}


def langchain(api: str, url: str, tool: bool) -> Stream:
    """Its chat model's ``astream``."""
    if api == "anthropic":
        module = import_module("langchain_anthropic")
        model = module.ChatAnthropic(model=MODELS[api], api_key=KEY, base_url=url, max_tokens=4096, timeout=600)
    elif api == "ollama":
        model = import_module("langchain_ollama").ChatOllama(model=MODELS[api], base_url=url)
    else:
        model = import_module("langchain_openai").ChatOpenAI(
            model=MODELS[api],
            api_key=KEY,
            base_url=base_url(api, url),
            use_responses_api=api == "responses",
            stream_usage=True,
            timeout=600,
        )
    if tool:
        tools = {"anthropic": MESSAGES_TOOLS, "responses": RESPONSES_TOOLS}.get(api, CHAT_TOOLS)
        model = model.bind_tools(tools)

    async def stream(take: Take) -> None:
        async for chunk in model.astream(PROMPT):
            content = chunk.content
            if isinstance(content, str):
                if content:
                    take(content)
            else:
                for block in content:
                    text = block.get("text")
                    if text:
                        take(text)
            for call in chunk.tool_call_chunks:
                if call["args"]:
                    take(call["args"])

    return stream


def litellm(api: str, url: str, tool: bool) -> Stream:
    """Its ``acompletion``."""
    # Else it asks a server for prices when it is imported, and another for its own news.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    module: Any = import_module("litellm")
    module.telemetry = False
    families = {"chat": "openai", "ollama": "ollama_chat", "google": "gemini", "cohere": "cohere_chat"}
    model = families.get(api, api) + "/" + MODELS[api]
    options: dict[str, Any] = {"tools": CHAT_TOOLS} if tool else {}
    if api == "chat":
        options["stream_options"] = {"include_usage": True}

    async def stream(take: Take) -> None:
        chunks = await module.acompletion(
            model=model, messages=MESSAGES, stream=True, api_key=KEY, api_base=base_url(api, url), **options
        )
        async for chunk in chunks:
            take_chat(chunk, take)

    return stream


def any_llm(api: str, url: str, tool: bool) -> Stream:
    """Its client object's ``acompletion``."""
    provider = {"chat": "openai"}.get(api, api)
    client = import_module("any_llm").AnyLLM.create(provider, api_key=KEY, api_base=base_url(api, url))
    options: dict[str, Any] = {"tools": CHAT_TOOLS} if tool else {}
    if api == "chat":
        options["stream_options"] = {"include_usage": True}

    async def stream(take: Take) -> None:
        chunks = await client.acompletion(model=MODELS[api], messages=MESSAGES, stream=True, **options)
        async for chunk in chunks:
            take_chat(chunk, take)

    return stream


PEERS: dict[str, Make] = {
    "pydantic-ai": pydantic_ai,
    "langchain": langchain,
    "litellm": litellm,
    "any-llm": any_llm,
}
SPEAKS = {
    "pydantic-ai": ("chat", "responses", "anthropic"),
    "langchain": ("chat", "responses", "anthropic", "ollama"),
    "litellm": ("chat", "anthropic", "ollama", "mistral"),
    "any-llm": ("chat", "anthropic", "ollama"),
}
"""The APIs that each is measured on."""
