"""Which addresses are AWS's own, and which region they are in."""

from __future__ import annotations

from promptport.http.aws_signing import is_aws, region_of


def test_addresses_of_aws_and_their_regions() -> None:
    url = "https://vpce-1.bedrock-runtime.eu-central-1.vpce.amazonaws.com"
    assert is_aws(url)
    assert region_of(None, url, None, provider="bedrock") == "eu-central-1"
    assert is_aws("https://bedrock-runtime.cn-north-1.amazonaws.com.cn")
    for other in (
        "https://amazonaws.com.example.com",
        "http://bedrock-runtime.us-east-1.amazonaws.com",
        "https://x.com",
    ):
        assert not is_aws(other)
    assert not is_aws("https://bedrock-runtime.us-east-1.amazonaws.com@example.com/")
