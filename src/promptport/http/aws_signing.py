"""Who asks: AWS credentials and the signature of a request, by botocore, which is imported with the first of them.

Rules: botocore finds credentials (environment, profile, SSO, roles, container, instance) and signs; it sends nothing
of ours. What may wait for a disk or a network runs in a thread, one at a time. No error quotes a credential.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

from promptport.errors import AuthenticationError, ConfigurationError, PromptportError
from promptport.http.request import HTTPRequest

__all__ = ["Signer", "is_aws", "region_of"]

_AWS_HOST = re.compile(r"(?:.+\.)?(?:amazonaws\.com|amazonaws\.com\.cn|api\.aws)", re.IGNORECASE)
_REGION = re.compile(r"bedrock(?:-runtime)?(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d)\.", re.IGNORECASE)
_SIGNED = ("accept", "content-type")
"""Besides the host; any other header may be changed on the way."""

_SETTINGS = ("ProfileNotFound", "PartialCredentialsError", "ConfigNotFound", "ConfigParseError", "InvalidConfigError")


def is_aws(url: str) -> bool:
    """Whether the URL's host is one of AWS's own."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
    return url.lower().startswith("https://") and _AWS_HOST.fullmatch(host) is not None


def region_of(region: str | None, base_url: str | None, profile: str | None, *, provider: str) -> str | None:
    """The region: passed, in the address, in ``AWS_REGION`` or ``AWS_DEFAULT_REGION``, or the profile's.

    Raises:
        ConfigurationError: It is no name of a region, or there is no such profile.
    """
    if region is not None and not re.fullmatch(r"[a-z0-9-]+", region):
        raise ConfigurationError(f"{provider}: region: {region!r} is not a region. Pass one like 'us-east-1'.")
    if region:
        return region
    if base_url and is_aws(base_url) and (found := _REGION.search(base_url)):
        return found[1]
    if profile is None and (named := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        return named
    try:
        import botocore.session  # noqa: PLC0415 - slow to import, and few need it here

        configured: str | None = botocore.session.Session(profile=profile).get_config_variable("region")
    except Exception as error:
        raise _failure(error, profile, provider) from error
    return configured or os.environ.get("AWS_REGION")


class Signer:
    """Signs requests with Signature Version 4."""

    def __init__(
        self,
        region: str,
        *,
        provider: str,
        service: str = "bedrock",
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        profile: str | None = None,
    ) -> None:
        """Args:
        region: The AWS region.
        provider: For the errors.
        service: The name of the service, which the signature holds.
        access_key: Default: what botocore finds.
        secret_key: Of ``access_key``.
        session_token: Of temporary credentials.
        profile: A profile of ``~/.aws``.
        """
        self._region = region
        self._provider = provider
        self._service = service
        self._given = (access_key, secret_key, session_token) if access_key and secret_key else None
        self._profile = profile
        self._credentials: Any = None
        self._auth: Any = None
        self._lock = asyncio.Lock()

    async def sign(self, request: HTTPRequest) -> None:
        """Adds the signature's headers to a request whose body and URL are final.

        Raises:
            ConfigurationError: There are no credentials, or no such profile.
            AuthenticationError: The credentials could not be renewed.
        """
        frozen = await self._frozen()
        signed = self._request(
            request.method,
            request.url,
            data=request.body or b"",
            headers={name: value for name, value in request.headers.items() if name in _SIGNED},
        )
        self._auth(frozen, self._service, self._region).add_auth(signed)
        for name, value in signed.headers.items():
            if name.lower() not in _SIGNED:
                request.headers[name.lower()] = value
        request.secrets += [secret for secret in (frozen.secret_key, frozen.token) if secret]

    async def _frozen(self) -> Any:
        found = self._credentials
        if found is not None and not getattr(found, "refresh_needed", _never)():
            return found.get_frozen_credentials()
        async with self._lock:
            try:
                return await asyncio.to_thread(self._load)
            except PromptportError:
                raise
            except Exception as error:
                raise _failure(error, self._profile, self._provider) from error

    def _load(self) -> Any:
        """In a thread: imports botocore, finds the credentials, renews them where that is due."""
        try:
            import botocore.auth  # noqa: PLC0415 - half a second
            import botocore.awsrequest  # noqa: PLC0415
            import botocore.credentials  # noqa: PLC0415
            import botocore.session  # noqa: PLC0415
        except ImportError as error:
            text = "signed requests need botocore. Install it with: pip install botocore, or pass a key as api_key=…"
            raise ConfigurationError(f"{self._provider}: {text}") from error
        self._auth, self._request = botocore.auth.SigV4Auth, botocore.awsrequest.AWSRequest
        if self._credentials is None:
            if self._given is not None:
                found = botocore.credentials.Credentials(*self._given)
            else:
                found = botocore.session.Session(profile=self._profile).get_credentials()
            if found is None:
                raise ConfigurationError(
                    f"{self._provider}: no AWS credentials. Pass access_key and secret_key, profile or api_key, or set"
                    " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or AWS_BEARER_TOKEN_BEDROCK."
                )
            self._credentials = found
        return self._credentials.get_frozen_credentials()


def _never() -> bool:
    return False


def _failure(error: Exception, profile: str | None, provider: str) -> PromptportError:
    """Our error for one of botocore's; its words may hold what nobody may read."""
    kind = type(error).__name__
    if kind == "ProfileNotFound":
        named = repr(profile or os.environ.get("AWS_PROFILE") or "default")
        return ConfigurationError(f"{provider}: profile: there is no AWS profile {named}. Check ~/.aws/config.")
    if kind in _SETTINGS or isinstance(error, ImportError):
        return ConfigurationError(f"{provider}: the AWS configuration cannot be used ({kind}). Check ~/.aws/config.")
    text = f"{provider}: the AWS credentials could not be fetched or renewed ({kind}). Log in again, or check the role."
    return AuthenticationError(text, provider=provider)
