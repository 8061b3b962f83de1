"""The testing kit: what a provider, and what is built on promptport, is tested with.

What enters helps to test, and is imported by no program. Imports: everything but `promptport.cli`.

Rule: nothing is imported until it is asked for, so that its parts need only what they use (pytest, say).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptport.testing.cassette import Cassette, CassetteRequest, CassetteResponse, Interaction
    from promptport.testing.chat_completions import ChatCompletionsContract
    from promptport.testing.command import report_json, run_conformance
    from promptport.testing.contract import ProviderContract
    from promptport.testing.cuts import Cut, cut_body
    from promptport.testing.event_frames import event_frame
    from promptport.testing.matrix import MatrixCell, matrix_table, run_matrix
    from promptport.testing.mutators import MUTATORS, Meaning, Mutator, assert_survived, mutators_for
    from promptport.testing.record_command import record_program
    from promptport.testing.recorded_bodies import AnyProtocol, Wire, WireEvent, WireProtocol
    from promptport.testing.recorder import Recorder
    from promptport.testing.request_rules import RULES, RequestRules, protocol_of, refusals, rules_for
    from promptport.testing.scripted import (
        CUT,
        Pause,
        ScriptedAnswer,
        ScriptedClient,
        ScriptedExecutor,
        ScriptedRequest,
    )
    from promptport.testing.sent_messages import SentCall, SentMessage, SentResult
    from promptport.testing.shown_reports import report_page, report_tables
    from promptport.testing.steps import (
        INPUT_TOKENS,
        OUTPUT_TOKENS,
        SCENARIOS,
        Arguments,
        Blocked,
        Expected,
        Fail,
        Finish,
        Malformed,
        MalformedCall,
        Opaque,
        Say,
        Scenario,
        Seal,
        Start,
        Step,
        Think,
        Unknown,
        Used,
        expected,
        outcome,
    )
    from promptport.testing.unstreamed_calls import WholeCall, whole_calls
    from promptport.testing.validity import assert_valid_stream
    from promptport.testing.wire_server import Answer, RecordedRequest, WireResponse, WireServer

__all__ = [
    "CUT",
    "INPUT_TOKENS",
    "MUTATORS",
    "OUTPUT_TOKENS",
    "RULES",
    "SCENARIOS",
    "Answer",
    "AnyProtocol",
    "Arguments",
    "Blocked",
    "Cassette",
    "CassetteRequest",
    "CassetteResponse",
    "ChatCompletionsContract",
    "Cut",
    "Expected",
    "Fail",
    "Finish",
    "Interaction",
    "Malformed",
    "MalformedCall",
    "MatrixCell",
    "Meaning",
    "Mutator",
    "Opaque",
    "Pause",
    "ProviderContract",
    "RecordedRequest",
    "Recorder",
    "RequestRules",
    "Say",
    "Scenario",
    "ScriptedAnswer",
    "ScriptedClient",
    "ScriptedExecutor",
    "ScriptedRequest",
    "Seal",
    "SentCall",
    "SentMessage",
    "SentResult",
    "Start",
    "Step",
    "Think",
    "Unknown",
    "Used",
    "WholeCall",
    "Wire",
    "WireEvent",
    "WireProtocol",
    "WireResponse",
    "WireServer",
    "assert_survived",
    "assert_valid_stream",
    "cut_body",
    "event_frame",
    "expected",
    "matrix_table",
    "mutators_for",
    "outcome",
    "protocol_of",
    "record_program",
    "refusals",
    "report_json",
    "report_page",
    "report_tables",
    "rules_for",
    "run_conformance",
    "run_matrix",
    "whole_calls",
]

_HOMES = {
    "cassette": ["Cassette", "CassetteRequest", "CassetteResponse", "Interaction"],
    "record_command": ["record_program"],
    "recorder": ["Recorder"],
    "command": ["report_json", "run_conformance"],
    "shown_reports": ["report_page", "report_tables"],
    "chat_completions": ["ChatCompletionsContract"],
    "contract": ["ProviderContract"],
    "cuts": ["Cut", "cut_body"],
    "matrix": ["MatrixCell", "matrix_table", "run_matrix"],
    "request_rules": ["RULES", "RequestRules", "protocol_of", "refusals", "rules_for"],
    "event_frames": ["event_frame"],
    "mutators": ["MUTATORS", "Meaning", "Mutator", "assert_survived", "mutators_for"],
    "sent_messages": ["SentCall", "SentMessage", "SentResult"],
    "unstreamed_calls": ["WholeCall", "whole_calls"],
    "scripted": ["CUT", "Pause", "ScriptedAnswer", "ScriptedClient", "ScriptedExecutor", "ScriptedRequest"],
    "steps": [
        "INPUT_TOKENS",
        "OUTPUT_TOKENS",
        "SCENARIOS",
        "Arguments",
        "Blocked",
        "Expected",
        "Fail",
        "Finish",
        "Malformed",
        "MalformedCall",
        "Opaque",
        "Say",
        "Scenario",
        "Seal",
        "Start",
        "Step",
        "Think",
        "Unknown",
        "Used",
        "expected",
        "outcome",
    ],
    "validity": ["assert_valid_stream"],
    "wire_server": ["Answer", "RecordedRequest", "WireResponse", "WireServer"],
    "recorded_bodies": ["AnyProtocol", "Wire", "WireEvent", "WireProtocol"],
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
