# mypy: ignore-errors
"""Providers that are right and unusual: each passes the whole kit, without an entry in ``known``.

Each is the provider of docs/writing-a-provider.md with one thing otherwise, as some real server has it.
"""

import json

from promptport_marmot._client import MarmotClient
from promptport_marmot._decode import MarmotDecoder, _Call, _End, _Piece, _Sealed
from promptport_marmot._request import talk_body
from promptport_marmot.conformance import _event
from tests.kit_bugs.lab import Good

from promptport import (
    Capability,
    IncompleteStreamError,
    InvalidInputError,
    ProtocolError,
    ReasoningEffort,
    StreamedTools,
)
from promptport.testing import Finish, Seal, whole_calls

# -------------------------------------------------------------------------------------------- ends by bytes


class EndsByBytesDecoder(MarmotDecoder):
    """``end`` says why; the answer ends with its bytes, as Gemini's do."""

    def __init__(self, taken=()):
        super().__init__(taken)
        self._last = None

    def say(self, said, out):
        if isinstance(said, _End):
            self._last = said
        else:
            super().say(said, out)

    def _end_of_bytes(self, out):
        if self._last is None:
            raise IncompleteStreamError("the stream ended without a reason")
        super().say(self._last, out)


class EndsByBytesClient(MarmotClient):
    decoder = EndsByBytesDecoder


class TestEndsByBytes(Good):
    client = EndsByBytesClient
    ends_by = "bytes"
    ways_to_end = 2

    def encode(self, steps):
        events = super().encode(steps)
        # The second way: the reason comes, and behind it an event that says nothing.
        late = any(isinstance(step, Finish) and step.way for step in steps)
        return [*events, _event("text", text="")] if events and late else events


# --------------------------------------------------------------------------------------------- whole calls


class WholeCallsDecoder(MarmotDecoder):
    """A call comes in one event."""

    def _event(self, event, out):
        name, data = event
        if name != b"asks":
            super()._event(event, out)
            return
        try:
            call = json.loads(data)
        except ValueError as error:
            raise ProtocolError(f"a call is not what it must be: {error}") from None
        self.say(_Call(0, call["tool"], call["id"]), out)
        self.say(_Piece(0, call["json"]), out)
        if call.get("mark"):
            self._marks[0] = {"mark": call["mark"]}
        self.say(_Sealed(0), out)


class WholeCallsClient(MarmotClient):
    decoder = WholeCallsDecoder

    def capabilities(self, model):
        declared = MarmotClient.capabilities(self, model)
        if model.capabilities:
            return declared
        return type(declared)(StreamedTools.WHOLE, declared.capabilities, declared.context_length, known=declared.known)


class TestWholeCalls(Good):
    client = WholeCallsClient

    def encode(self, steps):
        calls = whole_calls(steps)
        if calls is None:
            return None
        kept = [step for step in steps if not _of_calls(step)]
        if super().encode(kept) is None:
            return None
        events = [super().encode([])[0]]
        for step in steps:
            if isinstance(step, Seal):
                call = calls[step.key]
                more = {"mark": call.opaque} if call.opaque else {}
                events.append(_event("asks", id=call.id, tool=call.name, json=call.arguments, **more))
            elif not _of_calls(step):
                events += super().encode([step])[1:]
        return events

    def encode_complete(self, steps):
        return None if whole_calls(steps) is None else super().encode_complete(steps)


def _of_calls(step):
    return hasattr(step, "key") and step.key is not None


# -------------------------------------------------------------------------------------------------- no ids


class NoIdsDecoder(MarmotDecoder):
    def say(self, said, out):
        super().say(_Call(said.n, said.tool) if isinstance(said, _Call) else said, out)


def body_without_ids(prompt, model, tools, *, stream, origin=None):
    made = talk_body(prompt, model, tools, stream=stream, origin=origin)
    names = {call.id: call.name for message in prompt.messages for call in getattr(message, "tool_calls", ())}
    for turn in made["turns"]:
        for call in turn.get("calls", ()):
            names.setdefault(call["id"], call["tool"])
            del call["id"]
        if turn["who"] == "tool":
            turn["tool"] = names[turn.pop("id")]
    return made


class NoIdsClient(MarmotClient):
    """Calls have no ids: a result stands where its call stood."""

    decoder = NoIdsDecoder
    body = body_without_ids


class TestNoIds(Good):
    client = NoIdsClient
    sends_call_ids = False

    def encode(self, steps):
        events = super().encode(steps)
        return events and [_without_id(event) for event in events]

    def encode_complete(self, steps):
        whole = super().encode_complete(steps)
        if whole is None:
            return None
        answer = json.loads(whole)
        for part in answer["parts"]:
            part.pop("id", None)
        return json.dumps(answer).encode()

    def read_request(self, body):
        return None


def _without_id(event):
    if not event.startswith(b"event: call\n"):
        return event
    fields = json.loads(event.partition(b"data: ")[2])
    return _event("call", n=fields["n"], tool=fields["tool"])


# ------------------------------------------------------------------------------------- effort as a budget


_BUDGETS = {effort: 1024 * 2**place for place, effort in enumerate(ReasoningEffort)}


def body_with_a_budget(prompt, model, tools, *, stream, origin=None):
    made = talk_body(prompt, model, tools, stream=stream, origin=origin)
    if prompt.params.reasoning_effort is not None:
        made["think"] = _BUDGETS[prompt.params.reasoning_effort]
    return made


class BudgetClient(MarmotClient):
    """Has no word for an effort: it is a number of tokens."""

    body = body_with_a_budget

    def capabilities(self, model):
        return model.capabilities or MarmotClient.capabilities(self, model).with_(Capability.REASONING_EFFORT)


class TestEffortAsABudget(Good):
    client = BudgetClient


# ----------------------------------------------------------------------------------------- no schema mode


def body_with_a_schema(prompt, model, tools, *, stream, origin=None):
    made = talk_body(prompt, model, tools, stream=stream, origin=origin)
    if prompt.params.response_schema is not None:
        if tools:
            raise InvalidInputError("marmot: a schema goes with no tools. Remove one of them.")
        text = f"Answer with JSON of this schema: {json.dumps(prompt.params.response_schema)}"
        made["turns"].insert(0, {"who": "house", "text": text})
    return made


class NoSchemaClient(MarmotClient):
    """Its server has no schema mode: the schema goes into the instructions, and the answer is checked by promptport."""

    body = body_with_a_schema

    def capabilities(self, model):
        return model.capabilities or MarmotClient.capabilities(self, model).with_(Capability.JSON_SCHEMA)


class TestNoSchemaMode(Good):
    client = NoSchemaClient


UNUSUAL = (TestEndsByBytes, TestWholeCalls, TestNoIds, TestEffortAsABudget, TestNoSchemaMode)
