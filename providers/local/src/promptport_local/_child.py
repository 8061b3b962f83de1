"""The process in which llama.cpp runs: a script that imports nothing of promptport's.

Rule: it runs as long as its standard input is open, and so never longer than the process that started it. It reads one
line of JSON, what to load, and writes one: where it listens, or why it cannot. The key comes that way too, and so
stands in no list of processes.

It is another process because llama.cpp's binding holds Python's lock while it loads, and ends only when it has
answered whatever is under way.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Loads, says so, and serves until standard input ends."""
    wanted = json.loads(sys.stdin.readline())
    sys.path.insert(0, wanted["path"])
    out = sys.stdout
    try:
        import xllamacpp  # noqa: PLC0415 - its place came just now

        params = _params(xllamacpp.CommonParams(), wanted)
        if "grammar" in wanted:
            kind = xllamacpp.common_grammar_type.COMMON_GRAMMAR_TYPE_USER
            params.sampling.grammar = xllamacpp.CommonGrammar(kind, wanted["grammar"])
        server = xllamacpp.Server(params)
        told = {"address": str(server.listening_address)}
    except Exception as error:
        told = {"error": f"{type(error).__name__}: {error}"}
    out.write(json.dumps(told) + "\n")
    out.flush()
    if "error" not in told:
        sys.stdin.read()
    os._exit(0)  # waits for nothing


def _params(params: Any, wanted: dict[str, Any]) -> Any:
    params.model.path = wanted["model"]
    params.model_alias = {wanted["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [wanted["api_key"]]
    params.ui = False
    params.verbosity = wanted["verbosity"]
    params.n_ctx = wanted["context"] * wanted["parallel"]
    params.n_parallel = wanted["parallel"]
    params.n_batch = params.n_ubatch = wanted["batch_size"]
    params.cache_ram_mib = wanted["prompt_cache"]
    params.cache_idle_slots = bool(wanted["prompt_cache"])
    params.cpuparams.n_threads = wanted["threads"]
    params.cpuparams_batch.n_threads = wanted["threads"]
    params.warmup = False  # the first answer reads the weights as well
    params.n_predict = wanted["longest"]  # if the request does not say: small models do not find an end
    if wanted["chat_template"]:
        params.chat_template = wanted["chat_template"]
    if wanted["temperature"] is not None:
        params.sampling.temp = wanted["temperature"]
    if wanted["top_p"] is not None:
        params.sampling.top_p = wanted["top_p"]
    return params


if __name__ == "__main__":
    main()
