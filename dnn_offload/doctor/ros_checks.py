"""ROS as the nodes get it: domain, middleware, discovery; who else is there; multicast."""

from __future__ import annotations

from collections.abc import Mapping
import json
from typing import Any

from dnn_offload.doctor.examination import Examination, SOURCE_ROS
from dnn_offload.doctor.finding import failure, Finding, fine, skipped, together, warning
from dnn_offload.doctor.kernel_checks import segments

DISTRIBUTION = 'jazzy'
RMW = 'rmw_fastrtps_cpp'
PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE'
RANGE, PEERS = 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_STATIC_PEERS'
RANGES = ('SUBNET', 'LOCALHOST', 'OFF', 'SYSTEM_DEFAULT')
MULTICAST_S = 2.0
MULTICAST_LIMIT_S = 10.0
_NOBODY_CURE = (
    'start the other side; on all machines ROS_DOMAIN_ID, RMW_IMPLEMENTATION and the parameter '
    'rendezvous_namespace must be the same, and '
)
_BY_MULTICAST = 'ROS_AUTOMATIC_DISCOVERY_RANGE must be SUBNET'
_ON_ALL_INTERFACES = 'ROS_LOCALHOST_ONLY must not be set'
_BY_PEERS = (
    'ROS_STATIC_PEERS must name the addresses of the other machines on at least one side of '
    'each pair'
)


def localhost_only(environment: Mapping[str, str]) -> bool:
    """Whether ``ROS_LOCALHOST_ONLY`` counts: deprecated, and rcl ignores the others beside it."""
    return environment.get('ROS_LOCALHOST_ONLY', '0') == '1'


def discovery_range(environment: Mapping[str, str]) -> str:
    """How far discovery reaches: one of ``RANGES``, or what else the user has set."""
    if localhost_only(environment):
        return 'LOCALHOST'
    return environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '') or 'SUBNET'


def static_peers(environment: Mapping[str, str]) -> str:
    """Machines that discovery asks by name; '' = none."""
    return '' if localhost_only(environment) else environment.get('ROS_STATIC_PEERS', '')


def check_ros(exam: Examination) -> Finding:
    """Distribution, domain, RMW, DDS profile and discovery range; starts a node in a child."""
    environment = exam.machine.environment
    distribution = environment.get('ROS_DISTRO', '')
    if not (exam.install().answer or {}).get('rclpy', False):
        if distribution:
            return failure(
                f'ROS 2 {distribution} is sourced, but this Python has no rclpy '
                f'({exam.machine.python})',
                "start with the system's Python 3.12, or with an environment made beside ROS by "
                '"make setup"',
            )
        return skipped('there is no ROS 2 in this environment', SOURCE_ROS)
    findings = [_domain(environment), _reach(environment)]
    if distribution not in ('', DISTRIBUTION):
        findings.append(warning(
            f'ROS 2 {distribution} is sourced', f'use {DISTRIBUTION}: nothing else was tried'
        ))
    profiles = environment.get(PROFILES, '')
    if profiles and not exam.machine.exists(profiles):
        findings.append(warning(
            f'{PROFILES} names {profiles}, which is not there',
            f'unset {PROFILES}: the launch files then load config/fastdds.xml',
        ))
    findings.append(_middleware(exam))
    return together(findings)


def _domain(environment: Mapping[str, str]) -> Finding:
    text = environment.get('ROS_DOMAIN_ID', '') or '0'
    number = int(text) if text.isdigit() else -1
    if not 0 <= number <= 232:
        return failure(f'ROS_DOMAIN_ID is {text}', 'choose 0 to 101').knowing(domain=text)
    if 101 < number < 215:
        return warning(
            f'domain {number}',
            'choose 0 to 101: the ports of this one are among those that Linux gives to other '
            'programs, so that a node may not start now and then',
        ).knowing(domain=number)
    return fine(f'domain {number}').knowing(domain=number)


