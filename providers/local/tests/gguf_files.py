"""Writes GGUF files: real headers, and no model behind them."""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["gguf", "write_gguf"]

_CODES = {"u8": (0, "<B"), "u32": (4, "<I"), "f32": (6, "<f"), "bool": (7, "<?"), "u64": (10, "<Q")}


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(*pairs: tuple[str, str, object], version: int = 3) -> bytes:
    """A header with these keys: name, kind (``text``, ``texts``, ``u8s`` or a number's), value."""
    out = b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs))
    for name, kind, value in pairs:
        out += _text(name)
        if kind == "text":
            out += struct.pack("<I", 8) + _text(str(value))
        elif kind == "texts":
            assert isinstance(value, list)
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join([_text(item) for item in value])
        elif kind == "u8s":
            assert isinstance(value, bytes)
            out += struct.pack("<IIQ", 9, 0, len(value)) + value
        else:
            code, form = _CODES[kind]
            out += struct.pack("<I", code) + struct.pack(form, value)
    return out


def write_gguf(path: Path, *, template: str = "{{ messages }}", context_length: int = 2048) -> Path:
    """A file whose header is whole, and which llama.cpp cannot load."""
    path.write_bytes(
        gguf(
            ("general.architecture", "text", "llama"),
            ("llama.context_length", "u32", context_length),
            ("tokenizer.ggml.tokens", "texts", ["a", "b", "été"]),
            ("tokenizer.ggml.token_type", "u8s", bytes(100)),
            ("general.flag", "bool", True),
            ("tokenizer.chat_template", "text", template),
        )
    )
    return path
