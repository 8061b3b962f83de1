"""Mutators of calls, each for the protocols whose servers do such things. `promptport.testing.mutators` lists them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable
from typing import Any

from promptport.testing.recorded_bodies import Wire, WireEvent, chat_entries, item_of, ollama_calls

__all__ = [
    "arguments_only_when_done",
    "blank_continuations",
    "choices_from_one",
    "counting_choices",
    "drop_ids",
    "drop_indexes",
    "drop_item_ids",
    "drop_sequence_numbers",
    "empty_final_output",
    "empty_input_deltas",
    "empty_last_fragment",
    "empty_words",
    "finish_twice",
    "ids_on_every_chunk",
    "ids_without_indexes",
    "input_in_block_start",
    "items_only_when_done",
    "message_delta_twice",
    "message_for_delta",
    "one_call_a_line",
    "other_ids_on_continuations",
    "repeat_ids",
    "repeat_names",
    "scramble_item_ids",
    "shuffle_indexes",
    "stop_despite_calls",
    "string_indexes",
    "usage_in_every_chunk",
    "whole_calls",
    "zero_indexes",
]

_Payload = dict[str, Any]
_SAME_ID = "call_same1"


def _body(wire: Wire, edit: Callable[[_Payload], None]) -> bytes | None:
    """The body after this edit; ``None`` where it changed nothing."""
    edited = wire.edited(edit)
    return None if edited == wire else edited.body()


# ---------------------------------------------------------------------------------------------------- ids


def drop_ids(wire: Wire, chooser: random.Random) -> bytes | None:
    """No call has an id: the field is missing, null or empty."""
    gone = chooser.choice(["missing", None, ""])

    def edit(payload: _Payload) -> None:
        for holder, field in _id_holders(wire, payload):
            if holder.pop(field, None) and gone != "missing":
                holder[field] = gone

    return _body(wire, edit) if _is_plain(wire) else None


def repeat_ids(wire: Wire, chooser: random.Random) -> bytes | None:
    """All calls have the same id."""
    holders = [holder for event in wire.events for holder in _id_holders(wire, event.payload())]
    if len({holder.get(field) for holder, field in holders} - {None, ""}) < 2 or not _is_plain(wire):
        return None

    def edit(payload: _Payload) -> None:
        for holder, field in _id_holders(wire, payload):
            if holder.get(field):
                holder[field] = _SAME_ID

    return _body(wire, edit)


def _id_holders(wire: Wire, payload: _Payload) -> list[tuple[_Payload, str]]:
    """The objects in this payload that carry a call's id, with the field that does."""
    if wire.protocol == "openai-chat":
        return [(entry, "id") for entry in chat_entries(payload)]
    if wire.protocol == "ollama-chat":
        return [(call, "id") for call in ollama_calls(payload)]
    items = [item_of(payload), *((payload.get("response") or {}).get("output") or ())]
    fields = {"tool_use": "id", "function_call": "call_id"}
    return [(item, fields[item["type"]]) for item in items if item.get("type") in fields]


def _is_plain(wire: Wire) -> bool:
    return wire.protocol != "openai-chat" or bool(_chat_calls(wire))


# --------------------------------------------------------------------------------------- Chat Completions


def _chat_calls(wire: Wire) -> dict[int, tuple[str, str]]:
    """Id and name of each call by its index, where a server tells its calls apart by all three; else empty.

    Nothing can be taken away where a server has left something out already, or mixes the fragments of its calls.
    """
    calls: dict[int, tuple[str, str]] = {}
    last: int | None = None
    for event in wire.events if wire.protocol == "openai-chat" else ():
        for entry in chat_entries(event.payload()):
            index, function = entry.get("index"), entry.get("function") or {}
            if type(index) is not int or not isinstance(function.get("arguments", ""), str):
                return {}
            if index not in calls:
                calls[index] = (entry.get("id") or "", function.get("name") or "")
            elif index != last or entry.get("id") not in (None, "", calls[index][0]):
                return {}
            last = index
    distinct = len({call[0] for call in calls.values()}) == len(calls)
    return calls if distinct and all(all(call) for call in calls.values()) else {}


def _edit_entries(wire: Wire, edit: Callable[[_Payload, tuple[str, str]], None]) -> bytes | None:
    """The body after an edit of each ``tool_calls`` entry, which is told its call's id and name."""
    calls = _chat_calls(wire)

    def edit_payload(payload: _Payload) -> None:
        for entry in chat_entries(payload):
            edit(entry, calls[entry["index"]])

    return _body(wire, edit_payload) if calls else None


