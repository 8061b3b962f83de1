"""`Recorder` and `Cassette`: what passes is unchanged, what is written holds no secret, what is played is what came."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources import iterated

import promptport as pp
from promptport.testing import Cassette, Recorder, WireResponse, WireServer, cut_body
from promptport.testing.record_command import record_program
from promptport.testing.scrubbing import SCRUBBED, Scrubber

pytest_plugins = ["pytester"]

KEY = "sk-test-0123456789abcdef"
MODEL = pp.LLModel("openai-chat", "m")
PROMPT = pp.Prompt.of("What is the weather in Paris?")
WIRE = (Path(__file__).parents[1] / "wires" / "openai-chat" / "parallel_calls.sse").read_bytes()
CHUNKS = cut_body(WIRE, ("random", 3))


def client(url: str) -> Any:
    return pp.client("openai-chat", api_key=KEY, base_url=url)


async def recorded(*responses: WireResponse, asks: int = 1, **options: Any) -> tuple[Cassette, list[list[Any]]]:
    """A cassette of so many equal questions, and the frames that came through the recorder."""
    async with WireServer(*responses) as server, Recorder(server.url, **options) as recorder:
        async with client(recorder.url) as asker:
            frames = [await iterated(asker.execute_streaming_with_tools(PROMPT, MODEL)) for _ in range(asks)]
    return recorder.cassette, frames


async def frames_of(cassette: Cassette, prompt: pp.Prompt = PROMPT, **options: Any) -> list[pp.StreamFrame]:
    async with cassette.play(**options) as server, client(server.url) as asker:
        return await iterated(asker.execute_streaming_with_tools(prompt, MODEL))


# ------------------------------------------------------------------------------------------------- passing


async def test_what_passes_is_what_the_server_said_chunk_by_chunk() -> None:
    cassette, (frames,) = await recorded(WireResponse(CHUNKS, pace=0.002))
    async with WireServer(WireResponse(CHUNKS)) as server, client(server.url) as asker:
        assert frames == await iterated(asker.execute_streaming_with_tools(PROMPT, MODEL))
    response = cassette.interactions[0].response
    assert response.body == WIRE
    assert len(response.chunks) > len(CHUNKS) // 2, "the cuts of the network are kept"


async def test_errors_and_their_headers_pass() -> None:
    refusal = WireResponse.json({"error": {"message": "slow down"}}, 429, {"retry-after": "7"})
    async with WireServer(refusal) as server, Recorder(server.url) as recorder, client(recorder.url) as asker:
        with pytest.raises(pp.RateLimitError) as caught:
            await asker.execute(PROMPT, MODEL)
    assert caught.value.retry_after == 7
    assert recorder.cassette.interactions[0].response.status == 429


async def test_a_connection_that_breaks_breaks_and_is_played_so() -> None:
    broken = WireResponse([WIRE[:200], WIRE[200:]], drop_after=200)
    async with WireServer(broken) as server, Recorder(server.url) as recorder, client(recorder.url) as asker:
        with pytest.raises(pp.IncompleteStreamError):
            await iterated(asker.execute_streaming_with_tools(PROMPT, MODEL))
    cassette = recorder.cassette
    assert cassette.interactions[0].response.broken
    with pytest.raises(pp.IncompleteStreamError):
        await frames_of(cassette)


async def test_a_client_that_leaves_is_seen_by_the_server_and_what_came_is_kept() -> None:
    async with WireServer(WireResponse(WIRE, cut="events", stall_after=len(WIRE) // 2)) as server:
        async with Recorder(server.url) as recorder, client(recorder.url) as asker:
            async with asker.execute_streaming_with_tools(PROMPT, MODEL) as stream:
                await anext(stream)
            await server.client_closed()
    assert recorder.cassette.interactions[0].response.body.startswith(WIRE[:100])


async def test_a_server_that_is_away_is_told_as_a_bad_gateway() -> None:
    async with WireServer() as server:
        away = server.url
    async with Recorder(away) as recorder, client(recorder.url) as asker:
        with pytest.raises(pp.ServerError, match="recorder cannot reach"):
            await asker.execute(PROMPT, MODEL)
    assert recorder.cassette.interactions == ()


async def test_a_path_and_query_that_are_encoded_stay_so() -> None:
    async with WireServer(WireResponse.json({})) as server:
        async with Recorder(server.url + "/v1") as recorder, httpx.AsyncClient(trust_env=False) as http:
            await http.get(f"{recorder.url}/model/a%3Ab%2Fc/converse?x=%20y")
        assert (server.requests[0].path, server.requests[0].query) == ("/v1/model/a%3Ab%2Fc/converse", "x=%20y")


@pytest.mark.parametrize("address", ["", "api.openai.com", "ftp://x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(pp.InvalidInputError, match="no address"):
        Recorder(address)


# ------------------------------------------------------------------------------------------------- playing


@pytest.mark.parametrize("cut", [None, "whole", "bytes", "events", ("random", 7)])
async def test_any_cut_gives_the_same_frames(cut: Any) -> None:
    cassette, (frames,) = await recorded(WireResponse(CHUNKS))
    assert await frames_of(cassette, cut=cut) == frames


async def test_a_mutator_makes_the_body_faulty() -> None:
    cassette, (frames,) = await recorded(WireResponse(CHUNKS))
    assert await frames_of(cassette, mutator="comments", protocol="openai-chat") == frames
    with pytest.raises(pp.StreamError):
        await frames_of(cassette, mutator="cut_terminal", protocol="openai-chat")
    with pytest.raises(pp.InvalidInputError, match="no mutator"):
        await frames_of(cassette, mutator="no such thing")


async def test_the_recorded_times_are_kept_at_a_speed() -> None:
    cassette, _ = await recorded(WireResponse([*cut_body(WIRE, "events")[:3], WIRE[-20:]], pace=0.05), asks=0)
    assert cassette.interactions == ()
    cassette, (frames,) = await recorded(WireResponse(CHUNKS, pace=0.001))
    assert any(chunk.after > 0 for chunk in cassette.interactions[0].response.chunks)
    assert await frames_of(cassette, speed=1.0) == frames
    with pytest.raises(pp.InvalidInputError, match="speed"):
        await frames_of(cassette, speed=0)


async def test_a_request_that_was_never_recorded_fails_and_says_where_it_differs() -> None:
    cassette, _ = await recorded(WireResponse(CHUNKS))
    with pytest.raises(ExceptionGroup) as caught:
        async with cassette.play() as server, client(server.url) as asker:
            with pytest.raises(pp.ServerError, match="Paris"):
                await iterated(asker.execute_streaming_with_tools(pp.Prompt.of("And in Rome?"), MODEL))
    assert "body.messages[0].content" in str(caught.value.exceptions[0])
    with pytest.raises(ExceptionGroup):
        async with cassette.play() as server, client(server.url) as asker:
            await iterated(asker.execute_streaming_with_tools(PROMPT, MODEL))
            with pytest.raises(pp.ServerError, match="no response is left"):  # recorded once, asked twice
                await iterated(asker.execute_streaming_with_tools(PROMPT, MODEL))


async def test_requests_are_matched_by_chosen_fields() -> None:
    cassette, (frames,) = await recorded(WireResponse(CHUNKS))
    other = PROMPT.with_params(temperature=0.5)
    assert await frames_of(cassette, other, match=("path", "body.messages")) == frames
    with pytest.raises(pp.InvalidInputError, match="no field 'header'"):
        await frames_of(cassette, match=("header",))


async def test_strict_keeps_the_order() -> None:
    async with WireServer(*[WireResponse.json({"n": n}) for n in (1, 2)]) as server:
        async with Recorder(server.url) as recorder, httpx.AsyncClient(trust_env=False) as http:
            for name in ("a", "b"):
                await http.get(f"{recorder.url}/{name}?key={KEY}&x=1")
    async with recorder.cassette.play() as server, httpx.AsyncClient(trust_env=False) as http:
        assert [(await http.get(f"{server.url}/{name}")).json()["n"] for name in ("b", "a")] == [2, 1]
    async with recorder.cassette.play(match="strict") as server, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{server.url}/a?key=another&x=1")).json()["n"] == 1
    with pytest.raises(ExceptionGroup):
        async with recorder.cassette.play(match="strict") as server, httpx.AsyncClient(trust_env=False) as http:
            await http.get(f"{server.url}/b?x=1")


# ---------------------------------------------------------------------------------------------------- files


async def test_a_file_can_be_read_and_compared(tmp_path: Path) -> None:
    async with WireServer(WireResponse(CHUNKS)) as server:
        async with Recorder(server.url, to=tmp_path / "a" / "b.json") as recorder, client(recorder.url) as asker:
            frames = await iterated(asker.execute_streaming_with_tools(PROMPT, MODEL))
    text = (tmp_path / "a" / "b.json").read_text()
    assert KEY not in text
    assert "What is the weather in Paris?" in text
    assert '"text": "data: ' in text
    assert Cassette.load(tmp_path / "a" / "b.json") == recorder.cassette
    assert await frames_of(Cassette.load(tmp_path / "a" / "b.json")) == frames


async def test_a_recorder_that_is_left_by_an_exception_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Recorder("http://127.0.0.1:1", to=tmp_path / "a.json"):
            raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"upstream": "x"}', b"\xff", b"[" * 5000])
def test_what_is_no_cassette_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(pp.InvalidInputError, match=r"a\.json"):
        Cassette.load(tmp_path / "a.json")
    with pytest.raises(pp.InvalidInputError, match="record"):
        Cassette.load(tmp_path / "b.json")


async def test_a_cassette_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"upstream": "x", "interactions": [], "version": 2}))
    with pytest.raises(pp.InvalidInputError, match="version 2"):
        Cassette.load(tmp_path / "a.json")


# ------------------------------------------------------------------------------------------------- secrets

SECRETS = [
    KEY,
    "sk-ant-api03-abcdefghijklmnop",
    "AIzaSyA1234567890abcdefghijklm",
    "AKIAABCDEFGHIJKLMNOP",
    "gsk_abcdefghijklmnop",
    "ghp_abcdefghijklmnop1234",
    "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", ["header", "query", "body", "answer", "answer header", "path"])
async def test_a_key_is_written_nowhere(secret: str, place: str, tmp_path: Path) -> None:
    says = secret if place.startswith("answer") else "nothing"
    answer = WireResponse.json({"said": says}, headers={"x-echo": says})
    async with WireServer(answer) as server:
        async with Recorder(server.url, to=tmp_path / "a.json") as recorder, aiohttp.ClientSession() as http:
            path = secret if place == "path" else "v1"
            query = f"?api_key={secret}&a=1" if place == "query" else ""
            headers = {"x-custom-key": secret} if place == "header" else {}
            body = json.dumps({"nested": [{"user": secret if place == "body" else "u"}]})
            async with http.post(f"{recorder.url}/{path}{query}", data=body, headers=headers) as response:
                passed = await response.text()
        came = server.requests[0]
    assert secret in f"{came.path}{came.query}{came.headers}{came.body!r}{passed}{place}" or place == "answer header"
    assert says in passed
    text = (tmp_path / "a.json").read_text()
    assert secret not in text
    assert SCRUBBED in text


@given(st.lists(st.integers(0, 400), max_size=6), st.sampled_from(SECRETS))
def test_a_key_that_is_cut_in_two_is_found(offsets: list[int], secret: str) -> None:
    body = f'data: {{"text": "your key {secret} is wrong", "again": "{secret}"}}\n\ndata: [DONE]\n\n'.encode()
    clean = Scrubber().chunks(cut_body(body, offsets))
    assert b"".join(clean) == body.replace(secret.encode(), SCRUBBED.encode())
    assert all(clean)


def test_what_is_known_to_be_secret_is_found_everywhere() -> None:
    scrubber = Scrubber(patterns=[r"customer-(\d+)"], values=["Ada Lovelace"])
    assert scrubber.headers({"Authorization": "Basic dXNlcjpwYXNz", "Accept": "a"}) == {
        "accept": "a",
        "authorization": SCRUBBED,
    }
    assert scrubber.text("dXNlcjpwYXNz of Ada Lovelace, customer-123") == (
        f"{SCRUBBED} of {SCRUBBED}, customer-{SCRUBBED}"
    )
    assert scrubber.query("key=abcdef&x=1&token=") == f"key={SCRUBBED}&x=1&token={SCRUBBED}"
    assert scrubber.headers({"x-ratelimit-remaining-tokens": "5"}) == {"x-ratelimit-remaining-tokens": "5"}


@pytest.mark.parametrize("pattern", ["(", "a*", ""])
def test_a_pattern_that_cannot_be_meant_is_refused(pattern: str) -> None:
    with pytest.raises(pp.InvalidInputError, match="scrub"):
        Scrubber([pattern])


async def test_scrubbing_fails_safe(tmp_path: Path) -> None:
    """What is learned to be secret after it was kept, and what cannot be searched, is not written."""
    async with WireServer(WireResponse.json({"said": "late-secret"}), WireResponse.json({})) as server:
        recorder = Recorder(server.url, to=tmp_path / "a.json")
        with pytest.raises(pp.InvalidInputError, match="a secret is left in it, and nothing was written"):
            async with recorder, httpx.AsyncClient(trust_env=False) as http:
                await http.get(f"{recorder.url}/a")
                await http.get(f"{recorder.url}/b", headers={"x-api-key": "late-secret"})
    assert os.listdir(tmp_path) == []


async def test_a_compressed_answer_is_searched_too(tmp_path: Path) -> None:
    async with WireServer(WireResponse(f'{{"k": "{KEY}"}}'.encode(), gzip=True)) as server:
        async with Recorder(server.url, to=tmp_path / "a.json") as recorder, httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{recorder.url}/a")).json() == {"k": KEY}
    assert KEY not in (tmp_path / "a.json").read_text()


# ---------------------------------------------------------------------------------------------- the fixture

TEST = """
import httpx, pytest

