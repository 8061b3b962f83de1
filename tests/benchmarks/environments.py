"""Where a contender runs: this interpreter's own environment, or one of its own, made by uv when first needed.

Rule: the other libraries pin SDKs that exclude one another, so none of them is installed beside another, or here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_FOLDER = ROOT / ".benchmarks"

_REQUIREMENTS = {
    "pydantic-ai": ["pydantic-ai-slim[anthropic,openai]>=2.60,<3"],
    "langchain": ["langchain-anthropic>=1.7,<2", "langchain-ollama>=1.1,<2", "langchain-openai>=1.7,<2"],
    "litellm": ["litellm>=1.100,<2", "mcp>=2.3,<3"],
    "litellm-proxy": ["litellm[proxy]>=1.100,<2"],
    "any-llm": ["any-llm-sdk[anthropic,ollama,openai]>=1.40,<2"],
    "openai-agents": ["openai-agents>=0.20,<1"],
}
_OURS = ["aiohttp", "anthropic", "msgspec", "ollama", "openai"]
_MEASURING = "psutil>=6,<8"


def python_of(contender: str) -> str:
    """The interpreter that has this contender."""
    requirements = _REQUIREMENTS.get(contender)
    if requirements is None:
        return sys.executable
    wanted = [*requirements, _MEASURING]
    digest = hashlib.sha256(repr((sys.version, wanted)).encode()).hexdigest()[:12]
    folder = _FOLDER / f"{contender}-{digest}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        uv = os.environ.get("UV") or shutil.which("uv")
        if uv is None:
            raise SystemExit("uv is needed to install the other libraries: run this with 'uv run', or with --no-peers")
        # Without our configuration, whose constraints are for our own environment.
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--no-config", "--quiet", "--python", str(python), *wanted], check=True)
        complete.touch()
    return str(python)


def versions_of(contender: str) -> dict[str, str]:
    """The versions of what this contender runs on."""
    names = [requirement.split(">")[0].split("[")[0] for requirement in _REQUIREMENTS.get(contender, _OURS)]
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [python_of(contender), "-c", code, *names]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(names, found, strict=True))
