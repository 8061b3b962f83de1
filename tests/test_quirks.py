"""What providers really send that no other test tells of: through clients, over a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.protocols.chat_wire import DONE, calls_of, delta, finish, message, tool

import promptport as pp
from promptport.testing import WireResponse, WireServer, cut_body

RAW = '<tool_call>{"name": "transfer", "arguments": {"amount": 10'


async def error_of(name: str, response: WireResponse) -> pp.PromptportError:
    """What a streamed request and a complete one raise: the same."""
    async with WireServer(response, response) as server:
        async with pp.SingleClientExecutor(pp.client(name, base_url=server.url, api_key="test-key")) as executor:
            with pytest.raises(pp.PromptportError) as streamed:
                await executor.execute_streaming_with_tools("Hi", f"{name}/m").message()
            with pytest.raises(pp.PromptportError) as complete:
                await executor.execute("Hi", f"{name}/m")
        assert len(server.requests) == 2, "nothing is sent again"
    assert type(streamed.value) is type(complete.value)
    return streamed.value


async def test_groq_says_as_http_400_that_a_call_failed_and_quotes_the_model() -> None:
    failed = {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": RAW}
    error = await error_of("groq", WireResponse.json({"error": failed}, status=400))
    assert isinstance(error, pp.BadRequestError)
    assert error.code == "tool_use_failed"
    assert error.partial is not None
    assert error.partial.tool_calls == ()
    assert "transfer" not in str(error), "what the model wrote is no word of the provider's"


async def test_llama_cpp_says_as_http_500_that_it_could_not_parse_the_text() -> None:
    failed = {"code": 500, "message": f"Failed to parse input at pos 0: {RAW}", "type": "server_error"}
    error = await error_of("llamacpp", WireResponse.json({"error": failed}, status=500))
    assert isinstance(error, pp.ServerError)
    assert error.partial is not None
    assert error.partial.tool_calls == ()
    assert len(str(error)) < 700


async def test_llama_cpp_says_503_while_it_loads_the_model() -> None:
    loading = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
    error = await error_of("llamacpp", WireResponse.json({"error": loading}, status=503))
    assert isinstance(error, pp.OverloadedError)
    assert "Loading model" in str(error)


LIMIT = {"prompt_tokens": 5, "completion_tokens": 64}


@pytest.mark.parametrize("cut", ['{"amount": 1', '{"amount": 10', '{"a": [1, 2]', '{"a": "b"', '{"a": {}', "{"])
def test_item_19_a_server_that_makes_tool_calls_of_length_seals_no_call_that_was_cut(cut: str) -> None:
    body = delta(tool_calls=[tool(cut, "transfer", index=0, id="a")]), finish("tool_calls", usage=LIMIT), DONE
    answer = message(*body)
    assert answer.tool_calls == ()
    assert [call.arguments for call in answer.invalid_tool_calls] == [cut]


def test_item_19_an_object_that_is_whole_cannot_go_on_so_its_call_is_one() -> None:
    """However many tokens were used: behind the last brace of an object nothing could follow that changes it."""
    body = (
        delta(tool_calls=[tool('{"amount": 1}', "transfer", index=0, id="a")]),
        finish("tool_calls", usage=LIMIT),
        DONE,
    )
    assert calls_of(*body) == [("a", "transfer", '{"amount": 1}')]


def responses(*events: dict[str, Any]) -> bytes:
    return b"".join([f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events])


@pytest.mark.parametrize("cut", ["whole", "bytes"])
async def test_item_ids_of_responses_may_differ_from_event_to_event(cut: Any) -> None:
    """The index tells which item it is, and ``call_id`` goes back."""
    item = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": ""}
    done = {**item, "arguments": '{"x": 1}'}
    events: list[Any] = [
        {"type": "response.created", "response": {"id": "r", "model": "m"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "id": "odd-1"}},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "odd-2", "delta": '{"x"'},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "odd-3", "delta": ": 1}"},
        {"type": "response.function_call_arguments.done", "output_index": 0, "item_id": "o4", "arguments": '{"x": 1}'},
        {"type": "response.output_item.done", "output_index": 0, "item": {**done, "id": "odd-5"}},
        {"type": "response.completed", "response": {"id": "r", "output": [{**done, "id": "odd-6"}], "usage": None}},
    ]
    body = responses(*events)
    async with WireServer(WireResponse(cut_body(body, cut)), WireResponse(body)) as server:
        async with pp.connect("openai", api_key="test-key", base_url=server.url) as executor:
            answer = await executor.execute_streaming_with_tools("Hi", "openai/m", [LOOK]).message()
            prompt = pp.Prompt.of("Hi").add(answer).tool_result("call_1", "seen")
            await executor.execute_streaming_with_tools(prompt, "openai/m", [LOOK]).message()
        sent = server.requests[1].json()["input"]
    assert [(call.id, call.arguments) for call in answer.tool_calls] == [("call_1", '{"x": 1}')]
    assert [each["call_id"] for each in sent if "call_id" in each] == ["call_1", "call_1"]


LOOK = pp.ToolDescriptor("look", "Looks.", {"type": "object", "properties": {"x": {"type": "integer"}}})


async def test_pings_of_anthropic_may_stand_anywhere() -> None:
    events: list[Any] = [
        ("message_start", {"message": {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 3}}}),
        ("content_block_start", {"index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "look"}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"x"'}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "input_json_delta", "partial_json": ": 1}"}}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}}),
        ("message_stop", {}),
    ]
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    written = [f"event: {name}\ndata: {json.dumps({'type': name, **more})}\n\n".encode() for name, more in events]
    async with WireServer(WireResponse(ping + ping.join(written) + ping)) as server:
        async with pp.connect("anthropic", api_key="test-key", base_url=server.url) as executor:
            stream = executor.execute_streaming_with_tools("Hi", "anthropic/claude-sonnet-4-5", [LOOK])
            answer = await stream.message()
    assert [call.arguments for call in answer.tool_calls] == ['{"x": 1}']
    assert dict(stream.skipped) == {}
