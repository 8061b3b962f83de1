"""The contract, for Bedrock's Converse and ConverseStream."""

from promptport_bedrock.conformance import ConverseContract


class TestBedrock(ConverseContract):
    pass
