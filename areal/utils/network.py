# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Host names, ports and `host:port` strings, IPv6 included.

A port found free may be taken before it is used: bind port 0 and publish the result wherever the protocol allows it.
"""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Collection

# Below the ephemeral range of Linux (32768-60999), so that outgoing connections do not take a port found free.
DEFAULT_PORT_RANGE = (10000, 32767)


def gethostname() -> str:
    """Name of this host."""
    return socket.gethostname()


def get_loopback_ip() -> str:
    """The loopback address: IPv4 where this host has it, else IPv6."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError:
        return "::1"
    return "127.0.0.1"


def gethostip() -> str:
    """Address other hosts reach this one at: that of the default route, or the loopback address without a network."""
    # Connecting a datagram socket sends nothing; it makes the kernel choose the outgoing address. The targets are
    # documentation addresses (RFC 5737, RFC 3849).
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return probe.getsockname()[0]
        except OSError:
            continue
    return get_loopback_ip()


def format_host_for_url(host: str) -> str:
    """`host` as it stands in a URL: IPv6 addresses in brackets."""
    try:
        is_ipv6 = ipaddress.ip_address(host.strip("[]")).version == 6
    except ValueError:
        return host
    return f"[{host.strip('[]')}]" if is_ipv6 else host


def format_hostport(host: str, port: int) -> str:
    """`host:port`, with IPv6 addresses in brackets."""
    return f"{format_host_for_url(host)}:{port}"


def split_hostport(hostport: str) -> tuple[str, int]:
    """Inverse of `format_hostport`; brackets are removed. Raises `ValueError` unless both parts are there."""
    host, separator, port = hostport.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(f"expected 'host:port' with a port of 0-65535, got {hostport!r}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"expected an IPv6 host in brackets, '[::1]:8000', got {hostport!r}")
    return host.strip("[]"), int(port)


def is_port_free(port: int) -> bool:
    """Whether a TCP server of this host could listen on `port` on all its IPv4 addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def find_free_ports(
    count: int, port_range: tuple[int, int] = DEFAULT_PORT_RANGE, exclude_ports: Collection[int] = ()
) -> list[int]:
    """`count` distinct ports of `port_range` (both ends included), free now, in random order.

    The order is random so that processes that search at the same time rarely meet. Raises `ValueError` when the range is
    too small and `OSError` when too few of its ports are free.
    """
    low, high = port_range
    candidates = [port for port in range(low, high + 1) if port not in exclude_ports]
    if count > len(candidates):
        raise ValueError(
            f"expected a range of at least {count} ports, got {low}-{high} less {len(exclude_ports)} excluded"
        )
    random.SystemRandom().shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if is_port_free(port):
            found.append(port)
    if len(found) < count:
        raise OSError(f"expected {count} free ports in {low}-{high}, found {len(found)}; widen the range")
    return found
