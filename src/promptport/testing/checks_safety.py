"""What must never happen, as checks: a request sent twice, a key or a prompt that leaves, a prompt that changes.

Rule: each of these was found in a provider that passed all the other checks. A failure says what is probably wrong.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from msgspec.structs import replace

from promptport.errors import (
    ConfigurationError,
    InvalidInputError,
    PromptportError,
    ProviderStreamError,
    UnsupportedCapabilityError,
)
from promptport.frames import Append, FinishReason, ProviderItem, Reasoning, ReasoningAppend, ToolCall
from promptport.llm_client import LLMClient
from promptport.messages import (
    AssistantMessage,
    NamedTool,
    Origin,
    Prompt,
    ReasoningEffort,
    ToolChoice,
    ToolResultMessage,
)
from promptport.models import Capability
from promptport.testing.bench import LONG, QUESTION, Bench, not_applicable, run
from promptport.testing.event_frames import frame_parts, split_frames, written_frame
from promptport.testing.steps import Fail, Finish, Say, Step, Think
from promptport.testing.wire_server import RecordedRequest, WireResponse, WireServer

__all__ = ["SafetyChecks", "keys_in"]

_STOP = Finish(FinishReason.STOP)
_KEY_WORDS = ("auth", "key", "token", "secret")
_KEY_LENGTH = 4  # a shorter one may stand in a text by chance
_REDIRECTS = (301, 302, 303, 307, 308)
_FOREIGN = "kit-foreign-7f3a"
_ENVIRONMENT_KEY = "kit-environment-key-9d2f"
_FIRST_HALF, _SECOND_HALF = "KITFIRSTHALF", "KITSECONDHALF"
_HALVES = {_FIRST_HALF: rb"\ud83d", _SECOND_HALF: rb"\ude00"}


_SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "as it is": lambda key: key,
    "in two reads": lambda key: key,
    "in two lines": lambda key: f"{key[: len(key) // 2]}\n{key[len(key) // 2 :]}",
    "in a URL": lambda key: quote(f"Bearer {key}", safe=""),
    "in percents": lambda key: "".join([f"%{byte:02X}" for byte in key.encode()]),
    "in JSON": lambda key: f"\\u{ord(key[0]):04x}{key[1:]}",
    "in base64": lambda key: b64encode(f"kit:{key}".encode()).decode(),
    "in hexadecimal": lambda key: key.encode().hex(),
}
"""How a server may quote a key."""
_ENCODED_KEY_LENGTH = 8  # a shorter one, spelled otherwise, stands in a text by chance


def _spelled(keys: Iterable[str], spelling: str) -> list[str]:
    plain = spelling in ("as it is", "in two reads")
    return [_SPELLINGS[spelling](key) for key in keys if plain or len(key) >= _ENCODED_KEY_LENGTH]


def _cut_inside(body: bytes, keys: Sequence[str]) -> list[bytes]:
    """The body in two reads, of which each has a half of the first key."""
    at = body.find(keys[0].encode()) + len(keys[0]) // 2 if keys else len(body) // 2
    return [body[:at], body[at:]]


def _squeezed(text: str) -> str:
    return "".join(text.replace("\\n", "").split())


def keys_in(request: RecordedRequest) -> list[str]:
    """What looks like a key in this request's headers and query."""
    signed = "AWS4-HMAC-"  # of that the last word is a signature, which opens nothing but this request
    found = [
        value if value.startswith(signed) else value.rpartition(" ")[2]
        for name, value in request.headers.items()
        if _names_a_key(name)
    ]
    found += [value for name, value in parse_qsl(request.query) if _names_a_key(name)]
    return [key for key in found if len(key) >= _KEY_LENGTH]


def _names_a_key(name: str) -> bool:
    return any(word in name.casefold() for word in _KEY_WORDS)


_LEAVING = {
    "closes": WireResponse(head=False, drop_after=0),
    "resets the connection": WireResponse(head=False, reset_after=0),
}
"""How a server leaves that read the request whole, and answers without a byte."""


