# mypy: ignore-errors
"""Bugs that the author of a provider can make, planted in the provider of docs/writing-a-provider.md.

Rule: a bug is in what an author writes (the decoder, the request, the client, a stream of his own), and names the check
that must find it; every check of the kit finds one. Not typed, because the provider is on a page, where mypy does not
look. `test_kit_bugs` runs this module with that provider on the path.
"""

import asyncio
import sys

import pytest
from msgspec.structs import replace
from promptport_marmot import _client
from promptport_marmot._client import MarmotClient
from promptport_marmot._decode import MarmotDecoder, _Call, _End, _Error, _Piece, _Sealed, _Text
from promptport_marmot.conformance import MarmotContract

from promptport import (
    Append,
    Capability,
    End,
    FinishReason,
    FrameStream,
    IncompleteStreamError,
    InvalidToolCall,
    LLModel,
    ProtocolError,
    ProviderError,
    Reasoning,
    ToolCall,
    TransportError,
    Usage,
)
from promptport.assembly import CallAssembler
from promptport.stream import message_of
from promptport.transport import HTTPTransport
from promptport.wire import SSEDecoder


class Good(MarmotContract):
    """The provider as the page has it."""

    client = MarmotClient

    def make_client(self, base_url, timeouts):
        return self.client(base_url=base_url, api_key="test-key", timeouts=timeouts)


class Bug(Good):
    """Changes one thing, and names the check that must find it."""

    found_by = ""

    @pytest.fixture(autouse=True)
    def _impatient(self, _bench):
        self.bench.enough = self.bench.soon = 0.3


def decoding(decoder):
    """The client, with another decoder."""
    return type("Client", (MarmotClient,), {"_decoder": lambda self, prompt, model, tools: decoder(prompt.call_ids())})


def sending(change):
    """The client, with another request body: ``change(body, prompt)``."""

    def body(self, prompt, model, tools, *, stream):
        made = MarmotClient._body(self, prompt, model, tools, stream=stream)
        change(made, prompt)
        return made

    return type("Client", (MarmotClient,), {"_body": body})


def declaring(capability):
    """The client, declaring what it does not send."""

    def capabilities(self, model):
        return model.capabilities or MarmotClient.capabilities(self, model).with_(capability)

    return type("Client", (MarmotClient,), {"capabilities": capabilities})


class HandMade:
    """A stream that owes `FrameStream` nothing but the frames."""

    def __init__(self, stream):
        self._stream = stream
        self._frames = self._changed()
        self.seen = []

    async def _changed(self):
        async for frame in self._stream:
            for changed in self.change(frame):
                self.seen.append(changed)
                yield changed

    def change(self, frame):
        return [frame]

    def __aiter__(self):
        return self

    def __anext__(self):
        return self._frames.__anext__()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.aclose()

    async def aclose(self):
        await self._stream.aclose()

    async def message(self):
        async for _ in self:
            pass
        return message_of(self.seen)

    @property
    def partial(self):
        return message_of(self.seen)

    @property
    def skipped(self):
        return self._stream.skipped

    def text(self):
        return self._stream.text()


def streaming(stream):
    """The client, with a stream of the author's own."""

    def execute(self, prompt, model, tools=()):
        return stream(MarmotClient.execute_streaming_with_tools(self, prompt, model, tools))

    def execute_text(self, prompt, model):
        return MarmotClient.execute_streaming_with_tools(self, prompt, model).text()

    verbs = {"execute_streaming_with_tools": execute, "execute_streaming": execute_text}
    return type("Client", (MarmotClient,), verbs)


# ------------------------------------------------------------------------------------------------ the ten


class DropsADeltaDecoder(MarmotDecoder):
    def say(self, said, out):
        if not (isinstance(said, _Piece) and said.json.endswith("Pa")):
            super().say(said, out)


class TestDropsADelta(Bug):
    found_by = "test_rule_4_every_increment_comes_through"
    client = decoding(DropsADeltaDecoder)


class EndsTwice(HandMade):
    def change(self, frame):
        return [frame, frame] if isinstance(frame, End) else [frame]


