"""The one way to a server: connections, addresses, proxies, HTTP status → error, `BaseClient`.

What enters knows sockets or HTTP, and no provider. An HTTP library is imported with the first request, never before.
Imports: `promptport.decoding`, `promptport.llm_client` and what these may import.
"""

from promptport.http.addresses import check_base_url, environment_proxy, host_of, is_loopback
from promptport.http.aiohttp_session import AiohttpBody, AiohttpSession
from promptport.http.base_client import BaseClient, ByteStream, check_api_key
from promptport.http.httpx_transport import HTTPTransport, ResponseStream
from promptport.http.sdk_transport import SdkTransport
from promptport.http.status_errors import header_secrets, status_error
from promptport.http.transport_errors import is_stale_connection, transport_error

__all__ = [
    "AiohttpBody",
    "AiohttpSession",
    "BaseClient",
    "ByteStream",
    "HTTPTransport",
    "ResponseStream",
    "SdkTransport",
    "check_api_key",
    "check_base_url",
    "environment_proxy",
    "header_secrets",
    "host_of",
    "is_loopback",
    "is_stale_connection",
    "status_error",
    "transport_error",
]
