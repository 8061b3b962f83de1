# mypy: ignore-errors
"""Bugs against the rules 5 to 9: in what the network does to an answer, and the answer to the connection."""

import asyncio

from msgspec.structs import replace
from promptport_marmot._client import MarmotClient
from promptport_marmot._decode import MarmotDecoder
from tests.kit_bugs.lab import Bug, HandMade, decoding, streaming
from tests.kit_bugs.the_ten import TruncationIgnoringDecoder

from promptport import (
    Append,
    FrameStream,
    IncompleteStreamError,
    ProtocolError,
    Reasoning,
    TransportError,
)
from promptport.decoding import SSEDecoder

# ------------------------------------------------------------------------------------------------- rule 5


class ReadByReadDecoder(MarmotDecoder):
    """Takes each read for whole events."""

    def feed(self, data):
        self._wire = SSEDecoder()
        return super().feed(data)


class TestDecodesEachReadAlone(Bug):
    found_by = "test_rule_5_the_same_frames_for_every_chunking[text]"
    says = "each read is decoded for itself"
    client = decoding(ReadByReadDecoder)


class HastyDecoder(MarmotDecoder):
    """Where an event is an error, the events of the same read are lost."""

    def feed(self, data):
        frames = super().feed(data)
        return frames if self.error is None else []


class TestLosesFramesToAnError(Bug):
    found_by = "test_rule_5_the_same_frames_before_an_error"
    says = "the frames of a read are lost"
    client = decoding(HastyDecoder)


class HoardingDecoder(MarmotDecoder):
    def __init__(self, taken=()):
        super().__init__(taken)
        self._hoard = []

    def feed(self, data):
        self._hoard += super().feed(data)
        return self._hoard if self.ended or self.error else []


class TestGivesAllAtTheEnd(Bug):
    found_by = "test_rule_5_frames_come_with_their_bytes"
    says = "frames are collected"
    client = decoding(HoardingDecoder)


class RawClient(MarmotClient):
    """Asks for compression, and reads the bytes as they are."""

    def _headers(self, body, model):
        return {"accept-encoding": "gzip"}

    async def _open(self, body, model):
        response = await super()._open(body, model)
        return SimpleRaw(response)


class SimpleRaw:
    def __init__(self, response):
        self._response = response

    def __aiter__(self):
        return self._response.raw()

    async def aclose(self):
        await self._response.aclose()


class TestDoesNotDecompress(Bug):
    found_by = "test_rule_5_compressed_bytes"
    says = "it asks for gzip"
    client = RawClient


# ------------------------------------------------------------------------------------------- rules 6 and 7


class ThoughtlessClient(MarmotClient):
    def _complete(self, data, prompt, tools):
        message = super()._complete(data, prompt, tools)
        return replace(message, parts=tuple(part for part in message.parts if not isinstance(part, Reasoning)))


class TestForgetsReasoning(Bug):
    found_by = "test_rule_6_streamed_equals_complete[reasoning]"
    says = "which leaves something out"
    client = ThoughtlessClient


class TidyClient(MarmotClient):
    def execute_streaming(self, prompt, model):
        async def tidied():
            async for frame in self.execute_streaming_with_tools(prompt, model):
                if not isinstance(frame, Append) or frame.text.strip():
                    yield [frame]

        return FrameStream(tidied()).text()


class TestTidiesTheText(Bug):
    found_by = "test_rule_6_the_text_stream_is_the_text_frames"
    says = "execute_streaming changes the text"
    client = TidyClient


class StrictDecoder(MarmotDecoder):
    def _skip(self, name):
        raise ProtocolError(f"unknown event {name}")


class TestRefusesUnknownEvents(Bug):
    found_by = "test_rule_7_unknown_events_are_skipped_and_counted"
    says = "an unknown event is refused"
    client = decoding(StrictDecoder)


class LaxDecoder(MarmotDecoder):
    def _event(self, event, out):
        try:
            super()._event(event, out)
        except ProtocolError:
            self._skip("broken")


class TestSkipsBrokenEvents(Bug):
    found_by = "test_rule_7_a_malformed_event_is_a_protocol_error"
    says = "an event that cannot be read is skipped in silence"
    client = decoding(LaxDecoder)


class BottomlessDecoder(MarmotDecoder):
    def __init__(self, taken=()):
        super().__init__(taken)
        self._wire = SSEDecoder(max_event_bytes=1 << 40)


class TestKeepsAnyEvent(Bug):
    found_by = "test_rule_7_an_event_without_end_is_a_protocol_error"
    says = "keeps any number of bytes of one event"
    client = decoding(BottomlessDecoder)


class TalkingOnDecoder(MarmotDecoder):
    """Does not notice that the answer has ended."""

    def feed(self, data):
        frames = super().feed(data)
        self.ended = False
        return frames