def _reach(environment: Mapping[str, str]) -> Finding:
    reach, peers = discovery_range(environment), static_peers(environment)
    server = environment.get('ROS_DISCOVERY_SERVER', '')
    facts = {'discovery_range': reach, 'static_peers': peers, 'discovery_server': server}
    found = f'discovery {reach}' + (f', static peers {peers}' if peers else '')
    found += f', discovery server {server}' if server else ''
    ignored = ' and '.join(
        name for name in (RANGE, PEERS) if environment.get(name, '') not in ('', reach)
    )
    if reach not in RANGES:
        made = failure(found, f'set ROS_AUTOMATIC_DISCOVERY_RANGE to one of {", ".join(RANGES)}')
    elif reach == 'OFF':
        made = failure(
            f'{found}: nobody is found', 'unset ROS_AUTOMATIC_DISCOVERY_RANGE, or set it to SUBNET'
        )
    elif localhost_only(environment) and ignored:
        made = warning(
            f'{found} by ROS_LOCALHOST_ONLY, beside which ROS ignores {ignored}'
            + ('' if server else ': other machines are not found'),
            f'unset ROS_LOCALHOST_ONLY, so that {ignored} counts',
        )
    elif reach == 'LOCALHOST' and not peers and not server:
        made = warning(
            f'{found}: other machines are not found',
            'unset ROS_AUTOMATIC_DISCOVERY_RANGE (and ROS_LOCALHOST_ONLY) where robot and server '
            'are two machines',
        )
    else:
        made = fine(found)
    return made.knowing(**facts)


def _middleware(exam: Examination) -> Finding:
    missing = exam.no_ros()
    if missing is not None:
        return missing.finding
    ended = exam.look()
    asked = exam.machine.environment.get('RMW_IMPLEMENTATION', '')
    if ended.answer is None:
        return failure(
            f'no ROS node can be started: {ended.why}',
            f'install it: sudo apt install ros-{DISTRIBUTION}-{asked.replace("_", "-")}'
            if asked and asked != RMW
            else 'source ROS 2 Jazzy and this workspace in a new shell, and build again where '
            'that does not help',
        ).knowing(rmw=asked)
    rmw = ended.answer['rmw']
    if rmw != RMW:
        return warning(
            rmw,
            f'export RMW_IMPLEMENTATION={RMW} on all machines: the DDS profiles here are for it, '
            'and all figures were measured with it',
        ).knowing(rmw=rmw)
    return fine(rmw).knowing(rmw=rmw)


def check_peers(exam: Examination) -> Finding:
    """Robots and servers of ours on the domain, with their state, model and version."""
    domain = exam.domain()
    findings = [_server(server) for server in domain['servers']]
    devices = {name: device_of(text) for name, text in domain['profiles'].items()}
    for namespace, robot in sorted(domain['robots'].items()):
        devices[namespace] = device_of(robot['profile'])
        plan = robot['plan']
        findings.append(fine(
            f'robot {namespace}' + (f' ({_planned(plan)})' if plan else ' (no plan yet)')
        ))
    silent = _silent(domain)
    others = segments(exam).others if silent else {}
    if others:
        findings.append(warning(
            f'nothing is heard of {", ".join(silent)}, and {", ".join(others)} runs ROS nodes on '
            'this machine, too: users hear nothing of each other',
            'do what the check shm says',
        ))
    if not findings:
        found = f'no robot and no server within {exam.settings.listen_s:g} s'
        environment = exam.machine.environment
        way = (
            _ON_ALL_INTERFACES if localhost_only(environment)
            else _BY_PEERS if static_peers(environment) else _BY_MULTICAST
        )
        findings.append(warning(
            f'{found}; {len(domain["nodes"])} other ROS nodes', _NOBODY_CURE + way
        ))
    if domain['other_messages'] or domain['unreadable']:
        findings.append(failure(
            'somebody has other message definitions than this install: '
            + ', '.join(domain['other_messages'] or domain['unreadable']),
            'build the same commit of dnn_offload on all machines',
        ))
    versions = {device['dnn_offload'] for device in devices.values() if 'dnn_offload' in device}
    if len(versions) > 1:
        findings.append(warning(
            f'versions {", ".join(sorted(versions))} of dnn_offload',
            'build the same commit of dnn_offload on all machines',
        ))
    return together(findings).knowing(
        servers=[
            {key: value for key, value in server.items() if key != 'fingerprint'}
            for server in domain['servers']
        ],
        robots=sorted(domain['robots']), devices=devices, nodes=domain['nodes'],
    )


