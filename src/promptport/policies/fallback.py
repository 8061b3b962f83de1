"""`FallbackExecutor`: the next model where one fails, refuses, or lacks what is asked for.

Rules: what was delivered decides. Before the first frame the next model is asked in silence. After it the error is
raised, or, where the caller chose ``on_partial="restart"``, a `Restarted` frame says that the answer begins anew. After
a call of this answer was complete, and so may run already, nothing is asked again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextvars import copy_context
from typing import Literal, TypeAlias

from promptport.arguments import as_model, as_prompt, model_for
from promptport.errors import (
    AuthenticationError,
    ContextLengthError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PromptportError,
    RateLimitError,
    ServerError,
    StreamError,
    TotalTimeout,
    TransportError,
    UnsupportedCapabilityError,
)
from promptport.executor import MultiProviderExecutor, PromptExecutor
from promptport.frames import End, FinishReason, InvalidToolCall, Restarted, StreamFrame, ToolCall
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel, ModelCapabilities
from promptport.policies.circuit import Circuit
from promptport.policies.judging import class_of, is_local
from promptport.policies.relay import Relay, Wrapper
from promptport.registry import client
from promptport.stream import FrameStream, TextStream
from promptport.tools import ToolDescriptor

__all__ = ["FallbackExecutor", "OnPartial", "is_anothers_chance"]

OnPartial: TypeAlias = Literal["raise", "restart"]
"""What to do with an error after the first frame: raise it, or go on with a `Restarted` frame and the next model."""

_ANOTHERS_CHANCE = (
    AuthenticationError,
    PermissionDeniedError,
    ModelNotFoundError,
    ContextLengthError,
    RateLimitError,
    OverloadedError,
    ServerError,
    TransportError,
    UnsupportedCapabilityError,
    StreamError,
)
_CALLS = frozenset((ToolCall, InvalidToolCall))
_NOT_ILL = (ContextLengthError, UnsupportedCapabilityError)
"""What tells of the request, and not of the model's health."""


def is_anothers_chance(error: PromptportError) -> bool:
    """Whether another model may do what this one did not.

    True for everything that is this provider's own trouble or limit, judged by class and code. False for a request
    that is wrong in itself (`BadRequestError`), and where ``timeouts.total`` is over.
    """
    return not isinstance(error, TotalTimeout) and issubclass(class_of(error), _ANOTHERS_CHANCE)


