"""The contract as tests: `ProviderContract`. A provider that passes keeps every promise on a bad wire.

A provider author subclasses it, and gives a client and an encoder::

    class TestMyProvider(ProviderContract):
        model = LLModel("my", "some-model", capabilities=...)

        def make_client(self, base_url, timeouts):
            return my_package.client(base_url=base_url, api_key="key", timeouts=timeouts)

        def encode(self, steps):  # what a model says → the events of the protocol, as bytes
            ...

        def encode_complete(self, steps):  # the same answer, not streamed
            ...

Rules: the client talks to a real socket. A scenario that gives no frames fails. What the protocol cannot express
(``encode`` gives ``None``) is skipped, and said so; the plug-in fails a run that checked less than ``floor`` tests. An
inherited test can only be overridden as an ``xfail`` with a reason. docs/writing-a-provider.md shows it all at work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest

from promptport.llm_client import LLMClient
from promptport.models import LLModel
from promptport.stream import Timeouts
from promptport.testing.bench import Bench
from promptport.testing.checks_answers import AnswerChecks
from promptport.testing.checks_closing import ClosingChecks
from promptport.testing.checks_errors import ErrorChecks
from promptport.testing.checks_requests import RequestChecks
from promptport.testing.checks_safety import SafetyChecks
from promptport.testing.checks_wire import WireChecks
from promptport.testing.plugin import PLAYED
from promptport.testing.recorded_bodies import AnyProtocol
from promptport.testing.steps import Step

__all__ = ["ProviderContract"]


class ProviderContract(AnswerChecks, WireChecks, ClosingChecks, RequestChecks, ErrorChecks, SafetyChecks):
    """See the module.

    Attributes:
        model: the model that the tests ask for, with its capabilities where no table has it.
        content_type: of a streamed answer.
        sends_call_ids: the protocol has ids for calls, and carries them back with the results.
        mutators: the protocol's name for `promptport.testing.mutators`; ``sse`` and ``ndjson`` are any others of that
            format; ``None`` is for those that are neither.
        ends_with_its_bytes: no event ends an answer (Gemini): what follows the reason why it ended belongs to it.
        floor: how many tests must have run, and not been skipped; never less than the kit's own.
    """

    model: ClassVar[LLModel]
    content_type: ClassVar[str] = "text/event-stream"
    sends_call_ids: ClassVar[bool] = True
    mutators: ClassVar[AnyProtocol | None] = None
    ends_with_its_bytes: ClassVar[bool] = False
    floor: ClassVar[int] = 60

    # ------------------------------------------------------------------------------- what an author gives

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """A new client of the provider, for the server at ``base_url``; its requests must not be retried."""
        raise NotImplementedError

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """The body of a streamed answer, a chunk for each wire event; ``None`` where the protocol has no such thing.

        Steps are written one after the other: the bytes of a beginning are the beginning of the bytes. Steps without
        a `Finish` are an answer that has not ended.
        """
        raise NotImplementedError

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """The body of the same answer, not streamed; ``None`` where the protocol has no such thing."""
        raise NotImplementedError

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """The body of the server's list of models; ``None`` where the protocol has none."""
        return None

    # --------------------------------------------------------------------------------------- the kit's own

    @pytest.fixture(autouse=True)
    def _bench(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.bench = Bench(self)
        yield
        request.node.user_properties.append((PLAYED, (self.bench.scenarios, self.bench.frames)))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuses a subclass that loosens a test, or the floor."""
        super().__init_subclass__(**kwargs)
        if cls.floor < ProviderContract.floor:
            raise TypeError(f"{cls.__name__}.floor is {cls.floor}, and cannot be less than {ProviderContract.floor}")
        for name, value in vars(cls).items():
            inherited = getattr(ProviderContract, name, None)
            if name.startswith("test_") and inherited is not None:
                _check_override(f"{cls.__name__}.{name}", value, inherited)


def _check_override(name: str, override: Any, inherited: Any) -> None:
    """Raises unless ``override`` is a new function, and an xfail with a reason; gives it the test's parameters."""
    marks = list(getattr(override, "pytestmark", ()))
    reasoned = any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
    if not reasoned or override is inherited:
        raise TypeError(f"{name}: override it with a new function marked @pytest.mark.xfail(reason='…'), or not at all")
    if not any(mark.name == "parametrize" for mark in marks):
        parameters = [mark for mark in getattr(inherited, "pytestmark", ()) if mark.name == "parametrize"]
        override.pytestmark = [*marks, *parameters]
