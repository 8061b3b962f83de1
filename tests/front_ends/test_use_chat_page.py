"""A page with the real ``useChat`` of the AI SDK in a real Chromium, against a server process of another origin."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.real_parts import skip_module

if find_spec("playwright") is None:
    skip_module("playwright is not installed: pip install playwright")

from playwright.async_api import Browser, Page, expect
from tests.front_ends.browser import chromium, serving
from tests.front_ends.held_provider import CUT, Call, Gate, HeldProvider, Status, Thought
from tests.front_ends.npm_packages import npm_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")
expect.set_options(timeout=20_000)

ENTRY = Path(__file__).parent / "clients" / "use_chat.jsx"
SHELL = (
    b'<!doctype html><html lang="en"><title>useChat</title><div id="root"></div><script src="/use_chat.js"></script>'
)


def scripts() -> dict[str, list[list[Any]]]:
    look = [Call(("c1", "look", '{"pl')), Call(("c1", "look", 'ace": "Rome"}'))]
    return {
        "parallel": [
            [
                Thought("Hm."),
                "Looking. ",
                *look,
                Call(("c2", "count", '{"gate": "two"}')),
                "The text goes on.",
                Gate("on"),
            ],
            ["Both are done."],
        ],
        "approve": [["I ask. ", Call(("c1", "book", '{"seats": 2}'))], ["Booked."]],
        "deny": [["I ask. ", Call(("c1", "book", '{"seats": 2}'))], ["As you say."]],
        "reload": [["The first half, ", Gate("half"), "and the second half."]],
        "stop": [["It begins.", Gate("never")]],
        "error": [[Status(429)]],
        "cut": [["Only half", CUT]],
        "tabs": [["Two tabs, ", Gate("tabs"), "one response."]],
        "fail": [[Call(("c1", "fail", "{}"))], ["It failed."]],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(bundle: bytes) -> AsyncIterator[HeldProvider]:
    async with HeldProvider(scripts()).running() as running:
        running.files["/use_chat.js"] = ("text/javascript", bundle)
        running.files["/"] = ("text/html", SHELL)
        yield running


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The page's script, with all that it imports."""
    folder = npm_folder("@ai-sdk/react", "4.0.177") / "node_modules"
    script = tmp_path_factory.mktemp("bundle") / "use_chat.js"
    options = ["--bundle", f"--outfile={script}", '--define:process.env.NODE_ENV="production"', "--log-level=error"]
    command = [str(folder / ".bin" / "esbuild"), str(ENTRY), *options]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "NODE_PATH": str(folder)})
    return script.read_bytes()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(provider: HeldProvider) -> AsyncIterator[str]:
    async with serving(provider, "--allow-origin", provider.url) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


_chats = count()


@pytest_asyncio.fixture(loop_scope="module")
async def page(
    browser: Browser, provider: HeldProvider, url: str, request: pytest.FixtureRequest
) -> AsyncIterator[Page]:
    errors: list[str] = []
    async with await browser.new_context() as context:
        opened = await context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        await opened.goto(f"{provider.url}/?server={url}&chat=chat-{next(_chats)}")
        yield opened
    assert not errors


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.keyboard.press("Enter")


async def status(page: Page, text: str) -> None:
    await expect(page.locator("output")).to_have_text(text)


def tool(page: Page, name: str) -> Any:
    return page.get_by_label(f"tool-{name}")


async def test_text_appears_while_tools_run(page: Page, provider: HeldProvider) -> None:
    await say(page, "parallel")
    await provider.reached("Rome")
    await provider.reached("two")
    await expect(page.locator(".text").last).to_have_text("The text goes on.")
    await expect(tool(page, "look").locator(".state")).to_have_text("input-available")
    await expect(tool(page, "count").locator(".output")).to_have_text('{"done":1}')
    provider.open("two")
    await expect(tool(page, "count").locator(".output")).to_have_text('{"done":2}')
    await expect(tool(page, "look").locator(".state")).to_have_text("input-available")
    provider.open("Rome")
    await expect(tool(page, "look").locator(".output")).to_have_text('{"at":"Rome"}')
    await status(page, "streaming")
    provider.open("on")
    await status(page, "ready")
    await expect(page.locator(".text").last).to_have_text("Both are done.")
    await expect(page.locator(".reasoning")).to_have_text("Hm.")


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_approvals(page: Page, decision: str) -> None:
    await say(page, decision)
    await expect(tool(page, "book").locator(".state")).to_have_text("approval-requested")
    await page.get_by_role("button", name=decision.capitalize()).click()
    await expect(page.locator(".text").last).to_have_text("Booked." if decision == "approve" else "As you say.")
    await status(page, "ready")
    wanted = "output-available" if decision == "approve" else "output-denied"
    await expect(tool(page, "book").locator(".state")).to_have_text(wanted)
    await expect(page.locator("article.assistant")).to_have_count(1)


async def test_a_reload_in_mid_answer_goes_on(page: Page, provider: HeldProvider) -> None:
    await say(page, "reload")
    await expect(page.locator(".text").last).to_have_text("The first half, ")
    await page.reload()
    await expect(page.locator("article.assistant .text")).to_have_text("The first half, ")
    await status(page, "streaming")
    provider.open("half")
    await status(page, "ready")
    await expect(page.locator("article.assistant .text")).to_have_text("The first half, and the second half.")
    await page.reload()  # 204: nothing runs
    await status(page, "ready")
    await expect(page.locator("article.assistant .text")).to_have_text("The first half, and the second half.")


async def test_stop(page: Page) -> None:
    await say(page, "stop")
    await expect(page.locator(".text").last).to_have_text("It begins.")
    await page.get_by_role("button", name="Stop").click()
    await status(page, "ready")
    await expect(page.locator(".text").last).to_have_text("It begins.")


@pytest.mark.parametrize(
    ("text", "error"),
    [("error", "The model is asked too often; try again later."), ("cut", "The answer was interrupted.")],
)
async def test_errors(page: Page, text: str, error: str) -> None:
    await say(page, text)
    await status(page, "error")
    await expect(page.locator(".error")).to_have_text(error)
    assert "sk-live" not in await page.content()


async def test_a_tool_that_fails(page: Page) -> None:
    await say(page, "fail")
    await expect(page.locator(".text").last).to_have_text("It failed.")
    await expect(tool(page, "fail").locator(".output")).to_have_text('"The tool failed."')
    assert "sk-live" not in await page.content()


async def test_a_second_tab_reads_the_same_response(page: Page, provider: HeldProvider) -> None:
    await say(page, "tabs")
    await expect(page.locator(".text").last).to_have_text("Two tabs, ")
    other = await page.context.new_page()
    await other.goto(page.url)
    await expect(other.locator(".text").last).to_have_text("Two tabs, ")
    provider.open("tabs")
    for tab in (page, other):
        await status(tab, "ready")
        await expect(tab.locator("article.assistant .text")).to_have_text("Two tabs, one response.")
