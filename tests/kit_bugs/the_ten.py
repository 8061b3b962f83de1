# mypy: ignore-errors
"""The ten bugs that the kit was made for."""

from msgspec.structs import replace
from promptport_marmot._client import MarmotClient
from promptport_marmot._decode import MarmotDecoder, _Call, _End, _Error, _Piece, _Sealed, _Text
from tests.kit_bugs.lab import Bug, HandMade, decoding, sending, streaming

from promptport import (
    End,
    ToolCall,
)


class DropsADeltaDecoder(MarmotDecoder):
    def say(self, said, out):
        if not (isinstance(said, _Piece) and said.json.endswith("Pa")):
            super().say(said, out)


class TestDropsADelta(Bug):
    found_by = "test_rule_4_every_increment_comes_through"
    says = "a delta is dropped"
    client = decoding(DropsADeltaDecoder)


class EndsTwice(HandMade):
    def change(self, frame):
        return [frame, frame] if isinstance(frame, End) else [frame]


class TestEmitsEndTwice(Bug):
    found_by = "test_rule_1_end_comes_once_and_last"
    says = "End stands at [1, 2] of 3 frames"
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
    says = "the calls are keyed alike"
    client = decoding(MergingDecoder)


class TruncationIgnoringDecoder(MarmotDecoder):
    def _end_of_bytes(self, out):
        self._end(_End("done", {"in": 11, "out": 7}), out)


class TestIgnoresTruncation(Bug):
    found_by = "test_rule_1_an_answer_that_was_cut_raises[end_after-text]"
    says = "the end of the bytes is taken for the end of the answer"
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
    says = "the response is not closed when its stream is"
    client = LeakyClient


class ErrorSwallowingDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(_End("error") if isinstance(said, _Error) else said, out)


class TestSwallowsAnError(Bug):
    found_by = "test_an_error_in_the_stream_is_raised"
    says = "the error was swallowed"
    client = decoding(ErrorSwallowingDecoder)


class IdLosingDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(_Call(said.n, said.tool) if isinstance(said, _Call) else said, out)


class TestLosesAnId(Bug):
    found_by = "test_rule_3_ids_are_kept"
    says = "ids are made up, or lost"
    client = decoding(IdLosingDecoder)


class RewritingDecoder(MarmotDecoder):
    """Gives the arguments as it would have written them."""

    def say(self, said, out):
        super().say(said, out)
        if isinstance(said, _Sealed) and isinstance(out[-1], ToolCall):
            out[-1] = replace(out[-1], arguments=repr(out[-1].parsed()).replace("'", '"').replace("None", "null"))


class TestMutatesArguments(Bug):
    found_by = "test_rule_4_arguments_are_as_the_model_wrote_them"
    says = "the arguments are parsed and written anew"
    client = decoding(RewritingDecoder)


class TestHidesTools(Bug):
    found_by = "test_tools_are_in_the_request"
    says = "the tool get_weather is not in the request"
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
    says = "frames are held back and given later"
    client = decoding(ReorderingDecoder)
