"""The doctor's checks of ROS, peers and multicast, on made-up machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import socket
import subprocess
import sys
from typing import Any

import pytest

from dnn_offload.doctor import ros_checks
from dnn_offload.doctor.examination import MissingError
from dnn_offload.doctor.finding import Finding, State
from dnn_offload.doctor.machine import CHILDREN, Ended
from dnn_offload.simulate.made_up import made_up_profile
from made_up_machine import COLCON, domain, examination, MadeUpMachine, NO_ROS, said, SERVER


def ros(tmp_path: Path, look: Ended | None = None, **environment: str) -> Finding:
    machine = MadeUpMachine(
        tmp_path, {'look_around': look or said(domain())}, environment=environment
    )
    return ros_checks.check_ros(examination(machine))


def test_ros_as_it_should_be(tmp_path: Path) -> None:
    found = ros(tmp_path, ROS_DISTRO='jazzy', ROS_DOMAIN_ID='7')
    assert found.state is State.OK
    assert found.found == 'domain 7; discovery SUBNET; rmw_fastrtps_cpp'


@pytest.mark.parametrize(
    ('environment', 'state', 'cure'),
    [
        ({'ROS_DOMAIN_ID': '150'}, State.WARNING, '0 to 101'),
        ({'ROS_DOMAIN_ID': '240'}, State.FAILURE, '0 to 101'),
        ({'ROS_DOMAIN_ID': 'mine'}, State.FAILURE, '0 to 101'),
        ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}, State.WARNING, 'two machines'),
        ({'ROS_LOCALHOST_ONLY': '1'}, State.WARNING, 'ROS_LOCALHOST_ONLY'),
        ({'ROS_LOCALHOST_ONLY': '1', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'}, State.WARNING,
         'unset ROS_LOCALHOST_ONLY, so that ROS_AUTOMATIC_DISCOVERY_RANGE counts'),
        ({'ROS_LOCALHOST_ONLY': '1', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}, State.WARNING,
         'unset ROS_AUTOMATIC_DISCOVERY_RANGE (and ROS_LOCALHOST_ONLY)'),
        ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF'}, State.FAILURE, 'SUBNET'),
        ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LAN'}, State.FAILURE, 'SUBNET, LOCALHOST'),
        ({'ROS_DISTRO': 'humble'}, State.WARNING, 'jazzy'),
        ({'FASTRTPS_DEFAULT_PROFILES_FILE': '/gone.xml'}, State.WARNING, 'unset FASTRTPS'),
    ],
)
def test_ros_set_up_wrongly(
    tmp_path: Path, environment: dict[str, str], state: State, cure: str
) -> None:
    found = ros(tmp_path, **environment)
    assert found.state is state
    assert cure in found.cure


def test_who_names_peers_is_not_told_to_use_multicast(tmp_path: Path) -> None:
    def cure(**environment: str) -> str:
        machine = MadeUpMachine(
            tmp_path, {'look_around': said(domain(servers=[], robots={}))},
            environment=environment,
        )
        return ros_checks.check_peers(examination(machine)).cure

    assert 'must be SUBNET' in cure() and 'ROS_STATIC_PEERS' not in cure()
    by_peers = cure(ROS_STATIC_PEERS='10.0.0.4', ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST')
    assert 'ROS_STATIC_PEERS must name' in by_peers and 'SUBNET' not in by_peers


def test_static_peers_make_up_for_a_short_range(tmp_path: Path) -> None:
    reach = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'ROS_STATIC_PEERS': '10.0.0.4'}
    assert ros(tmp_path, **reach).state is State.OK


def test_static_peers_are_ignored_beside_localhost_only(tmp_path: Path) -> None:
    reach = {'ROS_LOCALHOST_ONLY': '1', 'ROS_STATIC_PEERS': '10.0.0.4'}
    found = ros(tmp_path, **reach)
    assert found.state is State.WARNING
    assert 'ROS ignores ROS_STATIC_PEERS: other machines are not found' in found.found
    assert 'unset ROS_LOCALHOST_ONLY' in found.cure and found.facts['static_peers'] == ''
    machine = MadeUpMachine(
        tmp_path, {'look_around': said(domain(servers=[], robots={}))}, environment=reach
    )
    nobody = ros_checks.check_peers(examination(machine))
    assert 'ROS_LOCALHOST_ONLY must not be set' in nobody.cure
    assert 'ROS_STATIC_PEERS' not in nobody.cure


def test_a_profile_is_looked_for_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gone = ros(Path('/'), FASTRTPS_DEFAULT_PROFILES_FILE='dds.xml')
    assert gone.state is State.WARNING and 'names dds.xml, which is not there' in gone.found
    (tmp_path / 'dds.xml').touch()
    assert ros(Path('/'), FASTRTPS_DEFAULT_PROFILES_FILE='dds.xml').state is State.OK


def test_middleware(tmp_path: Path) -> None:
    other = ros(tmp_path, said(domain(rmw='rmw_cyclonedds_cpp')))
    assert other.state is State.WARNING
    assert 'RMW_IMPLEMENTATION=rmw_fastrtps_cpp' in other.cure
    broken = Ended(1, errors='failed to load shared library librmw_cyclonedds_cpp.so')
    absent = ros(tmp_path, broken, RMW_IMPLEMENTATION='rmw_cyclonedds_cpp')
    assert absent.state is State.FAILURE
    assert 'librmw_cyclonedds_cpp.so' in absent.found
    assert 'apt install ros-jazzy-rmw-cyclonedds-cpp' in absent.cure


def test_no_ros_is_no_trouble_unless_it_is_sourced(tmp_path: Path) -> None:
    children = {'where_installed': said(NO_ROS)}
    found = ros_checks.check_ros(examination(MadeUpMachine(tmp_path, children)))
    assert found.state is State.SKIPPED and 'setup.bash' in found.cure
    sourced = MadeUpMachine(tmp_path, children, environment={'ROS_DISTRO': 'jazzy'})
    found = ros_checks.check_ros(examination(sourced))
    assert found.state is State.FAILURE and 'no rclpy' in found.found
    with pytest.raises(MissingError, match='no ROS 2') as missing:
        ros_checks.check_peers(examination(sourced))
    assert 'setup.bash' in missing.value.finding.cure


def test_pip_has_no_ros_part(tmp_path: Path) -> None:
    install = {**COLCON, 'ros_part': False, 'messages': False}
    exam = examination(MadeUpMachine(tmp_path, {'where_installed': said(install)}))
    with pytest.raises(MissingError, match='installed by pip'):
        ros_checks.check_peers(exam)


def peers(tmp_path: Path, **changes: Any) -> Finding:
    machine = MadeUpMachine(tmp_path, {'look_around': said(domain(**changes))})
    return ros_checks.check_peers(examination(machine))


def test_peers_and_their_state(tmp_path: Path) -> None:
    plan = {'strategy': 'auto', 'cut': 'relu', 'codec': 'int8', 'server': 'laptop'}
    robots = {'/robot': {'profile': '', 'plan': plan}, '/second': {'profile': '', 'plan': None}}
    found = peers(tmp_path, robots=robots)
    assert found.state is State.OK
    assert found.found == (
        'server laptop (demo:detector, ready, 1 robot); robot /robot (auto: relu, int8, laptop); '
        'robot /second (no plan yet)'
    )
    assert found.facts['robots'] == ['/robot', '/second']
    nobody = peers(tmp_path, servers=[])
    assert nobody.state is State.WARNING and 'ROS_DOMAIN_ID' in nobody.cure
    busy = {**SERVER, 'state': 'preparing', 'detail': 'profile 40 %'}
    assert peers(tmp_path, servers=[busy]).state is State.WARNING
    failed = peers(tmp_path, servers=[{**SERVER, 'state': 'failed', 'detail': 'no weights'}])
    assert failed.state is State.FAILURE and 'no weights' in failed.found


@pytest.mark.parametrize(
    ('changes', 'silent'),
    [
        ({'servers': []}, '/edge_server/remote_inference_node'),
        ({'robots': {'/robot': {'profile': '', 'plan': None}}}, '/robot'),
    ],
)
def test_peers_of_another_user_are_seen_and_not_heard(
    tmp_path: Path, changes: dict[str, Any], silent: str
) -> None:
    name = 'fastrtps_0123456789abcdef'
    machine = MadeUpMachine(
        tmp_path, {'look_around': said(domain(**changes))}, locks=[f'{name}_el'],
        owners={name: 0},
    )
    for file in (name, f'{name}_el'):
        machine.write(f'/dev/shm/{file}', '')
    found = ros_checks.check_peers(examination(machine))
    assert found.state is State.WARNING and found.cure == 'do what the check shm says'
    assert f'nothing is heard of {silent}, and root runs ROS nodes' in found.found


def test_peers_of_another_commit(tmp_path: Path) -> None:
    other = peers(tmp_path, other_messages=['/dnn_offload/server_status'])
    assert other.state is State.FAILURE and 'same commit' in other.cure
    alone = peers(tmp_path, other_messages=['/dnn_offload/server_status'], servers=[])
    assert alone.state is State.FAILURE and 'no robot and no server' in alone.found
    unreadable = peers(tmp_path, unreadable=['/dnn_offload/server_status: message is no ...'])
    assert unreadable.state is State.FAILURE
    ours = made_up_profile()
    profiles = {
        name: replace(ours, device={'dnn_offload': version}).to_json()
        for name, version in (('laptop', '0.1.0'), ('other', '0.2.0'))
    }
    found = peers(tmp_path, profiles=profiles)
    assert found.state is State.WARNING and '0.1.0, 0.2.0' in found.found


def multicast(tmp_path: Path, answer: dict[str, Any], **environment: str) -> Finding:
    machine = MadeUpMachine(tmp_path, {'try_multicast': said(answer)}, environment=environment)
    return ros_checks.check_multicast(examination(machine))


def test_multicast(tmp_path: Path) -> None:
    two = {'eth0': '10.0.0.2', 'wlan0': '10.0.1.2'}
    quiet = {'interfaces': two, 'heard': ['eth0', 'wlan0'], 'errors': {}, 'others': {}}
    alone = multicast(tmp_path, quiet)
    assert alone.state is State.OK and 'both machines at the same time' in alone.cure
    met = multicast(tmp_path, {**quiet, 'others': {'10.0.0.9': 'laptop'}})
    assert met.state is State.OK and 'laptop (10.0.0.9)' in met.found and not met.cure
    deaf = {**quiet, 'heard': []}
    assert multicast(tmp_path, deaf).state is State.FAILURE
    assert 'ROS_STATIC_PEERS' in multicast(tmp_path, deaf).cure
    for name in ('ROS_STATIC_PEERS', 'ROS_DISCOVERY_SERVER'):
        assert multicast(tmp_path, deaf, **{name: '10.0.0.9'}).state is State.WARNING
    half = multicast(tmp_path, {**quiet, 'heard': ['eth0'], 'errors': {'wlan0': 'no route'}})
    assert half.state is State.WARNING and 'wlan0 (10.0.1.2) hears no multicast: no route' in (
        half.found
    )
    none = {'interfaces': {}, 'heard': [], 'errors': {}, 'others': {}}
    down = multicast(tmp_path, none)
    assert down.state is State.SKIPPED and 'plug in a cable' in down.cure


def test_two_doctors_at_the_same_time_hear_each_other() -> None:
    command = [sys.executable, str(CHILDREN / 'try_multicast.py'), '--seconds', '4.0']
    # Started as the real ones are; a process that listens alone hears itself only.
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [Ended(0, process.communicate(timeout=30)[0]).answer for process in both]
    for answer in answers:
        assert answer is not None
        if not answer['heard']:
            pytest.skip(f'no interface of this machine takes multicast: {answer}')
        assert set(answer['others'].values()) == {socket.gethostname()}