def ids_on_every_chunk(wire: Wire, chooser: random.Random) -> bytes | None:
    """The id stands on continuations too."""
    return _edit_entries(wire, lambda entry, call: entry.update(id=call[0]))


def ids_without_indexes(wire: Wire, chooser: random.Random) -> bytes | None:
    """The id stands on every chunk, and there is no index, or it is null."""
    kept = chooser.choice([{}, {"index": None}])

    def edit(entry: _Payload, call: tuple[str, str]) -> None:
        del entry["index"]
        entry.update(kept, id=call[0])

    return _edit_entries(wire, edit)


def drop_indexes(wire: Wire, chooser: random.Random) -> bytes | None:
    """No index, and the id on the first chunk only: enough where there is one call."""
    return _edit_entries(wire, lambda entry, call: entry.pop("index")) if len(_chat_calls(wire)) == 1 else None


def zero_indexes(wire: Wire, chooser: random.Random) -> bytes | None:
    """All calls stand at index 0."""
    return _edit_entries(wire, lambda entry, call: entry.update(index=0))


def string_indexes(wire: Wire, chooser: random.Random) -> bytes | None:
    """Indexes are strings."""
    return _edit_entries(wire, lambda entry, call: entry.update(index=str(entry["index"])))


def shuffle_indexes(wire: Wire, chooser: random.Random) -> bytes | None:
    """Indexes of calls, blocks and items do not count from 0: each is another number, in no order."""
    numbers: dict[int, int] = {}
    free = chooser.sample(range(1, 1000), 999)
    fields = {"anthropic": "index", "openai-responses": "output_index"}

    def edit(payload: _Payload) -> None:
        holders = chat_entries(payload) if wire.protocol == "openai-chat" else [payload]
        field = fields.get(wire.protocol, "index")
        for holder in holders:
            if field in holder:
                holder[field] = numbers.setdefault(holder[field], free[len(numbers)])

    return _body(wire, edit) if _is_plain(wire) else None


def repeat_names(wire: Wire, chooser: random.Random) -> bytes | None:
    """The name stands on continuations too."""
    return _edit_entries(wire, lambda entry, call: entry.setdefault("function", {}).update(name=call[1]))


def blank_continuations(wire: Wire, chooser: random.Random) -> bytes | None:
    """Continuations whose id and name are there and say nothing: empty, null, or an id that is the text "null"."""
    no_id, no_name = chooser.choice(["", None, "null"]), chooser.choice(["", None])

    def edit(entry: _Payload, call: tuple[str, str]) -> None:
        if not entry.get("id"):
            entry.update(id=no_id, type="function")
            entry.setdefault("function", {}).setdefault("name", no_name)

    return _edit_entries(wire, edit)


def other_ids_on_continuations(wire: Wire, chooser: random.Random) -> bytes | None:
    """Continuations have an id that is not the call's, and no name: an entry without a name opens no call."""

    def edit(entry: _Payload, call: tuple[str, str]) -> None:
        if not entry.get("id"):
            entry.update(id=f"call_{chooser.getrandbits(64):x}", type="function")

    return _edit_entries(wire, edit)


def _edit_choices(wire: Wire, edit: Callable[[_Payload], None]) -> bytes | None:
    def edit_payload(payload: _Payload) -> None:
        for choice in payload.get("choices") or ():
            edit(choice)

    return _body(wire, edit_payload) if wire.protocol == "openai-chat" else None


def counting_choices(wire: Wire, chooser: random.Random) -> bytes | None:
    """The index of the one choice counts the chunks."""
    numbers = itertools.count()
    return _edit_choices(wire, lambda choice: choice.update(index=next(numbers)))


def choices_from_one(wire: Wire, chooser: random.Random) -> bytes | None:
    """The index of the one choice is 1."""
    return _edit_choices(wire, lambda choice: choice.update(index=1))


def message_for_delta(wire: Wire, chooser: random.Random) -> bytes | None:
    """Choices have their increment as ``message`` and no ``delta``."""

    def edit(choice: _Payload) -> None:
        if "delta" in choice:
            choice["message"] = choice.pop("delta")

    return _edit_choices(wire, edit)


def empty_last_fragment(wire: Wire, chooser: random.Random) -> bytes | None:
    """One more chunk for the last call, without any arguments."""
    calls, span = _chat_calls(wire), wire.call_spans()
    if not calls or not span:
        return None
    delta = {"tool_calls": [{"index": list(calls)[-1], "function": {"arguments": ""}}]}
    return _inserted(wire, span[0][1], _chunk_like(wire, delta))


