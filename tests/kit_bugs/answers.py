# mypy: ignore-errors
"""Bugs against the rules 1 to 4: in what an answer comes to."""

from msgspec.structs import replace
from promptport_marmot._decode import MarmotDecoder, _Call, _End, _Error, _Piece, _Sealed, _Text
from tests.kit_bugs.lab import Bug, HandMade, decoding, streaming

from promptport import (
    Append,
    End,
    FinishReason,
    InvalidToolCall,
    ToolCall,
    Usage,
)
from promptport.decoding import CallAssembler
from promptport.stream import message_of

# ------------------------------------------------------------------------------------------------- rule 1


class Silent(HandMade):
    def change(self, frame):
        return []


class TestGivesNothing(Bug):
    found_by = "test_rule_5_the_same_frames_for_every_chunking[nothing]"
    says = "the scenario gave no frames"
    client = streaming(Silent)


class StrippingDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(_Text(said.text.strip()) if isinstance(said, _Text) else said, out)


class TestStripsText(Bug):
    found_by = "test_rule_1_a_whole_answer_is_whole[text]"
    says = "the decoder drops, strips, joins"
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
    says = "a token count is not read, or is read from the wrong field"
    client = streaming(SwapsTokens)


class CallsLimitsStops(ChangesEnd):
    def end(self, frame):
        limited = frame.finish_reason is FinishReason.LENGTH
        return {"finish_reason": FinishReason.STOP if limited else frame.finish_reason}


class TestCallsALimitAStop(Bug):
    found_by = "test_rule_1_finish_reasons[length]"
    says = "is missing from the table of finish reasons"
    client = streaming(CallsLimitsStops)


class BelievesTheProvider(ChangesEnd):
    def end(self, frame):
        return {"finish_reason": FinishReason.STOP if frame.raw_finish_reason == "done" else frame.finish_reason}


class TestStopsAfterCalls(Bug):
    found_by = "test_rule_1_sealed_calls_end_in_tool_calls"
    says = "is believed though calls came"
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
    says = "open calls are sealed when the answer ends"
    client = decoding(SealingDecoder)


class TestSealsTheLastCall(Bug):
    found_by = "test_rule_2_a_call_before_the_one_that_was_cut"
    says = "only those that the provider sealed are calls"
    client = decoding(SealingDecoder)


class TestSealsOnErrors(Bug):
    found_by = "test_rule_2_an_error_seals_nothing"
    says = "open calls are sealed when the provider reports an error"
    client = decoding(SealingDecoder)


class TrustingDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(said, out)
        if isinstance(said, _Sealed) and isinstance(out[-1], InvalidToolCall):
            out[-1] = ToolCall(out[-1].id, out[-1].name, out[-1].arguments)


class TestTrustsArguments(Bug):
    found_by = "test_rule_2_arguments_that_are_no_object_are_an_invalid_call[list]"
    says = "becomes a ToolCall though its arguments are not a JSON object"
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
    says = "calls are held back until the answer ends"
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
    says = "is given to the call that began last"
    client = decoding(LastOpenDecoder)


class ForgetfulDecoder(MarmotDecoder):
    """Pieces each call together by itself."""

    def say(self, said, out):
        if isinstance(said, _Call):
            self._calls = CallAssembler()
        super().say(said, out)


class TestRepeatsIds(Bug):
    found_by = "test_rule_3_ids_that_are_no_good_are_replaced[repeated]"
    says = "a blank or repeated id is passed on"
    client = decoding(ForgetfulDecoder)


class TestForgetsTheConversation(Bug):
    found_by = "test_rule_3_an_id_of_the_conversation_is_not_used_again"
    says = "the decoder is not told which ids the conversation holds"
    client = decoding(lambda taken: MarmotDecoder())


# ------------------------------------------------------------------------------------------------- rule 4


class EmptyDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(said, out)
        if isinstance(said, _Text) and not said.text:
            out.append(Append(""))


class TestGivesEmptyFrames(Bug):
    found_by = "test_rule_4_empty_increments_give_no_frames"
    says = "an empty delta is passed on as a frame"
    client = decoding(EmptyDecoder)


class KeepsNothing(HandMade):
    partial = message_of([])


class TestHasNoPartial(Bug):
    found_by = "test_rule_4_partial_is_what_was_iterated"
    says = "stream.partial is not kept up"
    client = streaming(KeepsNothing)
