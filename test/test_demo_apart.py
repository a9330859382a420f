"""Two demos on one machine: a domain and a folder for each."""

from __future__ import annotations

from pathlib import Path
import socket
import subprocess
import sys

import psutil
import pytest

from dnn_offload.demo import apart
from dnn_offload.demo.apart import domain_of, free_domain, no_other_demo, ports_in_use
from dnn_offload.errors import ConfigurationError


def ports_of(domain: int) -> set[int]:
    """What the first participant of a domain binds."""
    return {7410 + 250 * domain, 7411 + 250 * domain}


def test_two_demos_get_two_domains() -> None:
    first = free_domain(1234, set())
    assert 20 <= first < 60, 'none that tests and benchmarks name'
    assert free_domain(1235, set()) != first
    second = free_domain(1234, ports_of(first))
    assert second != first and 20 <= second < 60
    assert free_domain(1234, ports_of(first) | ports_of(second)) not in (first, second)


def test_it_is_said_when_no_domain_is_free() -> None:
    taken = set().union(*(ports_of(domain) for domain in range(20, 60)))
    with pytest.raises(ConfigurationError, match='no ROS domain is free.*20 to 59'):
        free_domain(5, taken)
    assert free_domain(5, taken - ports_of(59)) == 59


def test_a_port_in_use_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(('127.0.0.1', 0))
        assert bound.getsockname()[1] in ports_in_use()

    def refused(kind: str) -> None:
        raise psutil.AccessDenied()

    monkeypatch.setattr(psutil, 'net_connections', refused)
    assert ports_in_use() == set()


def test_the_users_own_domain_comes_first_then_the_one_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert domain_of({'ROS_DOMAIN_ID': '7'}, 97) == 7
    assert domain_of({'ROS_DOMAIN_ID': ''}, 97) == 0, 'as ROS takes it'
    assert domain_of({}, 97) == 97
    monkeypatch.setattr(apart, 'ports_in_use', lambda: ports_of(30) | ports_of(31))
    monkeypatch.setattr(apart.os, 'getpid', lambda: 10)
    assert domain_of({}, None) == 32


@pytest.mark.parametrize('text', ['lab', '-1', '233', '1.5'])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match='0 to 232'):
        domain_of({'ROS_DOMAIN_ID': text}, None)


def test_a_second_demo_in_the_same_place_is_refused(tmp_path: Path) -> None:
    with no_other_demo(7, '/a', tmp_path / 'a'):
        with (
            pytest.raises(ConfigurationError, match='ROS domain 7, /a; .*ROS_DOMAIN_ID'),
            no_other_demo(7, '/a', tmp_path / 'b'),
        ):
            pass
        with (
            pytest.raises(ConfigurationError, match='writes its results there.*--out'),
            no_other_demo(8, '/a', tmp_path / 'x' / '..' / 'a'),
        ):
            pass
        with no_other_demo(8, '/a', tmp_path / 'b'), no_other_demo(7, '', tmp_path / 'c'):
            pass
    with no_other_demo(7, '/a', tmp_path / 'a'):
        pass


def test_a_demo_that_was_killed_keeps_nobody_out(tmp_path: Path) -> None:
    source = (
        'import pathlib, sys, time\n'
        'from dnn_offload.demo.apart import no_other_demo\n'
        'with no_other_demo(7, "/killed", pathlib.Path(sys.argv[1])):\n'
        '    print("held", flush=True)\n'
        '    time.sleep(60)\n'
    )
    with subprocess.Popen(
        [sys.executable, '-c', source, str(tmp_path)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[1],
    ) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == 'held\n'
            with (
                pytest.raises(ConfigurationError, match='another demo'),
                no_other_demo(7, '/killed', tmp_path / 'mine'),
            ):
                pass
        finally:
            other.kill()
    with no_other_demo(7, '/killed', tmp_path):
        pass