def whole_calls(wire: Wire, chooser: random.Random) -> bytes | None:
    """All calls in one chunk, each in one piece."""
    calls = _chat_calls(wire)
    if not calls:
        return None
    arguments = dict.fromkeys(calls, "")
    for event in wire.events:
        for entry in chat_entries(event.payload()):
            arguments[entry["index"]] += (entry.get("function") or {}).get("arguments", "")
    entries = [
        {
            "index": index,
            "id": call[0],
            "type": "function",
            "function": {"name": call[1], "arguments": arguments[index]},
        }
        for index, call in calls.items()
    ]

    def remove(payload: _Payload) -> None:
        for choice in payload.get("choices") or ():
            (choice.get("delta") or {}).pop("tool_calls", None)

    return _inserted(wire.edited(remove), wire.call_spans()[0][1], _chunk_like(wire, {"tool_calls": entries}))


def stop_despite_calls(wire: Wire, chooser: random.Random) -> bytes | None:
    """The finish reason is ``stop`` though there are calls."""

    def edit(payload: _Payload) -> None:
        for choice in payload.get("choices") or ():
            if choice.get("finish_reason") in ("tool_calls", "function_call"):
                choice["finish_reason"] = "stop"

    return _body(wire, edit) if _chat_calls(wire) else None


def empty_words(wire: Wire, chooser: random.Random) -> bytes | None:
    """Empty strings and lists where others have null or nothing."""

    def edit(payload: _Payload) -> None:
        for choice in payload.get("choices") or ():
            delta = choice.get("delta") or {}
            for name, empty in (("content", ""), ("role", ""), ("tool_calls", []), ("refusal", None)):
                delta.setdefault(name, empty)
            choice.update(delta=delta, finish_reason=choice.get("finish_reason") or "")

    return _body(wire, edit) if wire.protocol == "openai-chat" else None


def finish_twice(wire: Wire, chooser: random.Random) -> bytes | None:
    """The chunk with the finish reason comes a second time, without content."""
    end = wire.terminal()
    if wire.protocol != "openai-chat" or end is None or not wire.events[end].payload():
        return None
    payload = wire.events[end].payload()
    for choice in payload["choices"]:
        choice["delta"] = {}
    return _inserted(wire, end + 1, WireEvent.of(payload))


def usage_in_every_chunk(wire: Wire, chooser: random.Random) -> bytes | None:
    """Each chunk says what was used until then."""
    counted = [index for index, event in enumerate(wire.events) if event.payload().get("usage")]
    if wire.protocol != "openai-chat" or not any(counted):
        return None
    usage = wire.events[counted[-1]].payload()["usage"]
    events = list(wire.events)
    for index in range(counted[-1]):
        payload = {**events[index].payload(), "usage": {**usage, "completion_tokens": index}}
        events[index] = WireEvent.of(payload, events[index].name.decode())
    return wire.with_events(events).body()