class SafetyChecks:
    """What must never happen."""

    bench: Bench

    # ------------------------------------------------------------------------------------ sent once, to one

    @pytest.mark.parametrize("connection", ["fresh", "reused"])
    @pytest.mark.parametrize("how", ["streamed", "whole"])
    def test_a_request_that_was_read_is_not_sent_again(self, connection: str, how: str) -> None:
        """The server reads the request, and closes or resets before the head: an error, and one request."""
        answered = [self.bench.response(self.bench.wire((Say("Hello"), _STOP)))] if connection == "reused" else []

        async def check(leaves: str) -> None:
            async with WireServer(*answered) as server:
                server.answer(lambda _: _LEAVING[leaves])
                client = self.bench.contract.make_client(server.url, LONG)
                try:
                    for _ in answered:
                        await self.bench.read(client)
                    with pytest.raises(PromptportError):
                        await _asked(self.bench, client, how)
                finally:
                    await client.aclose()
                sent = len(server.requests) - len(answered)
            assert sent == 1, (
                f"the server {leaves} before the head, and got the request {sent} times, on a {connection} connection."
                " Probably the HTTP library or the SDK retries; switch that off: the model may have answered already."
            )

        for leaves in _LEAVING:
            run(check(leaves))
            self.bench.scenarios += 1

    @pytest.mark.parametrize("status", _REDIRECTS)
    def test_a_redirect_to_another_origin_carries_nothing(self, status: int) -> None:
        """No key and no prompt goes to where a server redirects to."""

        async def check() -> None:
            async with WireServer() as other, self.bench.client() as (server, client):
                other.answer(lambda _: self.bench.response(self.bench.wire((Say("Hello"), _STOP))))

                def redirect(request: RecordedRequest) -> WireResponse:
                    location = f"{other.url}{request.path}" + (f"?{request.query}" if request.query else "")
                    return WireResponse(b"", status=status, headers={"location": location}, framing="length")

                server.answer(redirect)
                await self.bench.read(client)
                keys = [key for request in server.requests for key in keys_in(request)]
                for request in other.requests:
                    told = f"{request.path}?{request.query} {dict(request.headers)} {request.body.decode()}"
                    leaked = ["the prompt"] * (QUESTION in told) + ["the key"] * any(key in told for key in keys)
                    assert not leaked, (
                        f"{' and '.join(leaked)} went to another origin, for a redirect with status {status}."
                        " Probably the HTTP library follows redirects; switch that off."
                    )

        run(check())

    def test_closing_the_client_closes_every_connection(self) -> None:
        """After ``aclose`` the server sees every connection closed, those too that were kept for the next request."""
        response = self.bench.response(self.bench.wire((Say("Hello"), _STOP)))

        async def check() -> None:
            async with WireServer() as server:

                async def together(_: RecordedRequest) -> WireResponse:
                    await server.requested(2)
                    return response

                server.answer(together)
                client = self.bench.contract.make_client(server.url, LONG)
                async with asyncio.TaskGroup() as group:
                    for _ in range(2):
                        group.create_task(self.bench.read(client))
                await client.aclose()
                try:
                    await server.client_closed(server.connections, self.bench.soon)
                except TimeoutError:
                    raise AssertionError(
                        f"after aclose() {server.open_connections} of {server.connections} connections are open."
                        " Probably aclose() does not close the HTTP session or the SDK's client."
                    ) from None

        run(check())

    # ------------------------------------------------------------------------------------------------ keys

    @pytest.mark.parametrize("spelled", _SPELLINGS)
    def test_a_key_in_an_error_of_the_stream_is_redacted(self, spelled: str) -> None:
        """A server that quotes the key in an error event, in whatever spelling: it is in no text or pickle of ours."""
        seen: list[str] = []

        def quoting(request: RecordedRequest) -> WireResponse:
            seen.extend(_spelled(keys_in(request), spelled))
            text = f"the key {' '.join(seen)} may not do this"
            body = b"".join(self.bench.wire((Say("Hel"), Fail(text, "overloaded"))))
            return self.bench.response(_cut_inside(body, seen) if spelled == "in two reads" else body)

        async def check() -> None:
            async with self.bench.client() as (server, client):
                server.answer(quoting)
                _, error = await self.bench.read(client)
            assert isinstance(error, ProviderStreamError), error
            told = {
                "str": str(error),
                "repr": f"{error!r} {vars(error)}",
                "traceback": "".join(traceback.format_exception(error)),
                "pickle": pickle.dumps(error).decode("latin-1"),
            }
            leaks = [where for where, text in told.items() if any(_squeezed(key) in _squeezed(text) for key in seen)]
            assert not leaks, (
                f"the key, {spelled}, is in the error's {', '.join(leaks)}."
                " Probably the decoder's error does not pass through the client's redaction."
            )

        self.bench.wire((Say("Hel"), Fail("x", "overloaded")))
        run(check())
        if not seen:
            not_applicable("the client sends no key, or one that is too short for this spelling")

    def test_the_repr_of_a_client_holds_no_key(self) -> None:
        """``repr(client)`` and ``str(client)`` can stand in a log."""
        response = self.bench.response(self.bench.wire((Say("Hello"), _STOP)))

        async def check() -> list[str]:
            async with self.bench.client(response) as (server, client):
                await self.bench.read(client)
                keys = [key for request in server.requests for key in keys_in(request)]
                told = f"{client!r} {client}"
            assert not any(key in told for key in keys), (
                "repr(client) holds the key. Probably the client is a dataclass, or its __repr__ shows its options."
            )
            return keys

        if not run(check()):
            not_applicable("the client sends no key")

    def test_a_key_of_the_environment_stays_at_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key that only the environment holds is sent to no other ``base_url``."""
        contract = self.bench.contract
        if not contract.key_variables:
            not_applicable("the contract names no key_variables")
        for variable in contract.key_variables:
            monkeypatch.setenv(variable, _ENVIRONMENT_KEY)
        response = self.bench.response(self.bench.wire((Say("Hello"), _STOP)))

        async def check() -> None:
            async with WireServer() as server:
                server.answer(lambda _: response)
                try:
                    client = contract.make_keyless_client(server.url, LONG)
                except ConfigurationError:
                    return  # it asks for a key of the program's own
                try:
                    await self.bench.read(client)
                finally:
                    await client.aclose()
                sent = [f"{request.path}?{request.query} {dict(request.headers)}" for request in server.requests]
            assert not any(_ENVIRONMENT_KEY in request for request in sent), (
                "the key of the environment went to another address. Probably the client reads the variable whatever"
                " its base_url is: see environment_key()."
            )

        run(check())

    # --------------------------------------------------------------------------------------------- prompts

    def test_a_request_does_not_change_its_prompt(self) -> None:
        """Prompt and tools are after a request what they were before it."""
        tools = self.bench.tools
        call = ToolCall("call_a", "get_weather", '{"city":"Paris"}')
        result = ToolResultMessage("call_a", "get_weather", "sunny")
        prompt = self.bench.prompt.add(AssistantMessage.of("Let me see.", call), result).with_params(
            extra={"kit": {"nested": [1]}}
        )
        before, schemas = prompt.to_json(), copy.deepcopy([tool.parameters for tool in tools])
        self.bench.requests([prompt], tools)
        advice = "Probably the request is built in place: copy dicts before you change them."
        assert prompt.to_json() == before, f"the request changed its prompt. {advice}"
        assert [tool.parameters for tool in tools] == schemas, f"the request changed a tool's schema. {advice}"

    def test_what_another_provider_made_stays_there(self) -> None:
        """Reasoning, signatures and items of another provider are not in the request."""
        made = AssistantMessage.of(
            Reasoning(f"{_FOREIGN} thought", {"signature": f"{_FOREIGN} signature"}),
            "Let me see.",
            ProviderItem("kit_item", {"text": f"{_FOREIGN} item"}),
            ToolCall("call_a", "get_weather", '{"city":"Paris"}', {"kit": f"{_FOREIGN} call"}),
        )
        answer = replace(made, origin=Origin("kit-other", "kit.example/v1"))
        prompt = self.bench.prompt.add(answer, ToolResultMessage("call_a", "get_weather", "sunny"))
        (request,) = self.bench.requests([prompt], self.bench.tools)
        sent = request.body.decode()
        leaked = [what for what in ("thought", "signature", "item", "call") if f"{_FOREIGN} {what}" in sent]
        assert not leaked, (
            f"another provider's {', '.join(leaked)} is in the request."
            " Probably message.origin is not compared before provider_data and reasoning are written."
        )

    def test_tool_choices_are_told_apart(self) -> None:
        """AUTO, NONE, REQUIRED and one tool by name give requests that differ, pair by pair."""
        tools = self.bench.tools
        choices: dict[str, ToolChoice | NamedTool] = {
            "AUTO": ToolChoice.AUTO,
            "NONE": ToolChoice.NONE,
            "REQUIRED": ToolChoice.REQUIRED,
            "named": NamedTool("get_time"),
        }
        if Capability.TOOL_CHOICE not in self.bench.can:
            choices = {name: choices[name] for name in ("AUTO", "NONE")}
        prompts = [self.bench.prompt.with_params(tool_choice=choice) for choice in choices.values()]
        self._differ(dict(zip(choices, self.bench.requests(prompts, tools), strict=True)), "tool_choice")

    def test_efforts_are_told_apart(self) -> None:
        """Two efforts give two requests, whatever the provider calls them; or both are refused."""
        efforts = (ReasoningEffort.LOW, ReasoningEffort.HIGH)
        prompts = [self.bench.prompt.with_params(reasoning_effort=effort) for effort in efforts]
        if Capability.REASONING_EFFORT not in self.bench.can:
            for prompt in prompts:
                assert run(self._refused_effort(prompt)), (
                    "REASONING_EFFORT is not declared, and an effort is not refused"
                )
            return
        requests = self.bench.requests(prompts)
        self._differ(dict(zip(["LOW", "HIGH"], requests, strict=True)), "reasoning_effort")

    async def _refused_effort(self, prompt: Prompt) -> bool:
        async with self.bench.client() as (_, client):
            try:
                await client.execute_streaming_with_tools(prompt, self.bench.model).aclose()
            except (UnsupportedCapabilityError, InvalidInputError):
                return True
        return False

    def _differ(self, requests: dict[str, RecordedRequest], what: str) -> None:
        names = list(requests)
        same = [
            f"{one} and {other}"
            for place, one in enumerate(names)
            for other in names[place + 1 :]
            if requests[one].json() == requests[other].json()
        ]
        assert not same, f"{what}: {'; '.join(same)} give one and the same request. Probably a value is not written."

    # ------------------------------------------------------------------------------------- half characters

    @pytest.mark.parametrize("kind", ["text", "reasoning"])
    def test_halves_of_a_character_are_joined(self, kind: str) -> None:
        """A surrogate pair cut between two events is its character; a half that stays alone is U+FFFD."""
        step = Say if kind == "text" else Think
        whole: list[Step] = [step("a"), step(_FIRST_HALF), step(f"{_SECOND_HALF}b")]
        alone: list[Step] = [step("a"), step(_FIRST_HALF), step("b")]
        for steps, wanted in ((whole, "a\U0001f600b"), (alone, "a\ufffdb")):
            after = [Say("."), _STOP] if kind == "reasoning" else [_STOP]
            body = b"".join(self.bench.wire([*steps, *after]))
            body = self._with_halves(body)
            ((frames, error),) = self.bench.play([self.bench.response(body)])
            kinds: Any = Append if kind == "text" else ReasoningAppend
            got = "".join([frame.text for frame in frames if isinstance(frame, kinds)])
            got = got.removesuffix(".") if kind == "text" else got
            assert (error, got) == (None, wanted), (
                f"half a surrogate pair in one event: got {got!r} and {error!r}, wanted {wanted!r}."
                " Probably JSON is decoded strictly, event by event; join halves before you decode them."
            )

    def _with_halves(self, body: bytes) -> bytes:
        """The body with half a character in place of each word for one; frames get new lengths and check sums."""
        if self.bench.contract.content_type.endswith("vnd.amazon.eventstream"):
            parts = map(frame_parts, split_frames(body))
            return b"".join([written_frame(block, _halved(payload)) for block, payload in parts])
        return _halved(body)


def _halved(data: bytes) -> bytes:
    for name, half in _HALVES.items():
        data = data.replace(name.encode(), half)
    return data


async def _asked(bench: Bench, client: LLMClient, how: str) -> None:
    if how == "whole":
        await client.execute(bench.prompt, bench.model)
        return
    async with client.execute_streaming_with_tools(bench.prompt, bench.model) as stream:
        await stream.message()
