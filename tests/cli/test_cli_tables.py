"""``promptport providers`` and ``capabilities``: all of them, a line each in 80 columns, and nothing heavy imported."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from promptport.cli.capability_tables import LETTERS
from promptport.models import Capability
from promptport.presets import names

PAGE = Path(__file__).parents[2] / "docs" / "capabilities.md"
HEAVY = (
    *("openai", "anthropic", "ollama", "cohere", "mistralai", "boto3", "botocore", "google.auth", "google.genai"),
    *("httpx", "httpx2", "aiohttp", "requests", "urllib3"),  # pydantic is typer's
)


async def printed(*arguments: str, columns: str = "80") -> str:
    """What the command says into a pipe, and that it imported nothing heavy."""
    code = (
        "import sys; from promptport.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: code = ended.code\n"
        "else: code = 0\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(heavy, code, file=sys.stderr)"
    )
    environment = {**os.environ, "COLUMNS": columns, "XDG_CONFIG_HOME": "/nowhere", "PROMPTPORT_PROVIDERS": ""}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await process.communicate()
    assert err.decode().splitlines()[-1] in ("[] 0", "[] None"), err.decode()
    return out.decode()


@pytest.mark.parametrize("arguments", [["providers"], ["capabilities"], ["capabilities", "groq"]], ids=" ".join)
async def test_a_table_fits_into_80_columns_and_imports_nothing_heavy(arguments: list[str]) -> None:
    out = await printed(*arguments)
    assert all(len(line) <= 80 for line in out.splitlines()), max(out.splitlines(), key=len)
    assert out == await printed(*arguments, columns="40")  # a pipe has no width


async def test_all_of_them_are_listed() -> None:
    providers, capabilities = await printed("providers"), await printed("capabilities")
    for name in [
        *names(),
        "openai",
        "openai-chat",
        "anthropic",
        "google",
        "google-vertex",
        "bedrock",
        "cohere",
        "ollama",
    ]:
        assert any(line.split()[:1] == [name] for line in providers.splitlines()), name
        assert any(line.split()[:1] == [f"{name}/*"] for line in capabilities.splitlines()), name


async def test_a_providers_models_are_listed() -> None:
    for provider, model in (
        ("groq", "openai/gpt-oss-20b"),
        ("google", "gemini-3.5-flash"),
        ("cohere", "command-a-vision"),
        ("anthropic", "claude-opus-5"),
    ):
        out = await printed("capabilities", provider)
        assert f"{provider}/{model}" in out
        assert "," in next(line for line in out.split(f"{provider}/{model}")[1].splitlines() if line)


def test_every_capability_has_a_letter_of_its_own() -> None:
    assert set(LETTERS) == set(Capability)
    assert len(set(LETTERS.values())) == len(LETTERS)


async def test_the_page_of_the_docs_is_what_the_command_writes() -> None:
    page = PAGE.read_text()
    assert page == await printed("capabilities", "--all", "--markdown"), (
        "write it anew: promptport capabilities --all --markdown > docs/capabilities.md"
    )