class TestEmitsEndTwice(Bug):
    found_by = "test_rule_1_end_comes_once_and_last"
    client = streaming(EndsTwice)


class MergingDecoder(MarmotDecoder):
    """Keys all calls alike, and seals what is open at the end."""

    def say(self, said, out):
        if isinstance(said, _Call) and self._calls.has(0):
            return
        if isinstance(said, _Call | _Piece):
            said = type(said)(**{**{name: getattr(said, name) for name in said.__struct_fields__}, "n": 0})
        if isinstance(said, _End) and self._calls.has(0):
            self._calls.seal(0, out)
        if not isinstance(said, _Sealed):
            super().say(said, out)


class TestMergesCalls(Bug):
    found_by = "test_rule_3_parallel_calls_stay_apart"
    client = decoding(MergingDecoder)


class TruncationIgnoringDecoder(MarmotDecoder):
    def _end_of_bytes(self, out):
        self._end(_End("done", {"in": 11, "out": 7}), out)


class TestIgnoresTruncation(Bug):
    found_by = "test_rule_1_an_answer_that_was_cut_raises[end_after-text]"
    client = decoding(TruncationIgnoringDecoder)


class LeakyStream:
    def __init__(self, response):
        self._chunks = aiter(response)

    def __aiter__(self):
        return self._chunks

    async def aclose(self):
        pass


class LeakyClient(MarmotClient):
    def __init__(self, **options):
        super().__init__(**options)
        self._responses = []

    async def _open(self, body, model):
        self._responses.append(LeakyStream(await super()._open(body, model)))
        return self._responses[-1]


class TestLeaksTheSocket(Bug):
    found_by = "test_rule_8_closing_closes_the_connection[break]"
    client = LeakyClient


class ErrorSwallowingDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(_End("error") if isinstance(said, _Error) else said, out)


class TestSwallowsAnError(Bug):
    found_by = "test_an_error_in_the_stream_is_raised"
    client = decoding(ErrorSwallowingDecoder)


class IdLosingDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(_Call(said.n, said.tool) if isinstance(said, _Call) else said, out)


class TestLosesAnId(Bug):
    found_by = "test_rule_3_ids_are_kept"
    client = decoding(IdLosingDecoder)


class RewritingDecoder(MarmotDecoder):
    """Gives the arguments as it would have written them."""

    def say(self, said, out):
        super().say(said, out)
        if isinstance(said, _Sealed) and isinstance(out[-1], ToolCall):
            out[-1] = replace(out[-1], arguments=repr(out[-1].parsed()).replace("'", '"').replace("None", "null"))


class TestMutatesArguments(Bug):
    found_by = "test_rule_4_arguments_are_as_the_model_wrote_them"
    client = decoding(RewritingDecoder)


class TestHidesTools(Bug):
    found_by = "test_tools_are_in_the_request"
    client = sending(lambda body, prompt: body.pop("tools", None))


class ReorderingDecoder(MarmotDecoder):
    """Puts calls in front of the text."""

    def __init__(self, taken=()):
        super().__init__(taken)
        self._held = []

    def say(self, said, out):
        if isinstance(said, _Text):
            self._held.append(said)
            return
        if isinstance(said, _End):
            for text in self._held:
                super().say(text, out)
        super().say(said, out)


class TestReordersFrames(Bug):
    found_by = "test_rule_4_frames_keep_the_order_of_the_wire[reasoning, text and call]"
    client = decoding(ReorderingDecoder)


# ------------------------------------------------------------------------------------------------- rule 1


class Silent(HandMade):
    def change(self, frame):
        return []


class TestGivesNothing(Bug):
    found_by = "test_rule_5_the_same_frames_for_every_chunking[nothing]"
    client = streaming(Silent)


class StrippingDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(_Text(said.text.strip()) if isinstance(said, _Text) else said, out)


class TestStripsText(Bug):
    found_by = "test_rule_1_a_whole_answer_is_whole[text]"
    client = decoding(StrippingDecoder)


