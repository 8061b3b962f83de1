"""`chat_provider`: a server that speaks Chat Completions, as data.

Rule: a clone of a known API is a row, not a class. What a row cannot say belongs to `ChatDialect`, or is a provider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from promptport.errors import ConfigurationError
from promptport.http.http_client import HTTPClient
from promptport.messages import Origin, Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.protocols import ChatCompletionsDecoder, ChatDialect, chat_body, decode_chat_completion
from promptport.tools import ToolDescriptor

__all__ = ["chat_provider"]

_HAS_NOT = frozenset([Capability.REASONING, Capability.REASONING_BUDGET, Capability.CACHE_CONTROL])
_UNKNOWN = ModelCapabilities(StreamedTools.DELTAS, frozenset(Capability) - _HAS_NOT, known=False)


_Capabilities: TypeAlias = ModelCapabilities | Mapping[str, ModelCapabilities] | Callable[[str], ModelCapabilities]


def chat_provider(  # noqa: PLR0917 - a row of a table
    name: str,
    base_url: str,
    key_variable: str = "",
    dialect: ChatDialect | None = None,
    capabilities: _Capabilities | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    path: str = "/chat/completions",
    models_path: str = "/models",
    key_header: str = "authorization",
    needs_key: bool = True,
    url_variable: str = "",
) -> type[HTTPClient]:
    """Describe a provider that speaks Chat Completions.

    Args:
        name: The provider's name, as in ``LLModel.provider``.
        base_url: The provider's own address.
        key_variable: The environment variable of its key. That key goes to ``base_url`` only.
        dialect: How its requests differ from the common ones.
        capabilities: What its models can do: one for all, a table by model id, or a function of the id. A model that
            the table does not hold is unknown: all that the protocol has may be asked for. Default: every model is.
        headers: Sent with every request.
        path: Where requests go, below the base URL.
        models_path: Where the server lists its models; an empty string if it does not.
        key_header: The header of the key.
        needs_key: Whether the server at ``base_url`` refuses requests without a key.
        url_variable: The environment variable of another base URL.

    Returns:
        The class of its clients. Call it with the options of `HTTPClient`, or name it in an entry point of the group
        ``promptport.providers``.

    Raises:
        ConfigurationError: The name is empty, or a capability table is of another type.

    Examples:
        ```python
        from promptport.provider import ChatDialect, chat_provider

        marmot = chat_provider(
            "marmot", "https://api.marmot.example/v1", "MARMOT_API_KEY", dialect=ChatDialect(stream_usage=False)
        )
        client = marmot(api_key="…")
        ```
    """
    if not name:
        raise ConfigurationError("chat_provider: name is empty. Pass the provider's name, such as 'mistral'.")
    spoken = dialect if dialect is not None else ChatDialect()
    table = _table(name, capabilities)

    def body(
        prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool, origin: Origin | None
    ) -> dict[str, Any]:
        return chat_body(prompt, model, tools, stream=stream, dialect=spoken, origin=origin)

    def capabilities_of(self: HTTPClient, model: LLModel) -> ModelCapabilities:
        """What this model can do here; without network."""
        return model.capabilities or table(model.id)

    members = {
        "__doc__": f"A client of {name}, which speaks Chat Completions.",
        "__module__": __name__,
        "provider": name,
        "base_url": base_url,
        "path": path,
        "models_path": models_path,
        "key_variable": key_variable,
        "url_variable": url_variable,
        "key_header": key_header,
        "needs_key": needs_key,
        "default_headers": dict(headers or {}),
        "body": body,
        "decoder": ChatCompletionsDecoder,
        "complete": decode_chat_completion,
        "capabilities": capabilities_of,
    }
    return type(f"{name.title().replace('-', '').replace('_', '')}Client", (HTTPClient,), members)


def _table(
    name: str,
    capabilities: _Capabilities | None,
) -> Callable[[str], ModelCapabilities]:
    if capabilities is None:
        return lambda _: _UNKNOWN
    if isinstance(capabilities, ModelCapabilities):
        return lambda _: capabilities
    if isinstance(capabilities, Mapping):
        rows = dict(capabilities)
        return lambda model: rows.get(model, _UNKNOWN)
    if callable(capabilities):
        return capabilities
    raise ConfigurationError(
        f"chat_provider: capabilities of {name!r} must be ModelCapabilities, a mapping of model ids to them, or a"
        f" function of the id, not {type(capabilities).__name__}"
    )
