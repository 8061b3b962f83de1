# mypy: ignore-errors
"""Bugs that the author of a provider can make, planted in the provider of docs/writing-a-provider.md.

Rule: a bug is in what an author writes (the decoder, the request, the client, a stream of his own), and names the check
that must find it; every check of the kit finds one. Not typed, because the provider is on a page, where mypy does not
look. `tests.kit_bugs.test_kit_bugs` runs these modules with that provider on the path; here is what they share.
"""

import pytest
from msgspec.structs import replace
from promptport_marmot._client import MarmotClient
from promptport_marmot.conformance import MarmotContract

from promptport.stream import message_of


class Good(MarmotContract):
    """The provider as the page has it."""

    client = MarmotClient

    def make_client(self, base_url, timeouts):
        return self.client(base_url=base_url, api_key="test-key", timeouts=timeouts)

    def make_client_over(self, base_url, timeouts, http_client):
        return self.client(base_url=base_url, api_key="test-key", timeouts=timeouts, http_client=http_client)


class Bug(Good):
    """Changes one thing, and names the check that must find it.

    ``says`` is what its message must say besides the check's own sentence on the cause; ``good`` is the provider
    without the bug, which passes the check.
    """

    found_by = ""
    says = ""
    good = "TestGood"

    @pytest.fixture(autouse=True)
    def _impatient(self, _bench):
        self.bench.enough = self.bench.soon = 0.3


def decoding(decoder):
    """The client, with another decoder."""
    return type("Client", (MarmotClient,), {"_decoder": lambda self, prompt, model, tools: decoder(prompt.call_ids())})


def sending(change):
    """The client, with another request body: ``change(body, prompt)``."""

    def body(self, prompt, model, tools, *, stream):
        made = MarmotClient._body(self, prompt, model, tools, stream=stream)
        change(made, prompt)
        return made

    return type("Client", (MarmotClient,), {"_body": body})


def declaring(capability):
    """The client, declaring what it does not send."""

    def capabilities(self, model):
        return model.capabilities or MarmotClient.capabilities(self, model).with_(capability)

    return type("Client", (MarmotClient,), {"capabilities": capabilities})


class HandMade:
    """A stream that owes `FrameStream` nothing but the frames."""

    def __init__(self, stream):
        self._stream = stream
        self._frames = self._changed()
        self.seen = []

    async def _changed(self):
        async for frame in self._stream:
            for changed in self.change(frame):
                self.seen.append(changed)
                yield changed

    def change(self, frame):
        return [frame]

    def __aiter__(self):
        return self

    def __anext__(self):
        return self._frames.__anext__()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.aclose()

    async def aclose(self):
        await self._stream.aclose()

    async def message(self):
        async for _ in self:
            pass
        return replace(message_of(self.seen), origin=(await self._stream.message()).origin)

    @property
    def partial(self):
        return message_of(self.seen)

    @property
    def skipped(self):
        return self._stream.skipped

    def text(self):
        return self._stream.text()


def streaming(stream):
    """The client, with a stream of the author's own."""

    def execute(self, prompt, model, tools=()):
        return stream(MarmotClient.execute_streaming_with_tools(self, prompt, model, tools))

    def execute_text(self, prompt, model):
        return MarmotClient.execute_streaming_with_tools(self, prompt, model).text()

    verbs = {"execute_streaming_with_tools": execute, "execute_streaming": execute_text}
    return type("Client", (MarmotClient,), verbs)
