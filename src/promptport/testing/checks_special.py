"""What only some protocols have, as checks: opaque tokens, refused prompts, broken calls, counts, ways to end.

Rule: a check asks the encoder for a step that it need not know; where that changes no byte, the check is n/a.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

import httpx
import pytest
from msgspec.structs import replace

from promptport.errors import IncompleteStreamError, ProtocolError, ProviderError, StreamError, TransportError
from promptport.frames import Append, End, FinishReason, InvalidToolCall, StreamFrame, ToolCall, Usage
from promptport.messages import AssistantMessage, Origin, Prompt, ToolResultMessage
from promptport.stream import message_of
from promptport.testing.bench import LONG, QUESTION, SYSTEM, Bench, Outcome, not_applicable, run, scenario_named
from promptport.testing.recorded_bodies import Wire, WireEvent
from promptport.testing.request_rules import RULES, rules_for
from promptport.testing.sent_messages import SentMessage, Statement, messages_in_turns, statements
from promptport.testing.steps import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Arguments,
    Blocked,
    Finish,
    MalformedCall,
    Opaque,
    Say,
    Seal,
    Start,
    Step,
    Think,
    Used,
)
from promptport.testing.wire_server import RecordedRequest, WireResponse, WireServer

__all__ = ["SpecialChecks"]

_STOP = Finish(FinishReason.STOP)
_CALLS = Finish(FinishReason.TOOL_CALLS)
_TOKEN = "a2l0LW9wYXF1ZS10b2tlbi03YzE="  # noqa: S105 - as signatures are: base64
_OPAQUE: dict[str, tuple[Step, ...]] = {
    "reasoning": (Think("Let me think."), Opaque(None, _TOKEN), Say("It is sunny."), _STOP),
    "call": (
        Start(0, "call_a", "get_weather"),
        Arguments(0, '{"city": "Paris"}'),
        Opaque(0, _TOKEN),
        Seal(0),
        _CALLS,
    ),
}
_COUNTS = ("reasoning_tokens", "cached_input_tokens", "cache_write_tokens")
_ANOTHER = Origin("kit-other", "kit.example/v1")
_MANY = 400  # events in one read, for the lag of the loop
_LAG_SECONDS = 0.25


class SpecialChecks:
    """What a check must know of a protocol before it can ask."""

    bench: Bench

    # --------------------------------------------------------------------------------- what goes back

    @pytest.mark.parametrize("how", ["streamed", "stored", "whole"])
    @pytest.mark.parametrize("kind", _OPAQUE)
    def test_what_the_provider_wants_back_goes_back(self, kind: str, how: str) -> None:
        """An `Opaque` token is in the next request to this provider, also out of JSON, and in no other's."""
        answer = self._answer_with_token(kind, whole=how == "whole")
        tools = self.bench.tools if kind == "call" else ()
        after = self.bench.response(self.bench.contract.encode((Say("Hello"), _STOP)) or [])

        async def work() -> list[RecordedRequest]:
            async with self.bench.client(answer, after, after) as (server, client):
                if how == "whole":
                    message = await client.execute(self.bench.prompt, self.bench.model, tools)
                else:
                    async with client.execute_streaming_with_tools(
                        self.bench.prompt, self.bench.model, tools
                    ) as stream:
                        message = await stream.message()
                results = [ToolResultMessage(call.id, call.name, "sunny") for call in message.tool_calls]
                prompt = self.bench.prompt.add(message, *results)
                prompt = prompt if results else prompt.user("And tomorrow?")
                prompt = Prompt.from_json(prompt.to_json()) if how == "stored" else prompt
                foreign = replace(prompt, messages=tuple(map(_made_elsewhere, prompt.messages)))
                for each in (prompt, foreign):
                    await self.bench.read(client, tools, each)
                return server.requests

        _, own, other = run(work())
        assert _TOKEN in own.body.decode(), (
            f"the token {_TOKEN!r} of the {kind} is not in the next request: the provider wants it back unchanged."
            " Probably the decoder does not keep it in provider_data, or the request does not write it."
        )
        assert _TOKEN not in other.body.decode(), (
            f"the token {_TOKEN!r} of another server's {kind} is in the request."
            " Probably message.origin is not compared before provider_data is written: see portable()."
        )

    def _answer_with_token(self, kind: str, *, whole: bool) -> WireResponse:
        """The response; n/a where the protocol has no such token."""
        steps = _OPAQUE[kind]
        body = self.bench.wire_of(steps, Opaque)
        if not whole:
            return self.bench.response(body)
        complete = self.bench.contract.encode_complete(steps)
        if complete is None or _TOKEN.encode() not in complete:
            not_applicable("the protocol cannot say this in one piece")
        return WireResponse(complete, content_type="application/json", framing="length")

    # ------------------------------------------------------------------------ what is no answer, no call

    def test_a_refused_prompt_is_no_empty_answer(self) -> None:
        """`Blocked`: `FinishReason.CONTENT_FILTER`, or an error of the provider's; not a stop, nor a broken stream."""
        frames, error = self._ended((Blocked(),), Blocked)
        end = frames[-1] if frames and isinstance(frames[-1], End) else None
        told = isinstance(error, ProviderError) or _reported(error)
        filtered = end is not None and end.finish_reason is FinishReason.CONTENT_FILTER
        assert told or filtered, (
            f"a prompt that the provider refused came out as {error or end!r}, and must be"
            " End(FinishReason.CONTENT_FILTER) or a ProviderStreamError. Probably the decoder does not read the reason."
        )

    def test_a_malformed_call_is_no_call(self) -> None:
        """`MalformedCall`: an `InvalidToolCall`, an error of the provider's, or an end that is no normal one."""
        frames, error = self._ended((MalformedCall(),), MalformedCall)
        assert not any(isinstance(frame, ToolCall) for frame in frames), (
            "a call that the provider calls malformed came out as a ToolCall."
            " Probably it is made out of the provider's quotation of the model's text."
        )
        end = frames[-1] if frames and isinstance(frames[-1], End) else None
        normal = (FinishReason.STOP, FinishReason.PAUSED, FinishReason.TOOL_CALLS)
        invalid = any(isinstance(frame, InvalidToolCall) for frame in frames)
        abnormal = end is not None and end.finish_reason not in normal
        assert invalid or abnormal or _reported(error), (
            f"a call that the provider calls malformed ended as {error or end!r}, as if nothing had happened."
            " Probably the decoder maps the provider's word for it to STOP or TOOL_CALLS."
        )

    def _ended(self, steps: Sequence[Step], kind: type[Step]) -> Outcome:
        body = self.bench.wire_of(steps, kind)
        ((frames, error),) = self.bench.play([self.bench.response(body)], self.bench.tools)
        return frames, error

    # --------------------------------------------------------------------------------------------- counts

    def test_the_last_usage_counts(self) -> None:
        """`Used` on the way: the counts of `End` are the last that came, neither the first nor a sum."""
        first, second = Usage(INPUT_TOKENS, 2), Usage(INPUT_TOKENS, 4)
        body = self.bench.wire_of((Used(first), Say("Hel"), Used(second), Say("lo"), _STOP), Used)
        ((frames, error),) = self.bench.play([self.bench.response(body)])
        assert error is None, f"counts on the way raised {error!r}"
        usage = _end(frames).usage
        got, wanted = (usage.input_tokens, usage.output_tokens), (INPUT_TOKENS, OUTPUT_TOKENS)
        assert got == wanted, (
            f"the provider counted (11, 2), (11, 4) and at last {wanted} tokens, and End.usage says {got}."
            " Probably the first count is kept, or counts are added up: they are running totals."
        )

    @pytest.mark.parametrize("count", _COUNTS)
    def test_every_count_is_read(self, count: str) -> None:
        """Tokens of reasoning and of the cache are in `Usage` where the provider counts them; streamed or not."""
        usage = replace(_STOP.usage, **{count: 3})
        steps = (Say("Hello"), replace(_STOP, usage=usage))
        body, plain = self.bench.wire(steps), self.bench.contract.encode((Say("Hello"), _STOP))
        if body == plain:
            not_applicable(f"the protocol, or the encoder, has no {count}")
        ends = [_end(self.bench.answer(steps)).usage]
        whole = self.bench.contract.encode_complete(steps)
        if whole is not None and whole != self.bench.contract.encode_complete((Say("Hello"), _STOP)):
            ends.append(run(self._executed(whole)))
        for found in ends:
            assert getattr(found, count) == 3, (
                f"the provider counted 3 {count}, and Usage.{count} is {getattr(found, count)}."
                f" Probably the decoder does not read the field of its {count}."
            )
            assert (found.input_tokens, found.output_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS), (
                f"with 3 {count} Usage is {found}, and the totals are {INPUT_TOKENS} and {OUTPUT_TOKENS}."
                " Probably a part is counted twice, or left out of its total."
            )

    async def _executed(self, body: bytes) -> Usage:
        response = WireResponse(body, content_type="application/json", framing="length")
        async with self.bench.client(response) as (_, client):
            return (await client.execute(self.bench.prompt, self.bench.model)).usage

    # --------------------------------------------------------------------------------------- ways to end

    def test_every_way_to_end_is_an_end(self) -> None:
        """Each way in which answers were recorded to end gives the same frames; without it the answer is cut."""
        ways = self.bench.contract.ways_to_end
        if ways < 2:
            not_applicable("the contract knows one way to end")
        for name in ("text", "call"):
            *said, finish = scenario_named(name).steps
            assert isinstance(finish, Finish)
            tools = self.bench.offered(scenario_named(name))
            plain = self.bench.answer((*said, finish), tools)
            for way in range(1, ways):
                steps = (*said, replace(finish, way=way))
                body = self.bench.wire(steps)
                ((frames, error),) = self.bench.play([self.bench.response(body)], tools)
                assert error is None, f"an answer that ends in way {way} raised {error!r}"
                self.bench.same(frames, plain)
        cut = self.bench.response(self.bench.wire([Say("Hello")]))
        ((_, error),) = self.bench.play([cut])
        assert isinstance(error, IncompleteStreamError | TransportError), "an answer without any end is taken for whole"

    def test_data_behind_the_last_word_belongs_to_the_answer(self) -> None:
        """``ends_by = "bytes"``: the answer goes on behind the reason for its end, and ends with its bytes."""
        if self.bench.contract.ends_by != "bytes":
            not_applicable("an event ends an answer of this protocol")
        ((frames, error),) = self.bench.play([self.bench.response(self.bench.wire((Say("Hel"), _STOP, Say("lo"))))])
        assert error is None, f"text behind the last word raised {error!r}"
        text = "".join([frame.text for frame in frames if isinstance(frame, Append)])
        assert text == "Hello", (
            f"the answer is 'Hello', of which 'lo' comes behind the reason for its end; {text!r} came."
            " Probably the decoder ends with that reason: give End in _end_of_bytes()."
        )
        assert isinstance(frames[-1], End), f"the last frame is {frames[-1]!r}, and must be End"
        assert _end(frames).finish_reason is FinishReason.STOP

    # --------------------------------------------------------------------------------- nothing is unread

    def test_an_event_of_which_nothing_was_read_is_counted(self) -> None:
        """A known event without what it must have: an error, or counted in ``stream.skipped``."""
        protocol = self.bench.contract.mutators
        if protocol in (None, "eventstream"):
            not_applicable("the contract does not name its format in mutators")
        assert protocol is not None
        wire = Wire.parse(protocol, b"".join(self.bench.wire((Say("Hello"), Say("KIT-MARK"), _STOP))))
        place = next((at for at, event in enumerate(wire.events) if b"KIT-MARK" in event.data), None)
        if place is None:
            not_applicable("the text does not stand in one event")
        event = wire.events[place]
        kept = {key: value for key, value in event.payload().items() if key in ("type", "event")}
        for payload in ({}, {**kept, "x_unknown": {"y": 1}}):
            emptied = WireEvent.of(payload, event.name.decode())
            body = wire.with_events([*wire.events[:place], emptied, *wire.events[place + 1 :]]).body()
            frames, error, skipped = run(self._skipped(body))
            self.bench.told(f"an event that says no more than {json.dumps(payload)}", body, frames, error)
            assert isinstance(error, ProtocolError) or (error is None and skipped), (
                f"an event of which nothing was read is neither counted nor refused: {error!r}, {skipped} skipped."
                " Probably every field has a default: raise ProtocolError for a known event without its field, or"
                " count it with _skip()."
            )

    async def _skipped(self, body: bytes) -> tuple[list[StreamFrame], Exception | None, int]:
        frames: list[StreamFrame] = []
        async with self.bench.client(self.bench.response(body)) as (_, client):
            stream = client.execute_streaming_with_tools(self.bench.prompt, self.bench.model)
            error: Exception | None = None
            try:
                async with stream:
                    frames.extend([frame async for frame in stream])
            except StreamError as raised:
                error = raised
            self.bench.scenarios += 1
            return frames, error, sum(stream.skipped.values())

    # -------------------------------------------------------------------------------- the loop, the client

    def test_the_loop_does_not_wait_for_an_answer(self) -> None:
        """While 400 events of one read are decoded, the event loop does not stand still."""
        body = b"".join(self.bench.wire((*[Say(f"{number} ") for number in range(_MANY)], _STOP)))
        lags = [run(self._lag(self.bench.response(body))) for _ in range(3)]
        assert min(lags) < _LAG_SECONDS, (
            f"the event loop stood still for {min(lags):.2f} s while {_MANY} events were read, in each of three runs."
            " Probably something in the client or the decoder blocks: time.sleep(), a synchronous request, or work that"
            " grows with the square of the answer."
        )

    async def _lag(self, response: WireResponse) -> float:
        longest = 0.0

        async def tick() -> None:
            nonlocal longest
            last = time.perf_counter()
            while True:
                await asyncio.sleep(0)
                now = time.perf_counter()
                longest, last = max(longest, now - last), now

        async with self.bench.client(response) as (_, client):
            ticker = asyncio.create_task(tick())
            try:
                _, error = await self.bench.read(client)
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # so that it sees how long the last turn took
            finally:
                ticker.cancel()
        assert error is None, error
        return longest

    def test_the_callers_http_client_stays_open(self) -> None:
        """A client of httpx that the program brings is used, and is open after ``aclose``."""
        response = self.bench.response(self.bench.wire((Say("Hello"), _STOP)))

        async def check() -> None:
            async with WireServer(response) as server, httpx.AsyncClient(trust_env=False) as brought:
                sent: list[httpx.Request] = []

                async def note(request: httpx.Request) -> None:
                    sent.append(request)

                brought.event_hooks["request"].append(note)
                try:
                    client = self.bench.contract.make_client_over(server.url, LONG, brought)
                except NotImplementedError:
                    not_applicable("the contract has no make_client_over")
                await self.bench.read(client)
                await client.aclose()
                assert not brought.is_closed, (
                    "aclose() closed the caller's http_client, which others may use."
                    " Probably the client closes what it did not make."
                )
                assert sent, "the request did not go through the caller's http_client. Probably the option is dropped."

        run(check())

    # ------------------------------------------------------------------------------------- the request

    def test_the_messages_are_in_the_request(self) -> None:
        """Roles, names, ids and arguments, in their order, as `ProviderContract.read_request` finds them."""
        tools = self.bench.tools
        answer = message_of(self.bench.answer(scenario_named("parallel calls").steps, tools))
        calls = answer.tool_calls
        results = [ToolResultMessage(calls[0].id, calls[0].name, "21 degrees Celsius")]
        results.append(ToolResultMessage(calls[1].id, calls[1].name, error="the clock is broken"))
        prompt = self.bench.prompt.add(answer, *results, AssistantMessage.of("It is sunny.")).user("And in Rome?")
        (request,) = self.bench.requests([prompt], tools)
        found = self._read(request)
        if found is None:
            not_applicable("the contract has no read_request")
        said = statements(found)
        got = [entry for entry in said if entry[0] != "system"]
        wanted: list[Statement] = [("user", QUESTION)]
        wanted += [("call", call.id, call.name, json.dumps(call.parsed(), sort_keys=True)) for call in calls]
        wanted += [("result", calls[0].id, "21 degrees Celsius"), ("result", calls[1].id, "the clock is broken")]
        wanted += [("assistant", "It is sunny."), ("user", "And in Rome?")]
        instructions = [entry for entry in said if entry[0] == "system"]
        if instructions:
            assert SYSTEM in instructions[0][1], f"the instructions are {instructions[0][1]!r}, and must be {SYSTEM!r}"
        self._same_statements(got, wanted)

    def _read(self, request: RecordedRequest) -> Sequence[SentMessage] | None:
        contract = self.bench.contract
        found = contract.read_request(request.json())
        rules = RULES.get(rules_for(self.bench.model.provider, contract.mutators) or "")
        if found is None and rules is not None:
            return messages_in_turns(list(rules.turns(request.json())))
        return found

    def _same_statements(self, got: Sequence[Statement], wanted: Sequence[Statement]) -> None:
        ids: dict[str, str] = {}
        keeps = self.bench.contract.sends_call_ids
        for number, entry in enumerate(wanted):
            one = got[number] if number < len(got) else ("nothing",)
            assert one[0] == entry[0], (
                f"message {number} of the request is {one}, and must be {entry}."
                " Probably a role is wrong, or messages are left out or in another order."
            )
            if entry[0] in ("call", "result"):
                known = ids.setdefault(entry[1], entry[1] if keeps else one[1])
                assert one[1] == known, (
                    f"the {entry[0]} {entry[2]!r} has the id {one[1]!r}, and must have {known!r}."
                    " Probably a result carries another call's id, or an id is made anew."
                )
            rest, told = entry[2:] if entry[0] in ("call", "result") else entry[1:], one[2:] or one[1:]
            if entry[0] == "result":  # a server's form for errors may say more; of some protocols the text is not read
                assert not one[2] or entry[2] in one[2], f"the result {entry[2]!r} is {one[2]!r} in the request"
            else:
                assert tuple(told if entry[0] == "call" else one[1:]) == tuple(rest), (
                    f"message {number} of the request is {one}, and must be {entry}."
                    " Probably a name, an argument or a text is changed on its way."
                )
        assert len(got) == len(wanted), f"the request has messages that the prompt has not: {got[len(wanted) :]}"

    def test_arguments_go_back_to_the_letter(self) -> None:
        """Where a request has a call's arguments as text, it is the text that the model wrote."""
        written = '{ "city":"Pa\\u0072is",\n "n":1.50 }'
        call = ToolCall("call_a", "get_weather", written)
        prompt = self.bench.prompt.add(AssistantMessage.of(call), ToolResultMessage("call_a", "get_weather", "sunny"))
        (request,) = self.bench.requests([prompt], self.bench.tools)
        texts = [text for text in _texts(request.json()) if _is_same(text, call.parsed())]
        if not texts:
            not_applicable("requests of this protocol have arguments as objects")
        assert texts == [written], (
            f"the model wrote the arguments {written!r}, and the request has {texts[0]!r}."
            " Probably they are parsed and written anew: send ToolCall.arguments as it is."
        )


# ------------------------------------------------------------------------------------------------ helpers


def _made_elsewhere(message: object) -> object:
    return replace(message, origin=_ANOTHER) if isinstance(message, AssistantMessage) else message


def _reported(error: object) -> bool:
    """Whether this is the provider's own report, and not a stream that was cut or not understood."""
    return isinstance(error, StreamError) and not isinstance(error, IncompleteStreamError | ProtocolError)


def _end(frames: Sequence[StreamFrame]) -> End:
    end = frames[-1]
    assert isinstance(end, End), f"the last frame is {end!r}, and must be End"
    return end


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for entry in value.values() for text in _texts(entry)]
    if isinstance(value, list):
        return [text for entry in value for text in _texts(entry)]
    return [value] if isinstance(value, str) else []


def _is_same(text: str, value: object) -> bool:
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False
