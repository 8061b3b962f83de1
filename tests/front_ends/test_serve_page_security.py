"""What the page of ``promptport serve`` is sent with, and what other pages in the same browser can do to the server."""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.front_ends.browser import chromium, serving
from tests.front_ends.held_provider import HeldProvider

import promptport as pp
from promptport.front_ends import serve_app as serve_app_module
from promptport.front_ends.serve_app import serve_app
from promptport.run_log import MemoryRunLog
from promptport.testing import ScriptedExecutor

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = Path(serve_app_module.__file__).parent / "page"
FILES = sorted(PAGE.iterdir())
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


def client_of(**options: Any) -> httpx.AsyncClient:
    app = serve_app(ScriptedExecutor(["Hello"]), {"m": pp.LLModel("scripted", "m")}, log=MemoryRunLog(), **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080")


async def test_each_file_has_its_type_and_a_policy_that_allows_nothing_from_elsewhere() -> None:
    async with client_of() as client:
        for path in ["/", *[f"/{one.name}" for one in FILES]]:
            response = await client.get(path)
            assert response.status_code == 200, path
            kind = TYPES[Path(path).suffix or ".html"]
            assert response.headers["content-type"].split(";")[0] == kind
            policy = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert {value for name, value in policy.items() if name.endswith("-src")} <= {"'none'", "'self'"}
            assert (policy["frame-ancestors"], policy["base-uri"], policy["form-action"]) == ("'none'",) * 3
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["referrer-policy"] == "no-referrer"


async def test_with_a_key_only_the_pages_own_files_are_open() -> None:
    async with client_of(key="secret", hosts=None) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/main.js")).status_code == 200
        for path in (
            "/v1/models",
            "/chat/c/stream",
            "/chat/c/stream?last=true",
            "/nothing.js",
            "/main.js/",
            "/chat",
        ):
            assert (await client.get(path)).status_code == 401, path
        assert (await client.post("/", content=b"")).status_code == 401
        assert (await client.get("/%2e%2e/serve_app.py")).status_code == 401


async def test_nothing_beside_the_page_is_served() -> None:
    async with client_of() as client:
        for path in (
            "/../serve_app.py",
            "/%2e%2e/serve_app.py",
            "/..%2fserve_app.py",
            "/%2e%2e%5cserve_app.py",
            "/.git",
        ):
            assert (await client.get(path)).status_code in (400, 404), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_no_file_reads_text_as_code_or_names_another_server(path: Path) -> None:
    text = (await to_thread(path.read_bytes)).decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text)
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", text) or path.suffix == ".js"
    addresses = set(re.findall(r"https?://[a-z0-9.]+", text))
    assert addresses <= {"http://www.w3.org"}, addresses  # the name of SVG, which nobody asks


# ---------------------------------------------------------------------------------------- in a browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[HeldProvider]:
    async with HeldProvider({"hello": [["Hello."]]}).running() as running:
        running.files["/attack.html"] = ("text/html", b"<!doctype html><title>Another site</title>")
        yield running


ATTACKS = """
async (url) => {
  const parts = [{ type: "text", text: "hello" }];
  const body = JSON.stringify({ id: "c", messages: [{ id: "u", role: "user", parts }] });
  const asked = JSON.stringify({ model: "anthropic/m", messages: [{ role: "user", content: "hello" }] });
  const told = [];
  const attempt = async (path, init) => {
    try {
      const response = await fetch(url + path, init);
      told.push(`${path} ${init.mode ?? "cors"} ${response.type} ${await response.text()}`);
    } catch {
      told.push("");
    }
  };
  for (const mode of ["no-cors", "cors"]) {
    const headers = { "content-type": "text/plain" };
    await attempt("/chat", { method: "POST", mode, body, headers });
    await attempt("/v1/chat/completions", { method: "POST", mode, body: asked, headers });
    await attempt("/chat/c/stop", { method: "POST", mode });
  }
  await attempt("/chat", { method: "POST", body, headers: { "content-type": "application/json" } });
  await attempt("/v1/models", {});
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: url + "/chat", enctype: "text/plain", target: "sink" });
  const frame = document.createElement("iframe");
  frame.name = "sink";
  const field = document.createElement("input");
  [field.name, field.value] = [body.slice(0, -1) + ',"x":"', '"}'];
  form.append(field);
  document.body.append(frame, form);
  const loaded = new Promise((done) => { frame.onload = done; });
  form.submit();
  await loaded;
  return told;
}
"""


async def test_a_page_of_another_origin_gets_nothing_and_does_nothing(provider: HeldProvider) -> None:
    async with serving(provider) as url, chromium() as browser, await browser.new_context() as context:
        page = await context.new_page()
        await page.goto(f"{provider.url}/attack.html")
        told = await page.evaluate(ATTACKS, url)
        assert set(told) <= {"", *[one for one in told if " no-cors opaque " in one and one.endswith("opaque ")]}
        assert not provider.asked
        frame = await page.evaluate(
            "(url) => new Promise((done) => { const frame = document.createElement('iframe'); frame.src = url;"
            " frame.onload = () => { try { done(String(frame.contentDocument?.title)); } catch { done('closed'); } };"
            " document.body.append(frame); })",
            url,
        )
        assert frame in ("closed", "null", "undefined", "")


async def test_a_name_that_leads_to_this_machine_is_refused(provider: HeldProvider) -> None:
    rebound = ("--host-resolver-rules=MAP evil.example 127.0.0.1",)
    async with serving(provider) as url, chromium(*rebound) as browser, await browser.new_context() as context:
        page = await context.new_page()
        port = url.rpartition(":")[2]
        answer = await page.goto(f"http://evil.example:{port}/")
        assert answer is not None
        assert answer.status == 403
        text = await page.evaluate("fetch('/v1/models').then((response) => response.text())")
        assert "does not answer to the host" in text
