"""`LLMSession.run`: a conversation whose tools run, and that goes on after whatever cut it."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import promptport as pp
from promptport.policies import Budget, BudgetedExecutor
from promptport.session import RunOptions
from promptport.testing import CUT, ScriptedAnswer, ScriptedExecutor

MODEL = "scripted/m"
CALL = pp.ToolCall("c1", "get_weather", '{"city":"Paris"}')


@pp.tool
async def get_weather(city: str) -> str:
    """Weather."""
    return f"sunny in {city}"


@pp.tool(needs_approval=True)
async def book(city: str) -> str:
    """Books."""
    return f"booked {city}"


def session(*answers: ScriptedAnswer, tools: Any = (get_weather,), **options: Any) -> pp.LLMSession:
    return pp.LLMSession(ScriptedExecutor(*answers), MODEL, tools=tools, **options)


def roles(talk: pp.LLMSession) -> list[str]:
    return [type(message).__name__.removesuffix("Message") for message in talk.prompt.messages]


def requests(talk: pp.LLMSession) -> Any:
    return talk.executor.requests  # type: ignore[attr-defined]


async def test_it_keeps_history_and_runs_the_tools_streamed_and_whole() -> None:
    talk = session(["Let me see. ", CALL], ["Sunny."], ["You are welcome."])
    async with talk.run("What is it like in Paris?") as stream:
        frames = [frame async for frame in stream]
    assert pp.ToolResult("c1", "get_weather", "sunny in Paris") in frames
    assert (await talk.run("Thanks.")).text == "You are welcome."
    assert roles(talk) == ["User", "Assistant", "ToolResult", "Assistant", "User", "Assistant"]
    assert requests(talk)[2].prompt.messages == talk.prompt.messages[:-1]


async def test_a_run_that_nobody_iterates_says_nothing() -> None:
    talk = session(["x"])
    await talk.run("Hi").aclose()
    assert roles(talk) == []


@pytest.mark.parametrize("how", ["cut", "error", "break", "cancel"])
async def test_it_goes_on_after_a_cut(how: str) -> None:
    never = asyncio.Event()
    last: Any = {"cut": CUT, "error": pp.ServerError("x", provider="scripted", status=500)}.get(how, never)
    talk = session([CALL], ["It is", " so", last], ["Sunny."])

    async def turn() -> None:
        async with talk.run("Paris?") as stream:
            async for frame in stream:
                if how == "break" and isinstance(frame, pp.Append) and frame.text == " so":
                    break
                if how == "cancel" and isinstance(frame, pp.Append) and frame.text == " so":
                    asyncio.current_task().cancel()  # type: ignore[union-attr]

    if how == "break":
        await turn()
    else:
        with pytest.raises((pp.PromptportError, asyncio.CancelledError)):
            await turn()
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
    assert roles(talk) == ["User", "Assistant", "ToolResult", "Assistant"]
    assert talk.prompt.messages[-1].text == "It is so"
    assert (await talk.run("Go on.")).text == "Sunny."
    assert roles(talk)[-2:] == ["User", "Assistant"]


async def test_a_tool_that_ran_in_a_cut_response_is_known_to_the_model() -> None:
    ran = asyncio.Event()

    @pp.tool
    async def pay() -> str:
        ran.set()
        return "paid"

    call = pp.ToolCall("p", "pay", "{}")
    talk = session([call, "and then", asyncio.Event()], ["Fine."], tools=[pay], when_cut="drop")
    async with talk.run("Pay.") as stream:
        async for frame in stream:
            if isinstance(frame, pp.ToolResult):
                break
    assert ran.is_set()
    assert talk.prompt.messages[-1] == pp.ToolResultMessage("p", "pay", "paid")
    assert (await talk.run("And?")).text == "Fine."


async def test_without_words_it_asks_again_with_what_is_there() -> None:
    talk = session([pp.OverloadedError("busy", provider="scripted", status=529)], ["Hello."])
    with pytest.raises(pp.OverloadedError):
        await talk.run("Hi")
    assert roles(talk) == ["User"]
    assert (await talk.run()).text == "Hello."
    assert roles(talk) == ["User", "Assistant"]


async def test_one_run_at_a_time_and_a_dropped_one_is_none() -> None:
    talk = session(["one", asyncio.Event()], ["two"])
    async with talk.run("a") as stream:
        await anext(stream)
        for other in (lambda: talk.run("b"), talk.request_llm_streaming_with_tools):
            with pytest.raises(pp.InvalidInputError, match="under way"):
                other()
        assert (await talk.fork().run("c")).text == "two"
        talk.user("by the way")
    assert [message.text for message in talk.prompt.messages] == ["a", "one", "by the way"]


async def test_a_pause_is_resumed_also_from_json() -> None:
    call = pp.ToolCall("b1", "book", '{"city":"Rome"}')
    talk = session([call], ["Booked."], tools=[book])
    async with talk.run("Book Rome.") as stream:
        frames = [frame async for frame in stream]
    assert isinstance(frames[-1], pp.ApprovalNeeded)
    again = pp.LLMSession.from_json(talk.to_json(), talk.executor, [book])
    assert again.paused is not None
    assert again.paused.pending == (call,)
    assert (await again.resume({"b1": True})).text == "Booked."
    assert roles(again) == ["User", "Assistant", "ToolResult", "Assistant"]
    with pytest.raises(pp.InvalidInputError, match="waits for nothing"):
        again.resume({})


@pytest.mark.parametrize("verb", ["run", "request"])
async def test_who_speaks_on_without_deciding_closes_the_pause(verb: str) -> None:
    talk = session([pp.ToolCall("b1", "book", '{"city":"Rome"}')], ["All right."], tools=[book])
    await talk.run("Book Rome.")
    if verb == "run":
        await talk.run("Never mind.")
    else:
        talk.user("Never mind.")
        await talk.request_llm()
    assert talk.paused is None
    assert roles(talk) == ["User", "Assistant", "ToolResult", "User", "Assistant"]
    assert "went on" in str(talk.prompt.messages[2].error)  # type: ignore[union-attr]


async def test_approval_is_an_option_of_the_session() -> None:
    asked: list[str] = []

    def approve(call: pp.ToolCall) -> bool:
        asked.append(call.name)
        return True

    talk = session([pp.ToolCall("b1", "book", '{"city":"Rome"}')], ["Booked."], tools=[book], approve=approve)
    assert (await talk.run("Book Rome.")).text == "Booked."
    assert asked == ["book"]
    with pytest.raises(pp.InvalidInputError, match="Did you mean 'approve'"):
        session(["x"], aprove=approve)


def test_the_options_are_the_dispatcher_s() -> None:
    import inspect

    named = set(inspect.signature(pp.ToolDispatcher.__init__).parameters)
    assert set(RunOptions.__annotations__) == named - {
        *("self", "executor", "tools", "tool_choice", "on_step", "workers", "workers_rerun", "journal", "context")
    }


# ------------------------------------------------------------------------------------------ sub-agents


def researcher(*answers: ScriptedAnswer) -> pp.LLMSession:
    return pp.LLMSession(ScriptedExecutor(*answers), MODEL, pp.Prompt().system("You research."), [get_weather])


async def test_a_session_is_a_tool_and_its_usage_counts() -> None:
    below = researcher([CALL], ["It is sunny."])
    call = pp.ToolCall("r1", "research", '{"task":"Weather in Paris?"}')
    talk = session([call], ["Sunny, they say."], tools=[below.as_tool("research", "Finds facts.")])
    async with talk.run("Ask.") as stream:
        frames = [frame async for frame in stream]
    end = frames[-1]
    assert isinstance(end, pp.End)
    assert end.usage == stream.usage == pp.Usage(4, 4), "two requests here, and two below"
    assert roles(below) == ["System"], "each task starts anew"
    assert pp.ToolResult("r1", "research", "It is sunny.") in frames


@pytest.mark.parametrize("shared", [False, True])
async def test_a_budget_bounds_sub_agents_and_counts_each_request_once(shared: bool) -> None:
    budget = Budget(requests=3)
    below = researcher([CALL], [CALL], [CALL], ["done"])
    if shared:
        below.executor = BudgetedExecutor(below.executor, budget)
    call = pp.ToolCall("r1", "research", '{"task":"x"}')
    talk = session([call], ["never"], tools=[below.as_tool("research", "Finds facts.")], budget=budget)
    with pytest.raises(pp.BudgetExceededError):
        await talk.run("Ask.")
    assert budget.requests == 3


async def test_requests_of_a_tool_by_itself_count_too() -> None:
    inner = pp.LLMSession(ScriptedExecutor(["a"], ["b"], ['{"name":"x"}']), MODEL)

    class Item(BaseModel):
        name: str

    @pp.tool
    async def think() -> str:
        inner.user("x")
        await inner.request_llm()
        async with inner.request_llm_streaming_with_tools() as stream:
            await stream.message()
        return (await inner.request_llm_structured(Item)).name

    talk = session([pp.ToolCall("t", "think", "{}")], ["ok"], tools=[think])
    async with talk.run("go") as stream:
        await stream.message()
    assert stream.usage == pp.Usage(5, 5)


# --------------------------------------------------------------------------------------------- context


@dataclass
class Shop:
    orders: list[str]


@pp.tool
async def order(item: str, context: pp.ToolContext[Shop]) -> str:
    """Orders.

    Args:
        item: What.
    """
    context.value.orders.append(item)
    return "ok"


@pp.tool
def order_in_a_thread(shop: pp.ToolContext[Shop], item: str = "lamp") -> str:
    """Orders."""
    shop.value.orders.append(item)
    return "ok"


@pytest.mark.parametrize("tool", [order, order_in_a_thread])
async def test_tools_get_the_context_and_models_do_not_see_it(tool: pp.Tool[Any]) -> None:
    assert list(tool.parameters["properties"]) == ["item"]
    shop = Shop([])
    async with session(
        [pp.ToolCall("o", tool.name, '{"item":"chair"}')], ["Done."], tools=[tool], context=shop
    ) as talk:
        await talk.run("Order.")
    assert shop.orders == ["chair"]
    with pytest.raises(pp.InvalidToolArgumentsError):
        tool.validate('{"item":"x","context":{},"shop":{}}')


async def test_a_context_that_does_not_fit_is_refused_at_once() -> None:
    contexts: tuple[Any, ...] = (None, {"orders": []})
    for context in contexts:
        with pytest.raises(pp.InvalidInputError, match=r"wants Shop.*Pass context=Shop"):
            session(["x"], tools=[order], context=context).run("go")
    dispatcher = pp.ToolDispatcher(ScriptedExecutor([pp.ToolCall("o", "order", '{"item":"a"}')], ["x"]), [order])
    shop = Shop([])
    async with dispatcher.stream("go", MODEL, context=shop) as stream:
        await stream.message()
    assert shop.orders == ["a"]
    assert repr(pp.ToolContext(shop)) == "ToolContext(Shop)"


# -------------------------------------------------------------------------------------------- structured


class Item(BaseModel):
    name: str
    price: float


GOOD = '{"name": "lamp", "price": 3.5}'


@pytest.mark.parametrize("text", [GOOD, f"Sure!\n```json\n{GOOD}\n```\nAnything else?", f"Here: {GOOD}"])
async def test_a_structured_response_is_a_value(text: str) -> None:
    talk = pp.LLMSession(ScriptedExecutor([text]), MODEL, "A lamp?")
    item = await talk.request_llm_structured(pp.JsonDefinition(Item))
    assert item == Item(name="lamp", price=3.5)
    assert [message.text for message in talk.prompt.messages] == ["A lamp?", text]


@pytest.mark.parametrize("bad", ["no idea", '{"name": "lamp"}', '{"name": "lamp", "price": "much"}', '{"name": "la'])
async def test_a_response_that_does_not_fit_is_asked_again_in_words(bad: str) -> None:
    talk = pp.LLMSession(ScriptedExecutor([bad], [GOOD]), MODEL, "A lamp?")
    assert (await talk.request_llm_structured(pp.JsonDefinition(Item))).price == 3.5
    second = requests(talk)[1].prompt.messages
    assert second[-2].text == bad
    assert "cannot be used" in second[-1].text
    assert [message.text for message in talk.prompt.messages] == ["A lamp?", GOOD], "the correction is not kept"


async def test_it_is_asked_at_most_so_often() -> None:
    talk = pp.LLMSession(ScriptedExecutor(["no"], repeat=True), MODEL, "A lamp?")
    with pytest.raises(pp.ProtocolError) as raised:
        await talk.request_llm_structured(Item, retries=3)
    assert len(requests(talk)) == 4
    assert raised.value.partial is not None
    assert raised.value.partial.text == "no"
    assert len(talk.prompt.messages) == 1
    with pytest.raises(pp.InvalidInputError):
        await talk.request_llm_structured(Item, retries=-1)


async def test_markdown_gives_its_last_element_and_json_round_trips() -> None:
    talk = session(["x"])
    assert json.loads(talk.to_json())["when_cut"] == "text"
    assert repr(talk) == "LLMSession('scripted/m', 0 messages, 1 tools)"


# --------------------------------------------------------------------------------- execute, for graphs


async def test_calls_run_without_asking_a_model() -> None:
    dispatcher = pp.ToolDispatcher(ScriptedExecutor(), [get_weather, book])
    other = pp.ToolCall("c2", "get_weather", '{"town":"Paris"}')
    results = await dispatcher.execute([other, CALL, pp.InvalidToolCall("c3", "get_weather", "{", "cut")])
    assert [result.id for result in results] == ["c2", "c1", "c3"]
    assert results[1].output == "sunny in Paris"
    assert results[0].error
    assert results[2].error
    assert await dispatcher.execute(pp.AssistantMessage.of("no calls")) == []
    with pytest.raises(pp.InvalidInputError, match="approve"):
        await dispatcher.execute([pp.ToolCall("b", "book", '{"city":"x"}')])
    with pytest.raises(pp.InvalidInputError, match="same id"):
        await dispatcher.execute([CALL, CALL])
