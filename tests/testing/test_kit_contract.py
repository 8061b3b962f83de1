"""The kit's own rules: what a contract class may not do, what is counted, and what the plug-in does with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from tests.testing.guide import install_guide

from promptport.errors import ProtocolError
from promptport.frames import Append
from promptport.testing.bench import Bench
from promptport.testing.contract import ProviderContract

CLOCKS = "test_the_three_clocks"
CLOSED = "test_a_closed_client_says_so"
HOLLOW = "tests/test_hollow.py::TestHollow"
NOTHING = """
from promptport_marmot.conformance import MarmotContract

class TestMarmot(MarmotContract):
    pass

class TestHollow(MarmotContract):
    def encode(self, steps):
        return None
"""


# ------------------------------------------------------------------------------------------- overriding


def contract(**attributes: Any) -> type[ProviderContract]:
    return type("TestIt", (ProviderContract,), attributes)


def replaced(self: Any, clock: str) -> None:
    raise NotImplementedError


@pytest.mark.parametrize(
    "override",
    [replaced, None, pytest.mark.xfail(lambda self: None), pytest.mark.xfail(reason="")(lambda self: None)],
    ids=["a test", "nothing", "an xfail without a reason", "an xfail with an empty reason"],
)
def test_a_check_cannot_be_replaced(override: Any) -> None:
    with pytest.raises(TypeError, match=f"TestIt.{CLOCKS}: override it"):
        contract(**{CLOCKS: override})


def test_the_kits_own_function_cannot_be_marked() -> None:
    with pytest.raises(TypeError, match="new function"):
        contract(**{CLOCKS: ProviderContract.test_the_three_clocks})


def test_an_xfail_with_a_reason_has_the_parameters_of_the_check() -> None:
    def later(self: Any, clock: str) -> None:
        raise NotImplementedError

    contract(**{CLOCKS: pytest.mark.xfail(reason="it has no clocks")(later)})
    marks = {mark.name: mark for mark in later.pytestmark}  # type: ignore[attr-defined]
    assert set(marks) == {"xfail", "parametrize"}
    assert marks["parametrize"].args[0] == "clock"
    assert not [mark for mark in ProviderContract.test_the_three_clocks.pytestmark if mark.name == "xfail"]  # type: ignore[attr-defined]


def test_the_floor_cannot_be_lowered() -> None:
    with pytest.raises(TypeError, match="cannot be less than"):
        contract(floor=ProviderContract.floor - 1)
    assert contract(floor=ProviderContract.floor + 1)


def test_a_class_may_have_tests_of_its_own() -> None:
    assert contract(test_mine=lambda self: None)


# --------------------------------------------------------------------------------------------- counting


def bench() -> Bench:
    bench = Bench.__new__(Bench)
    bench.scenarios = bench.frames = 0
    return bench


def test_an_answer_without_frames_or_an_error_fails() -> None:
    counted = bench()
    counted.played([Append("Hello")])
    counted.played([], ProtocolError("broken"))
    with pytest.raises(AssertionError, match="gave no frames"):
        counted.played([])
    assert (counted.scenarios, counted.frames) == (3, 1)


# -------------------------------------------------------------------------------------------- the plug-in


def pytest_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "promptport.testing.plugin", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    install_guide(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests" / "test_hollow.py").write_text(NOTHING)
    (tmp_path / "tests" / "test_other.py").write_text("def test_other():\n    pass\n")
    return tmp_path


def test_a_run_below_the_floor_fails_though_nothing_failed(folder: Path) -> None:
    ran = pytest_run(folder, HOLLOW)
    assert ran.returncode == 1, ran.stdout
    assert "promptport conformance" in ran.stdout
    assert "tests/test_hollow.py::TestHollow: " in ran.stdout
    assert "0 failed" in ran.stdout
    assert "ran, and the floor is 160" in ran.stdout


@pytest.mark.parametrize(
    "selection",
    [[HOLLOW, "-k", "rule_7"], [f"{HOLLOW}::{CLOSED}"], [HOLLOW, "--deselect", f"{HOLLOW}::{CLOSED}"]],
    ids=["by words", "by id", "all but one"],
)
def test_a_part_of_the_checks_has_no_floor(folder: Path, selection: list[str]) -> None:
    ran = pytest_run(folder, *selection)
    assert ran.returncode == 0, ran.stdout
    assert "promptport conformance" in ran.stdout
    assert "floor" not in ran.stdout


def test_the_summary_counts(folder: Path) -> None:
    ran = pytest_run(folder, "tests/test_hollow.py::TestMarmot", "-k", "rule_7 or finish_reasons")
    assert ran.returncode == 0, ran.stdout
    assert "TestMarmot: 5 passed, 1 n/a, 0 failed; 6 scenarios, 12 frames" in ran.stdout


def test_without_a_contract_nothing_is_said(folder: Path) -> None:
    ran = pytest_run(folder, "tests/test_other.py")
    assert ran.returncode == 0
    assert "promptport" not in ran.stdout


ASYNC_TESTS = """
import pytest
from promptport_marmot.conformance import MarmotContract

@pytest.fixture
def number():
    return 7

class TestAsync(MarmotContract):
    async def test_passes(self, number):
        assert self.bench is not None and number == 7

    @pytest.mark.parametrize("wanted", [7, 8])
    async def test_compares(self, number, wanted):
        assert number == wanted
"""


@pytest.mark.parametrize(
    "plug_in",
    [
        (),
        ("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=strict"),
        ("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"),
        ("-p", "anyio.pytest_plugin"),
    ],
    ids=["none", "pytest-asyncio, strict", "pytest-asyncio, auto", "anyio"],
)
def test_async_tests_of_a_contract_class_run_with_whatever_plug_in_there_is(
    folder: Path, plug_in: tuple[str, ...]
) -> None:
    (folder / "tests" / "test_async.py").write_text(ASYNC_TESTS)
    ran = pytest_run(folder, "tests/test_async.py", "-k", "test_passes or test_compares", *plug_in)
    assert "2 passed, 1 failed" in ran.stdout, ran.stdout
    assert "test_compares[8] - assert 7 == 8" in ran.stdout


def test_an_async_test_outside_a_contract_class_is_left_to_others(folder: Path) -> None:
    (folder / "tests" / "test_async.py").write_text("async def test_it():\n    assert False, 'it ran'\n")
    ran = pytest_run(folder, "tests/test_async.py")
    assert "it ran" not in ran.stdout
    assert "async def functions are not natively supported" in ran.stdout


def test_the_extra_brings_no_plug_in_that_nobody_asked_for() -> None:
    wanted = [name for name in requires("promptport") or () if "extra == 'testing'" in name.replace('"', "'")]
    assert [re.split(r"[<>=;, ]", name)[0] for name in wanted] == ["pytest"]


def test_the_plug_in_is_cheap_to_import() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import promptport.testing.plugin\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}), sep=' ')\n"
        "print([name for name in sys.modules if name.startswith('promptport.testing.')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    roots, own = ran.stdout.splitlines()
    assert not {"httpx", "pydantic", "pytest_asyncio", "openai", "anthropic"} & set(roots.split())
    assert own == "['promptport.testing.plugin']"
