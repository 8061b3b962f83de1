# mypy: ignore-errors
"""Bugs in what only some protocols have, and in what the kit found last."""

import json
import time

from promptport_marmot._client import MarmotClient
from promptport_marmot._decode import MarmotDecoder, _Count, _End, _Text
from tests.kit_bugs.lab import Bug, decoding, sending
from tests.kit_bugs.unusual import EndsByBytesClient, EndsByBytesDecoder, TestEndsByBytes

from promptport import ProtocolError, ProviderError
from promptport_bedrock._decode import ConverseDecoder
from promptport_bedrock.conformance import ConverseContract

# ---------------------------------------------------------------------------------------- what goes back


def without_marks(body, prompt):
    for turn in body["turns"]:
        turn.pop("mark", None)
        for call in turn.get("calls", ()):
            call.pop("mark", None)


class TestForgetsTheMarkOfACall(Bug):
    found_by = "test_what_the_provider_wants_back_goes_back[call-streamed]"
    says = "is not in the next request"
    client = sending(without_marks)


class TestForgetsTheMarkOfAThought(Bug):
    found_by = "test_what_the_provider_wants_back_goes_back[reasoning-stored]"
    says = "is not in the next request"
    client = sending(without_marks)


class UnmarkedClient(MarmotClient):
    def _complete(self, data, prompt, tools):
        body = json.loads(data)
        for part in body["parts"]:
            part.pop("mark", None)
        return super()._complete(json.dumps(body).encode(), prompt, tools)


class TestForgetsTheMarkOfACompleteAnswer(Bug):
    found_by = "test_what_the_provider_wants_back_goes_back[reasoning-whole]"
    says = "is not in the next request"
    client = UnmarkedClient


def all_marks(body, prompt):
    body["marks"] = [
        part.provider_data
        for message in prompt.messages
        for part in getattr(message, "parts", ())
        if getattr(part, "provider_data", None)
    ]


class TestSendsAnothersMark(Bug):
    found_by = "test_what_the_provider_wants_back_goes_back[call-streamed]"
    says = "another server's call is in the request"
    client = sending(all_marks)


class ReasonsDecoder(MarmotDecoder):
    """Knows fewer words for why an answer ended."""

    def say(self, said, out):
        known = isinstance(said, _End) and said.why in ("refused", "muddle")
        super().say(_End("done", said.tokens) if known else said, out)


class TestAnswersARefusedPrompt(Bug):
    found_by = "test_a_refused_prompt_is_no_empty_answer"
    says = "a prompt that the provider refused came out as"
    client = decoding(ReasonsDecoder)


class TestTakesAMalformedCallForAnEnd(Bug):
    found_by = "test_a_malformed_call_is_no_call"
    says = "as if nothing had happened"
    client = decoding(ReasonsDecoder)


# ----------------------------------------------------------------------------------------------- counts


class FirstCountDecoder(MarmotDecoder):
    def say(self, said, out):
        if isinstance(said, _Count) and self._tokens:
            return
        if isinstance(said, _End) and self._tokens:
            said = _End(said.why, self._tokens)
        super().say(said, out)


class TestKeepsTheFirstCount(Bug):
    found_by = "test_the_last_usage_counts"
    says = "the first count is kept"
    client = decoding(FirstCountDecoder)


class AddingDecoder(MarmotDecoder):
    def say(self, said, out):
        if isinstance(said, _Count | _End):
            summed = {name: (said.tokens.get(name) or 0) + self._tokens.get(name, 0) for name in said.tokens}
            said = _Count(summed) if isinstance(said, _Count) else _End(said.why, summed)
        super().say(said, out)


class TestAddsCounts(Bug):
    found_by = "test_the_last_usage_counts"
    says = "counts are added up"
    client = decoding(AddingDecoder)


class ThoughtlessDecoder(MarmotDecoder):
    def say(self, said, out):
        if isinstance(said, _End):
            said = _End(said.why, {name: count for name, count in said.tokens.items() if name != "thought"})
        super().say(said, out)


class TestForgetsReasoningTokens(Bug):
    found_by = "test_every_count_is_read[reasoning_tokens]"
    says = "Usage.reasoning_tokens is None"
    client = decoding(ThoughtlessDecoder)


class TwiceDecoder(MarmotDecoder):
    def say(self, said, out):
        if isinstance(said, _End) and "thought" in said.tokens:
            said = _End(said.why, {**said.tokens, "out": said.tokens["out"] + said.tokens["thought"]})
        super().say(said, out)


class TestCountsReasoningTwice(Bug):
    found_by = "test_every_count_is_read[reasoning_tokens]"
    says = "a part is counted twice"
    client = decoding(TwiceDecoder)


# -------------------------------------------------------------------------------------------------- ends


class HastyDecoder(EndsByBytesDecoder):
    """Ends with the reason."""

    def say(self, said, out):
        MarmotDecoder.say(self, said, out)


class HastyClient(EndsByBytesClient):
    decoder = HastyDecoder


class TestEndsWithTheReason(Bug, TestEndsByBytes):
    good = "TestEndsByBytes"
    found_by = "test_data_behind_the_last_word_belongs_to_the_answer"
    says = "the decoder ends with that reason"
    client = HastyClient


class OneWayDecoder(EndsByBytesDecoder):
    """Knows nothing behind the reason."""

    def say(self, said, out):
        if self._last is not None:
            raise ProtocolError("an event behind the end")
        super().say(said, out)


class OneWayClient(EndsByBytesClient):
    decoder = OneWayDecoder