class TestTalksOn(Bug):
    found_by = "test_faulty_wires[data_after_the_end]"
    says = "gave frames after its End"
    client = decoding(TalkingOnDecoder)


class TestTakesCutEventsForWhole(Bug):
    found_by = "test_faulty_wires[cut_terminal]"
    says = "cut_terminal: raised None"
    client = decoding(TruncationIgnoringDecoder)


# ------------------------------------------------------------------------------------------- rules 8 and 9


class UncancellableClient(MarmotClient):
    """Takes every exception for the network's."""

    async def _open(self, body, model):
        try:
            return await super()._open(body, model)
        except BaseException as error:
            raise TransportError("it failed", provider=self.provider) from error


class TestSwallowsCancellation(Bug):
    found_by = "test_rule_8_cancelling_at_any_moment_closes"
    says = "the cancellation was swallowed"
    client = UncancellableClient


class QuietStream:
    """Ends where a read is cancelled."""

    def __init__(self, response):
        self._response = response

    async def __aiter__(self):
        try:
            async for chunk in self._response:
                yield chunk
        except asyncio.CancelledError:
            return

    async def aclose(self):
        await self._response.aclose()


class QuietClient(MarmotClient):
    async def _open(self, body, model):
        return QuietStream(await super()._open(body, model))


class TestEndsQuietly(Bug):
    found_by = "test_rule_8_cancelling_and_closing_at_once"
    says = "a cancelled read ends quietly"
    client = QuietClient


class ShieldingClient(MarmotClient):
    async def _post(self, body, model):
        return await asyncio.shield(super()._post(body, model))


class TestShieldsExecute(Bug):
    found_by = "test_rule_8_cancelling_execute_closes"
    says = "or is shielded"
    client = ShieldingClient


class ClingingClient(MarmotClient):
    """Keeps every stream that it ever made."""

    def __init__(self, **options):
        super().__init__(**options)
        self._streams = set()


class TestKeepsDroppedStreams(Bug):
    found_by = "test_rule_8_a_dropped_stream_warns_and_closes"
    says = "something keeps a reference to the stream"
    client = ClingingClient


class Forgiving(HandMade):
    """A closed stream gives the message as far as it came."""

    async def message(self):
        try:
            return await super().message()
        except IncompleteStreamError:
            return self.partial


class TestForgivesClosing(Bug):
    found_by = "test_rule_8_a_closed_stream_gives_nothing"
    says = "a stream that was closed early is taken for a whole answer"
    client = streaming(Forgiving)


class UnkeptClient(MarmotClient):
    def _headers(self, body, model):
        return {"connection": "close"}


class TestKeepsNoConnection(Bug):
    found_by = "test_rule_8_a_whole_answer_leaves_the_connection_usable"
    says = "connections are not kept"
    client = UnkeptClient


class ReopeningClient(MarmotClient):
    async def aclose(self):
        await self._aclose()


class TestOpensAgain(Bug):
    found_by = "test_a_closed_client_says_so"
    says = "opens a new session after aclose()"
    client = ReopeningClient


class TimelessClient(MarmotClient):
    def __init__(self, *, timeouts, **options):
        super().__init__(**options)


class TestHasNoClocks(Bug):
    found_by = "test_the_three_clocks[idle]"
    says = "does not pass its timeouts to the stream"
    client = TimelessClient


class PatientClient(MarmotClient):
    async def execute(self, prompt, model, tools=()):
        self._check(prompt, model, tools, streaming=False)
        return self._complete(await self._post(self._body(prompt, model, tools, stream=False), model), prompt, tools)


class TestWaitsForExecute(Bug):
    found_by = "test_a_clock_for_execute"
    says = "execute() waits for the answer without a timeout"
    client = PatientClient


class ReadAhead:
    """Takes all that comes, at once, into a queue."""

    def __init__(self, response):
        self._response = response
        self._queue = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    async def _read(self):
        async for chunk in self._response:
            self._queue.put_nowait(chunk)
        self._queue.put_nowait(b"")

    async def __aiter__(self):
        while chunk := await self._queue.get():
            yield chunk

    async def aclose(self):
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._response.aclose()


class GreedyClient(MarmotClient):
    async def _open(self, body, model):
        return ReadAhead(await super()._open(body, model))


class TestReadsAhead(Bug):
    found_by = "test_rule_9_nothing_reads_ahead_without_bound"
    says = "into a queue without a limit"
    client = GreedyClient


class MixingClient(MarmotClient):
    """Keeps the response of the request under way where the next request puts its own."""

    async def _open(self, body, model):
        self._response = await super()._open(body, model)
        await asyncio.sleep(0)
        return self._response


class TestMixesStreams(Bug):
    found_by = "test_two_hundred_streams_do_not_mix"
    says = "what belongs to one request is kept on the client"
    client = MixingClient