class ChangesEnd(HandMade):
    """``end`` gives the fields of `End` that the author got wrong."""

    def end(self, frame):
        raise NotImplementedError

    def change(self, frame):
        return [replace(frame, **self.end(frame)) if isinstance(frame, End) else frame]


class SwapsTokens(ChangesEnd):
    def end(self, frame):
        return {"usage": Usage(frame.usage.output_tokens, frame.usage.input_tokens)}


class TestSwapsTokens(Bug):
    found_by = "test_rule_1_end_tells_reason_and_usage"
    client = streaming(SwapsTokens)


class CallsLimitsStops(ChangesEnd):
    def end(self, frame):
        limited = frame.finish_reason is FinishReason.LENGTH
        return {"finish_reason": FinishReason.STOP if limited else frame.finish_reason}


class TestCallsALimitAStop(Bug):
    found_by = "test_rule_1_finish_reasons[length]"
    client = streaming(CallsLimitsStops)


class BelievesTheProvider(ChangesEnd):
    def end(self, frame):
        return {"finish_reason": FinishReason.STOP if frame.raw_finish_reason == "done" else frame.finish_reason}


class TestStopsAfterCalls(Bug):
    found_by = "test_rule_1_sealed_calls_end_in_tool_calls"
    client = streaming(BelievesTheProvider)


# ------------------------------------------------------------------------------------------------- rule 2


class SealingDecoder(MarmotDecoder):
    """Seals what is open when anything ends."""

    def say(self, said, out):
        if isinstance(said, _End | _Error):
            for key in list(self._calls._by_index):
                self._calls.seal(key, out)
        super().say(said, out)


class TestSealsWhatWasCut(Bug):
    found_by = "test_rule_2_a_call_cut_by_the_length_limit_is_unfinished[looks whole]"
    client = decoding(SealingDecoder)


class TestSealsTheLastCall(Bug):
    found_by = "test_rule_2_a_call_before_the_one_that_was_cut"
    client = decoding(SealingDecoder)


class TestSealsOnErrors(Bug):
    found_by = "test_rule_2_an_error_seals_nothing"
    client = decoding(SealingDecoder)


class TrustingDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(said, out)
        if isinstance(said, _Sealed) and isinstance(out[-1], InvalidToolCall):
            out[-1] = ToolCall(out[-1].id, out[-1].name, out[-1].arguments)


class TestTrustsArguments(Bug):
    found_by = "test_rule_2_arguments_that_are_no_object_are_an_invalid_call[list]"
    client = decoding(TrustingDecoder)


class LateSealingDecoder(MarmotDecoder):
    def __init__(self, taken=()):
        super().__init__(taken)
        self._sealed = []

    def say(self, said, out):
        if isinstance(said, _Sealed):
            self._sealed.append(said)
            return
        if isinstance(said, _End):
            for sealed in self._sealed:
                super().say(sealed, out)
        super().say(said, out)


class TestSealsAtTheEnd(Bug):
    found_by = "test_rule_2_a_sealed_call_comes_at_once"
    client = decoding(LateSealingDecoder)


# ------------------------------------------------------------------------------------------------- rule 3


class LastOpenDecoder(MarmotDecoder):
    """Thinks that the call that began last is the one that ends first, and is the one that goes on."""

    def __init__(self, taken=()):
        super().__init__(taken)
        self._numbers = []

    def say(self, said, out):
        if isinstance(said, _Call):
            self._numbers.append(said.n)
        elif isinstance(said, _Piece):
            said = _Piece(self._numbers[-1], said.json)
        elif isinstance(said, _Sealed):
            said = _Sealed(self._numbers.pop())
        super().say(said, out)


class TestClosesTheLastOne(Bug):
    found_by = "test_rule_3_calls_may_end_in_any_order"
    client = decoding(LastOpenDecoder)


class ForgetfulDecoder(MarmotDecoder):
    """Pieces each call together by itself."""

    def say(self, said, out):
        if isinstance(said, _Call):
            self._calls = CallAssembler()
        super().say(said, out)