class TestKnowsOneWayToEnd(Bug, TestEndsByBytes):
    good = "TestEndsByBytes"
    found_by = "test_every_way_to_end_is_an_end"
    says = "an answer that ends in way 1 raised"
    client = OneWayClient


# ------------------------------------------------------------------------------------- unread, slow, shared


class LenientDecoder(MarmotDecoder):
    """Every field has a default."""

    def _event(self, event, out):
        name, data = event
        if name == b"text" and json.loads(data).get("text") is None:
            return
        super()._event(event, out)


class TestReadsNothingOfAnEvent(Bug):
    found_by = "test_an_event_of_which_nothing_was_read_is_counted"
    says = "an event of which nothing was read is neither counted nor refused"
    client = decoding(LenientDecoder)


class SlowDecoder(MarmotDecoder):
    def say(self, said, out):
        if isinstance(said, _Text):
            time.sleep(0.002)
        super().say(said, out)


class TestHoldsUpTheLoop(Bug):
    found_by = "test_the_loop_does_not_wait_for_an_answer"
    says = "the event loop stood still"
    client = decoding(SlowDecoder)


class PossessiveClient(MarmotClient):
    def __init__(self, *, http_client=None, **options):
        super().__init__(http_client=http_client, **options)
        self._brought = http_client

    async def _aclose(self):
        await super()._aclose()
        if self._brought is not None:
            await self._brought.aclose()


class TestClosesTheCallersClient(Bug):
    found_by = "test_the_callers_http_client_stays_open"
    says = "closed the caller's http_client"
    client = PossessiveClient


class OwnWayClient(MarmotClient):
    def __init__(self, *, http_client=None, **options):
        super().__init__(**options)


class TestDropsTheCallersClient(Bug):
    found_by = "test_the_callers_http_client_stays_open"
    says = "did not go through the caller's http_client"
    client = OwnWayClient


class QueryClient(MarmotClient):
    """The key is in the URL, and the URL in the error."""

    key_header = ""
    key_query = "key"

    def _known_secrets(self):
        return ()

    async def _open(self, body, model):
        try:
            return await super()._open(body, model)
        except ProviderError as error:
            raise type(error)(f"{error} (?key=test-key)", provider=self.provider, status=error.status) from None


class TestQuotesTheKeyOfTheQuery(Bug):
    found_by = "test_keys_are_in_no_error"
    says = "the key is in the error"
    client = QueryClient


# --------------------------------------------------------------------------------------------- requests


def guests_only(body, prompt):
    for turn in body["turns"]:
        if turn["who"] == "marmot" and not turn["calls"]:
            turn["who"] = "guest"


class TestSpeaksForTheUser(Bug):
    found_by = "test_the_messages_are_in_the_request"
    says = "a role is wrong"
    client = sending(guests_only)


def crossed_results(body, prompt):
    results = [turn for turn in body["turns"] if turn["who"] == "tool"]
    ids = [turn["id"] for turn in results]
    for turn, other in zip(results, reversed(ids), strict=True):
        turn["id"] = other


class TestCrossesResults(Bug):
    found_by = "test_the_messages_are_in_the_request"
    says = "a result carries another call's id"
    client = sending(crossed_results)


def one_name(body, prompt):
    for turn in body["turns"]:
        for call in turn.get("calls", ()):
            call["tool"] = "get_weather"


class TestRenamesCalls(Bug):
    found_by = "test_the_messages_are_in_the_request"
    says = "a name, an argument or a text is changed"
    client = sending(one_name)


def written_anew(body, prompt):
    for turn in body["turns"]:
        for call in turn.get("calls", ()):
            if call["json"].endswith("}"):
                call["json"] = json.dumps(json.loads(call["json"]))


class TestWritesArgumentsAnew(Bug):
    found_by = "test_arguments_go_back_to_the_letter"
    says = "parsed and written anew"
    client = sending(written_anew)


# ----------------------------------------------------------------------------------------- binary frames


class TrustingFrames:
    """Skips what its checksums say is broken."""

    def __init__(self, frames):
        self._frames = frames

    def feed(self, data):
        try:
            return self._frames.feed(data)
        except ProtocolError:
            return []

    def close(self):
        return []

    def __getattr__(self, name):
        return getattr(self._frames, name)


class FrameBug(ConverseContract):
    good = "TestBedrock"
    found_by = says = ""

    def change(self, decoder):
        raise NotImplementedError

    def make_client(self, base_url, timeouts):
        client = ConverseContract.make_client(self, base_url, timeouts)
        made = client._decoder
        client._decoder = lambda *arguments: self.change(made(*arguments))
        return client


class TestTrustsBrokenFrames(FrameBug):
    found_by = "test_faulty_wires[frame_checksum]"
    says = "mutator frame_checksum"

    def change(self, decoder):
        decoder._wire = TrustingFrames(decoder._wire)
        decoder._end_of_bytes = decoder._finish
        return decoder


class TestRefusesHalfACharacterInAFrame(FrameBug):
    found_by = "test_halves_of_a_character_are_joined[text]"
    says = "JSON is decoded strictly, event by event"

    def change(self, decoder):
        decoder._readable = lambda data: None
        return decoder


class DeafDecoder(ConverseDecoder):
    """Knows of no exceptions in the stream."""

    def _event(self, event, out):
        if event[0].get(":message-type") == "event":
            super()._event(event, out)

    def _end_of_bytes(self, out):
        self._finish(out)


class TestHearsNoExceptions(FrameBug):
    found_by = "test_faulty_wires[frame_exception]"
    says = "not ProviderStreamError"

    def change(self, decoder):
        return DeafDecoder()