async def test_it(cassette):
    async with cassette("{url}") as url, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(url + "/a")).json() == {{"n": 1}}
"""


async def test_the_fixture_records_once_and_plays_ever_after(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_mode = auto\n")
    async with WireServer(WireResponse.json({"n": 1}), WireResponse.json({"n": 1})) as server:
        path = pytester.makepyfile(TEST.format(url=server.url))
        file = path.parent / "cassettes" / path.stem / "test_it.json"
        options = ["-q", "-p", "no:cacheprovider", "-W", "ignore"]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

        async def run(*more: str) -> str:
            import asyncio

            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "pytest", *options, *more, path.name],
                cwd=path.parent,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
            )
            return (await process.communicate())[0].decode()

        assert "there is no file" in await run()
        assert "1 passed" in await run("--record=once")
        written = file.read_text()
        assert "1 passed" in await run("--record=once")
        assert len(server.requests) == 1
        assert "1 passed" in await run("--record=all")
        assert len(server.requests) == 2
    assert re.sub(r'"after": [\d.]+', "", file.read_text()).count("GET") == written.count("GET") == 1


# ---------------------------------------------------------------------------------------------- the command

PROGRAM = """
import os, urllib.request
urllib.request.urlopen(os.environ["OPENAI_BASE_URL"] + "/models").read()
urllib.request.urlopen(os.environ["MY_SERVER"] + "/mine").read()
raise SystemExit(3)
"""


async def test_a_program_is_recorded_by_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with WireServer(WireResponse.json({"data": []}), WireResponse.json({"mine": 1})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        code, written = await record_program(
            tmp_path, [sys.executable, "-c", PROGRAM], upstreams=[f"MY_SERVER={server.url}/x"]
        )
        assert [request.path for request in server.requests] == ["/v1/models", "/x/mine"]
    assert code == 3
    assert [path.name for path in written] == ["openai.json", "my_server.json"]
    assert Cassette.load(written[0]).interactions[0].request.path == "/models"


@pytest.mark.parametrize(
    ("command", "upstreams", "word"),
    [([], [], "no command"), (["/no/such/program"], [], "cannot be started"), (["true"], ["nonsense"], "VARIABLE")],
)
async def test_a_program_that_cannot_be_recorded(
    tmp_path: Path, command: list[str], upstreams: list[str], word: str
) -> None:
    with pytest.raises(pp.InvalidInputError, match=word):
        await record_program(tmp_path, command, upstreams=upstreams)


# -------------------------------------------------------------------------------------- the command line


RECORDED_PROGRAM = """
import os, sys, urllib.request
request = urllib.request.Request(os.environ["KIT_BASE_URL"] + "/v1/chat/completions", b'{"model": "m"}')
request.add_header("authorization", "Bearer sk-kit-secret-1234567890")
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
    print(response.read().decode())
