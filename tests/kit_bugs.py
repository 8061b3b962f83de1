"""Bugs that the author of a provider can make, each a change to the provider of docs/writing-a-provider.md.

Rule: a bug is planted where an author would make it, in the provider's own code; and it names the check that must find
it. The first ten are those that the kit was made for.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BUGS", "Bug"]

DECODE, REQUEST, CLIENT, MODELS = "_decode.py", "_request.py", "_client.py", "_models.py"


@dataclass(frozen=True)
class Bug:
    """A bug.

    Attributes:
        name: what the author did.
        check: the check that says so, with its variant in brackets where one is enough.
        file: where.
        old: what stands there …
        new: … and what the author wrote.
    """

    name: str
    check: str
    file: str
    old: str
    new: str


def handmade(name: str, check: str, kind: str) -> Bug:
    """The author returns a stream of his own."""
    return Bug(
        name,
        check,
        CLIENT,
        "    def _body(self",
        "    def execute_streaming_with_tools(self, prompt, model, tools=()):\n"
        f"        from tests.handmade_streams import {kind}\n\n"
        f"        return {kind}(super().execute_streaming_with_tools(prompt, model, tools))\n\n"
        "    def _body(self",
    )


def declared(name: str, check: str, capability: str) -> Bug:
    """The author declares what is not written into the request."""
    return Bug(name, check, MODELS, "(Capability.SYSTEM,", f"(Capability.{capability}, Capability.SYSTEM,")


OPEN = '        return await self._http.open("/v1/talk", body, model.id)\n'
POST = '        return await self._http.post("/v1/talk", body, model.id)\n'
ACLOSE = "    async def _aclose(self)"
PIECE = "                self._calls.append(said.n, said.json, out)\n"
SEALED = "                self._calls.seal(said.n, out)\n"
CALL = "                self._calls.start(said.n, said.id, said.tool, out)\n"
TEXT = "                if said.text:\n                    out.append(Append(said.text))\n"
EVENT = "    def _event(self, event"
BODY = '        raise IncompleteStreamError("the stream ended without the event \'end\'")\n'

TEN = (
    Bug(
        "drops a delta",
        "test_rule_4_every_increment_comes_through",
        DECODE,
        PIECE,
        "                if not said.json.endswith('Pa'):\n    " + PIECE,
    ),
    handmade("emits End twice", "test_rule_1_end_comes_once_and_last", "EndsTwice"),
    Bug(
        "merges calls",
        "test_rule_3_parallel_calls_stay_apart",
        DECODE,
        CALL + "            case _Piece():\n" + PIECE + "            case _Sealed():\n" + SEALED,
        "                if not self._calls.open:\n"
        "                    self._calls.start(0, said.id, said.tool, out)\n"
        "            case _Piece():\n"
        "                self._calls.append(0, said.json, out)\n"
        "            case _Sealed():\n"
        "                pass  # at the end\n",
    ),
    Bug(
        "ignores truncation",
        "test_rule_1_an_answer_that_was_cut_raises[end_after-text]",
        DECODE,
        BODY,
        '        self._end(_End("done"), out)\n',
    ),
    Bug(
        "leaks the socket",
        "test_rule_8_closing_closes_the_connection[break]",
        CLIENT,
        OPEN,
        '        return _Leaky(await self._http.open("/v1/talk", body, model.id))\n\n\n'
        "class _Leaky:\n"
        "    kept = []\n\n"
        "    def __init__(self, response):\n"
        "        self.response = response\n"
        "        self.kept.append(aiter(response))\n\n"
        "    def __aiter__(self):\n"
        "        return self.kept[-1]\n\n"
        "    async def aclose(self):\n"
        "        pass\n\n\n"
        "class _Rest(MarmotClient):\n",
    ),
    Bug(
        "swallows an error",
        "test_an_error_in_the_stream_is_raised",
        DECODE,
        '                raise ProviderStreamError(f"Marmot reported an error: {said.message}", code=said.code)\n',
        '                self._end(_End("error"), out)\n',
    ),
    Bug("loses an id", "test_rule_3_ids_are_kept", DECODE, CALL, CALL.replace("said.id", "None")),
    Bug(
        "mutates arguments",
        "test_rule_4_arguments_are_as_the_model_wrote_them",
        DECODE,
        SEALED,
        SEALED + "                call = out[-1]\n"
        "                text = msgspec.json.encode(call.parsed()).decode()\n"
        "                out[-1] = msgspec.structs.replace(call, arguments=text)\n",
    ),
    Bug("hides tools", "test_tools_are_in_the_request", REQUEST, "    if tools and params", "    if () and params"),
    Bug(
        "reorders frames",
        "test_rule_4_frames_keep_the_order_of_the_wire[reasoning, text and call]",
        DECODE,
        "        self.ended = True\n",
        "        self.ended = True\n        out[-1:-1] = self._texts\n",
    ),
)
