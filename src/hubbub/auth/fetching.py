"""Documents from servers of others: bounded in time and size, never redirected, never led inside.

Whoever publishes a document chooses where it sends us next. So an address that comes from one must not lead
to machines that only we can reach, see `check_outside`; and the document itself is read up to a bound.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import httpx
import msgspec

LARGEST: Final = 256 * 1024
"""Bytes of a document."""
PATIENCE: Final = 5.0
"""Seconds from the first look at the name to the last byte."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class CannotFetch(Exception):
    """There is no document to be had; the sentence says why."""

    def __init__(self, sentence: str, *, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


class Document(NamedTuple):
    """A JSON object, and the seconds that its server lets it be kept."""

    content: dict[str, Any]
    max_age: float | None


@cache
def _tls() -> Any:
    return httpx.create_ssl_context()  # once: reading all the authorities takes some 20 ms


def new_client(connections: int = 4) -> httpx.AsyncClient:
    """A client that follows nothing and believes nothing of its environment but SSL_CERT_FILE."""
    return httpx.AsyncClient(
        verify=_tls(),
        trust_env=False,  # a proxy would resolve names anew, where nobody checks what they lead to
        follow_redirects=False,
        timeout=httpx.Timeout(PATIENCE),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "hubbub"},
    )


async def fetch(
    url: str,
    client: httpx.AsyncClient | None = None,
    *,
    form: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    patience: float = PATIENCE,
) -> Document:
    """The JSON object at a URL, by GET, or by POST of a form. Raises `CannotFetch`."""
    if client is None:
        async with new_client() as own:
            return await fetch(url, own, form=form, auth=auth, patience=patience)
    try:
        async with (
            asyncio.timeout(patience),
            client.stream("GET" if form is None else "POST", url, data=form, auth=auth) as response,
        ):
            return await _read(url, response)
    except TimeoutError as exc:
        raise CannotFetch(f"{url} did not answer within {patience:g} seconds") from exc
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as exc:
        raise CannotFetch(f"{url} cannot be reached: {str(exc) or type(exc).__name__}") from exc


async def _read(url: str, response: httpx.Response) -> Document:
    status = response.status_code
    if response.is_redirect:
        raise CannotFetch(f"{url} redirects, which is not followed", status=status)
    if status != httpx.codes.OK:
        raise CannotFetch(f"{url} answers with status {status}", status=status)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise CannotFetch(f"{url} answers in a compressed form that was not asked for", status=status)
    body = bytearray()
    async for chunk in response.aiter_raw(16384):
        body += chunk
        if len(body) > LARGEST:
            raise CannotFetch(f"{url} answers with more than {LARGEST} bytes", status=status)
    try:
        content = msgspec.json.decode(bytes(body))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CannotFetch(f"{url} does not answer with a JSON object", status=status)
    return Document(content, max_age(response.headers.get("cache-control", "")))


def max_age(cache_control: str) -> float | None:
    """The seconds that a header `Cache-Control` allows, None where it does not say."""
    if re.search(r"\b(no-store|no-cache)\b", cache_control, re.IGNORECASE):
        return 0.0
    found = re.search(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})", cache_control, re.IGNORECASE)
    return float(found[1]) if found else None


def check_url(url: str, what: str, *, insecure: bool = False) -> str:
    """Return a URL that may be fetched: https, or on loopback, unless `insecure`. Raises `ValueError`."""
    try:
        parts = httpx.URL(url)  # read as it will be when it is fetched
    except (httpx.InvalidURL, ValueError) as exc:
        raise ValueError(f"{what} is {url!r}, which is no URL: {exc}") from exc
    if parts.scheme not in ("https", "http") or not parts.raw_host:
        raise ValueError(f"{what} is {url!r}; give a URL that begins with https://")
    if parts.port is not None and not 0 < parts.port < 65536:
        raise ValueError(f"{what} is {url!r}; give a port of 1 to 65535")
    if parts.userinfo or parts.fragment:
        raise ValueError(f"{what} holds a password or a fragment; give it without")
    if parts.scheme == "http" and not insecure and not is_loopback(origin(url)[1]):
        raise ValueError(f"{what} is {url!r}: without TLS anybody on the way could change it; give https://")
    return url


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as its name tells."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port."""
    parts = httpx.URL(url)
    return (
        parts.scheme,
        parts.raw_host.decode("ascii"),
        parts.port or (443 if parts.scheme == "https" else 80),
    )


async def check_outside(url: str, what: str, *, base: str, insecure: bool = False) -> str:
    """Return a URL that a document of `base` names, where we may follow it. Raises `CannotFetch`.

    It has the origin of `base`, or it is https and does not lead inside. Where `base` is inside itself,
    others there are its neighbours; but link-local addresses, where clouds keep credentials, are nobody's.
    """
    try:
        check_url(url, what, insecure=insecure)
    except ValueError as exc:
        raise CannotFetch(str(exc)) from exc
    if origin(url) == origin(base):
        return url
    if not insecure and origin(url)[0] != "https":
        raise CannotFetch(f"{what} is {url!r}; it must be https, or on {base}")
    # Between this look and the connection a name may come to mean another address; but whoever answers there
    # would need a certificate for that name.
    addresses = await resolve(url)
    inside = [address for address in addresses if is_inside(address)]
    if any(address.is_link_local for address in inside) or (
        inside and not any(map(is_inside, await resolve(base)))
    ):
        raise CannotFetch(f"{what} is {url!r}, which leads to {inside[0]}, an address that is not public")
    return url


async def resolve(url: str) -> list[IpAddress]:
    """The addresses that a URL leads to. Raises `CannotFetch`."""
    _, host, port = origin(url)
    try:
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as exc:
        raise CannotFetch(f"{host} has no address: {str(exc) or 'no answer'}") from exc
    return [_plain(ipaddress.ip_address(address[4][0])) for address in found]


def _plain(address: IpAddress) -> IpAddress:
    """The IPv4 address that an IPv6 address carries, or the address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    carried = address.ipv4_mapped or address.sixtofour
    if carried is None and address in _NAT64:
        carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return carried or address


def is_inside(address: IpAddress) -> bool:
    """Whether an address is not one of the public internet."""
    return not address.is_global or address.is_multicast