def _chunk_like(wire: Wire, delta: _Payload) -> WireEvent:
    first = wire.events[0].payload()
    kept = {name: first[name] for name in ("id", "object", "created", "model") if name in first}
    return WireEvent.of({**kept, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def _inserted(wire: Wire, place: int, event: WireEvent) -> bytes:
    return wire.with_events([*wire.events[:place], event, *wire.events[place:]]).body()


# ------------------------------------------------------------------------------------- Anthropic Messages


def empty_input_deltas(wire: Wire, chooser: random.Random) -> bytes | None:
    """Increments of a call's input that are empty."""
    events: list[WireEvent] = []
    for event in wire.events:
        payload = event.payload()
        if _is_input(payload):
            empty = {**payload, "delta": {"type": "input_json_delta", "partial_json": ""}}
            events += [WireEvent.of(empty, "content_block_delta")] * chooser.randint(1, 2)
        events.append(event)
    return None if len(events) == len(wire.events) else wire.with_events(events).body()


def input_in_block_start(wire: Wire, chooser: random.Random) -> bytes | None:
    """Calls that come with their input, and without increments."""
    inputs = {index: text for index, text in _streamed_inputs(wire).items() if text}
    if not inputs:
        return None

    def edit(payload: _Payload) -> None:
        if payload.get("type") == "content_block_start" and payload.get("index") in inputs:
            payload["content_block"]["input"] = json.loads(inputs[payload["index"]])

    edited = wire.edited(edit).events
    return wire.with_events(_without(edited, lambda payload: _is_input(payload) and payload["index"] in inputs)).body()


def _streamed_inputs(wire: Wire) -> dict[Any, str]:
    """The increments of each call, joined, by the index of its block."""
    texts: dict[Any, str] = {}
    for head, seal in wire.call_spans() if wire.protocol == "anthropic" else ():
        index = wire.events[head].payload()["index"]
        payloads = [event.payload() for event in wire.events[head:seal]]
        inputs = [payload for payload in payloads if _is_input(payload) and payload["index"] == index]
        texts[index] = "".join([payload["delta"]["partial_json"] for payload in inputs])
    return texts


def _is_input(payload: _Payload) -> bool:
    delta = payload.get("delta")
    return isinstance(delta, dict) and delta.get("type") == "input_json_delta"


def message_delta_twice(wire: Wire, chooser: random.Random) -> bytes | None:
    """The event with stop reason and usage comes twice: its counts are cumulative."""
    places = [place for place, event in enumerate(wire.events) if event.payload().get("type") == "message_delta"]
    return _inserted(wire, places[-1], wire.events[places[-1]]) if places else None


# --------------------------------------------------------------------------------------- OpenAI Responses


def scramble_item_ids(wire: Wire, chooser: random.Random) -> bytes | None:
    """``item_id`` differs from event to event."""

    def edit(payload: _Payload) -> None:
        if "item_id" in payload:
            payload["item_id"] = f"item_{chooser.getrandbits(64):x}"

    return _body(wire, edit)


def drop_item_ids(wire: Wire, chooser: random.Random) -> bytes | None:
    """Calls have a ``call_id`` and no ``id`` of their own."""

    def edit(payload: _Payload) -> None:
        items = [item_of(payload), *((payload.get("response") or {}).get("output") or ())]
        for item in items:
            if item.get("type") == "function_call":
                item.pop("id", None)

    return _body(wire, edit)


def drop_sequence_numbers(wire: Wire, chooser: random.Random) -> bytes | None:
    """Events are not numbered."""
    return _body(wire, lambda payload: payload.pop("sequence_number", None))


def empty_final_output(wire: Wire, chooser: random.Random) -> bytes | None:
    """The last event does not repeat the output."""

    def edit(payload: _Payload) -> None:
        if payload.get("type") == "response.completed":
            payload["response"]["output"] = []

    return _body(wire, edit)


def arguments_only_when_done(wire: Wire, chooser: random.Random) -> bytes | None:
    """No increments: all arguments at once, and then an item that has them not."""

    def edit(payload: _Payload) -> None:
        if payload.get("type") == "response.output_item.done" and payload["item"]["type"] == "function_call":
            payload["item"]["arguments"] = ""

    done = any(event.payload().get("type") == "response.function_call_arguments.done" for event in wire.events)
    events = _without(wire.edited(edit).events, lambda payload: payload.get("type") == _ARGUMENTS_DELTA)
    return wire.with_events(events).body() if done else None


def items_only_when_done(wire: Wire, chooser: random.Random) -> bytes | None:
    """Of each call the event alone in which it is done."""

    def is_before(payload: _Payload) -> bool:
        if payload.get("type") == "response.output_item.added":
            return bool(payload["item"]["type"] == "function_call")
        return payload.get("type") in (_ARGUMENTS_DELTA, "response.function_call_arguments.done")

    events = tuple(_without(wire.events, is_before))
    return None if events == wire.events else wire.with_events(events).body()


_ARGUMENTS_DELTA = "response.function_call_arguments.delta"


def _without(events: Iterable[WireEvent], unwanted: Callable[[_Payload], bool]) -> list[WireEvent]:
    return [event for event in events if not unwanted(event.payload())]


# -------------------------------------------------------------------------------------------------- Ollama


def one_call_a_line(wire: Wire, chooser: random.Random) -> bytes | None:
    """Calls of one line come in a line each."""
    events: list[WireEvent] = []
    for event in wire.events:
        payload = event.payload()
        calls = ollama_calls(payload)
        for number, call in enumerate(calls):
            message = {**payload["message"], "tool_calls": [call]}
            if number:
                message["content"] = ""
            done = {} if number == len(calls) - 1 else {"done": False}
            events.append(WireEvent.of({**payload, **done, "message": message}))
        if not calls:
            events.append(event)
    return None if len(events) == len(wire.events) else wire.with_events(events).body()
