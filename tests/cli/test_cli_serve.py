"""``promptport serve`` as a process: its address, who may use it, and how Ctrl-C ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

SCRIPT = """
import asyncio
from promptport.testing import ScriptedExecutor

def make():
    return ScriptedExecutor(["Hello ", "there"], repeat=True)

def never():
    return ScriptedExecutor(["Hello", asyncio.Event()], repeat=True)
"""
CHAT = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}


@contextmanager
def serving(
    tmp_path: Path, *options: str, maker: str = "make", env: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    script = tmp_path / "scripted.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "promptport", "serve", "--port", "0", "--model", "scripted/m"]
    process = subprocess.Popen(
        [*command, "--executor", f"{script}:{maker}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, line + process.communicate(timeout=20)[1]
        yield process, line[line.index("http://") :].split()[0]
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


def test_serve_prints_its_address_answers_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert "Hello" in httpx.post(f"{url}/chat", json=CHAT).text
        assert httpx.post(f"{url}/chat", json=CHAT, headers={"host": "evil.example"}).status_code == 403
        assert httpx.post(f"{url}/chat", json=CHAT, headers={"origin": "http://evil.example"}).status_code == 403
        assert httpx.post(f"{url}/chat", json=CHAT, headers={"origin": url}).status_code == 200
        assert ended(process) == (130, "promptport: interrupted\n")


def test_ctrl_c_ends_a_response_that_is_under_way(tmp_path: Path) -> None:
    with serving(tmp_path, maker="never") as (process, url), httpx.stream("POST", f"{url}/chat", json=CHAT) as response:
        text = ""
        for piece in response.iter_text():
            text += piece
            if "Hello" in piece:
                process.send_signal(signal.SIGINT)
        assert '"type":"abort"' in text
        assert text.endswith("data: [DONE]\n\n")
        assert process.communicate(timeout=20)[1] == "promptport: interrupted\n"


def test_a_key_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path, "--key", "s3cret") as (_, url):
        for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": ""}):
            refused = httpx.post(f"{url}/chat", json=CHAT, headers=headers)
            assert (refused.status_code, "s3cret" in refused.text) == (401, False)
        for headers in ({"authorization": "Bearer s3cret"}, {"x-api-key": "s3cret"}):
            assert httpx.post(f"{url}/chat", json=CHAT, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "a key is needed"),
        (["--host", "0.0.0.0", "--key", "  "], "key must be"),
        (["--model", "nonsense"], "provider/id"),
        (["--model", "a=scripted/1", "--model", "a=scripted/2"], "is taken"),
        (["--host", "203.0.113.7", "--key", "k"], "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_2(options: list[str], words: str, tmp_path: Path) -> None:
    script = tmp_path / "scripted.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "promptport", "serve", "--port", "0", "--executor", f"{script}:make"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
