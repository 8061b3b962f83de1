"""Every error that promptport raises.

Rule: no exception of an SDK or of an HTTP library leaves a client; it is the ``__cause__`` of one of these.
Keys, tokens and prompts stand in no message and no ``repr``. A key that somebody else quoted is taken out once,
where all errors of a client pass (`promptport.http`).

::

    PromptportError
    ├── ConfigurationError            no key, unknown provider, model string without provider, two providers of one name
    ├── InvalidInputError             the caller's own prompt, parameters or tools; nothing was sent (a ValueError too)
    ├── UnsupportedCapabilityError    asked for what provider or model does not have; nothing was sent
    ├── ProviderError                 provider, model, status, code, request_id, retry_after, partial
    │   ├── AuthenticationError · PermissionDeniedError · ModelNotFoundError · BadRequestError · ContextLengthError
    │   ├── RateLimitError · OverloadedError · ServerError
    │   └── TransportError            connect, reset before the answer began, and the three clocks:
    │       └── FirstFrameTimeout · IdleTimeout · TotalTimeout
    ├── StreamError                   partial: what had arrived
    │   ├── IncompleteStreamError     no terminal: dropped, cut short, or closed before its end
    │   ├── ProviderStreamError       the provider reported an error inside the stream
    │   └── ProtocolError             bytes that the protocol does not allow
    ├── ToolError                     tool
    │   └── UnknownToolError · InvalidToolArgumentsError · ToolTimeoutError · ToolFailedError
    ├── StepLimitError                the tool loop passed ``max_steps``, ``max_calls`` or ``max_failures``
    └── BudgetExceededError           a budget is used up; nothing was sent
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptport.messages import AssistantMessage


__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceededError",
    "ConfigurationError",
    "ContextLengthError",
    "FirstFrameTimeout",
    "IdleTimeout",
    "IncompleteStreamError",
    "InvalidInputError",
    "InvalidToolArgumentsError",
    "ModelNotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "PromptportError",
    "ProtocolError",
    "ProviderError",
    "ProviderStreamError",
    "RateLimitError",
    "ServerError",
    "StepLimitError",
    "StreamError",
    "ToolError",
    "ToolFailedError",
    "ToolTimeoutError",
    "TotalTimeout",
    "TransportError",
    "UnknownToolError",
    "UnsupportedCapabilityError",
]


class PromptportError(Exception):
    """The root: ``except PromptportError`` catches all that this library raises.

    Errors survive pickling with all their attributes, so that they can cross process boundaries.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only arguments cannot be rebuilt from ``args``; their state can.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[PromptportError], args: tuple[Any, ...], state: dict[str, Any]) -> PromptportError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(PromptportError):
    """The set-up is wrong: no key, unknown provider, unusable URL. The message says what to change."""


class InvalidInputError(PromptportError, ValueError):
    """The caller's own prompt, parameters or tools are not usable; nothing was sent."""


class UnsupportedCapabilityError(PromptportError):
    """The request needs what the provider or the model does not have; nothing was sent.

    Attributes:
        provider: the provider's name.
        model: the model's id.
        missing: what is missing, in the words of `Capability` or of the parameter.
        instead: what would work, or an empty string.
    """

    def __init__(self, *, provider: str, model: str, missing: Iterable[str], instead: str = "") -> None:
        self.provider = provider
        self.model = model
        self.missing = tuple(missing)
        self.instead = instead
        text = f"{provider}/{model} does not support {', '.join(self.missing)}"
        super().__init__(f"{text}; {instead}" if instead else text)


class ProviderError(PromptportError):
    """The provider refused the request, or could not be reached.

    Attributes:
        provider: the provider's name.
        model: the model's id, or an empty string where the request names none.
        status: the HTTP status, or ``None`` where there was no answer.
        code: the provider's own word for the error, or ``None``.
        request_id: what the provider's support wants to know, or ``None``.
        retry_after: seconds that the provider asks to wait, or ``None``.
        partial: what had arrived before the error, or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str = "",
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.provider = provider
        self.model = model
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.partial: AssistantMessage | None = None
        super().__init__(message)


class AuthenticationError(ProviderError):
    """The key is missing, wrong or expired (HTTP 401)."""


class PermissionDeniedError(ProviderError):
    """The key is right, and may not do this (HTTP 403)."""


class ModelNotFoundError(ProviderError):
    """No such model, or no such path at this base URL (HTTP 404)."""


class BadRequestError(ProviderError):
    """The provider refused the request as it was written (HTTP 400, 405, 409, 413, 422 …)."""


class ContextLengthError(BadRequestError):
    """The prompt does not fit into the model's context."""


class RateLimitError(ProviderError):
    """Too many requests or tokens, or no quota left (HTTP 429)."""


class OverloadedError(ProviderError):
    """The provider has no capacity, or still loads the model (HTTP 503, 529)."""


class ServerError(ProviderError):
    """The provider failed (other HTTP 5xx)."""


class TransportError(ProviderError):
    """The provider was not reached, or the connection broke before an answer began."""


class FirstFrameTimeout(TransportError):
    """No frame came within ``Timeouts.first_frame`` seconds of the request."""


class IdleTimeout(TransportError):
    """No byte came for ``Timeouts.idle`` seconds."""


class TotalTimeout(TransportError):
    """The answer was not complete within ``Timeouts.total`` seconds."""


class StreamError(PromptportError):
    """The answer began, and went wrong.

    Attributes:
        partial: the message as far as it had arrived (unfinished calls are in ``partial.unfinished``);
            ``None`` only on an error that never passed through a stream.
        code: the provider's own word for the error, or ``None``.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        self.partial: AssistantMessage | None = None
        self.code = code
        super().__init__(message)


class IncompleteStreamError(StreamError):
    """The bytes ended, the connection dropped, or the stream was closed, before the provider's terminal was seen.

    The tool loop raises it also where the model's last answer is complete and empty.
    """


class ProviderStreamError(StreamError):
    """The provider reported an error inside the stream."""


class ProtocolError(StreamError):
    """The bytes are not what this protocol allows."""


class ToolError(PromptportError):
    """A tool call did not give a result.

    Attributes:
        tool: the tool's name.
    """

    def __init__(self, message: str, *, tool: str) -> None:
        self.tool = tool
        super().__init__(message)


class UnknownToolError(ToolError):
    """The model called a tool that was not offered."""


class InvalidToolArgumentsError(ToolError):
    """The arguments do not fit the tool's schema."""


class ToolTimeoutError(ToolError):
    """The tool did not finish in its time."""


class ToolFailedError(ToolError):
    """The tool raised; its exception is the ``__cause__``."""


class StepLimitError(PromptportError):
    """The tool loop passed ``max_steps``, ``max_calls`` or ``max_failures``; the message says which.

    Attributes:
        max_steps: how many requests it may make.
        partial: the last message of the model, whose calls were run and whose results were not sent.
    """

    def __init__(self, message: str, *, max_steps: int) -> None:
        self.max_steps = max_steps
        self.partial: AssistantMessage | None = None
        super().__init__(message)


class BudgetExceededError(PromptportError):
    """A budget is used up; nothing was sent.

    Attributes:
        limits: the budget's limits by name, such as ``{"requests": 10}``.
        used: what was used of each, by the same names.
        partial: where a tool loop was stopped, the last message of the model; else ``None``.
    """

    def __init__(self, message: str, *, limits: dict[str, float], used: dict[str, float]) -> None:
        self.limits = limits
        self.used = used
        self.partial: AssistantMessage | None = None
        super().__init__(message)