def _silent(domain: Mapping[str, Any]) -> list[str]:
    """Robots and servers that are on the domain, and nothing of theirs has come."""
    robots = [
        name for name, robot in domain['robots'].items()
        if not robot['profile'] and not robot['plan']
    ]
    servers = [] if domain['servers'] else [
        name for name in domain['nodes'] if name.endswith('/remote_inference_node')
    ]
    return [*sorted(robots), *servers]


def _server(server: dict[str, Any]) -> Finding:
    found = f'server {server["server"]} ({server["model"] or "no model"}, {server["state"]}'
    if server['state'] == 'failed':
        return failure(
            f'{found}: {server["detail"]})',
            'mend what it says and start the server again: its log tells more',
        )
    if server['state'] != 'ready':
        return warning(f'{found}: {server["detail"]})', 'wait until it is ready, then ask again')
    robots = server['clients']
    return fine(f'{found}, {robots} robot{"" if robots == 1 else "s"})')


def _planned(plan: dict[str, str]) -> str:
    where = f'{plan["cut"]}, {plan["codec"]}, {plan["server"]}' if plan['server'] else 'all local'
    return f'{plan["strategy"]}: {where}'


def device_of(profile: str) -> dict[str, Any]:
    """What a profile in JSON says of its machine; empty where it says nothing."""
    try:
        device = json.loads(profile)['device']
    except (ValueError, KeyError, TypeError):
        return {}
    return device if isinstance(device, dict) else {}


def check_multicast(exam: Examination) -> Finding:
    """Whether this machine hears its own multicast, and a doctor that runs on another one."""
    ended = exam.machine.child(
        'try_multicast', '--seconds', str(MULTICAST_S),
        limit_s=MULTICAST_S + exam.settings.limit_s(MULTICAST_LIMIT_S),
    )
    answer = ended.answer
    if answer is None:
        return failure(
            f'multicast cannot be tried: {ended.why}',
            'end what else uses UDP port 17465, or look at it by "ros2 multicast receive"',
        )
    interfaces, heard, others = answer['interfaces'], answer['heard'], answer['others']
    if not interfaces:
        return skipped(
            'no network interface beside loopback is up',
            'plug in a cable or join a Wi-Fi (nmcli device status tells what there is), then ask '
            'again',
        ).knowing(**answer)
    deaf = [f'{name} ({address})' for name, address in interfaces.items() if name not in heard]
    able = [f'{name} ({address})' for name, address in interfaces.items() if name in heard]
    findings = []
    if able:
        words = f'{", ".join(able)} hears its own multicast'
        if others:
            words += ', and ' + ', '.join(f'{host} ({at})' for at, host in others.items())
        else:
            words += '; no doctor of another machine was heard'
        cure = '' if others else (
            'to see whether it gets through, run "dnn-offload doctor --only multicast" on both '
            'machines at the same time'
        )
        findings.append(fine(words, cure))
    if deaf:
        why = '; '.join(sorted(set(answer['errors'].values())))
        environment = exam.machine.environment
        needed = not able and discovery_range(environment) == 'SUBNET' and not any(
            environment.get(name) for name in ('ROS_STATIC_PEERS', 'ROS_DISCOVERY_SERVER')
        )
        findings.append((failure if needed else warning)(
            f'{", ".join(deaf)} hears no multicast{f": {why}" if why else ""}',
            'let it through the firewall (sudo ufw allow in proto udp to 224.0.0.0/4), or name '
            'the other machines in ROS_STATIC_PEERS',
        ))
    return together(findings).knowing(**answer)
