"""A real part that is missing is skipped on a person's machine, and fails where it is required."""

from __future__ import annotations

import pytest
from tests.real_parts import need


def test_a_program_that_is_there_is_found() -> None:
    assert need("python3").endswith("python3")


def test_a_missing_part_is_skipped_with_a_word_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMPTPORT_REAL_PARTS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-program"):
        need("no-such-program")


def test_a_missing_part_fails_where_real_parts_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTPORT_REAL_PARTS", "required")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        need("no-such-program")
