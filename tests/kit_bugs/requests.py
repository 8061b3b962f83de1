# mypy: ignore-errors
"""Bugs in what goes out, and in the errors that come back."""

from promptport_marmot import _client
from promptport_marmot._client import MarmotClient
from promptport_marmot._decode import MarmotDecoder, _End
from tests.kit_bugs.lab import Bug, declaring, decoding, sending

from promptport import (
    AuthenticationError,
    Capability,
    LLModel,
    ProtocolError,
    ProviderError,
    TransportError,
)

# ----------------------------------------------------------------------------------------------- requests


def without_house(body, prompt):
    body["turns"] = [turn for turn in body["turns"] if turn["who"] != "house"]


class TestDropsInstructions(Bug):
    found_by = "test_the_prompt_is_in_the_request"
    says = "a message is left out"
    client = sending(without_house)


def only_outputs(body, prompt):
    for turn in body["turns"]:
        if turn["who"] == "tool" and turn["failed"]:
            turn["text"] = ""


class TestDropsErrorsOfTools(Bug):
    found_by = "test_results_go_back_with_their_calls"
    says = "'the clock is broken': -1"
    client = sending(only_outputs)


def only_valid_calls(body, prompt):
    for turn in body["turns"]:
        if turn["who"] == "marmot":
            turn["calls"] = [call for call in turn["calls"] if call["json"].endswith("}")]


class TestForgetsInvalidCalls(Bug):
    found_by = "test_an_invalid_call_can_be_answered"
    says = "InvalidToolCall is left out of the history"
    client = sending(only_valid_calls)


def no_reasoning(body, prompt):
    if any(turn.get("thought") for turn in body["turns"]):
        raise ProtocolError("a thought cannot be sent")


class TestRefusesItsReasoning(Bug):
    found_by = "test_an_answer_with_reasoning_can_be_sent_back"
    says = "a message with reasoning makes no request"
    client = sending(no_reasoning)


def own_data(body, prompt):
    for message in prompt.messages:
        for call in getattr(message, "tool_calls", ()):
            body["marks"] = call.provider_data["mark"] if call.provider_data else None


class TestReadsForeignData(Bug):
    found_by = "test_another_providers_answer_can_be_sent"
    says = "is read as if it were its own"
    client = sending(own_data)


class TestDropsImages(Bug):
    found_by = "test_parts_are_sent_or_refused[image]"
    says = "its capability is declared and it is not written"
    client = declaring(Capability.IMAGES)


class TestDropsImagesOfTools(Bug):
    found_by = "test_images_in_results_are_sent_or_refused"
    says = "an image in a tool's result is dropped"
    client = declaring(Capability.TOOL_RESULT_IMAGES)


class TestDropsCacheMarks(Bug):
    found_by = "test_cache_marks_are_sent_or_refused"
    says = "CACHE_CONTROL is declared and the mark is not written"
    client = declaring(Capability.CACHE_CONTROL)


class TestDropsAParameter(Bug):
    found_by = "test_parameters_are_sent_or_refused[max_tokens]"
    says = "it was dropped"
    client = sending(lambda body, prompt: body.pop("limit", None))


class TestOffersForbiddenTools(Bug):
    found_by = "test_tool_parameters_are_sent_or_refused[required]"
    says = "it was dropped"
    client = declaring(Capability.TOOL_CHOICE)


class KnowingClient(MarmotClient):
    def capabilities(self, model):
        return _client.capabilities_of(model.id)


class TestKnowsBetter(Bug):
    found_by = "test_capabilities_are_declared_without_network"
    says = "the table goes before model.capabilities"
    client = KnowingClient


class UncheckedClient(MarmotClient):
    def _check(self, prompt, model, tools, *, streaming):
        pass


class TestChecksNoCapabilities(Bug):
    found_by = "test_what_is_not_there_is_refused_before_anything_is_sent"
    says = "check_request() is not called"
    client = UncheckedClient


class TestChecksNoPrompt(Bug):
    found_by = "test_a_prompt_that_makes_no_sense_is_refused"
    says = "check_request() is not called"
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
    says = "all statuses become one error"
    client = VagueClient


class TalkativeClient(MarmotClient):
    """Helps whoever reads its errors too much, and says nothing of its secrets."""

    def _known_secrets(self):
        return ()

    def __init__(self, *, api_key, **options):
        super().__init__(api_key=api_key, **options)
        self._key = api_key

    async def _open(self, body, model):
        try:
            return await super()._open(body, model)
        except AuthenticationError as error:
            raise AuthenticationError(f"{error}: is {self._key} right?", provider=self.provider) from None


class TestQuotesTheKey(Bug):
    found_by = "test_keys_are_in_no_error"
    says = "the key is in the error"
    client = TalkativeClient


class PoliteDecoder(MarmotDecoder):
    def _no_events(self, stray, out):
        self._end(_End("done"), out)


class TestTakesAnything(Bug):
    found_by = "test_http_200_without_a_stream_is_an_error[html]"
    says = "is taken for an empty answer"
    client = decoding(PoliteDecoder)


class BareClient(MarmotClient):
    async def _open(self, body, model):
        try:
            return await super()._open(body, model)
        except TransportError:
            raise RuntimeError("no server") from None


class TestRaisesItsOwn(Bug):
    found_by = "test_an_unreachable_server_is_a_transport_error"
    says = "an exception of the HTTP library gets out"
    client = BareClient


class OtherNameClient(MarmotClient):
    async def models(self):
        return [LLModel("marmots", model.id) for model in await super().models()]


class TestNamesModelsOtherwise(Bug):
    found_by = "test_the_models_are_listed"
    says = "or names another provider"
    client = OtherNameClient