class TestRepeatsIds(Bug):
    found_by = "test_rule_3_ids_that_are_no_good_are_replaced[repeated]"
    client = decoding(ForgetfulDecoder)


class TestForgetsTheConversation(Bug):
    found_by = "test_rule_3_an_id_of_the_conversation_is_not_used_again"
    client = decoding(lambda taken: MarmotDecoder())


# ------------------------------------------------------------------------------------------------- rule 4


class EmptyDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(said, out)
        if isinstance(said, _Text) and not said.text:
            out.append(Append(""))


class TestGivesEmptyFrames(Bug):
    found_by = "test_rule_4_empty_increments_give_no_frames"
    client = decoding(EmptyDecoder)


class KeepsNothing(HandMade):
    partial = message_of([])


class TestHasNoPartial(Bug):
    found_by = "test_rule_4_partial_is_what_was_iterated"
    client = streaming(KeepsNothing)


# ------------------------------------------------------------------------------------------------- rule 5


class ReadByReadDecoder(MarmotDecoder):
    """Takes each read for whole events."""

    def feed(self, data):
        self._wire = SSEDecoder()
        return super().feed(data)


class TestDecodesEachReadAlone(Bug):
    found_by = "test_rule_5_the_same_frames_for_every_chunking[text]"
    client = decoding(ReadByReadDecoder)


class HastyDecoder(MarmotDecoder):
    """Where an event is an error, the events of the same read are lost."""

    def feed(self, data):
        frames = super().feed(data)
        return frames if self.error is None else []


class TestLosesFramesToAnError(Bug):
    found_by = "test_rule_5_the_same_frames_before_an_error"
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
    client = decoding(HoardingDecoder)


class RawClient(MarmotClient):
    """Asks for compression, and reads the bytes as they are."""

    def __init__(self, **options):
        super().__init__(**options)
        self._http._headers["accept-encoding"] = "gzip"

    async def _open(self, body, model):
        response = await super()._open(body, model)
        return SimpleRaw(response)


class SimpleRaw:
    def __init__(self, response):
        self._response = response

    def __aiter__(self):
        return self._response._response.aiter_raw()

    async def aclose(self):
        await self._response.aclose()


class TestDoesNotDecompress(Bug):
    found_by = "test_rule_5_compressed_bytes"
    client = RawClient


# ------------------------------------------------------------------------------------------- rules 6 and 7


class ThoughtlessClient(MarmotClient):
    def _complete(self, data, prompt, tools):
        message = super()._complete(data, prompt, tools)
        return replace(message, parts=tuple(part for part in message.parts if not isinstance(part, Reasoning)))


class TestForgetsReasoning(Bug):
    found_by = "test_rule_6_streamed_equals_complete[reasoning]"
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
    client = TidyClient


class StrictDecoder(MarmotDecoder):
    def _skip(self, name):
        raise ProtocolError(f"unknown event {name}")


class TestRefusesUnknownEvents(Bug):
    found_by = "test_rule_7_unknown_events_are_skipped_and_counted"
    client = decoding(StrictDecoder)


class LaxDecoder(MarmotDecoder):
    def _event(self, event, out):
        try:
            super()._event(event, out)
        except ProtocolError:
            self._skip("broken")


class TestSkipsBrokenEvents(Bug):
    found_by = "test_rule_7_a_malformed_event_is_a_protocol_error"
    client = decoding(LaxDecoder)


class BottomlessDecoder(MarmotDecoder):
    def __init__(self, taken=()):
        super().__init__(taken)
        self._wire = SSEDecoder(max_event_bytes=1 << 40)


class TestKeepsAnyEvent(Bug):
    found_by = "test_rule_7_an_event_without_end_is_a_protocol_error"
    client = decoding(BottomlessDecoder)


class TalkingOnDecoder(MarmotDecoder):
    """Does not notice that the answer has ended."""

    def feed(self, data):
        frames = super().feed(data)
        self.ended = False
        return frames


class TestTalksOn(Bug):
    found_by = "test_faulty_wires[data_after_the_end]"
    client = decoding(TalkingOnDecoder)


