"""The contract's rules 5 to 7, as checks: every chunking, streamed equals complete, what is unknown or malformed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from msgspec.structs import replace

from promptport.errors import IncompleteStreamError, PromptportError, ProtocolError, ProviderStreamError
from promptport.frames import Append, FinishReason
from promptport.messages import AssistantMessage
from promptport.models import StreamedTools
from promptport.stream import Timeouts
from promptport.testing.bench import TOOLS, Bench, not_applicable, run, scenario_named
from promptport.testing.cuts import Cut
from promptport.testing.failure_words import Story
from promptport.testing.mutators import Meaning, Mutator, assert_survived, mutators_for
from promptport.testing.recorded_bodies import AnyProtocol, Wire
from promptport.testing.steps import SCENARIOS, Fail, Finish, Malformed, Say, Scenario, Unknown
from promptport.testing.wire_server import WireResponse

__all__ = ["WireChecks"]

_STOP = Finish(FinishReason.STOP)
_CUTS: tuple[Cut, ...] = ("whole", "bytes", "events", *[("random", seed) for seed in range(5)])
_ENDLESS_BYTES = 48 * 1024 * 1024


class WireChecks:
    """What must not depend on the network, and what may be wrong with the bytes."""

    bench: Bench

    # --------------------------------------------------------- rule 5: the same frames for every chunking

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
    def test_rule_5_the_same_frames_for_every_chunking(self, scenario: Scenario) -> None:
        """Bytewise, by events, and at five random cuts: equal frames."""
        tools = self.bench.offered(scenario)
        body = b"".join(self.bench.wire(scenario.steps))
        for text in [step.text for step in scenario.steps if isinstance(step, Say) and "🌍" in step.text]:
            # Written as an escape it would be ASCII, and no cut could fall inside a character.
            assert "🌍".encode() in body, f"encode must write {text!r} as UTF-8 (json.dumps(…, ensure_ascii=False))"
        results = self.bench.play([self.bench.response(body, cut=cut, pace=0) for cut in _CUTS], tools)
        for cut, (frames, error) in zip(_CUTS, results, strict=True):
            self.bench.told(cut, body, frames, error)
            assert error is None, f"a whole answer raised {error!r}, with its bytes cut otherwise: {cut}"
            self.bench.same(frames, results[0][0])

    def test_rule_5_the_same_frames_before_an_error(self) -> None:
        """What came before an error comes out before it, however the bytes are cut."""
        body = b"".join(self.bench.wire((Say("Hel"), Say("lo"), Fail("it broke", "server_error"))))
        cuts: list[Cut] = ["whole", "bytes", "events"]
        results = self.bench.play([self.bench.response(body, cut=cut, pace=0) for cut in cuts])
        for cut, (frames, error) in zip(cuts, results, strict=True):
            self.bench.told(cut, body, frames, error)
            assert [frame.text for frame in frames if isinstance(frame, Append)] == ["Hel", "lo"], cut
            assert isinstance(error, ProviderStreamError), (cut, error)

    def test_rule_5_frames_come_with_their_bytes(self) -> None:
        """A frame does not wait for bytes that it does not need."""
        begun = (Say("Hel"), Say("lo"))
        response = self.bench.stalled(begun, (*begun, _STOP))

        async def check() -> None:
            async with self.bench.client(response) as (_, client):
                async with client.execute_streaming_with_tools(self.bench.prompt, self.bench.model) as stream:
                    async with asyncio.timeout(self.bench.enough):
                        assert [await anext(stream), await anext(stream)] == [Append("Hel"), Append("lo")]

        run(check())
        self.bench.scenarios += 1
        self.bench.frames += 2

    def test_rule_5_compressed_bytes(self) -> None:
        """gzip: the same frames; a client that did not ask for it may also refuse."""
        plain = self.bench.answer((Say("Hello"), _STOP))
        response = self.bench.response(b"".join(self.bench.wire((Say("Hello"), _STOP))), gzip=True, cut="bytes")

        async def check() -> None:
            async with self.bench.client(response) as (server, client):
                frames, error = await self.bench.read(client)
                if error is None:
                    self.bench.same(frames, plain)
                else:
                    asked = server.requests[0].headers.get("accept-encoding", "")
                    assert "gzip" not in asked, f"it asks for gzip, and then {error!r}"
                    assert isinstance(error, PromptportError)

        run(check())

    # ---------------------------------------------------------------- rule 6: streamed equals complete

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
    def test_rule_6_streamed_equals_complete(self, scenario: Scenario) -> None:
        """``await stream.message()`` is what ``execute`` gives for the same answer."""
        tools = self.bench.offered(scenario)
        whole = self.bench.contract.encode_complete(scenario.steps)
        if whole is None:
            not_applicable("the protocol cannot say this in one piece")
        streamed = self.bench.response(self.bench.wire(scenario.steps))
        complete = WireResponse(whole, content_type="application/json", framing="length")

        async def check() -> tuple[AssistantMessage, AssistantMessage]:
            async with self.bench.client(streamed, complete) as (_, client):
                async with client.execute_streaming_with_tools(self.bench.prompt, self.bench.model, tools) as stream:
                    one = await stream.message()
                return one, await client.execute(self.bench.prompt, self.bench.model, tools)

        one, other = run(check())
        self.bench.played(one.frames())
        self.bench.played(other.frames())
        # Two requests for one answer have two ids.
        assert replace(one, response_id=None) == replace(other, response_id=None)

    def test_rule_6_the_text_stream_is_the_text_frames(self) -> None:
        """``execute_streaming`` gives the text of the `Append` frames, and raises where they would not end."""
        steps = scenario_named("text").steps
        body, said = self.bench.wire(steps), b"".join(self.bench.wire(steps[:-1]))
        whole, cut = self.bench.response(body), self.bench.response(body, end_after=len(said))

        async def check() -> None:
            async with self.bench.client(whole, cut) as (_, client):
                async with client.execute_streaming(self.bench.prompt, self.bench.model) as texts:
                    assert [text async for text in texts] == [step.text for step in steps if isinstance(step, Say)]
                async with client.execute_streaming(self.bench.prompt, self.bench.model) as texts:
                    with pytest.raises(IncompleteStreamError):
                        _ = [text async for text in texts]

        run(check())
        self.bench.scenarios += 2

    # ------------------------------------------------------ rule 7: unknown is not fatal, malformed is

    def test_rule_7_unknown_events_are_skipped_and_counted(self) -> None:
        """An event that nobody knows changes nothing but the count."""
        plain = self.bench.answer((Say("Hel"), Say("lo"), _STOP))
        body = self.bench.wire((Unknown(), Say("Hel"), Unknown(), Say("lo"), Unknown(), _STOP))

        async def check() -> None:
            async with self.bench.client(self.bench.response(body)) as (_, client):
                async with client.execute_streaming_with_tools(self.bench.prompt, self.bench.model) as stream:
                    frames = [frame async for frame in stream]
                    self.bench.played(frames)
                    self.bench.same(frames, plain)
                    assert sum(stream.skipped.values()) == 3, dict(stream.skipped)

        run(check())

    def test_rule_7_a_malformed_event_is_a_protocol_error(self) -> None:
        """A known event that is broken raises, and what came before it is in ``partial``."""
        response = self.bench.response(self.bench.wire((Say("Hello"), Malformed(), _STOP)))
        ((frames, error),) = self.bench.play([response])
        assert isinstance(error, ProtocolError), (frames, error)
        assert [frame.text for frame in frames if isinstance(frame, Append)] == ["Hello"]
        assert error.partial is not None
        assert error.partial.text == "Hello"

    def test_rule_7_an_event_without_end_is_a_protocol_error(self) -> None:
        """48 MiB of one event: there is a limit to what is kept."""
        event = b"".join(self.bench.wire((Say("Hello"), Say("SPLIT"))))
        beginning = event.partition(b"SPLIT")[0]
        block = b"x" * 65536
        response = self.bench.response(
            [beginning, *[block] * (_ENDLESS_BYTES // len(block))], stall_after=len(beginning) + _ENDLESS_BYTES
        )

        async def check() -> None:
            timeouts = Timeouts(first_frame=20, idle=self.bench.enough, total=60, connect=5)
            async with self.bench.client(response, timeouts=timeouts) as (_, client):
                _, error = await self.bench.read(client)
            assert isinstance(error, ProtocolError), f"{_ENDLESS_BYTES} bytes of one event were taken: {error!r}"

        run(check())

    # -------------------------------------------------------------------------- what is seen on real wires

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        """The faults that can occur in this protocol; those of others are no cases."""
        if "mutator" in metafunc.fixturenames:
            found = cls.mutators_of()
            metafunc.parametrize("mutator", found or [None], ids=[mutator.name for mutator in found] or ["none"])

    @classmethod
    def mutators_of(cls) -> list[Mutator]:
        """Which faults `test_faulty_wires` plays for this contract."""
        contract: Any = cls
        by_bytes = contract.ends_by == "bytes"
        return mutators_for(contract.mutators, ends_by_bytes=by_bytes, ids=contract.sends_call_ids)

    def test_faulty_wires(self, mutator: Mutator | None) -> None:
        """What a mutator makes of each scenario: harmless changes nothing, and none gives a call that was not made."""
        protocol = self.bench.contract.mutators
        if protocol is None or mutator is None:
            not_applicable("the mutators do not know this protocol")
        batches = [(scenario, self._faulty(mutator, protocol, scenario)) for scenario in SCENARIOS]
        bodies = [body for _, batch in batches for body in batch]
        if not bodies:
            not_applicable("it applies to nothing that this protocol can say")
        tools = () if self.bench.can.streamed_tools is StreamedTools.NONE else TOOLS
        results = iter(self.bench.play([self.bench.response(body, cut="events") for body in bodies], tools))
        for scenario, batch in batches:
            for number, (body, (frames, error)) in enumerate(zip(batch, results, strict=False)):
                self.bench.story = Story(scenario.steps, f"mutator {mutator.name}", body, frames, error)
                if not number:
                    assert error is None, error
                    before = frames
                else:
                    if mutator.meaning is Meaning.HARMLESS and error is None:
                        self.bench.same(frames, before)
                    assert_survived(mutator, protocol, body, before=before, after=frames, error=error)

    def _faulty(self, mutator: Mutator, protocol: AnyProtocol, scenario: Scenario) -> list[bytes]:
        """The scenario's body, and what this fault makes of it, by three seeds; nothing, if it makes nothing of it."""
        encoded = self.bench.contract.encode(scenario.steps)
        if encoded is None or (scenario.tools and self.bench.can.streamed_tools is StreamedTools.NONE):
            return []
        body = b"".join(encoded)
        wire = Wire.parse(protocol, body)
        chosen = [mutator(wire, random.Random(seed)) for seed in range(3)]  # noqa: S311 - reproducible, not secret
        faulty = [mutated for mutated in dict.fromkeys(chosen) if mutated is not None]
        return [body, *faulty] if faulty else []
