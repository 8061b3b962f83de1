"""Figures out of what was measured: costs, ratios, tables, the chart, the comparison with committed figures.

Rules: a time is the least of its rounds, because whatever else a machine does only adds to it; a latency or a size is
their median. A ratio is promptport's figure through another's of the same run; less is better for all of them. Absolute
figures are shown and never compared.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from tests.benchmarks.environments import versions_of
from tests.benchmarks.growth import COUNTS, SHAPES
from tests.benchmarks.peers import SPEAKS
from tests.benchmarks.plan import BURSTS, PACED, Measured, Rounds
from tests.benchmarks.wires import APIS, MORE_APIS

_ALLOWED = 1.2
_BEGIN, _FINISH = "<!-- figures: made by tests/benchmarks -->\n", "<!-- end of figures -->"
_NAMES = {
    "chat": "Chat Completions",
    "google": "Gemini",
    "bedrock": "Bedrock",
    "cohere": "Cohere",
    "mistral": "Mistral",
    "responses": "Responses",
    "anthropic": "Anthropic",
    "ollama": "Ollama",
    "bytes": "aiohttp, bytes only",
    "floor": "aiohttp + minimal typed decode",
    "sdk": "the official SDK's events",
    "langchain": "LangChain",
}


class Figures(msgspec.Struct):
    """One run, as it is committed.

    Attributes:
        date: when.
        machine: on what; with the load of the minute before.
        versions: of Python and of all libraries.
        rounds: how many there were.
        costs: work → who → figure.
        spread: work → who → how far the middle half of the rounds' CPU times lies apart, as a part of the median.
        ratios: ``work promptport:other``.
    """

    date: str
    machine: str
    versions: dict[str, dict[str, str]]
    rounds: int
    costs: dict[str, dict[str, dict[str, float]]]
    spread: dict[str, dict[str, float]]
    ratios: dict[str, float]


def figures_of(measured: Measured, *, rounds: int) -> Figures:
    """What a run found."""
    who = {name for work in measured.values() for name in work}
    versions = {"python": {"python": platform.python_version()}, "promptport": versions_of("promptport")}
    versions |= {name: versions_of(name) for name in (*SPEAKS, "openai-agents") if name in who}
    load = os.getloadavg()[0]
    return Figures(
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}",
        versions=versions,
        rounds=rounds,
        costs={key: {name: _costs(of) for name, of in work.items() if of} for key, work in measured.items()},
        spread={
            key: {name: round(_spread(of), 3) for name, of in work.items() if of and "cpu" in of[0]}
            for key, work in measured.items()
        },
        ratios={name: round(value, 4) for name, value in sorted(_ratios(measured))},
    )


_TIMES = ("cpu", "wall")


def _costs(rounds: Rounds) -> dict[str, float]:
    return {metric: round(_cost(rounds, metric), 3) for metric in rounds[0]}


def _cost(rounds: Rounds, metric: str) -> float:
    values = [figures[metric] for figures in rounds]
    return min(values) if metric in _TIMES else median(values)


def _spread(rounds: Rounds) -> float:
    ordered = sorted(figures["cpu"] for figures in rounds)
    quarter = len(ordered) // 4
    return (ordered[-1 - quarter] - ordered[quarter]) / median(ordered)


def _ratios(measured: Measured) -> Iterator[tuple[str, float]]:
    for key, work in measured.items():
        if key.startswith("inside"):
            continue
        metric = "wall" if key == "overlap" else "first" if key.startswith("cold") else "cpu"
        ours, base = work.get("promptport"), work.get("python")
        for name, theirs in work.items():
            if ours and theirs and name not in ("promptport", "python"):
                yield f"{key} promptport:{name}", _ratio(ours, theirs, base, metric)
    for api in APIS:
        for key, whole in (("text", "long"), ("call", "long-call")):
            short, long = (measured.get(f"{api}/{name}", {}).get("promptport") for name in (key, whole))
            if short and long:
                yield f"{api}/{whole} promptport:{key}", _ratio(long, short, None, "cpu")
    yield from _inside_ratios(measured)


def _inside_ratios(measured: Measured) -> Iterator[tuple[str, float]]:
    for key in ("inside/1", "inside/16"):
        parts = measured.get(key, {})
        for part in ("observed", "dispatcher", "encoder"):
            if parts.get(part) and parts.get("stream"):
                yield f"{key} {part}:stream", _ratio(parts[part], parts["stream"], None, "cpu")
    few, many = (measured.get(f"inside/growth/{count}", {}) for count in COUNTS)
    for shape in SHAPES:
        if few.get(shape) and many.get(shape):
            yield f"inside/growth {shape} many:few", _ratio(many[shape], few[shape], None, "cpu")
    texts = list(measured.get("inside/text", {}).values())
    if len(texts) > 1 and all(texts):
        yield "inside/text longest:shortest", _ratio(texts[-1], texts[0], None, "cpu")


def _ratio(ours: Rounds, theirs: Rounds, base: Rounds | None, metric: str) -> float:
    bare = _cost(base, metric) if base else 0.0
    return (_cost(ours, metric) - bare) / (_cost(theirs, metric) - bare)


def compared(figures: Figures, committed: Figures) -> list[str]:
    """A line for each ratio that got worse by more than a fifth."""
    lines = []
    for name, value in figures.ratios.items():
        before = committed.ratios.get(name)
        if before is not None and value > before * _ALLOWED:
            lines.append(f"{name}: {value:.3f}, was {before:.3f} (+{value / before - 1:.0%})")
    return lines


# ------------------------------------------------------------------------------------------------ tables


def tables(figures: Figures) -> str:
    """Everything as Markdown."""
    parts = [*_burst_tables(figures), *_growth_table(figures), *_paced_tables(figures), *_other_tables(figures)]
    parts += _serving_tables(figures)
    return "\n\n".join(part for part in parts if part)


def _burst_tables(figures: Figures) -> Iterator[str]:
    for key, work in BURSTS.items():
        if key in ("long", "long-call"):
            continue
        columns = [api for api in (*APIS, *MORE_APIS) if f"{api}/{key}" in figures.costs]
        if columns:
            unit = "CPU µs a request" if work.whole else "CPU µs an event"
            yield f"**{work.title}** — {unit}; in brackets how many times as much as promptport\n\n" + _table(
                figures, key, columns
            )


def _table(figures: Figures, key: str, apis: list[str]) -> str:
    names = list(dict.fromkeys(name for api in apis for name in figures.costs[f"{api}/{key}"]))
    rows = [[_NAMES.get(name, name), *[_cell(figures, f"{api}/{key}", name) for api in apis]] for name in names]
    return _markdown(["", *[_NAMES[api] for api in apis]], rows)


def _cell(figures: Figures, key: str, name: str) -> str:
    work = figures.costs[key]
    if name not in work:
        return ""
    value = _number(work[name]["cpu"])
    ratio = figures.ratios.get(f"{key} promptport:{name}")
    return f"**{value}**" if name == "promptport" else f"{value} ({_number(1 / ratio)})" if ratio else value


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _growth_table(figures: Figures) -> Iterator[str]:
    rows = []
    for api in APIS:
        ratios = [figures.ratios.get(f"{api}/{long} promptport:{short}") for long, short in _GROWTH]
        if any(ratios):
            rows.append([_NAMES[api], *["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]])
    if rows:
        head = ["", "50,000 text deltas through 5,000", "20,000 argument deltas through 2,000"]
        yield (
            "**Growth** — promptport's cost of an event in a long answer, through that in a short one\n\n"
            + _markdown(head, rows)
        )
    few, many = (figures.costs.get(f"inside/growth/{count}", {}) for count in COUNTS)
    if few and many:
        rows = [[shape, *[f"{costs[shape]['cpu']:.2f}" for costs in (few, many)]] for shape in SHAPES]
        yield "**Growth by entries** — CPU µs an entry, in an answer of so many\n\n" + _markdown(
            ["", *[f"{count:,}" for count in COUNTS]], rows
        )


_GROWTH = (("long", "text"), ("long-call", "call"))


def _paced_tables(figures: Figures) -> Iterator[str]:
    for key, work in PACED.items():
        rows = []
        for api in APIS:
            for name, of in figures.costs.get(f"{api}/{key}", {}).items():
                cells = [_number(of["cpu"]), f"{of['p50']:.2f}", f"{of['p99']:.2f}", f"{of['memory']:.0f}"]
                rows.append([_NAMES[api], _NAMES.get(name, name), *cells])
        if rows:
            head = ["", "", "CPU µs an event", "added latency p50, ms", "p99, ms", "KB a stream"]
            yield f"**{work.title}**\n\n" + _markdown(head, rows)


def _other_tables(figures: Figures) -> Iterator[str]:
    imports = figures.costs.get("import", {})
    if "python" in imports:
        bare = imports["python"]
        rows = [
            [_NAMES.get(name, name), f"{of['cpu'] - bare['cpu']:.0f}", f"{of['memory'] - bare['memory']:.0f}"]
            for name, of in imports.items()
            if name != "python"
        ]
        yield "**Import** — over bare Python\n\n" + _markdown(["", "CPU ms", "MB"], rows)
    rows = [
        [_NAMES[api], _NAMES.get(name, name), f"{of['first'] / 1e3:.2f}"]
        for api in APIS
        for name, of in figures.costs.get(f"cold/{api}", {}).items()
    ]
    if rows:
        yield "**A new process** — to its first text\n\n" + _markdown(["", "", "seconds"], rows)
    rows = []
    for batch in (1, 16):
        parts = figures.costs.get(f"inside/{batch}", {})
        rows += [[f"{part}, {batch} a read", f"{of['cpu']:.2f}"] for part, of in parts.items()]
    if rows:
        yield (
            "**Inside** — frames that are there already: alone, through the dispatcher, to a front end\n\n"
            + _markdown(["", "CPU µs a frame"], rows)
        )
    encoders = figures.costs.get("inside/encoders", {})
    if encoders:
        rows = [
            ["events" if name == "encoder" else name, f"{of['cpu']:.2f}"]
            for name, of in encoders.items()
            if name != "stream"
        ]
        yield "**Encoders** — frames that are there already, 16 a read, through each encoder\n\n" + _markdown(
            ["", "CPU µs a frame"], rows
        )
    policies = figures.costs.get("inside/policies", {})
    if policies:
        rows = [[name.replace("_", " "), f"{of['cpu']:.1f}"] for name, of in policies.items()]
        yield "**Policies** — a request of 4 frames in one read, alone and through one policy\n\n" + _markdown(
            ["", "CPU µs a request"], rows
        )
    texts = figures.costs.get("inside/text", {})
    if texts:
        rows = [[name, f"{of['cpu']:.2f}"] for name, of in texts.items()]
        head = ["text for the parser of embedded calls, character by character", "CPU µs a character"]
        yield "**Calls in text** — every line begins as a marker does\n\n" + _markdown(head, rows)
    turns = figures.costs.get("overlap", {})
    if turns:
        rows = [[_NAMES.get(name, name), f"{of['wall'] / 1e3:.2f}"] for name, of in turns.items()]
        yield "**A tool of 1 s, called 35 ms into an answer whose text goes on for 1 s**\n\n" + _markdown(
            ["", "seconds for the turn"], rows
        )


def _serving_tables(figures: Figures) -> Iterator[str]:
    log = figures.costs.get("run_log", {})
    if log:
        names = {"append": "append, 16 frames a batch", "both": "write and read, 40 runs of 100 frames a second"}
        rows = [[names[name], f"{of['cpu']:.1f}"] for name, of in log.items()]
        yield "**Run log** — on Redis, CPU of promptport's side\n\n" + _markdown(["", "CPU µs a frame"], rows)
    for of in figures.costs.get("readers", {}).values():
        cells = [_number(of["cpu"]), _number(of["p50"]), _number(of["p99"])]
        row = ["promptport serve", *cells, f"{of['memory']:.0f}", f"{of['grown']:+.1f}"]
        head = ["", "CPU µs a delivery", "p50, ms", "p99, ms", "MB at a quarter", "MB more at three quarters"]
        yield (
            "**1,000 readers of 100 runs for a minute** — a text each second and run, 1,000 deliveries a second, one"
            " reader that reads nothing\n\n" + _markdown(head, [row])
        )
    served = figures.costs.get("serve", {})
    if served:
        names = {"promptport": "promptport serve", "litellm": "litellm's proxy"}
        rows = [
            [names[name], _number(of["cpu"]), f"{of['p50']:.2f}", f"{of['p99']:.2f}"] for name, of in served.items()
        ]
        head = ["", "CPU µs an event", "added latency p50, ms", "p99, ms"]
        yield "**Gateways** — 50 streams of Chat Completions, an event each 100 ms\n\n" + _markdown(head, rows)


def provenance(figures: Figures) -> str:
    """Where the figures come from."""
    lines = [f"- {figures.date}; {figures.machine}; {figures.rounds} rounds."]
    for name, versions in figures.versions.items():
        lines.append(f"- {_NAMES.get(name, name)}: " + ", ".join(f"{of} {version}" for of, version in versions.items()))
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------- files


def write_page(page: Path, chart: Path, figures: Figures) -> None:
    """Puts tables and chart where the page wants them."""
    text = page.read_text("utf-8")
    made = f"![CPU time of an event]({chart.name})\n\n{provenance(figures)}\n\n{tables(figures)}\n"
    pattern = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_FINISH), re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page} lacks the marks between which the figures go")
    page.write_text(pattern.sub(lambda _: f"{_BEGIN}\n{made}\n{_FINISH}", text), "utf-8")
    chart.write_text(_svg(figures) + "\n", "utf-8")


def _svg(figures: Figures) -> str:
    import pygal

    names = [name for name in ("floor", "promptport", "sdk", *SPEAKS) if any(_has(figures, api, name) for api in APIS)]
    style: Any = pygal.style.Style(background="white", font_family="sans-serif")
    chart = pygal.HorizontalBar(
        logarithmic=True,
        js=(),
        style=style,
        height=560,
        print_values=True,
        print_zeroes=False,
        value_formatter=lambda value: f"{value:.1f}",
        truncate_legend=-1,
        no_prefix=True,
        explicit_size=True,
        legend_at_bottom=True,
        disable_xml_declaration=True,
    )
    chart.title = "CPU µs an event, 5,000 text deltas, one a chunk (logarithmic)"
    chart.x_labels = [_NAMES.get(name, name) for name in reversed(names)]
    for api in APIS:
        values = [figures.costs[f"{api}/text"][name]["cpu"] if _has(figures, api, name) else None for name in names]
        chart.add(_NAMES[api], list(reversed(values)))
    svg: str = chart.render(is_unicode=True)
    return re.sub(r"<!--.*?-->", "", svg)


def _has(figures: Figures, api: str, name: str) -> bool:
    return name in figures.costs.get(f"{api}/text", {})
