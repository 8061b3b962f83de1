# mypy: ignore-errors
"""Bugs that the other checks let pass: requests sent twice, keys where they do not belong, prompts that change."""

import os

import aiohttp
from promptport_marmot._client import MarmotClient
from promptport_marmot._decode import MarmotDecoder
from tests.kit_bugs.lab import Bug, HandMade, declaring, decoding, sending, streaming

from promptport import Capability, ProviderError, ProviderStreamError, TransportError

# ------------------------------------------------------------------------------------- sent once, to one


class ResendingClient(MarmotClient):
    """Tries once more what did not reach the server, as it thinks."""

    async def _open(self, body, model):
        try:
            return await super()._open(body, model)
        except TransportError:
            return await super()._open(body, model)

    async def _post(self, body, model):
        try:
            return await super()._post(body, model)
        except TransportError:
            return await super()._post(body, model)


class TestSendsAStreamTwice(Bug):
    found_by = "test_a_request_that_was_read_is_not_sent_again[streamed-fresh]"
    says = "got the request 2 times, on a fresh connection"
    client = ResendingClient


class TestSendsAStreamTwiceOnAKeptConnection(Bug):
    found_by = "test_a_request_that_was_read_is_not_sent_again[streamed-reused]"
    says = "got the request 2 times, on a reused connection"
    client = ResendingClient


class TestSendsARequestTwice(Bug):
    found_by = "test_a_request_that_was_read_is_not_sent_again[whole-fresh]"
    says = "the HTTP library or the SDK retries"
    client = ResendingClient


class FollowingClient(MarmotClient):
    """Lets its HTTP library follow redirects."""

    async def _open(self, body, model):
        try:
            return await super()._open(body, model)
        except ProviderError as error:
            if error.status in (301, 302, 303, 307, 308):
                async with aiohttp.ClientSession(headers={"x-api-key": "test-key"}) as session:
                    async with session.post(self.base_url + self.path, json=body):
                        pass
            raise


class TestFollowsARedirectWithThePrompt(Bug):
    found_by = "test_a_redirect_to_another_origin_carries_nothing[307]"
    says = "the prompt and the key went to another origin"
    client = FollowingClient


class TestFollowsARedirectWithTheKey(Bug):
    found_by = "test_a_redirect_to_another_origin_carries_nothing[302]"
    says = "the key went to another origin"
    client = FollowingClient


class OpenEndedClient(MarmotClient):
    async def _aclose(self):
        pass


class TestKeepsItsConnections(Bug):
    found_by = "test_closing_the_client_closes_every_connection"
    says = "aclose() does not close the HTTP session"
    client = OpenEndedClient


# --------------------------------------------------------------------------------------------------- keys


class OutspokenClient(MarmotClient):
    """Knows of no secret."""

    def _known_secrets(self):
        return ()


class TestQuotesTheKeyOfAStreamError(Bug):
    found_by = "test_a_key_in_an_error_of_the_stream_is_redacted[as it is]"
    says = "does not pass through the client's redaction"
    client = OutspokenClient


class PlainStream(HandMade):
    """Takes a key out only as the program wrote it."""

    async def _changed(self):
        try:
            async for frame in super()._changed():
                yield frame
        except ProviderStreamError as error:
            error.args = tuple([str(each).replace("test-key", "[redacted]") for each in error.args])
            raise


class PlainClient(streaming(PlainStream)):
    def _known_secrets(self):
        return ()


class QuotesAnotherSpelling(Bug):
    says = "does not pass through the client's redaction"
    client = PlainClient


class TestQuotesTheKeyInAUrl(QuotesAnotherSpelling):
    found_by = "test_a_key_in_an_error_of_the_stream_is_redacted[in percents]"


class TestQuotesTheKeyInJson(QuotesAnotherSpelling):
    found_by = "test_a_key_in_an_error_of_the_stream_is_redacted[in JSON]"


class TestQuotesTheKeyInBase64(QuotesAnotherSpelling):
    found_by = "test_a_key_in_an_error_of_the_stream_is_redacted[in base64]"


class TestQuotesTheKeyInTwoLines(QuotesAnotherSpelling):
    found_by = "test_a_key_in_an_error_of_the_stream_is_redacted[in two lines]"


class TestQuotesTheKeyOfTwoReads(Bug):
    found_by = "test_a_key_in_an_error_of_the_stream_is_redacted[in two reads]"
    says = "the key, in two reads"
    client = OutspokenClient


class ShowingClient(MarmotClient):
    def __init__(self, *, api_key, **options):
        super().__init__(api_key=api_key, **options)
        self._shown = api_key

    def __repr__(self):
        return f"ShowingClient(api_key={self._shown!r})"


class TestShowsItsKey(Bug):
    found_by = "test_the_repr_of_a_client_holds_no_key"
    says = "repr(client) holds the key"
    client = ShowingClient


# ------------------------------------------------------------------------------------------------ prompts


def changed_in_place(body, prompt):
    prompt.params.extra.setdefault("kit", {})["stream"] = True


class TestChangesThePrompt(Bug):
    found_by = "test_a_request_does_not_change_its_prompt"
    says = "the request changed its prompt"
    client = sending(changed_in_place)


def thoughts_of_all(body, prompt):
    body["thoughts"] = [getattr(message, "reasoning", "") for message in prompt.messages]


class TestSendsForeignThoughts(Bug):
    found_by = "test_what_another_provider_made_stays_there"
    says = "another provider's thought is in the request"
    client = sending(thoughts_of_all)


class TestTreatsAllToolChoicesAlike(Bug):
    found_by = "test_tool_choices_are_told_apart"
    says = "AUTO and REQUIRED"
    client = declaring(Capability.TOOL_CHOICE)


class OneEffortClient(declaring(Capability.REASONING_EFFORT)):
    def _body(self, prompt, model, tools, *, stream):
        made = super()._body(prompt, model, tools, stream=stream)
        if prompt.params.reasoning_effort is not None:
            made["effort"] = "high"
        return made


class TestHasOneEffort(Bug):
    found_by = "test_efforts_are_told_apart"
    says = "LOW and HIGH give one and the same request"
    client = OneEffortClient


# ------------------------------------------------------------------------------------------------ halves


class StrictDecoder(MarmotDecoder):
    """Refuses half a character."""

    def _readable(self, data):
        return None


class TestRefusesHalfACharacter(Bug):
    found_by = "test_halves_of_a_character_are_joined[text]"
    says = "JSON is decoded strictly, event by event"
    client = decoding(StrictDecoder)


class TestRefusesHalfAThought(Bug):
    found_by = "test_halves_of_a_character_are_joined[reasoning]"
    says = "JSON is decoded strictly, event by event"
    client = decoding(StrictDecoder)


class CarelessClient(MarmotClient):
    """Reads the key of the environment, wherever the server is."""

    def __init__(self, *, api_key=None, **options):
        super().__init__(api_key=api_key or os.environ.get("MARMOT_API_KEY"), **options)


class TestSendsTheEnvironmentsKeyAnywhere(Bug):
    found_by = "test_a_key_of_the_environment_stays_at_home"
    says = "the key of the environment went to another address"
    client = CarelessClient

    def make_keyless_client(self, base_url, timeouts):
        return CarelessClient(base_url=base_url, timeouts=timeouts)
