"""What a tool may give: each kind of value reaches the model as it is, or is refused in words."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import io
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import promptport as pp
from promptport.testing import ScriptedExecutor


class BytesEnum(enum.Enum):
    A = b"x"


@dataclass
class HoldsBytes:
    data: bytes = b"x"


@dataclass
class HoldsText:
    text: str = "x"


class ModelOfBytes(BaseModel):
    data: bytes = b"\xff\xfe"


async def outcome_of(given: pp.Tool[Any]) -> pp.ToolResult:
    executor = ScriptedExecutor([pp.ToolCall("c", given.name, "{}")], ["Done."])
    async with pp.ToolDispatcher(executor, [given]) as dispatcher:
        async with dispatcher.stream("Go.", "scripted/m") as stream:
            await stream.message()
    return stream.outcomes[0].result


def giving(value: Any) -> pp.Tool[Any]:
    def give() -> Any:
        return value

    return pp.tool(give)


@pytest.mark.parametrize(
    "value",
    [
        {b"x"},
        {b"x": 1},
        {"a": [{b"x": None}]},
        [bytearray(b"x")],
        {"a": (memoryview(b"x"),)},
        HoldsBytes(),
        [HoldsBytes()],
        BytesEnum.A,
        [BytesEnum.A],
        [ModelOfBytes()],
        {"a": pp.ImagePart(data=b"x", media_type="image/png")},
    ],
)
async def test_bytes_anywhere_are_refused_and_never_base64(value: Any) -> None:
    result = await outcome_of(giving(value))
    assert "the tool gave bytes" in str(result.error)
    assert "ImagePart(data=" in str(result.error)


async def test_bytes_are_no_progress_either() -> None:
    @pp.tool
    async def show() -> AsyncIterator[Any]:
        yield {"a": b"x"}
        yield "done"

    assert "the tool gave bytes" in str((await outcome_of(show)).error)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1}, [1]),
        (frozenset(), []),
        (decimal.Decimal("1.10"), "1.10"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ({datetime.date(2026, 1, 2): uuid.UUID(int=1)}, {"2026-01-02": str(uuid.UUID(int=1))}),
        (HoldsText(), {"text": "x"}),
        ([collections.Counter("aab")], [{"a": 2, "b": 1}]),
        (2**70, 2**70),
        (["half \ud83d of a pair"], ["half \ufffd of a pair"]),
        ({"\ud83d": "\ud83d\ude00"}, {"\ufffd": "\U0001f600"}),
    ],
)
async def test_values_that_are_json(value: Any, expected: Any) -> None:
    result = await outcome_of(giving(value))
    assert result.error is None
    assert result.json
    assert json.loads(str(result.output)) == expected


ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (ITSELF, "holds itself"),
        ((number for number in (1, 2)), "type generator, which is not JSON"),
        (map(str, [1]), "type map"),
        (range(3), "type range"),
        ({(1, 2): 3}, "type tuple"),
        (io.BytesIO(b"x"), "type _io.BytesIO"),
        (ValueError("x"), "type ValueError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_values_that_are_no_json_are_refused_in_words(value: Any, says: str) -> None:
    assert says in str((await outcome_of(giving(value))).error)


async def test_values_of_numpy_are_refused_by_their_own_names() -> None:
    np = pytest.importorskip("numpy")
    for value in (np.array([1]), [np.int64(1)], {"a": np.float64(1)}, np.bool_(True)):
        assert "type numpy." in str((await outcome_of(giving(value))).error)
