"""Bytes in, wire events out; pure. Each decoder is a `promptport.decoder.WireDecoder`."""

from promptport.wire.ndjson import NDJSONDecoder
from promptport.wire.sse import SSEDecoder

__all__ = ["NDJSONDecoder", "SSEDecoder"]
