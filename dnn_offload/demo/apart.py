"""Keeps two demos of one machine apart: a ROS domain and a folder for each. No ROS here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
import contextlib
import hashlib
import os
from pathlib import Path
import socket

import psutil

from dnn_offload.errors import ConfigurationError

# None of those that tests and benchmarks name; people who choose by hand mostly take lower ones.
FIRST_DOMAIN, DOMAINS = 20, 40
LAST_DOMAIN = 232  # the ports of a higher one do not exist
FIRST_PORT, DOMAIN_PORTS = 7400, 250  # DDS: UDP ports of domain 0, and how many each domain has


def domain_of(environment: Mapping[str, str], wish: int | None) -> int:
    """The user's own domain, else the one that is wished for, else a free one.

    Args:
        environment: ``ROS_DOMAIN_ID`` in it is the user's own; empty is 0, as for ROS.
        wish: For where that is not set; None = a free one.

    Raises:
        ConfigurationError: It is no domain, or none is free.
    """
    given = environment.get('ROS_DOMAIN_ID')
    if given is None and wish is None:
        return free_domain(os.getpid(), ports_in_use())
    text = str(wish) if given is None else given or '0'
    if not text.isdecimal() or int(text) > LAST_DOMAIN:
        raise ConfigurationError(
            'this is no ROS domain', given=text, allowed=f'0 to {LAST_DOMAIN}',
            hint='set ROS_DOMAIN_ID, or unset it and give --domain',
        )
    return int(text)


def free_domain(pid: int, ports: Collection[int]) -> int:
    """A domain in which nobody on this machine listens.

    Args:
        pid: Where to begin, so that demos which start together look at different ones.
        ports: UDP ports in use.

    Raises:
        ConfigurationError: There is none.
    """
    taken = {(port - FIRST_PORT) // DOMAIN_PORTS for port in ports}
    for step in range(DOMAINS):
        domain = FIRST_DOMAIN + (pid + step) % DOMAINS
        if domain not in taken:
            return domain
    raise ConfigurationError(
        'no ROS domain is free on this machine',
        given=f'{FIRST_DOMAIN} to {FIRST_DOMAIN + DOMAINS - 1}',
        hint='end what runs there, or choose one by ROS_DOMAIN_ID',
    )


def ports_in_use() -> set[int]:
    """UDP ports on which somebody on this machine listens; none where that cannot be told."""
    try:
        return {entry.laddr.port for entry in psutil.net_connections('udp') if entry.laddr}
    except (OSError, psutil.Error):
        return set()  # the process id alone still tells most demos apart


@contextlib.contextmanager
def no_other_demo(domain: int, namespace: str, out: Path) -> Iterator[None]:
    """Hold nodes' names and a folder as long as this runs; nobody else may have either.

    Args:
        domain: ROS domain.
        namespace: Below which the nodes are.
        out: Folder for results.

    Raises:
        ConfigurationError: Another demo has one of them.
    """
    with contextlib.ExitStack() as stack:
        for what, given, hint in (
            (
                'another demo has its nodes there', f'ROS domain {domain}, {namespace or "/"}',
                'wait for it, or give this one another ROS_DOMAIN_ID or --namespace',
            ),
            (
                'another demo writes its results there', str(out.resolve()),
                'wait for it, or give this one another --out',
            ),
        ):
            # A name of Linux's own that is in no folder: it goes with the process, however that
            # ends. At most 107 bytes, hence the digest.
            digest = hashlib.sha256(given.encode()).hexdigest()
            held = stack.enter_context(socket.socket(socket.AF_UNIX))
            try:
                held.bind(f'\0dnn_offload_demo_{digest}')
            except OSError as error:
                raise ConfigurationError(what, given=given, hint=hint) from error
        yield
