"""`AWSAccess`: which address of AWS is asked, in which region, and who asks: by a key, or by a signature.

Rules: an option goes before a variable. Credentials and keys of the environment go to addresses of AWS only; others are
sent what the program itself passed. Nothing is looked up before the first request, but the region of a profile.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from promptport.errors import ConfigurationError
from promptport.http.addresses import check_base_url, is_loopback
from promptport.http.aws_signing import Signer, is_aws, region_of
from promptport.http.keys import APIKey
from promptport.http.request import HTTPRequest

__all__ = ["AWSAccess"]

_KEY = "AWS_BEARER_TOKEN_BEDROCK"
_ADDRESSES = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL")
_RUNTIME, _CONTROL = "://bedrock-runtime", "://bedrock"


class AWSAccess:
    """The Bedrock runtime of one region, for one who asks.

    Attributes:
        url: The address that is asked.
        key: The bearer key, or a function that gives one; ``None`` where requests are signed.

    Examples:
        ```python
        from promptport.provider import AWSAccess

        access = AWSAccess(provider="my-bedrock", region="us-east-1", access_key="AKID", secret_key="…")
        # in a client's _prepare(request): await access.prepare(request)
        ```
    """

    def __init__(
        self,
        *,
        provider: str,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        profile: str | None = None,
        api_key: APIKey | None = None,
        base_url: str | None = None,
        url_variables: Sequence[str] = _ADDRESSES,
    ) -> None:
        """Args:
        provider: For the errors.
        region: Default: the region in ``base_url``, ``AWS_REGION``, ``AWS_DEFAULT_REGION`` or the profile.
        access_key: An access key's id. Default: what botocore finds (environment, profile, SSO, roles).
        secret_key: The secret of ``access_key``.
        session_token: The token of temporary credentials.
        profile: A profile of ``~/.aws``.
        api_key: A Bedrock API key. Default, for an address of AWS: ``AWS_BEARER_TOKEN_BEDROCK``.
        base_url: Default: the first of ``url_variables`` that is set, or the region's own address.
        url_variables: Environment variables of the address.

        Raises:
            ConfigurationError: No region, credentials that contradict each other or that may not go to ``base_url``,
                or an address that cannot be used.
        """
        if bool(access_key) != bool(secret_key) or (session_token and not access_key):
            text = "pass access_key and secret_key together, and session_token with them."
            raise ConfigurationError(f"{provider}: {text}")
        ways = {"access_key": access_key, "profile": profile, "api_key": api_key}
        given = [name for name, value in ways.items() if value]
        if len(given) > 1:
            raise ConfigurationError(f"{provider}: {' and '.join(given)} exclude each other. Pass one of them.")
        url = base_url or next((os.environ[name] for name in url_variables if os.environ.get(name)), None)
        if url is not None:
            url = check_base_url(url, provider=provider)
        passed, aws = bool(access_key or profile), url is None or is_aws(url)
        self.key = api_key if api_key is not None or passed or not aws else os.environ.get(_KEY)
        if self.key is None or url is None:
            region = region_of(region, url, profile, provider=provider)
            if region is None:
                raise ConfigurationError(f"{provider}: no AWS region. Pass region='us-east-1', or set AWS_REGION.")
        if self.key is None and not passed and not aws:
            raise ConfigurationError(
                f"{provider}: credentials of the environment go to addresses of AWS only. Pass access_key and"
                " secret_key, profile or api_key for this base_url."
            )
        if url is None:
            suffix = ".cn" if str(region).startswith("cn-") else ""
            url = f"https://bedrock-runtime.{region}.amazonaws.com{suffix}"
        if self.key is not None and url.startswith("http://") and not is_loopback(url):
            raise ConfigurationError(f"{provider}: an API key goes over https only. Write the base_url with https://.")
        self.url: str = url
        self._signer = None
        if self.key is None:
            self._signer = Signer(
                str(region),
                provider=provider,
                access_key=access_key,
                secret_key=secret_key,
                session_token=session_token,
                profile=profile,
            )

    async def prepare(self, request: HTTPRequest) -> None:
        """Signs a request whose body is final, and sends one for a list to the control plane.

        Raises:
            ConfigurationError: There are no credentials.
            AuthenticationError: They could not be renewed.
        """
        if request.method == "GET" and is_aws(request.url):
            request.url = request.url.replace(_RUNTIME, _CONTROL, 1)
        if self._signer is not None:
            await self._signer.sign(request)
