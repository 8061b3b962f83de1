"""`UndecidedCalls`: what the parser does with text that may be a call, or not. Pure.

Rule: it waits, whole, and becomes a call or text; see ``json_grammar.py`` for what decides. A tool's name that stands
where only a call's stands is a call's, also where the text ends before its arguments do: unfinished, not text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from promptport.text_tools.grammar import Sink
from promptport.text_tools.open_call import OpenCall
from promptport.text_tools.values import (
    NAME_KEYS,
    NEUTRAL_KEYS,
    code_arguments,
    fits_declared,
    flat_arguments,
    flat_call,
    literal_call,
)
from promptport.tools import ToolDescriptor

__all__ = ["UndecidedCalls"]

_NAMED = re.compile(rf"""\{{\s*'(?:{"|".join(NAME_KEYS)})'\s*:\s*'([^'\\]+)'""")


class UndecidedCalls:
    """The part of `TextToolsParser` for what may be a call: actions of the grammars."""

    _call: OpenCall | None
    _key: str
    _name: str
    _spoken: bool
    _tools: Mapping[str, ToolDescriptor]

    if TYPE_CHECKING:  # what the parser has

        @property
        def _opened_call(self) -> OpenCall: ...
        def _begin(self, name: str, id: str | None = None) -> None: ...
        def _commit(self) -> None: ...
        def _drop(self) -> str: ...
        def _seal(self, match: re.Match[str] | None) -> None: ...
        def _sink(self, sink: Sink, text: str) -> None: ...
        def _taken_value(self) -> str: ...

    # ------------------------------------------------------------------------------------------- objects

    def _open_group(self, match: re.Match[str] | None) -> str | None:
        """Opens what may be a call, in the state that the first group with text is named after."""
        assert match is not None
        group = next((name for name, text in match.groupdict().items() if text), None)
        self._open_perhaps(match, alone=group == "fence" or not self._spoken)
        return group

    def _open_perhaps(self, match: re.Match[str], *, alone: bool) -> None:
        self._call = OpenCall(streams=True, tentative=True, alone=alone)
        self._call.raw.append(match.string[match.start() : match.start("here")])

    def _next_perhaps(self, match: re.Match[str] | None) -> None:
        """Another object of the same list; the one before it is a call, if it can be one."""
        assert match is not None
        alone = self._opened_call.alone
        self._seal(None)
        self._open_perhaps(match, alone=alone)

    def _key_came(self, flag: str, match: re.Match[str] | None) -> str | None:
        setattr(self._call, flag, True)
        return self._decide()

    def _other_key(self, match: re.Match[str] | None) -> str | None:
        assert match is not None
        call = self._opened_call
        if match["key"] in NEUTRAL_KEYS:
            return None
        tool = self._tools.get(call.name) if call.tentative else call.tool
        declared = tool.parameters.get("properties") if tool is not None else None
        if not isinstance(declared, dict) or match["key"] not in declared:
            return self._drop() if call.tentative else None
        if not call.tentative and not call.flat:
            call.raw.clear()  # from here on it holds the arguments
        call.flat = call.flat or call.tentative or (call.begun and not call.argued)
        return None

    def _decide(self) -> str | None:
        call = self._opened_call
        verdict = call.verdict(self._tools) if call.tentative else None
        if verdict == "text":
            return self._drop()
        if verdict == "call":
            self._commit()
        return None

    def _ended(self, match: re.Match[str] | None) -> str | None:
        """The object is whole."""
        call = self._opened_call
        if not call.tentative:
            if call.flat and not call.argued:
                given = flat_arguments("{" + "".join(call.raw).rstrip() + "}", call.tool)
                call.flat = False
                self._sink(Sink.ARGUMENTS, given)
            return None
        if call.keyed and fits_declared("".join(call.kept), self._tools[call.name]):
            self._commit()
            return None
        if call.flat:
            found = flat_call("".join(call.raw) + "}", self._tools)
            if found is None:
                return self._drop()
            call.kept = [found[1]]
            self._commit()
            return None
        return self._drop() if call.keyed or not call.may_be_whole(self._tools) else None

    def _followed(self, match: re.Match[str] | None) -> str | None:
        """After an object comes something that is no part of its list."""
        call = self._opened_call
        if call.tentative:
            return self._drop()
        self._seal(None)
        return None

    def _keyed(self, match: re.Match[str] | None) -> str | None:
        """An object under the name of a tool: its arguments, if nothing else has said what is called."""
        call = self._opened_call
        if call.keyed and fits_declared("".join(call.kept), self._tools[call.name]):
            raw = "".join(call.raw)  # several calls in one object: this one is whole
            self._seal(None)
            call = self._call = OpenCall(streams=True, tentative=True, alone=call.alone)
            call.raw.append(raw[raw.rfind(f'"{self._key}"') :])
        if call.begun or call.argued or call.name:
            return self._unkeyed(match)
        if not call.tentative:
            self._begin(self._key)
            return None
        call.name, call.keyed = self._key, True
        return None

    def _unkeyed(self, match: re.Match[str] | None) -> str:
        """The name of a tool is a key as any other."""
        return self._drop() if self._opened_call.tentative else f"{self._name.removesuffix('.keyed')}.other"

    def _literal(self, match: re.Match[str] | None) -> str | None:
        """A dict, as Python writes it, is whole."""
        call = self._opened_call
        text = "{" + self._taken_value() + "}"
        found = literal_call(text, self._tools)
        if call.tentative:
            if found is None or not (found[0] in self._tools or call.alone):
                return self._drop()
            call.name = found[0]
            call.kept = [found[1]]
            self._commit()
        elif not call.begun:
            call.kept = [found[1] if found else text]
            self._begin(found[0] if found else "")
        return None

    def _cut(self) -> None:
        """The text is at its end, and it is not whole: a call that was cut, or text."""
        call = self._opened_call
        text, code = "".join(call.raw), self._name.partition(".")[0] in ("code", "line")
        written = None if call.name else _NAMED.search(text)
        name = written[1] if written else call.name
        if name not in self._tools or call.echo:
            self._drop()
            return
        self._code_sealed(None)
        cut = self._call = OpenCall(streams=not code and written is None)
        cut.kept = call.kept
        cut.raw.append(text[text.rfind(f"{name}(") :] if code else text)
        self._begin(name)

    # ---------------------------------------------------------------------------------------------- code

    def _open_code(self, match: re.Match[str] | None) -> None:
        """A fence that begins with a call: one, as long as nothing but calls is in it."""
        assert match is not None
        self._call = OpenCall(streams=True, tentative=True, alone=True)
        self._call.name = match["name"]
        self._call.raw.append(match.group())

    def _next_code(self, match: re.Match[str] | None) -> None:
        assert match is not None
        self._opened_call.name = match["name"]

    def _code_ended(self, match: re.Match[str] | None) -> str | None:
        call = self._opened_call
        arguments = code_arguments(self._taken_value(), self._tools.get(call.name))
        if arguments is None:
            return self._drop()
        call.code.append((call.name, arguments))
        return None

    def _code_sealed(self, match: re.Match[str] | None) -> None:
        """The fence is at its end, or the text is: what it called are calls."""
        for name, arguments in self._opened_call.code:
            self._call = OpenCall(streams=True)
            self._begin(name)
            self._sink(Sink.ARGUMENTS, arguments)
            self._seal(None)
