"""The page of ``promptport serve`` in a real Chromium, over a real server process: what a person sees and does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

import pytest
import pytest_asyncio
from tests.real_parts import skip_module

if find_spec("playwright") is None:
    skip_module("playwright is not installed: pip install playwright")

from playwright.async_api import Browser, BrowserContext, Page, expect
from tests.front_ends.browser import chromium, serving
from tests.front_ends.held_provider import CUT, Call, Gate, HeldProvider, Status, Thought
from tests.front_ends.npm_packages import npm_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")
expect.set_options(timeout=20_000)

KEY = "the-key-of-the-page"
HALF: list[Any] = ["The first half, ", Gate("half"), "and the second half."]
HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 2">

[click](javascript:window.hacked=3) [data](data:text/html,<script>1</script>) ![pixel](https://evil.example/p.png)

[www.bank.example](https://evil.example/login) and \u202ekcab\u202c and <a href="https://evil.example">x</a>
https://ok.example/a_(b).
"""


def scripts() -> dict[str, list[list[Any]]]:
    """What the model says to each text."""
    look = [Call(("c1", "look", "")), Call(("c1", "look", '{"place": "Par')), Call(("c1", "look", 'is"}'))]
    wide = "x" * 400
    code = (
        f"Here is code.\n\n```python\nprint('{'long ' * 60}')\n```\n\n| a | b |\n|---|--:|\n| {wide} | 2 |\n\n{wide}\n"
    )
    return {
        "hello": [["Hello **world**.\n\n", "- one\n- two\n"]],
        "parallel": [
            ["Looking. ", *look, Call(("c2", "count", '{"gate": "two"}')), "The text goes on. ", Gate("text")],
            ["Both are done."],
        ],
        "writing": [[Call(("c1", "look", '{"place": "Os')), Gate("writing"), Call(("c1", "look", 'lo"}'))], ["Done."]],
        "fail": [[Call(("c1", "fail", "{}"))], ["It failed."]],
        "approve": [
            ["I ask. ", Call(("c1", "book", '{"seats": 12345678901234567890, "name": "a\u202eb"}'))],
            ["Booked."],
        ],
        "deny": [[Call(("c1", "book", '{"seats": 2}'))], ["As you say."]],
        "undecided": [[Call(("c1", "book", '{"seats": 2}'))], ["Unused."]],
        "two approvals": [
            [Call(("c1", "book", '{"seats": 1}')), Call(("c2", "book", '{"seats": 2}'))],
            ["Both decided."],
        ],
        "reload": [HALF],
        "away": [["Begun, ", Gate("away"), "and finished while nobody looked."]],
        "stop": [["It begins. ", Gate("never")]],
        "error": [[Status(429)]],
        "cut": [["Only half", CUT], ["Whole."]],
        "tabs": [["Two tabs, ", Gate("tabs"), "one response."]],
        "reasoning": [[Thought("Let me "), Thought("think."), Gate("thought"), "I thought."]],
        "code": [[code]],
        "hostile": [[HOSTILE, Call(("c1", "hostile", "{}"))], ["Done."]],
        "huge": [["word " * 60_000, "\n\n", "```\n", "line of code\n" * 40_000, "```\n", "The end of it."]],
        "blocks": [["paragraph\n\n" * 80, Gate("blocks")]],
        "long": [["paragraph\n\n" * 80, Gate("long"), "more\n\n" * 40, "The last line."]],
        "remember": [["Kept."]],
        "elsewhere": [["Begun elsewhere, ", Gate("elsewhere"), "read here."]],
        "unknown tool": [
            [Call(("c1", "<img src=x onerror=alert(1)>\u202e", '{"__proto__": {"a": 1}, "</script>": "\u2028"}'))],
            ["There is none."],
        ],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[HeldProvider]:
    async with HeldProvider(scripts()).running() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(provider: HeldProvider) -> AsyncIterator[str]:
    async with serving(provider) as address:
        yield address


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    async with await browser.new_context() as fresh:
        fresh.set_default_timeout(20_000)
        yield fresh


class Sight:
    """A page, and what it did that it must not do."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda told: self.errors.append(told.text) if "Content Security" in told.text else None)
        page.on("request", lambda asked: None if asked.url.startswith(url) else self.elsewhere.append(asked.url))

    def clean(self) -> None:
        assert not self.errors
        assert not self.elsewhere


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext, url: str) -> AsyncIterator[Page]:
    opened = await context.new_page()
    sight = Sight(opened, url)
    await opened.goto(url)
    yield opened
    sight.clean()


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message", exact=True).fill(text)
    await page.keyboard.press("Enter")


def response(page: Page) -> Any:
    return page.locator(".message.assistant").last


def call(page: Page, name: str) -> Any:
    return page.get_by_role("group", name=f"Tool call {name}").last


async def idle(page: Page) -> None:
    await expect(page.get_by_role("button", name="Send")).to_be_visible()


# ------------------------------------------------------------------------------------------- text and calls


async def test_a_message_is_answered_and_markdown_is_shown(page: Page) -> None:
    await say(page, "hello")
    await idle(page)
    await expect(response(page).locator("strong")).to_have_text("world")
    await expect(response(page).locator("li")).to_have_text(["one", "two"])
    await expect(response(page).locator(".facts")).to_contain_text("3 tokens in")
    await expect(page.locator(".message.user")).to_have_text("Youhello")
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()


async def test_text_appears_while_tools_run_and_each_call_shows_its_state(page: Page, provider: HeldProvider) -> None:
    await say(page, "parallel")
    await provider.reached("Paris")
    await provider.reached("two")
    await expect(response(page)).to_contain_text("The text goes on.")
    await expect(call(page, "look").locator(".state")).to_have_text("Running")
    await expect(call(page, "count").locator("pre").last).to_have_text('{\n  "done": 1\n}')
    await expect(call(page, "count").locator(".state")).to_have_text("Running")
    provider.open("Paris")
    await expect(call(page, "look").locator(".state")).to_have_text("Done")
    await expect(call(page, "count").locator(".state")).to_have_text("Running")
    provider.open("two")
    provider.open("text")
    await idle(page)
    await expect(call(page, "count").locator(".state")).to_have_text("Done")
    await expect(response(page)).to_contain_text("Both are done.")


async def test_arguments_are_shown_while_they_are_written(page: Page, provider: HeldProvider) -> None:
    await say(page, "writing")
    await expect(call(page, "look").locator(".state")).to_have_text("Writing arguments")
    await expect(call(page, "look").locator("pre").first).to_have_text('{"place": "Os')
    provider.open("writing")
    await provider.reached("Oslo")
    await expect(call(page, "look").locator(".state")).to_have_text("Running")
    provider.open("Oslo")
    await idle(page)


async def test_a_tool_that_fails_says_nothing_of_its_exception(page: Page) -> None:
    await say(page, "fail")
    await idle(page)
    await expect(call(page, "fail").locator(".state")).to_have_text("Failed")
    assert "sk-live" not in await page.content()


async def test_reasoning_can_be_opened_while_it_comes(page: Page, provider: HeldProvider) -> None:
    await say(page, "reasoning")
    await page.get_by_text("Thinking…").click()
    await expect(page.get_by_text("Let me think.")).to_be_visible()
    provider.open("thought")
    await idle(page)
    await expect(response(page).locator("summary")).to_have_text("Reasoning")


# ------------------------------------------------------------------------------------------------ approvals


async def test_approve_shows_the_arguments_as_they_are(page: Page) -> None:
    await say(page, "approve")
    asked = call(page, "book")
    await expect(asked.locator(".state")).to_have_text("Needs your approval")
    await expect(asked.locator("pre").first).to_contain_text("12345678901234567890")
    await expect(asked.locator("pre").first).to_contain_text("a[U+202E]b")
    await expect(page.locator("#urgent")).to_contain_text("The model wants to call book")
    await page.reload()  # the question is still there
    await call(page, "book").get_by_role("button", name="Approve").click()
    await idle(page)
    await expect(call(page, "book").locator("pre").last).to_have_text("12345678901234567890 seats are booked")
    await expect(response(page)).to_contain_text("Booked.")
    await expect(page.locator(".message.assistant")).to_have_count(1)


async def test_deny_with_a_reason(page: Page, provider: HeldProvider) -> None:
    await say(page, "deny")
    await call(page, "book").get_by_label("Reason to deny (optional)").fill("too many")
    await page.keyboard.press("Enter")  # in the field, Enter denies
    await idle(page)
    await expect(call(page, "book").locator(".state")).to_have_text("Denied")
    await expect(response(page)).to_contain_text("As you say.")
    assert "too many" in json.dumps(provider.asked[-1]["messages"][-1])


async def test_two_calls_are_decided_one_at_a_time(page: Page, provider: HeldProvider) -> None:
    await say(page, "two approvals")
    calls = page.get_by_role("group", name="Tool call book")
    await expect(calls).to_have_count(2)
    asked = len(provider.asked)
    await calls.first.get_by_role("button", name="Approve").click()
    await expect(calls.first.get_by_role("button", name="Approve")).to_have_count(0)
    await expect(calls.last.locator(".state")).to_have_text("Needs your approval")
    assert len(provider.asked) == asked
    await calls.last.get_by_role("button", name="Deny").click()
    await expect(response(page)).to_contain_text("Both decided.")
    await expect(calls.locator(".state")).to_have_text(["Done", "Denied"])


async def test_who_goes_on_without_deciding_has_not_approved(page: Page) -> None:
    await say(page, "undecided")
    await expect(call(page, "book").get_by_role("button", name="Approve")).to_be_visible()
    await say(page, "hello")
    await idle(page)
    await expect(call(page, "book").locator(".state")).to_have_text("Not approved")
    await expect(page.get_by_role("button", name="Approve")).to_have_count(0)


# ------------------------------------------------------------------------- reload, stop, errors, other tabs


async def test_a_reload_in_mid_answer_goes_on(page: Page, provider: HeldProvider) -> None:
    await say(page, "reload")
    await expect(response(page)).to_contain_text("The first half,")
    await page.reload()
    await expect(response(page)).to_contain_text("The first half,")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    provider.open("half")
    await idle(page)
    await expect(response(page).locator(".text")).to_have_text("The first half, and the second half.")
    await page.reload()  # nothing runs any more
    await expect(response(page).locator(".text")).to_have_text("The first half, and the second half.")
    await expect(page.locator("#notice")).to_be_hidden()


async def test_a_response_that_ended_while_the_page_was_away_is_there(
    page: Page, provider: HeldProvider, url: str
) -> None:
    await say(page, "away")
    await expect(response(page)).to_contain_text("Begun,")
    address = page.url
    await page.goto("about:blank")
    provider.open("away")
    thread = address.partition("#")[2]
    async with asyncio.timeout(20):
        while (await page.request.get(f"{url}/chat/{thread}/stream")).status != 204:  # noqa: ASYNC110 - it tells no other way
            await asyncio.sleep(0.05)
    await page.goto(address)
    await expect(response(page)).to_contain_text("Begun, and finished while nobody looked.")
    await idle(page)


@pytest.mark.parametrize("way", ["button", "escape"])
async def test_stop(page: Page, way: str) -> None:
    await say(page, "stop")
    await expect(response(page)).to_contain_text("It begins.")
    if way == "button":
        await page.get_by_role("button", name="Stop").click()
    else:
        await page.keyboard.press("Escape")
    await idle(page)
    await expect(response(page).locator(".facts")).to_contain_text("You stopped this response.")
    await expect(page.locator("#notice")).to_be_hidden()
    await say(page, "hello")
    await idle(page)
    await expect(response(page)).to_contain_text("Hello world.")


async def test_an_error_is_a_sentence_and_can_be_tried_again(page: Page, provider: HeldProvider) -> None:
    await say(page, "error")
    await expect(page.locator("#notice")).to_contain_text("The model is asked too often; try again later.")
    assert "sk-live" not in await page.content()
    await page.reload()
    provider.scripts["error"] = [["This time it works."], [Status(429)]]
    await page.get_by_role("button", name="Try again").click()
    await idle(page)
    await expect(response(page)).to_contain_text("This time it works.")
    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator(".message")).to_have_count(2)


async def test_a_response_that_was_cut_is_an_error(page: Page) -> None:
    await say(page, "cut")
    await expect(page.locator("#notice")).to_contain_text("The answer was interrupted.")
    await expect(response(page)).to_contain_text("Only half")
    await page.get_by_role("button", name="Try again").click()
    await idle(page)
    await expect(response(page).locator(".text")).to_have_text("Whole.")


async def test_a_server_that_is_gone_is_a_sentence_and_comes_back(
    context: BrowserContext, provider: HeldProvider
) -> None:
    page = await context.new_page()
    async with serving(provider) as address:
        await page.goto(address)
        await expect(page.locator("#model option")).to_have_count(2)
        await page.route("**/chat**", lambda route: route.abort())
        await say(page, "hello")
        await expect(page.locator("#notice")).to_contain_text("Reconnecting…")
        await expect(page.locator("#notice")).to_contain_text("The server cannot be reached.")
        await page.unroute("**/chat**")
        await page.get_by_role("button", name="Try again").click()
        await idle(page)
        await expect(response(page)).to_contain_text("Hello world.")
        await expect(page.locator(".message")).to_have_count(2)


async def test_a_second_tab_reads_the_same_response(
    page: Page, context: BrowserContext, provider: HeldProvider
) -> None:
    await say(page, "tabs")
    await expect(response(page)).to_contain_text("Two tabs,")
    other = await context.new_page()
    await other.goto(page.url)
    await expect(response(other)).to_contain_text("Two tabs,")
    asked = len(provider.asked)
    provider.open("tabs")
    for tab in (page, other):
        await idle(tab)
        await expect(response(tab).locator(".text")).to_have_text("Two tabs, one response.")
    await say(other, "hello")
    await expect(response(page)).to_contain_text("Hello world.")  # the first tab follows
    assert len(provider.asked) == asked + 1


async def test_conversations_are_kept_and_the_model_is_chosen(page: Page, provider: HeldProvider) -> None:
    await page.get_by_label("Model").select_option("other")
    await say(page, "remember")
    await idle(page)
    assert provider.asked[-1]["model"] == "n"
    first = page.url
    await page.get_by_role("button", name="New chat").click()
    await expect(page.locator(".message")).to_have_count(0)
    assert page.url != first
    await page.go_back()
    await expect(response(page)).to_contain_text("Kept.")
    await page.reload()
    await expect(response(page)).to_contain_text("Kept.")
    await expect(page.get_by_label("Model")).to_have_value("other")


# ------------------------------------------------------------------------------------------------- the key


async def test_a_key_is_asked_for_and_stands_in_no_address(context: BrowserContext, provider: HeldProvider) -> None:
    async with serving(provider, "--key", KEY) as address:
        page = await context.new_page()
        sight = Sight(page, address)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(address)
        dialog = page.get_by_role("dialog", name="This server needs a key")
        await dialog.get_by_label("Key").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_have_text("The server did not accept this key.")
        await dialog.get_by_label("Key").fill(KEY)
        await page.keyboard.press("Enter")
        await expect(page.locator("#model option")).to_have_count(2)
        await say(page, "hello")
        await idle(page)
        await page.reload()
        await expect(response(page)).to_contain_text("Hello world.")
        await say(page, "hello")
        await idle(page)
        assert not [one for one in (*asked, page.url) if KEY in one]
        assert KEY not in json.dumps(await page.evaluate("Object.entries(localStorage)"))
        assert KEY not in await page.content()
        stored = await page.evaluate("sessionStorage.getItem('promptport.key')")
        assert stored == KEY
        assert not sight.elsewhere


async def test_without_a_key_the_page_says_so_and_asks_again(context: BrowserContext, provider: HeldProvider) -> None:
    async with serving(provider, "--key", KEY) as address:
        page = await context.new_page()
        await page.goto(address)
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#notice")).to_contain_text("The server's key is missing or wrong.")
        await page.get_by_role("button", name="Try again").click()
        await page.get_by_role("dialog").get_by_label("Key").fill(KEY)
        await page.get_by_role("button", name="Use this key").click()
        await expect(page.locator("#model option")).to_have_count(2)
        await expect(page.locator("#notice")).to_be_hidden()


# -------------------------------------------------------------------------------------------- hostile text


async def test_hostile_text_is_text(page: Page) -> None:
    await say(page, "hostile")
    await idle(page)
    assert await page.evaluate("window.hacked") is None
    links = await response(page).locator("a").evaluate_all("all => all.map((one) => [one.href, one.rel, one.target])")
    assert [link[0] for link in links] == [
        "https://evil.example/p.png",
        "https://evil.example/login",
        "https://evil.example/",  # an address that says where it leads
        "https://ok.example/a_(b)",
    ]
    assert all(link[1:] == ["noopener noreferrer nofollow", "_blank"] for link in links)
    await expect(response(page).locator("img, script, iframe, style")).to_have_count(0)
    await expect(response(page)).to_contain_text("<script>window.hacked = 1</script>")
    await expect(response(page)).to_contain_text("(evil.example)")  # where the text names another host
    await expect(response(page)).to_contain_text("[U+202E]kcab")
    result = call(page, "hostile").locator("pre").last
    await expect(result).to_contain_text("<img src=x onerror=alert(1)>")
    await expect(result).to_contain_text("safe[U+202E]gnp.exe")


async def test_a_hostile_name_of_a_tool_is_text(page: Page) -> None:
    await say(page, "unknown tool")
    await idle(page)
    tool = response(page).locator(".tool")
    await expect(tool.locator(".name")).to_have_text("<img src=x onerror=alert(1)>[U+202E]")
    await expect(tool.locator(".state")).to_have_text("Failed")
    await expect(tool.locator("pre").first).to_contain_text("</script>")
    await expect(response(page).locator("img")).to_have_count(0)
    await page.reload()
    await expect(tool.locator("pre").first).to_contain_text("__proto__")
    assert await page.evaluate("({}).a") is None


@pytest.mark.parametrize(
    "kept", ["not JSON", "null", '{"messages": 7}', '{"messages": [{"id": "x"}]}', '{"messages": [null]}', "[]"]
)
async def test_a_damaged_storage_is_an_empty_conversation(page: Page, kept: str) -> None:
    await page.evaluate("kept => localStorage.setItem('promptport.chat.' + location.hash.slice(1), kept)", kept)
    await page.evaluate("localStorage.setItem('promptport.last', '<script>')")
    await page.reload()
    await expect(page.locator("#welcome")).to_be_visible()
    await say(page, "hello")
    await idle(page)
    await expect(response(page)).to_contain_text("Hello world.")


async def test_a_full_storage_loses_the_oldest_and_says_so_at_last(page: Page) -> None:
    await page.evaluate("""
        for (let number = 0; number < 40; number += 1) {
          const old = JSON.stringify({ messages: [], text: "x".repeat(120_000), saved: number });
          localStorage.setItem(`promptport.chat.${number}`, old);
        }
    """)
    await say(page, "hello")
    await idle(page)
    left = await page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('promptport.chat.'))")
    assert len(left) == 20
    assert "promptport.chat.39" in left
    assert "promptport.chat.0" not in left
    await page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    await say(page, "hello")
    await idle(page)
    await expect(page.locator("#hint")).to_contain_text("A reload will lose it.")
    await expect(page.locator(".message")).to_have_count(4)


async def test_a_response_that_another_client_began_is_joined_and_nothing_written_is_lost(
    page: Page, provider: HeldProvider, url: str
) -> None:
    thread = page.url.partition("#")[2]
    parts = [{"type": "text", "text": "elsewhere"}]
    body = {"id": thread, "sdk": "7", "messages": [{"id": "u", "role": "user", "parts": parts}]}
    posting = asyncio.create_task(page.request.post(f"{url}/chat", data=body))
    await provider.reached("elsewhere")
    await say(page, "hello")
    await expect(response(page)).to_contain_text("Begun elsewhere,")
    await expect(page.get_by_label("Message", exact=True)).to_have_value("hello")
    await expect(page.locator(".message.user")).to_have_count(0)
    provider.open("elsewhere")
    await idle(page)
    await expect(response(page)).to_contain_text("read here.")
    await posting


async def test_a_huge_response_is_shown_and_the_page_still_listens(page: Page) -> None:
    await say(page, "huge")
    await expect(response(page)).to_contain_text("The end of it.")
    await idle(page)
    assert await response(page).locator("code").last.evaluate("code => code.textContent.length") == 13 * 40_000
    text = await response(page).locator(".text").evaluate("node => node.textContent.split('word').length")
    assert text == 60_001
    await page.get_by_label("Message", exact=True).fill("still here")
    await expect(page.get_by_label("Message", exact=True)).to_have_value("still here")


STREAMED = """
async ([source, seed]) => {
  const { TextView } = await import("/text_view.js");
  const shape = (cuts) => {
    const part = { type: "text", text: "", state: "streaming" };
    const view = new TextView(part, () => {});
    for (const piece of cuts) { part.text += piece; view.update(); }
    part.state = "done";
    view.update();
    for (const open of view.node.querySelectorAll(".open")) open.replaceWith(...open.childNodes);
    view.node.normalize();
    return view.node.outerHTML;
  };
  let state = seed;
  const random = (most) => (state = (state * 1103515245 + 12345) % 2147483648) % most;
  const cuts = [];
  for (let at = 0; at < source.length;) {
    const size = 1 + random(7);
    cuts.push(source.slice(at, at + size));
    at += size;
  }
  return [shape([source]), shape([...source]), shape(cuts)];
}
"""
SOURCES = [
    "# One\n\ntext *with* `code` and **bold**\nnext line\n\n## Two ##\n---\n> quote\n> more\n",
    "1. first\n\n   ```js\n   let x;\n\n   let y;\n   ```\n\n2. second\n   - inner\n   - [x] done\n\nafter\n",
    "text\n- a\n- b\n\n- c\n\npara\n~~~\ncode\n```\n~~~\nend",
    "| a | b |\n|:-:|--:|\n| 1 | `x\\|y` |\n\n```python\ndef f():\n    return 1\n",
    "a\r\n\r\nb  \r\nc\\\nd ***x*** __y__ snake_case_name 2 * 3 * 4 ~~gone~~ \\*not\\*",
    "    indented\n\n***\n* * *\n+ plus\n1) paren\n",
]


@pytest.mark.parametrize("source", SOURCES)
async def test_text_that_comes_in_pieces_looks_like_text_that_comes_at_once(page: Page, source: str) -> None:
    whole, letters, pieces = await page.evaluate(STREAMED, [source, len(source)])
    assert letters == whole
    assert pieces == whole


NESTED = [
    "*",
    "_",
    "**a",
    "`",
    "``a`",
    "[",
    "![",
    "[a](",
    "](",
    "<",
    "> ",
    "- ",
    "1. ",
    "#",
    "# ",
    "|",
    "~~",
    "http://",
    "\\",
    "  \n",
    "(",
    "a*b_c",
]


async def test_no_text_takes_long(page: Page) -> None:
    """A browser that hangs would fail here by the clock of the suite; steps are bounded by the length of the text."""
    for mark in NESTED:
        size = await page.evaluate(
            "async (text) => { const { renderMarkdown } = await import('/markdown.js');"
            " return renderMarkdown(text).map((node) => node.textContent ?? node).join('').length; }",
            mark * (9_000 // len(mark)),
        )
        assert size >= 0


# ------------------------------------------------------------------------------ keys, readers, size, motion


async def test_keys(page: Page) -> None:
    box = page.get_by_label("Message", exact=True)
    await expect(box).to_be_focused()
    await page.keyboard.type("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await expect(box).to_have_value("one\ntwo")
    await expect(page.locator(".message")).to_have_count(0)
    order = []
    await page.get_by_role("heading", name="promptport").click()
    for _ in range(5):
        await page.keyboard.press("Tab")
        order.append(await page.evaluate("document.activeElement.id"))
    assert order == ["model", "new", "scroller", "message", "send"]
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


async def test_a_screen_reader_hears_blocks_and_not_each_word(page: Page) -> None:
    await page.evaluate("""
        window.heard = [];
        for (const id of ["polite", "urgent"])
          new MutationObserver(() => window.heard.push(document.getElementById(id).textContent))
            .observe(document.getElementById(id), { childList: true, characterData: true, subtree: true });
    """)
    await say(page, "blocks")
    await expect(response(page)).to_contain_text("paragraph")
    await expect(page.locator("#polite")).to_contain_text("paragraph")
    heard = await page.evaluate("window.heard")
    assert len(heard) < 12
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator("#polite")).to_contain_text("stopped")
    assert await page.get_by_role("log").count() == 0  # else each word would be read out


AT_END = """
() => {
  const { scrollHeight, clientHeight, scrollTop } = document.getElementById("scroller");
  return scrollHeight - clientHeight - scrollTop < 4;
}
"""


async def test_the_end_stays_in_view_until_the_reader_scrolls_up(page: Page, provider: HeldProvider) -> None:
    await say(page, "long")
    await expect(response(page).locator(".text p")).to_have_count(80)
    await page.wait_for_function(AT_END)
    await page.locator("#scroller").hover()
    await page.mouse.wheel(0, -600)
    await expect(page.get_by_role("button", name="Jump to the end")).to_be_visible()
    before = await page.evaluate("document.getElementById('scroller').scrollTop")
    provider.open("long")
    await idle(page)
    assert await page.evaluate("document.getElementById('scroller').scrollTop") == before
    await page.get_by_role("button", name="Jump to the end").click()
    await page.wait_for_function(AT_END)


STATES = ["hello", "approve", "error", "code", "hostile"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_accessibility(browser: Browser, url: str, scheme: Any) -> None:
    axe = (npm_folder("axe-core", "4.14.1") / "node_modules" / "axe-core" / "axe.min.js").read_text()
    async with await browser.new_context(color_scheme=scheme, reduced_motion="reduce") as context:
        page = await context.new_page()
        await page.goto(url)
        await expect(page.locator("#model option")).to_have_count(2)

        async def check(state: str) -> None:
            await page.evaluate(axe)
            found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
            told = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]]
            assert not told, (state, told)

        await check("empty")
        for state in STATES:
            await page.get_by_role("button", name="New chat").click()
            await say(page, state)
            await expect(page.locator(".message.assistant")).to_have_count(1)
            await idle(page)
            await check(state)
        await page.get_by_role("button", name="New chat").click()
        await say(page, "stop")
        await expect(response(page)).to_contain_text("It begins.")
        await check("streaming")
        await page.evaluate("document.getElementById('key').showModal()")
        await check("key")
        animated = await page.evaluate("document.getAnimations().length")
        assert animated == 0


@pytest.mark.parametrize("width", [360, 320])
async def test_a_phone_never_scrolls_sideways(browser: Browser, url: str, width: int) -> None:
    async with await browser.new_context(viewport={"width": width, "height": 640}, has_touch=True) as context:
        page = await context.new_page()
        await page.goto(url)
        for state in STATES:
            await page.get_by_role("button", name="New chat").click()
            await say(page, state)
            await expect(page.locator(".message.assistant")).to_have_count(1)
            await idle(page)
            for one in ("document.scrollingElement", "document.getElementById('scroller')"):
                assert await page.evaluate(f"{one}.scrollWidth - {one}.clientWidth") <= 0, (state, one)
            for name in ("New chat", "Send"):
                place = await page.get_by_role("button", name=name).bounding_box()
                assert place is not None
                assert place["x"] >= 0
                assert place["x"] + place["width"] <= width