sys.exit(int(sys.argv[1]))
"""


async def promptport(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "promptport",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("code", [0, 7])
async def test_the_command_records_a_program_and_ends_as_it_does(code: int, tmp_path: Path) -> None:
    async with WireServer(WireResponse(b'{"said": "acct_42"}', content_type="application/json")) as server:
        ended, out, err = await promptport(
            *("record", "--to", str(tmp_path / "tapes"), "--upstream", f"KIT_BASE_URL={server.url}"),
            *("--scrub", "acct_[0-9]+", "--", sys.executable, "-c", RECORDED_PROGRAM, str(code)),
        )
    assert (ended, out.strip()) == (code, '{"said": "acct_42"}'), err
    (written,) = (tmp_path / "tapes").iterdir()
    assert f"recorded: {written}" in err
    text = written.read_text()
    assert "sk-kit-secret" not in text
    assert "acct_42" not in text
    assert Cassette.load(written).interactions[0].response.status == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "tapes"), "COMMAND"),
        (("--", "python"), "--to"),
        (("--to", "tapes", "--upstream", "no", "--", "python"), "'no' is not VARIABLE=ADDRESS"),
        (("--to", "tapes", "--", "no-such-program-of-the-kit"), "cannot be started"),
    ],
)
async def test_the_command_says_what_is_missing(arguments: tuple[str, ...], words: str) -> None:
    code, out, err = await promptport("record", *arguments)
    assert (code, out) == (2, "")
    assert words.casefold() in err.casefold()  # how an argument is written is up to the library of the command line


async def test_a_program_that_asks_nothing_leaves_no_cassette(tmp_path: Path) -> None:
    code, _, err = await promptport("record", "--to", str(tmp_path / "tapes"), "--", sys.executable, "-c", "pass")
    assert code == 0
    assert "nothing was recorded" in err
    assert not (tmp_path / "tapes").exists()
