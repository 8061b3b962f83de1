"""`chat_provider`: a server that speaks Chat Completions, as data.

Rule: a clone of a known API is a row, not a class. What a row cannot say belongs to `ChatDialect`, or is a provider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from promptport.arguments import as_model, as_prompt, as_tools
from promptport.errors import ConfigurationError
from promptport.http.http_client import HTTPClient
from promptport.messages import AssistantMessage, Origin, Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.protocols import ChatCompletionsDecoder, ChatDialect, chat_body, decode_chat_completion
from promptport.stream import FrameStream
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
    token_header: str = "",
    needs_key: bool = True,
    url_variable: str = "",
    text_calls: Literal["auto", "off"] = "off",
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
        token_header: The header of a token that ``api_key=function`` gives. Default: that of the key.
        needs_key: Whether the server at ``base_url`` refuses requests without a key.
        url_variable: The environment variable of another base URL.
        text_calls: Whether tool calls are also read out of the text, for servers that pass on what a model writes:
            ``auto`` or ``off``. A client can be created with another ``text_calls``.

    Returns:
        The class of its clients. Call it with the options of `HTTPClient` and ``text_calls``, or name it in an entry
        point of the group ``promptport.providers``.

    Raises:
        ConfigurationError: The name is empty, a capability table is of another type, or ``text_calls`` is neither.

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
    _check_text_calls(text_calls, name)
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
        "token_header": token_header,
        "needs_key": needs_key,
        "default_headers": dict(headers or {}),
        "body": body,
        "decoder": ChatCompletionsDecoder,
        "complete": decode_chat_completion,
        "capabilities": capabilities_of,
        "text_calls": text_calls,
        "answer_dialect": f"{spoken.schemas or 'openai'}-strict",
    }
    return type(f"{name.title().replace('-', '').replace('_', '')}Client", (_ChatClient,), members)


class _ChatClient(HTTPClient):
    """What the classes of `chat_provider` share: calls in the text, where they are wanted.

    Attributes:
        text_calls: In the class, the default; in a client, what it does.
    """

    text_calls: Literal["auto", "off"] = "off"

    def __init__(self, *, text_calls: Literal["auto", "off"] | None = None, **options: Any) -> None:
        """See `HTTPClient`.

        Args:
            text_calls: See `chat_provider`. Default: the provider's.
            options: Those of `HTTPClient`.

        Raises:
            ConfigurationError: As `HTTPClient`, or ``text_calls`` is neither ``auto`` nor ``off``.
        """
        super().__init__(**options)
        if text_calls is not None:
            _check_text_calls(text_calls, self.provider)
            self.text_calls = text_calls

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """See `LLMClient`."""
        if self.text_calls == "off":
            return super().execute_streaming_with_tools(prompt, model, tools)
        from promptport.text_tools import read_beside  # noqa: PLC0415 - only where it is asked for

        prompt, model, tools = as_prompt(prompt), as_model(model, provider=self.provider), as_tools(tools)
        native = super().execute_streaming_with_tools(prompt, model, tools)
        stream = read_beside(native, prompt, tools, named=(self.provider, model.id))
        if stream is not native:
            self._streams.discard(native)
            self._streams.add(stream)
        return stream

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `LLMClient`."""
        if self.text_calls == "off":
            return await super().execute(prompt, model, tools)
        from promptport.text_tools import read_message  # noqa: PLC0415 - only where it is asked for

        prompt, tools = as_prompt(prompt), as_tools(tools)
        return read_message(await super().execute(prompt, model, tools), prompt, tools)


def _check_text_calls(text_calls: object, name: str) -> None:
    if text_calls not in ("auto", "off"):
        raise ConfigurationError(f"{name}: text_calls must be 'auto' or 'off', not {text_calls!r}.")


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
