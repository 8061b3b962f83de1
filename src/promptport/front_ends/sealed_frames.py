"""Seals on what is opaque in the frames of a chat, and what they are worth when they come back. Pure.

Rule: the origin of what comes back is what the seal says, and never what the client says.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from promptport.dispatch import DispatchFrame
from promptport.frames import InvalidToolCall, Reasoning, ToolCall
from promptport.front_ends.opaque import OpaqueSeal, Sealed
from promptport.messages import Origin

__all__ = ["opened", "sealed"]

_KEY = "promptport_seal"


def sealed(frame: DispatchFrame, origin: Origin | None, seal: OpaqueSeal) -> DispatchFrame:
    """The frame, with a seal beside what its provider wants back.

    Args:
        frame: Any frame.
        origin: The server that made it; nothing is sealed if nobody knows.
        seal: Closes it.
    """
    if isinstance(frame, Reasoning):
        text = frame.text
    elif isinstance(frame, ToolCall | InvalidToolCall):
        text = frame.id
    else:
        return frame
    if origin is None or frame.provider_data is None:
        return frame
    token = seal.close(Sealed(frame.provider_data, origin, text))
    return replace(frame, provider_data={**frame.provider_data, _KEY: token})


def opened(
    data: dict[str, Any] | None, told: Origin | None, text: str, seal: OpaqueSeal | None
) -> tuple[dict[str, Any] | None, Origin | None]:
    """The opaque data that a client brings back, and the server that it belongs to.

    Args:
        data: What the client sent.
        told: The origin that the client names, which counts only without a seal.
        text: The reasoning, or the id of the call, that it came with.
        seal: Opens what this server sealed.
    """
    if seal is None or data is None:
        return data, told
    known = seal.open(data.get(_KEY))
    if known is None or known.text != text:
        return {key: value for key, value in data.items() if key != _KEY}, None
    return known.data, known.origin
