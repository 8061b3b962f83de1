"""Importing this provider brings in no HTTP library and no SDK: they come with the first request."""

from __future__ import annotations

import json
import subprocess
import sys


def test_nothing_heavy_is_imported() -> None:
    code = "import json, sys, promptport_google._client; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    heavy = {"aiohttp", "cohere", "google", "httpx", "httpx2", "pydantic", "requests"}
    assert "promptport_google" in loaded
    assert loaded & heavy == set()
