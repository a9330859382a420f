"""Sends multicast on every interface as discovery does, and listens for itself and for others.

A doctor that runs on another machine at the same time is heard, too. Standard library and psutil.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import secrets
import select
import socket
import time
from typing import Any

import psutil

GROUP = '239.255.0.1'  # the group of DDS discovery
PORT = 17465           # none of DDS's
PERIOD_S = 0.2
MARK = 'dnn_offload doctor'


def interfaces() -> dict[str, str]:
    """Name to IPv4 address of what is up, loopback left out."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return {
        name: entry.address
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if name in up and entry.family is socket.AF_INET
        and not ipaddress.ip_address(entry.address).is_loopback
    }


def listener(addresses: list[str]) -> socket.socket:
    """A socket that is in the group on all of them."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(('', PORT))
    for address in addresses:
        wanted = socket.inet_aton(GROUP) + socket.inet_aton(address)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, wanted)
    return made


def sender(address: str) -> socket.socket:
    """A socket that sends to the group through one interface, no further than this network."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    return made


def main() -> None:
    """Print what was sent and heard."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=float, required=True)
    args = parser.parse_args()
    own, host = secrets.token_hex(8), socket.gethostname()
    errors: dict[str, str] = {}
    heard: set[str] = set()
    others: dict[str, str] = {}
    found = interfaces()
    senders: dict[str, socket.socket] = {}
    for name, address in found.items():
        try:
            with listener([address]):
                senders[name] = sender(address)
        except OSError as error:
            errors[name] = str(error)
    usable = [found[name] for name in senders]
    with listener(usable) as ears:
        end_s, next_s = time.monotonic() + args.seconds, 0.0
        while senders and (now_s := time.monotonic()) < end_s:
            if now_s >= next_s:
                next_s = now_s + PERIOD_S
                for name, one in senders.items():
                    said = {'mark': MARK, 'run': own, 'host': host, 'interface': name}
                    try:
                        one.sendto(json.dumps(said).encode(), (GROUP, PORT))
                    except OSError as error:
                        errors[name] = str(error)
            if not select.select([ears], [], [], min(next_s, end_s) - now_s)[0]:
                continue
            data, (address, _) = ears.recvfrom(2048)
            said = _read(data)
            if said.get('mark') != MARK:
                continue
            if said.get('run') == own:
                heard.add(str(said.get('interface')))
            else:
                others[address] = str(said.get('host'))[:64]
    print(json.dumps({
        'interfaces': found, 'heard': sorted(heard), 'errors': errors, 'others': others,
    }))


def _read(data: bytes) -> dict[str, Any]:
    """A message of a doctor; empty for anything else."""
    try:
        said = json.loads(data)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


if __name__ == '__main__':
    main()
