# mypy: ignore-errors
"""No bugs."""

from tests.kit_bugs.lab import Good, HandMade, streaming

from promptport_bedrock.conformance import ConverseContract


class TestGood(Good):
    """The checks that find the bugs, on the good provider."""


class TestBedrock(ConverseContract):
    """For the bugs in how binary frames are read."""


class TestHandMade(Good):
    """All checks, on a stream that is no `FrameStream`."""

    client = streaming(HandMade)