class FallbackExecutor(Wrapper):
    """An executor that asks the next model where one fails.

    The model of a request is asked first, then those of the list in their order. A model that failed several times in
    a row rests for a while (`Circuit`), and is skipped as long as another one is left.

    Examples:
        ```python
        import promptport as pp
        from promptport.policies import FallbackExecutor
        from promptport.testing import ScriptedExecutor

        executor = FallbackExecutor(["scripted/large", "scripted/small"], ScriptedExecutor(["Hello"]))
        ```
    """

    def __init__(
        self,
        models: Iterable[LLModel | str],
        executor: PromptExecutor | None = None,
        *,
        on_partial: OnPartial = "raise",
        on_refusal: bool = True,
        fall_back_on: Callable[[PromptportError], bool] = is_anothers_chance,
        circuit: Circuit | None = None,
    ) -> None:
        """Wrap an executor.

        Args:
            models: Which models to ask, in this order; as `LLModel`, or as `"provider/id"`.
            executor: Who is asked; closed with this one. Default: an executor over the providers of the models.
            on_partial: What to do with an error after the first frame. Default: `"raise"`.
            on_refusal: Ask the next model if one ends in `CONTENT_FILTER` without any text or call. Default: `True`.
            fall_back_on: Decides for each error whether the next model is asked. Default: `is_anothers_chance`.
            circuit: Which models rest; may be shared. Default: a `Circuit()`.

        Raises:
            InvalidInputError: No model, or an unknown `on_partial`.
            ConfigurationError: A client cannot be made.
        """
        if isinstance(models, str):
            raise InvalidInputError(f"FallbackExecutor: models takes a list, not a string. Write [{models!r}].")
        self.models_in_order = tuple([as_model(one, where="FallbackExecutor: each of models") for one in models])
        if not self.models_in_order:
            raise InvalidInputError("FallbackExecutor: the list of models is empty. Give at least one.")
        if on_partial not in ("raise", "restart"):
            raise InvalidInputError(f"FallbackExecutor: on_partial is 'raise' or 'restart', not {on_partial!r}.")
        providers = dict.fromkeys(model.provider for model in self.models_in_order)
        super().__init__(
            executor if executor is not None else MultiProviderExecutor({name: client(name) for name in providers})
        )
        self._on_partial: OnPartial = on_partial
        self._on_refusal = on_refusal
        self._fall_back_on = fall_back_on
        self._circuit = circuit if circuit is not None else Circuit()

    # ------------------------------------------------------------------------------------------- verbs

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """Stream the response of the first model that gives one.

        Raises:
            UnsupportedCapabilityError: At once, where no model can do what is asked for.
        """
        prompt = as_prompt(prompt)
        return self._begun(prompt, model_for(self.inner, model, prompt, tools), tools, self._on_partial)

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """Stream the text; it never begins anew, because a text cannot say so: `on_partial` is `"raise"` here."""
        prompt = as_prompt(prompt)
        return self._begun(prompt, model_for(self.inner, model, prompt), (), "raise").text()

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """Return the whole response of the first model that gives one."""
        prompt = as_prompt(prompt)
        order, resting = self._order(model_for(self.inner, model, prompt, tools))
        refused: AssistantMessage | None = None
        for position, each in enumerate(order):
            if not resting and position + 1 < len(order) and not self._circuit.allows(str(each)):
                continue  # it failed meanwhile, or another request probes it
            probe = self._circuit.asked(str(each))
            try:
                message = await self.inner.execute(prompt, each, tools)
            except PromptportError as error:
                self._note(each, error, probe)
                if position + 1 == len(order) or not self._fall_back_on(error):
                    raise
            except BaseException:
                self._circuit.left(str(each), probe=probe)
                raise
            else:
                self._circuit.succeeded(str(each))
                if not self._is_refusal(message) or position + 1 == len(order):
                    return message
                refused = message
        assert refused is not None
        return refused

    def capabilities(self, model: LLModel | str) -> ModelCapabilities:
        """What the model that is asked first can do."""
        return super().capabilities(model)

    # ------------------------------------------------------------------------------------------- order

    def _order(self, model: LLModel) -> tuple[list[LLModel], bool]:
        """The models to ask, and whether all of them rest: then the one whose rest ends first comes first."""
        wanted = list(dict.fromkeys([model, *self.models_in_order]))
        if self._circuit.calm:
            return wanted, False
        allowed = [each for each in wanted if self._circuit.allows(str(each))]
        resting = [each for each in wanted if each not in allowed]
        return (allowed, False) if allowed else (sorted(resting, key=self._rest), True)

    def _rest(self, model: LLModel) -> float:
        return self._circuit.rests_until(str(model))

    def _note(self, model: LLModel, error: PromptportError, probe: bool) -> None:
        """A model that cannot do this, that was asked badly, or not asked at all, is not ill."""
        kind = class_of(error)
        ill = issubclass(kind, _ANOTHERS_CHANCE) and not issubclass(kind, _NOT_ILL) and not is_local(error)
        if ill:
            self._circuit.failed(str(model), probe=probe)
        else:
            self._circuit.left(str(model), probe=probe)

    def _is_refusal(self, message: AssistantMessage) -> bool:
        return (
            self._on_refusal
            and message.finish_reason is FinishReason.CONTENT_FILTER
            and not message.text
            and not message.tool_calls
        )

    # ------------------------------------------------------------------------------------------ streams

    def _begun(
        self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], on_partial: OnPartial
    ) -> FrameStream:
        here = copy_context()  # who observes the caller observes the later requests, too

        def ask(order: Sequence[LLModel]) -> tuple[FrameStream, list[LLModel]]:
            return self._next(order, prompt, tools)

        order, resting = self._order(model)
        first, left = ask(order)
        return self._stream(
            lambda relay: self._attempts(relay, left, lambda order: here.run(ask, order), on_partial, resting),
            first,
            left[0],
        )

    def _next(
        self, order: Sequence[LLModel], prompt: Prompt, tools: Sequence[ToolDescriptor]
    ) -> tuple[FrameStream, list[LLModel]]:
        """The stream of the first model that can be asked, and the models from that one on."""
        trouble: PromptportError | None = None
        for position, each in enumerate(order):
            try:
                stream = self.inner.execute_streaming_with_tools(prompt, each, tools)
                return stream, list(order[position:])
            except PromptportError as error:
                trouble = trouble or error
                if not self._fall_back_on(error):
                    break
        assert trouble is not None
        raise trouble

    async def _without_ill(
        self, relay: Relay, order: list[LLModel], ask: Callable[[Sequence[LLModel]], tuple[FrameStream, list[LLModel]]]
    ) -> list[LLModel]:
        """The models from the first on that is not ill, or probed by another request, since its stream was made."""
        while len(order) > 1 and not (self._circuit.calm or self._circuit.allows(str(order[0]))):
            unsent = relay.stream
            try:
                relay.stream, order = ask(order[1:])
            except PromptportError:  # the others cannot do this
                break
            if unsent is not None:
                await unsent.aclose()
        return order

    async def _attempts(
        self,
        relay: Relay,
        order: list[LLModel],
        ask: Callable[[Sequence[LLModel]], tuple[FrameStream, list[LLModel]]],
        on_partial: OnPartial,
        resting: bool,
    ) -> AsyncGenerator[Sequence[StreamFrame], None]:
        told = False  # that the answer began anew: then whoever listens is told of each further model, too
        while True:
            order = order if resting else await self._without_ill(relay, order, ask)
            stream = relay.stream
            assert stream is not None
            model, left = order[0], order[1:]
            probe = self._circuit.asked(str(model))
            delivered = called = settled = False
            trouble: PromptportError | None = None
            refusal: Sequence[StreamFrame] = ()
            try:
                async with stream:
                    while batch := await stream.next_batch():
                        if not delivered and left and self._is_bare_refusal(batch):
                            settled = True
                            self._circuit.succeeded(str(model))
                            refusal = batch
                            break
                        delivered = True
                        called = called or not _CALLS.isdisjoint(map(type, batch))
                        if isinstance(batch[-1], End):
                            settled = True
                            self._circuit.succeeded(str(model))
                        yield batch
                    else:
                        return
            except PromptportError as error:
                self._note(model, error, probe)
                settled = True
                stays = called or (delivered and on_partial == "raise") or not self._fall_back_on(error)
                if stays or not left:
                    raise
                trouble = error
            finally:
                if not settled:
                    self._circuit.left(str(model), probe=probe)
            try:
                relay.stream, order = ask(left)
            except PromptportError:
                if refusal:  # nobody else can be asked this: the refusal is the answer
                    yield refusal
                    return
                assert trouble is not None
                raise trouble from None
            if (delivered or told) and trouble is not None:
                told = True
                yield [Restarted(str(order[0]), type(trouble).__name__)]

    def _is_bare_refusal(self, batch: Sequence[StreamFrame]) -> bool:
        """Whether this first batch is the end of an answer that a filter kept back whole."""
        return (
            self._on_refusal
            and len(batch) == 1
            and isinstance(batch[0], End)
            and batch[0].finish_reason is FinishReason.CONTENT_FILTER
        )
