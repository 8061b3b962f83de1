"""A gateway between the benchmarks' client and provider: ``promptport serve``, and litellm's proxy.

Rule: both are started by their own command with their defaults and one process, over the same provider; the client is
the same floor, with and without them, so that what a gateway adds is the difference.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.request import urlopen

import psutil
from tests.benchmarks.environments import python_of
from tests.benchmarks.running import Client, Failed, Process, Server
from tests.benchmarks.wires import MODELS

__all__ = ["GATEWAYS", "added"]

STREAMS, EVENTS, PERIOD = 50, 60, 0.1
GATEWAYS = ("promptport", "litellm")
_MODEL = MODELS["chat"]


class Gateway(Process):
    """One of `GATEWAYS`, in front of a provider."""

    def __init__(self, name: str, provider: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.url = ""
        if name == "promptport":
            command = [python_of("promptport"), "-m", "promptport", "serve", "--port", "0"]
            command += ["--model", f"{_MODEL}=openai-chat/{_MODEL}", "--base-url", f"{provider}/v1"]
            super().__init__(*command, processors=())
            line = self.read(60)
            if "http://" not in line:
                raise Failed(f"promptport serve did not start: {self.last_words()}")
            self.url = line[line.index("http://") :].split()[0]
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        parameters = {"model": f"openai/{_MODEL}", "api_base": f"{provider}/v1", "api_key": "sk-none"}
        config = {
            "model_list": [{"model_name": _MODEL, "litellm_params": parameters}],
            "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},  # it listens on loopback
        }
        file = Path(self._folder.name) / "config.yaml"  # JSON is YAML
        file.write_text(json.dumps(config))
        code = "import sys; from litellm import run_server; sys.exit(run_server())"
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks a server for prices
        command = [python_of("litellm-proxy"), "-c", code, "--config", str(file), "--host", "127.0.0.1"]
        super().__init__(*command, "--port", str(port), "--telemetry", "False", processors=())
        self.url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while True:
            try:
                with urlopen(f"{self.url}/health/liveliness", timeout=2):
                    return
            except OSError:
                if time.monotonic() > until:
                    raise Failed(f"litellm's proxy did not start: {self.last_words()}") from None
                time.sleep(0.2)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._folder.cleanup()

    def cpu(self) -> float:
        """CPU seconds of the gateway so far, with its children."""
        process = psutil.Process(self.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


def added(name: str, *, small: bool) -> dict[str, float]:
    """What a gateway adds to each event of paced streams: CPU in µs, latency in ms.

    Provider and gateway are new each time: the provider waits until all streams are open, and a request of a gateway's
    own would be one of the next time's.

    Args:
        name: Of the gateway.
        small: A look at whether it works at all.
    """
    streams, events = (5, 10) if small else (STREAMS, EVENTS)
    with Server() as server:
        address = server.url("chat", "paced", events, period=PERIOD, streams=streams)
        asked = {"warm_url": server.url("chat", "text", 10), "streams": streams, "events": events}
        with Client("floor", "chat") as client:
            bare = client.ask("paced", within=90.0, url=address, **asked)
        with Gateway(name, address) as gateway:
            before = gateway.cpu()
            with Client("floor", "chat") as client:
                through = client.ask("paced", within=90.0, url=gateway.url, **asked)
            cpu = gateway.cpu() - before
    figures = {key: (through[key] - bare[key]) * 1e3 for key in ("p50", "p99")}
    return {"cpu": cpu / streams / events * 1e6, **figures}
