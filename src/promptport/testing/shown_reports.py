"""What the kit found, for people: a table in a terminal, and the page of the docs.

Rule: nothing is measured here. The page holds what is the same in every run: no times, and no counts of frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptport.testing.command import CheckResult, ConformanceReport

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["report_page", "report_tables"]

_REASON_LIMIT = 300  # characters; the JSON has all of it


def report_tables(reports: Sequence[ConformanceReport]) -> list[RenderableType]:
    """What a person sees: every check by every provider, the totals, and what was not applicable or went wrong."""
    from rich.table import Table  # noqa: PLC0415 - of the extra "cli"
    from rich.text import Text  # noqa: PLC0415

    table = Table("check")
    for report in reports:
        table.add_column(report.provider, no_wrap=True)
    names = dict.fromkeys(check.name for report in reports for check in report.checks)
    for name in sorted(names, key=_rule):
        cells = [_cell([check for check in report.checks if check.name == name]) for report in reports]
        table.add_row(_readable(name), *cells, style="red" if any("failed" in cell for cell in cells) else None)
    table.add_section()
    for outcome in ("passed", "n/a", "failed", "xfailed", "skipped"):
        if outcome in ("passed", "n/a", "failed") or any(report.counts.get(outcome) for report in reports):
            table.add_row(outcome, *[str(report.counts.get(outcome, 0)) for report in reports])
    table.add_row("scenarios played", *[str(report.scenarios) for report in reports])
    table.add_row("frames seen", *[str(report.frames) for report in reports])
    return [table, *[Text(line) for line in _notes(reports)]]


def _rule(name: str) -> str:
    """What to sort by: the checks of the rules first, in their order; the others stay as they came."""
    return name[: len("test_rule_1")] if name.startswith("test_rule_") else "test_s"


def _cell(checks: Sequence[CheckResult]) -> str:
    """How often a check passed, and what else became of it: it has a variant for each scenario, status, fault …"""
    counts = Counter(check.outcome for check in checks)
    others = [f"{counts[outcome]} {outcome}" for outcome in ("failed", "xfailed", "n/a", "skipped") if counts[outcome]]
    return ", ".join([f"{counts['passed']} ok", *others] if counts["passed"] else others)


def _readable(name: str) -> str:
    words = name.removeprefix("test_").split("_")
    return f"rule {words[1]}: {' '.join(words[2:])}" if words[0] == "rule" else " ".join(words)


def _notes(reports: Sequence[ConformanceReport]) -> list[str]:
    """A line for each reason, with the variants that it holds for."""
    lines: list[str] = []
    for report in reports:
        reasons: dict[tuple[str, str, str], list[str]] = {}
        for check in report.checks:
            if check.outcome != "passed":
                reasons.setdefault((check.outcome, check.name, check.reason), []).append(check.variant)
        for (outcome, name, reason), variants in sorted(reasons.items(), key=lambda entry: entry[0][0] != "failed"):
            which = f" ({', '.join(variants)})" if any(variants) else ""
            lines.append(f"{report.provider}: {outcome}: {_readable(name)}{which}: {_shortened(reason)}")
        if report.error:
            lines.append(f"{report.provider}: {report.error}")
    return lines


def _shortened(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _REASON_LIMIT else f"{line[:_REASON_LIMIT]} …"


# ----------------------------------------------------------------------------------------------- the page

_PAGE_HEAD = """# Conformance of the providers

Also: test report, provider compatibility, which checks a provider passes.

This page shows which checks of [the conformance kit](writing-a-provider.md#the-contract-as-tests) each provider passes.
CI makes it with `promptport conformance --markdown`. Run `promptport conformance PROVIDER` to see it on your machine.

"""


def report_page(reports: Sequence[ConformanceReport]) -> str:
    """The docs page: a row for each check, a column for each provider, and the reasons below."""
    lines = [f"- **{report.provider}**: {report.summary}" for report in reports]
    names = sorted(dict.fromkeys(check.name for report in reports for check in report.checks), key=_rule)
    lines += [
        "",
        "## Checks",
        "",
        "A number is how many cases of a check passed. A check is n/a if the protocol has nothing that it could test.",
        "",
    ]
    lines.append(f"| Check | {' | '.join([report.provider for report in reports])} |")
    lines.append("|---" * (len(reports) + 1) + "|")
    for name in names:
        cells = [_page_cell([check for check in report.checks if check.name == name]) for report in reports]
        lines.append(f"| {_readable(name)} | {' | '.join(cells)} |")
    known = [(report, check) for report in reports for check in report.checks if check.outcome == "xfailed"]
    if known:
        lines += ["", "## Known exceptions", ""]
        lines += [f"- **{report.provider}**, {_readable(check.name)}: {check.reason}" for report, check in known]
    return _PAGE_HEAD + "\n".join(lines) + "\n"


def _page_cell(checks: Sequence[CheckResult]) -> str:
    counts = Counter(check.outcome for check in checks)
    words = {"failed": "failed", "xfailed": "known", "n/a": "n/a", "skipped": "skipped"}
    others = [f"{counts[outcome]} {word}" for outcome, word in words.items() if counts[outcome]]
    if set(counts) == {"n/a"}:
        return "n/a"
    return ", ".join([str(counts["passed"]), *others] if counts["passed"] else others) or "n/a"
