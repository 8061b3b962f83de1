# mypy: ignore-errors
"""No bugs."""

from tests.testing.kit_bugs.lab import Good, HandMade, streaming


class TestGood(Good):
    """The checks that find the bugs, on the good provider."""


class TestHandMade(Good):
    """All checks, on a stream that is no `FrameStream`."""

    client = streaming(HandMade)
