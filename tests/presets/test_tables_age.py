"""Tables of capabilities say where their facts stand and when they were looked up, and are not older than six months.

In CI an old table is a warning, for no build breaks because a day passed; ``pytest --release`` makes it an error.
"""

from __future__ import annotations

import datetime
import re
import tomllib
import warnings
from pathlib import Path

import pytest

from promptport.presets import preset, table

PROVIDERS = Path(__file__).parents[2] / "providers"
WITHOUT_TABLE = {"local", "ollama"}  # their servers, or their weights, tell what a model can do
DAYS = 183


def dates() -> dict[str, datetime.date]:
    """The day of each table; of a preset, the older of the two that it has."""
    found: dict[str, datetime.date] = {}
    for path in sorted(PROVIDERS.glob("*/src/*/_models.py")):
        told = re.search(r'^CHECKED(?:_ON)? = "(\d{4}-\d\d-\d\d)"$', path.read_text(), re.MULTILINE)
        name = path.parents[2].name
        assert (told is None) == (name in WITHOUT_TABLE), f"{path}: write CHECKED = the day of its sources"
        if told is not None:
            found[name] = datetime.date.fromisoformat(told[1])
    for name in tomllib.loads(table.BUILT_IN.read_text()):
        row = preset(name)
        days = [row.checked, *([row.models_checked] if row.models_checked else [])]
        found[f"presets.toml [{name}]"] = min(map(datetime.date.fromisoformat, days))
    return found


def old_tables(today: datetime.date) -> list[str]:
    return [f"{name} ({day})" for name, day in dates().items() if today - day > datetime.timedelta(days=DAYS)]


def test_no_table_is_older_than_six_months(pytestconfig: pytest.Config) -> None:
    old = old_tables(datetime.date.today())
    if old and pytestconfig.getoption("release"):
        raise AssertionError(f"look these tables up again before a release, and write the day: {', '.join(old)}")
    if old:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(f"tables of capabilities are older than six months: {', '.join(old)}", stacklevel=1)


def test_an_old_table_is_found() -> None:
    found = dates()
    newest, oldest = max(found.values()), min(found.values())
    assert old_tables(oldest) == []
    assert len(old_tables(newest + datetime.timedelta(days=DAYS + 1))) == len(found)
    assert len(old_tables(oldest + datetime.timedelta(days=DAYS + 1))) > 0
    assert max(found.values()) <= datetime.date.today() + datetime.timedelta(days=1)


def test_every_row_names_its_sources() -> None:
    for name in tomllib.loads(table.BUILT_IN.read_text()):
        row = preset(name)
        assert row.page.startswith("https://")
        assert bool(row.models_page) == bool(row.models_checked)
