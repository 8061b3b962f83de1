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
from promptport.testing.failure_words import Story

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


def with_cases(function: Any) -> Any:
    return pytest.mark.xfail(reason="later")(pytest.mark.parametrize("clock", ["idle"])(function))


@pytest.mark.parametrize(
    "override",
    [replaced, None, pytest.mark.xfail(reason="later")(lambda self: None), with_cases(lambda self, clock: None)],
    ids=["a test", "nothing", "an xfail", "an xfail with cases of its own"],
)
def test_a_check_cannot_be_replaced(override: Any) -> None:
    with pytest.raises(TypeError, match=f"TestIt.{CLOCKS}: a check of the kit cannot be overridden"):
        contract(**{CLOCKS: override})


def test_a_check_cannot_be_replaced_by_another_base() -> None:
    other = type("Other", (), {CLOCKS: replaced})
    with pytest.raises(TypeError, match="cannot be overridden"):
        type("TestIt", (other, ProviderContract), {})


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("the_three_clocks", "no clocks", r"several cases. Name one of them: the_three_clocks\[CASE\]"),
        ("the_three_clocks[]", "no clocks", "several cases"),
        ("the_three_clocks[*", "no clocks", "several cases"),
        ("a_closed_client_says_so[it]", "never", "has no cases. Write 'a_closed_client_says_so'"),
        ("the_thre_clocks[idle]", "no clocks", "no such check. Did you mean 'the_three_clocks'"),
        ("*", "all", "no such check"),
        ("the_three_clocks[idle]", "", "the reason is missing"),
        ("the_three_clocks[idle]", " ", "the reason is missing"),
    ],
)
def test_what_is_known_is_one_case_with_a_reason(name: str, reason: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        contract(known={name: reason})


KNOWN = """
from promptport_marmot import client
from promptport_marmot.conformance import MarmotContract

class TestFails(MarmotContract):
    known = {"rule_8_a_whole_answer_leaves_the_connection_usable": "it closes"}
    def make_client(self, base_url, timeouts):
        return client(base_url=base_url, api_key="k", timeouts=timeouts, headers={"connection": "close"})

class TestPasses(MarmotContract):
    known = {"the_three_clocks[idle]": "no clock"}
"""


def test_what_is_known_is_shown_and_strict(folder: Path) -> None:
    (folder / "tests" / "test_known.py").write_text(KNOWN)
    ran = pytest_run(folder, "tests/test_known.py", "-k", "leaves_the_connection_usable or three_clocks")
    assert ran.returncode == 1
    assert "TestFails: 3 passed, 0 failed, 1 xfailed" in ran.stdout, ran.stdout
    assert "TestPasses: 3 passed, 1 failed" in ran.stdout
    assert "[XPASS(strict)] no clock" in ran.stdout


def test_a_known_case_that_is_none_is_refused(folder: Path) -> None:
    known = 'known = {"the_three_clocks[lunch]": "no clock"}'
    (folder / "tests" / "test_known.py").write_text(
        f"from promptport_marmot.conformance import MarmotContract\n\nclass TestIt(MarmotContract):\n    {known}\n"
    )
    ran = pytest_run(folder, "tests/test_known.py")
    assert ran.returncode == 4
    assert "TestIt.known: no check has the case 'the_three_clocks[lunch]'" in ran.stdout + ran.stderr


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
    bench.story = Story()
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
