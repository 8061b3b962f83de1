"""The one way to a server: connections, addresses, keys, proxies, HTTP status → error, `BaseClient` and `HTTPClient`.

What enters knows sockets or HTTP, and no provider. An HTTP library is imported with the first request, never before.
Imports: `promptport.decoding`, `promptport.protocols`, `promptport.llm_client` and what these may import.
"""

from promptport.http.addresses import (
    check_base_url,
    check_resource_name,
    environment_proxy,
    host_of,
    is_loopback,
    is_within,
    origin_of,
)
from promptport.http.aiohttp_session import AiohttpBody, AiohttpSession
from promptport.http.aiohttp_transport import AiohttpTransport
from promptport.http.aws_access import AWSAccess
from promptport.http.base_client import BaseClient, ByteStream
from promptport.http.bodies import ResponseBody
from promptport.http.chat_clones import chat_provider
from promptport.http.google_cloud import GoogleCloud
from promptport.http.google_credentials import GoogleCredentials
from promptport.http.http_client import HTTPClient, new_transport
from promptport.http.httpx_transport import HTTPTransport, ResponseStream
from promptport.http.keys import APIKey, check_api_key, environment_key
from promptport.http.request import HTTPRequest, Prepare, check_headers
from promptport.http.sdk_transport import SdkTransport, refuse_beside_sdk_client
from promptport.http.status_errors import header_secrets, status_error
from promptport.http.transport import Transport
from promptport.http.transport_errors import transport_error

__all__ = [
    "APIKey",
    "AWSAccess",
    "AiohttpBody",
    "AiohttpSession",
    "AiohttpTransport",
    "BaseClient",
    "ByteStream",
    "GoogleCloud",
    "GoogleCredentials",
    "HTTPClient",
    "HTTPRequest",
    "HTTPTransport",
    "Prepare",
    "ResponseBody",
    "ResponseStream",
    "SdkTransport",
    "Transport",
    "chat_provider",
    "check_api_key",
    "check_base_url",
    "check_headers",
    "check_resource_name",
    "environment_key",
    "environment_proxy",
    "header_secrets",
    "host_of",
    "is_loopback",
    "is_within",
    "new_transport",
    "origin_of",
    "refuse_beside_sdk_client",
    "status_error",
    "transport_error",
]
