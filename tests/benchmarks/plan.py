"""What is measured, on whom, and in which order.

Rule: within a round everybody does the same work, one after the other, and the rounds follow each other, so that what
else the machine does hits all alike; only ratios of one run are worth comparing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

from tests.benchmarks.environments import ROOT, python_of
from tests.benchmarks.gateways import GATEWAYS, added
from tests.benchmarks.growth import COUNTS, SHAPES
from tests.benchmarks.peers import SPEAKS
from tests.benchmarks.running import Client, Failed, Redis, Result, Server, environment
from tests.benchmarks.wires import APIS, MORE_APIS

Rounds = list[dict[str, float]]
Measured = dict[str, dict[str, Rounds]]
"""What was measured → of whom → a dict of figures for each round: µs, ms, KB."""
Say = Callable[[str], None]

_CORE = ("floor", "promptport")
_SECONDS = 0.2
"""For so much CPU time a burst is repeated, at least; the fastest counts."""


@dataclass(frozen=True)
class Work:
    """One kind of answer.

    Attributes:
        title: for the tables.
        kind: what the deltas are; see `wires.pieces_of`.
        events: how many deltas an answer has.
        per_chunk: how many of them share an HTTP chunk.
        requests: how many answers are read for one figure.
        period: seconds between two events of a stream; 0 for as fast as they are read.
        streams: how many are open at once.
        apis: those that have such answers.
        everybody: the other libraries are measured too, and not only SDK and floors.
        sdk: the SDK is measured too.
        whole: the figure is of one request, not of one event.
    """

    title: str
    kind: str = "text"
    events: int = 5000
    per_chunk: int = 1
    requests: int = 1
    period: float = 0.0
    streams: int = 1
    apis: tuple[str, ...] = APIS
    everybody: bool = True
    sdk: bool = True
    whole: bool = False

    def small(self) -> Work:
        """The same, for a look at whether it works at all."""
        if self.kind == "paced":
            return replace(self, events=5, streams=self.streams // 20, period=0.02)
        return replace(self, events=max(1, self.events // 25), requests=max(1, self.requests // 10))


_WITH_DELTAS = ("chat", "responses", "anthropic")
BURSTS = {
    "text": Work("5,000 text deltas, one a chunk", apis=(*APIS, *MORE_APIS)),
    "text16": Work("5,000 text deltas, 16 a chunk", per_chunk=16),
    "call": Work("2,000 argument deltas, one a chunk", kind="call", events=2000, apis=(*_WITH_DELTAS, *MORE_APIS[1:])),
    "lone": Work("text deltas, one a millisecond: one a read", events=400, period=0.001, everybody=False),
    "huge": Work("one event of 4 MiB", kind="huge", events=1, requests=3, whole=True),
    "short": Work("a request of 64 events, connection reused", events=60, requests=20, whole=True),
    "long": Work("50,000 text deltas", events=50000, everybody=False, sdk=False),
    "long-call": Work(
        "20,000 argument deltas", kind="call", events=20000, apis=_WITH_DELTAS, everybody=False, sdk=False
    ),
}
PACED = {
    "200": Work("200 streams, an event each 50 ms", "paced", 60, period=0.05, streams=200),
    "1000": Work("1,000 streams, 5,000 events a second", "paced", 15, period=0.2, streams=1000, everybody=False),
}
GROUPS = (*APIS, *MORE_APIS, "paced", "import", "cold", "inside", "overlap", "run_log", "readers", "serve")
_COLD_PEERS = ("pydantic-ai", "any-llm")
_COLD_ROUNDS = 9
_LOOPS = {"promptport": "promptport", "pydantic-ai": "pydantic-ai", "openai-agents": "openai-agents"}


@dataclass(frozen=True)
class Plan:
    """What one run does.

    Attributes:
        groups: of `GROUPS`.
        rounds: how many figures of each.
        quick: small works.
        peers: the other libraries too, which uv installs.
        say: told what happens.
    """

    groups: tuple[str, ...]
    rounds: int
    quick: bool
    peers: bool
    say: Say

    def run(self) -> Measured:
        """Measures all of it."""
        measured: Measured = {}
        for api in (*APIS, *MORE_APIS):
            if api in self.groups:
                measured.update(self._bursts(api))
        if "paced" in self.groups:
            for api in APIS:
                measured.update(self._paced(api))
        if "import" in self.groups:
            measured["import"] = self._imports()
        if "cold" in self.groups:
            measured.update(self._cold())
        if "inside" in self.groups:
            measured.update(self._inside())
        if "overlap" in self.groups:
            measured["overlap"] = self._overlap()
        if "run_log" in self.groups:
            measured["run_log"] = self._run_log()
        if "readers" in self.groups:
            measured["readers"] = self._readers()
        if "serve" in self.groups:
            measured["serve"] = self._serve()
        return measured

    def _peers(self, api: str) -> list[str]:
        return [name for name, apis in SPEAKS.items() if api in apis] if self.peers else []

    # ------------------------------------------------------------------------------------------- bursts

    def _bursts(self, api: str) -> Iterator[tuple[str, dict[str, Rounds]]]:
        names = ["bytes", *_CORE, *(["promptport over httpx"] if api == "ollama" else []), "sdk", *self._peers(api)]
        with ExitStack() as stack:
            server = stack.enter_context(Server())
            clients = {name: stack.enter_context(Client(name, api)) for name in names}
            for key, work in BURSTS.items():
                if api in work.apis:
                    self.say(f"{api}: {work.title}")
                    yield f"{api}/{key}", self._burst(server, clients, api, work.small() if self.quick else work)

    def _burst(self, server: Server, clients: dict[str, Client], api: str, work: Work) -> dict[str, Rounds]:
        url = server.url(api, work.kind, work.events, per_chunk=work.per_chunk, period=work.period)
        per = 1 if work.whole else work.events
        peers = self._peers(api) if work.everybody else []
        names = [name for name in clients if name not in SPEAKS and (work.sdk or name != "sdk")] + peers

        def once(name: str) -> dict[str, float]:
            result = clients[name].ask(
                "burst",
                url=url,
                kind=work.kind,
                events=work.events,
                requests=work.requests,
                seconds=0.0 if self.quick else _SECONDS,
            )
            return {"cpu": result["cpu"] / per * 1e6}

        return self._alternating(names, once, warm=True)

    def _alternating(
        self, names: Iterable[str], once: Callable[[str], dict[str, float]], *, warm: bool, rounds: int = 0
    ) -> dict[str, Rounds]:
        """So many rounds, in each of which everybody has one turn; who fails once is left out."""
        results: dict[str, Rounds] = {name: [] for name in names}
        for number in range(-1 if warm else 0, rounds or self.rounds):
            for name in list(results):
                try:
                    figures = once(name)
                except Failed as failure:
                    self.say(f"  {name} failed: {failure}")
                    del results[name]
                else:
                    if number >= 0:
                        results[name].append(figures)
        return results

    # -------------------------------------------------------------------------------------------- paced

    def _paced(self, api: str) -> Iterator[tuple[str, dict[str, Rounds]]]:
        for key, full in PACED.items():
            self.say(f"{api}: {full.title}")
            work = full.small() if self.quick else full
            peers = self._peers(api) if work.everybody and api == "chat" else []
            once = partial(self._at_once, api=api, work=work)
            core = self._alternating(_CORE, once, warm=False)
            sdk = [] if api == "ollama" else ["sdk"]  # that SDK opens no more than 100 connections
            others = {} if self.quick else self._alternating([*sdk, *peers], once, warm=False, rounds=1)
            yield f"{api}/{key}", {**core, **others}

    @staticmethod
    def _at_once(name: str, *, api: str, work: Work) -> dict[str, float]:
        """In a process that is new, so that what the streams hold can be seen."""
        with Server() as server, Client(name, api) as client:
            result = client.ask(
                "paced",
                within=90.0,
                url=server.url(api, work.kind, work.events, period=work.period, streams=work.streams),
                warm_url=server.url(api, "text", 10),
                streams=work.streams,
                events=work.events,
            )
        return {
            "cpu": result["cpu"] / work.streams / work.events * 1e6,
            "p50": result["p50"] * 1e3,
            "p99": result["p99"] * 1e3,
            "memory": result["memory"] / 1024,
        }

    # ------------------------------------------------------------------------------------------- import

    def _imports(self) -> dict[str, Rounds]:
        self.say("imports")
        modules = {"python": "sys", "promptport": "promptport", "aiohttp": "aiohttp", "openai": "openai"}
        modules |= {"anthropic": "anthropic", "ollama": "ollama"}
        if self.peers:
            modules |= {"pydantic-ai": "pydantic_ai", "langchain": "langchain_openai", "litellm": "litellm"}
            modules |= {"any-llm": "any_llm"}
        return self._alternating(modules, lambda name: _imported(name, modules[name]), warm=True)

    # --------------------------------------------------------------------------------------------- cold

    def _cold(self) -> Iterator[tuple[str, dict[str, Rounds]]]:
        """Each time in a new process; a round more than is counted, which fills the caches of files."""
        rounds = 2 if self.quick else max(_COLD_ROUNDS, self.rounds)
        with Server() as server:
            for api in APIS:
                self.say(f"{api}: a new process to its first text")
                names = [*_CORE, "sdk", *[name for name in self._peers(api) if name in _COLD_PEERS]]
                once = partial(_first_text, api=api, url=server.url(api, "text", 10))
                yield f"cold/{api}", self._alternating(names, once, warm=True, rounds=rounds)

    # ------------------------------------------------------------------------------------------- inside

    def _inside(self) -> Iterator[tuple[str, dict[str, Rounds]]]:
        self.say("inside: dispatcher, encoder, observer, policies, text parser, growth")
        frames = 2000 if self.quick else 20000
        sizes = (1, 2, 4) if self.quick else (256, 512, 1024)
        with Client("promptport", module="inside") as client:

            def cost(part: str, count: int, batch: int) -> dict[str, float]:
                return {"cpu": client.ask(part, count=count, batch=batch)["cpu"] / count * 1e6}

            for batch in (1, 16):
                once = partial(cost, count=frames, batch=batch)
                yield (
                    f"inside/{batch}",
                    self._alternating(["stream", "observed", "dispatcher", "encoder"], once, warm=True),
                )
            encoders = ["stream", "encoder", "ui_messages", "ag_ui", "openai_chat", "openai_responses"]
            encoders.append("anthropic_messages")
            yield "inside/encoders", self._alternating(encoders, partial(cost, count=frames, batch=16), warm=True)
            policies = ["requests", "retrying", "falling_back", "limited", "limited_requests", "limited_tokens"]
            policies += ["hedged", "budgeted", "cache_hits", "cache_misses", "observed_requests", "routed"]
            yield "inside/policies", self._alternating(policies, partial(cost, count=frames // 10, batch=4), warm=True)
            parsers = {f"{size} KB": size * 1024 for size in sizes}
            yield (
                "inside/text",
                self._alternating(parsers, lambda name: cost("text_parser", parsers[name], 1), warm=False, rounds=3),
            )
            for size in COUNTS:
                count = size // 25 if self.quick else size
                once = partial(cost, count=count, batch=1)
                yield f"inside/growth/{size}", self._alternating(SHAPES, once, warm=True, rounds=min(3, self.rounds))

    # ------------------------------------------------------------------------------------------ overlap

    def _overlap(self) -> dict[str, Rounds]:
        self.say("overlap: text that goes on while the tool runs")
        seconds = 0.1 if self.quick else 1.0
        names = list(_LOOPS) if self.peers else ["promptport"]
        with ExitStack() as stack:
            server = stack.enter_context(Server())
            url = server.url("responses", "overlap", 0, period=seconds / 25)
            clients = {name: stack.enter_context(Client(name, module="overlap")) for name in names}

            def once(name: str) -> dict[str, float]:
                result: Result = clients[name].ask("turn", url=url, seconds=seconds)
                return {"wall": result["wall"] * 1e3}

            return self._alternating(names, once, warm=True, rounds=min(3, self.rounds))

    # ------------------------------------------------------------------------------- run log, serve

    def _run_log(self) -> dict[str, Rounds]:
        self.say("run_log: frames into a Redis, and out of it")
        with ExitStack() as stack:
            try:
                redis = stack.enter_context(Redis())
            except Failed as failure:
                self.say(f"  left out: {failure}")
                return {}
            client = stack.enter_context(Client("promptport", redis.url, module="logs"))
            counts = {"append": 16 * (40 if self.quick else 1000), "both": 40 * (20 if self.quick else 500)}

            def once(name: str) -> dict[str, float]:
                return {"cpu": client.ask(name, count=counts[name])["cpu"] / counts[name] * 1e6}

            return self._alternating(counts, once, warm=True, rounds=min(3, self.rounds))

    def _readers(self) -> dict[str, Rounds]:
        self.say("readers: 1,000 of 100 runs for a minute")
        much: dict[str, float] = {"runs": 100, "readers": 10, "seconds": 60.0, "period": 1.0}
        if self.quick:
            much = {"runs": 5, "readers": 4, "seconds": 4.0, "period": 0.2}

        def once(name: str) -> dict[str, float]:
            with Client(name, module="readers") as client:
                return {key: float(value) for key, value in client.ask("read", within=300.0, **much).items()}

        return self._alternating(["promptport"], once, warm=False, rounds=1)

    def _serve(self) -> dict[str, Rounds]:
        self.say("serve: what a gateway adds to each event")
        names = GATEWAYS if self.peers else GATEWAYS[:1]
        return self._alternating(names, partial(added, small=self.quick), warm=False, rounds=min(3, self.rounds))


def _first_text(name: str, *, api: str, url: str) -> dict[str, float]:
    """Milliseconds from the start of a process until its first text."""
    command = [python_of(name), "-m", "tests.benchmarks.cold", name, api, url]
    began = perf_counter()
    process = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=False, timeout=120)
    took = perf_counter() - began
    if process.stdout != b"first\n":
        raise Failed(process.stderr.decode(errors="replace")[-500:])
    return {"first": took * 1e3}


def _imported(name: str, module: str) -> dict[str, float]:
    """CPU milliseconds of a process that imports one module, and the megabytes that it holds then."""
    code = f"import {module}\nwith open('/proc/self/statm') as file: print(file.read())"
    process = subprocess.Popen(
        [python_of(name), "-c", code],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"import {module} failed")
    return {"cpu": (usage.ru_utime + usage.ru_stime) * 1e3, "memory": int(said[-6]) * os.sysconf("SC_PAGESIZE") / 2**20}
