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
inherited test cannot be overridden; what a provider cannot keep stands in ``known``. docs/writing-a-provider.md shows
it all at work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

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
from promptport.testing.checks_special import SpecialChecks
from promptport.testing.checks_wire import WireChecks
from promptport.testing.failure_words import explained
from promptport.testing.plugin import PLAYED
from promptport.testing.recorded_bodies import AnyProtocol
from promptport.testing.sent_messages import SentMessage
from promptport.testing.steps import Step

__all__ = ["ProviderContract"]


class ProviderContract(
    AnswerChecks, WireChecks, ClosingChecks, RequestChecks, ErrorChecks, SafetyChecks, SpecialChecks
):
    """See the module.

    Attributes:
        model: the model that the tests ask for, with its capabilities where no table has it.
        content_type: of a streamed answer.
        sends_call_ids: the protocol has ids for calls, and carries them back with the results.
        mutators: the protocol's name for `promptport.testing.mutators`; ``sse`` and ``ndjson`` are any others of that
            format; ``None`` is for those that are neither.
        ends_by: ``event``, or ``bytes`` where no event ends an answer (Gemini): what follows the provider's last word
            belongs to the answer, which ends with its bytes.
        ways_to_end: in how many ways an answer was recorded to end; with 2, ``encode`` writes `Finish.way` 0 and 1.
        key_variables: the environment variables that may hold the key; with them, give `make_keyless_client` too.
        known: the promises that this provider cannot keep: one case of one check each, with the reason, such as
            ``{"faulty_wires[data_after_the_end]": "…"}``. If the check passes after all, it fails.
        floor: how many tests must have run, and not been skipped; never less than the kit's own.
    """

    model: ClassVar[LLModel]
    content_type: ClassVar[str] = "text/event-stream"
    sends_call_ids: ClassVar[bool] = True
    mutators: ClassVar[AnyProtocol | None] = None
    ends_by: ClassVar[Literal["event", "bytes"]] = "event"
    ways_to_end: ClassVar[int] = 1
    key_variables: ClassVar[tuple[str, ...]] = ()
    known: ClassVar[Mapping[str, str]] = {}
    floor: ClassVar[int] = 60

    # ------------------------------------------------------------------------------- what an author gives

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """A new client of the provider, for the server at ``base_url``; its requests must not be retried."""
        raise NotImplementedError

    def make_keyless_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """As `make_client`, for a program that passes no key; may raise `ConfigurationError`."""
        raise NotImplementedError

    def make_client_over(self, base_url: str, timeouts: Timeouts, http_client: Any) -> LLMClient:
        """As `make_client`, for a program that brings an ``httpx.AsyncClient``; optional."""
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

    def read_request(self, body: Any) -> Sequence[SentMessage] | None:
        """The messages in a request, as JSON has it, in the kit's words; ``None``: their form is not checked.

        Of the protocols whose rules the kit knows, it reads them by itself.
        """
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
        if cls.ends_by not in ("event", "bytes"):
            raise TypeError(f"{cls.__name__}.ends_by is {cls.ends_by!r}. Write 'event' or 'bytes'.")
        if cls.floor < ProviderContract.floor:
            raise TypeError(f"{cls.__name__}.floor is {cls.floor}, and cannot be less than {ProviderContract.floor}")
        for name in dir(ProviderContract):
            if name.startswith("test_") and getattr(cls, name) is not getattr(ProviderContract, name):
                raise TypeError(
                    f"{cls.__name__}.{name}: a check of the kit cannot be overridden. If the provider cannot keep this"
                    f" promise, say so for one case: known = {{{name.removeprefix('test_')!r}: 'the reason'}}."
                )
        for name, reason in cls.known.items():
            _check_known(cls.__name__, name, reason)


for _name in [name for name in dir(ProviderContract) if name.startswith("test_")]:
    setattr(ProviderContract, _name, explained(getattr(ProviderContract, _name)))


def _check_known(where: str, name: str, reason: Any) -> None:
    """Raises unless this is one case of one check, with a reason."""
    told = f"{where}.known[{name!r}]"
    check, bracket, case = name.partition("[")
    function = getattr(ProviderContract, f"test_{check}", None)
    if function is None:
        names = [name.removeprefix("test_") for name in dir(ProviderContract) if name.startswith("test_")]
        closest = difflib.get_close_matches(check.removeprefix("test_"), names, 1)
        advice = f" Did you mean {closest[0]!r}?" if closest else ""
        raise TypeError(f"{told}: the kit has no such check.{advice}")
    if not isinstance(reason, str) or not reason.strip():
        raise TypeError(f"{told}: the reason is missing. Say why the provider cannot keep this promise.")
    has_cases = check == "faulty_wires" or any(
        mark.name == "parametrize" for mark in getattr(function, "pytestmark", ())
    )
    if has_cases and not (case.endswith("]") and case != "]"):
        raise TypeError(f"{told}: the check has several cases. Name one of them: {check}[CASE].")
    if bracket and not has_cases:
        raise TypeError(f"{told}: the check has no cases. Write {check!r}.")