class TestTakesCutEventsForWhole(Bug):
    found_by = "test_faulty_wires[cut_terminal]"
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
    client = QuietClient


class ShieldingClient(MarmotClient):
    async def _post(self, body, model):
        return await asyncio.shield(super()._post(body, model))


class TestShieldsExecute(Bug):
    found_by = "test_rule_8_cancelling_execute_closes"
    client = ShieldingClient


class ClingingClient(MarmotClient):
    """Keeps every stream that it ever made."""

    def __init__(self, **options):
        super().__init__(**options)
        self._streams = set()


class TestKeepsDroppedStreams(Bug):
    found_by = "test_rule_8_a_dropped_stream_warns_and_closes"
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
    client = streaming(Forgiving)


class UnkeptClient(MarmotClient):
    def __init__(self, **options):
        super().__init__(**options)
        self._http._headers["connection"] = "close"


class TestKeepsNoConnection(Bug):
    found_by = "test_rule_8_a_whole_answer_leaves_the_connection_usable"
    client = UnkeptClient


class ReopeningClient(MarmotClient):
    async def aclose(self):
        await self._aclose()


class TestOpensAgain(Bug):
    found_by = "test_a_closed_client_says_so"
    client = ReopeningClient


class TimelessClient(MarmotClient):
    def __init__(self, *, timeouts, **options):
        super().__init__(**options)


class TestHasNoClocks(Bug):
    found_by = "test_the_three_clocks[idle]"
    client = TimelessClient


class PatientClient(MarmotClient):
    async def execute(self, prompt, model, tools=()):
        self._check(prompt, model, tools, streaming=False)
        return self._complete(await self._post(self._body(prompt, model, tools, stream=False), model), prompt, tools)


class TestWaitsForExecute(Bug):
    found_by = "test_a_clock_for_execute"
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
    client = GreedyClient


class MixingClient(MarmotClient):
    """Keeps the response of the request under way where the next request puts its own."""

    async def _open(self, body, model):
        self._response = await super()._open(body, model)
        await asyncio.sleep(0)
        return self._response


class TestMixesStreams(Bug):
    found_by = "test_two_hundred_streams_do_not_mix"
    client = MixingClient


# ----------------------------------------------------------------------------------------------- requests


def without_house(body, prompt):
    body["turns"] = [turn for turn in body["turns"] if turn["who"] != "house"]


class TestDropsInstructions(Bug):
    found_by = "test_the_prompt_is_in_the_request"
    client = sending(without_house)


def only_outputs(body, prompt):
    for turn in body["turns"]:
        if turn["who"] == "tool" and turn["failed"]:
            turn["text"] = ""


class TestDropsErrorsOfTools(Bug):
    found_by = "test_results_go_back_with_their_calls"
    client = sending(only_outputs)


def only_valid_calls(body, prompt):
    for turn in body["turns"]:
        if turn["who"] == "marmot":
            turn["calls"] = [call for call in turn["calls"] if call["json"].endswith("}")]


class TestForgetsInvalidCalls(Bug):
    found_by = "test_an_invalid_call_can_be_answered"
    client = sending(only_valid_calls)


def no_reasoning(body, prompt):
    if any(turn.get("thought") for turn in body["turns"]):
        raise ProtocolError("a thought cannot be sent")


class TestRefusesItsReasoning(Bug):
    found_by = "test_an_answer_with_reasoning_can_be_sent_back"
    client = sending(no_reasoning)


def own_data(body, prompt):
    for message in prompt.messages:
        for call in getattr(message, "tool_calls", ()):
            body["marks"] = call.provider_data["mark"] if call.provider_data else None


class TestReadsForeignData(Bug):
    found_by = "test_another_providers_answer_can_be_sent"
    client = sending(own_data)


class TestDropsImages(Bug):
    found_by = "test_parts_are_sent_or_refused[image]"
    client = declaring(Capability.IMAGES)


class TestDropsImagesOfTools(Bug):
    found_by = "test_images_in_results_are_sent_or_refused"
    client = declaring(Capability.TOOL_RESULT_IMAGES)


