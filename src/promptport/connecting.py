"""`connect`: an executor over providers by name, with the usual policies in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from promptport.checking import checked
from promptport.errors import ConfigurationError, InvalidInputError
from promptport.executor import MultiProviderExecutor, ParametersPolicy, ToolsPolicy
from promptport.llm_client import LLMClient
from promptport.models import LLModel
from promptport.registry import client

if TYPE_CHECKING:
    from promptport.policies import FallbackExecutor, Limits, RetryConfig

__all__ = ["connect"]


@overload
def connect(
    *providers: str,
    when_tools_cannot_stream: ToolsPolicy = "raise",
    when_unsupported: ParametersPolicy = "raise",
    tools_in_text: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    retry: RetryConfig | None = None,
    limits: Limits | Mapping[str, Limits] | None = None,
    fallback: None = None,
    **provider_options: Any,
) -> MultiProviderExecutor: ...
@overload
def connect(
    *providers: str,
    when_tools_cannot_stream: ToolsPolicy = "raise",
    when_unsupported: ParametersPolicy = "raise",
    tools_in_text: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    retry: RetryConfig | None = None,
    limits: Limits | Mapping[str, Limits] | None = None,
    fallback: Iterable[LLModel | str],
    **provider_options: Any,
) -> FallbackExecutor: ...
@checked
def connect(
    *providers: str,
    when_tools_cannot_stream: ToolsPolicy = "raise",
    when_unsupported: ParametersPolicy = "raise",
    tools_in_text: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    retry: RetryConfig | None = None,
    limits: Limits | Mapping[str, Limits] | None = None,
    fallback: Iterable[LLModel | str] | None = None,
    **provider_options: Any,
) -> MultiProviderExecutor | FallbackExecutor:
    """An executor over these providers, with keys from the environment.

    Args:
        providers: names, such as ``"openai", "anthropic", "ollama"``.
        when_tools_cannot_stream: see `ToolsPolicy`.
        when_unsupported: see `ParametersPolicy`.
        tools_in_text: see `SingleClientExecutor`.
        options: for each provider what its factory takes, such as ``{"ollama": {"base_url": "http://gpu:11434"}}``.
        retry: when a request is sent again, such as ``RetryConfig.PRODUCTION``. Default: never.
        limits: how much may be under way, for all providers together, or for each by its name. Default: no limit.
        provider_options: what the factory of the only provider takes, such as ``api_key="…"`` or ``base_url="…"``.
        fallback: the models to ask, in this order, where the model of a request fails. Default: none.

    Raises:
        ConfigurationError: an unknown or missing provider, a missing key.
        InvalidInputError: no provider, or options or limits for one that is not named.
    """
    if not providers:
        raise InvalidInputError("connect() needs at least one provider, such as connect('openai')")
    for name in providers:
        if not isinstance(name, str):
            raise InvalidInputError(
                f"connect(): a provider must be a name, not {type(name).__name__}. Write connect('openai')."
            )
    options = _options(providers, options or {}, provider_options)
    limited = limits if isinstance(limits, Mapping) else {}
    strangers = sorted(map(str, {*options, *limited} - set(providers)))
    if strangers:
        raise InvalidInputError(f"options are given for {', '.join(strangers)}, which connect() was not asked for")
    clients: dict[str, LLMClient] = {name: client(name, **options.get(name, {})) for name in dict.fromkeys(providers)}
    if retry is not None or limits is not None:
        from promptport.policies import LimitedClient, RetryingClient  # noqa: PLC0415 - for those who ask for them

        for name, each in clients.items():
            bound = limited.get(name) if isinstance(limits, Mapping) else limits
            wrapped: Any = each if bound is None else LimitedClient(each, bound)  # each attempt needs a place
            clients[name] = wrapped if retry is None else RetryingClient(wrapped, retry)
    executor = MultiProviderExecutor(
        clients,
        when_tools_cannot_stream=when_tools_cannot_stream,
        when_unsupported=when_unsupported,
        tools_in_text=tools_in_text,
    )
    if fallback is None:
        return executor
    from promptport.policies import FallbackExecutor  # noqa: PLC0415 - for those who ask for it

    return FallbackExecutor(fallback, executor)


def _options(
    providers: Sequence[str], options: Mapping[str, Mapping[str, Any]], own: Mapping[str, Any]
) -> Mapping[str, Mapping[str, Any]]:
    """The options by provider; a model's name in place of a provider's is told."""
    for name in providers:
        provider, slash, model = name.partition("/")
        if slash and model:
            raise ConfigurationError(
                f"connect(): {name!r} is a model, and connect() takes providers. Write connect({provider!r}), and pass"
                f" {name!r} as the model of each request."
            )
    if not own:
        return options
    if len(set(providers)) > 1 or options:
        named = ", ".join(sorted(own))
        example = f"options={{{providers[0]!r}: {{{sorted(own)[0]!r}: …}}}}"
        raise InvalidInputError(
            f"connect(): {named} can be passed by name for one provider, without options=. Write {example}."
        )
    return {providers[0]: own}