class TestDropsCacheMarks(Bug):
    found_by = "test_cache_marks_are_sent_or_refused"
    client = declaring(Capability.CACHE_CONTROL)


class TestDropsAParameter(Bug):
    found_by = "test_parameters_are_sent_or_refused[max_tokens]"
    client = sending(lambda body, prompt: body.pop("limit", None))


class TestOffersForbiddenTools(Bug):
    found_by = "test_tool_parameters_are_sent_or_refused[required]"
    client = declaring(Capability.TOOL_CHOICE)


class KnowingClient(MarmotClient):
    def capabilities(self, model):
        return _client.capabilities_of(model.id)


class TestKnowsBetter(Bug):
    found_by = "test_capabilities_are_declared_without_network"
    client = KnowingClient


class UncheckedClient(MarmotClient):
    def _check(self, prompt, model, tools, *, streaming):
        pass


class TestChecksNoCapabilities(Bug):
    found_by = "test_what_is_not_there_is_refused_before_anything_is_sent"
    client = UncheckedClient


class TestChecksNoPrompt(Bug):
    found_by = "test_a_prompt_that_makes_no_sense_is_refused"
    client = UncheckedClient


# ------------------------------------------------------------------------------------------------- errors


class VagueClient(MarmotClient):
    async def _open(self, body, model):
        try:
            return await super()._open(body, model)
        except ProviderError as error:
            raise ProviderError("it failed", provider=self.provider, model=model.id, status=error.status) from error


class TestHasOneError(Bug):
    found_by = "test_http_errors_have_their_class[429]"
    client = VagueClient


class TalkativeClient(MarmotClient):
    """Sends its key in a header that nobody knows as one."""

    def __init__(self, *, api_key, **options):
        super().__init__(api_key="x", **options)
        headers = {"x-marmot-token": api_key}
        self._http = HTTPTransport(
            self._http.base_url, provider=self.provider, headers=headers, timeouts=self._timeouts
        )


class TestQuotesTheKey(Bug):
    found_by = "test_keys_are_in_no_error"
    client = TalkativeClient


class PoliteDecoder(MarmotDecoder):
    def _no_events(self, stray, out):
        self._end(_End("done"), out)


class TestTakesAnything(Bug):
    found_by = "test_http_200_without_a_stream_is_an_error[html]"
    client = decoding(PoliteDecoder)


class BareClient(MarmotClient):
    async def _open(self, body, model):
        try:
            return await super()._open(body, model)
        except TransportError:
            raise RuntimeError("no server") from None


class TestRaisesItsOwn(Bug):
    found_by = "test_an_unreachable_server_is_a_transport_error"
    client = BareClient


class OtherNameClient(MarmotClient):
    async def models(self):
        return [LLModel("marmots", model.id) for model in await super().models()]


class TestNamesModelsOtherwise(Bug):
    found_by = "test_the_models_are_listed"
    client = OtherNameClient


class TestGood(Good):
    """Those checks, on the good provider."""


class TestHandMade(Good):
    """All checks, on a stream that is no `FrameStream`."""

    client = streaming(HandMade)


def main(folder):
    """Runs, for each bug, the check that must find it, and all of these for the good provider; a report in XML."""
    bugs = {name: cls for name, cls in globals().items() if isinstance(cls, type) and issubclass(cls, Bug)}
    found_by = {name: bug.found_by for name, bug in bugs.items() if bug.found_by}
    chosen = [*found_by.items(), *[("TestGood", check) for check in dict.fromkeys(found_by.values())]]
    options = [
        "-q",
        "--tb=native",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "-p",
        "promptport.testing.plugin",
    ]
    places = [f"--config-file={folder}/pytest.ini", f"--rootdir={folder}", f"--junitxml={folder}/report.xml"]
    return pytest.main(
        [*options, *places, *[f"{__file__}::{name}::{check}" for name, check in chosen], f"{__file__}::TestHandMade"]
    )


if __name__ == "__main__":
    main(sys.argv[1])
