"""The doctor's checks of the network, its agreement, the link and the plans, made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dnn_offload.cost.link import DOWNLINK, LOST, UPLINK
from dnn_offload.doctor import link_checks, model_checks
from dnn_offload.doctor.examination import Examination, MissingError
from dnn_offload.doctor.finding import Finding, State
from dnn_offload.doctor.machine import Ended
from dnn_offload.doctor.settings import DEFAULT_MODEL
from dnn_offload.simulate.made_up import made_up_profile
from made_up_machine import domain, examination, MadeUpMachine, MODEL, NO_ROS, said, SERVER
from plan_cases import profiles


def exam_of(
    tmp_path: Path, *, model: Ended | None = None, link: Ended | None = None,
    settings: dict[str, Any] | None = None, **around: Any,
) -> Examination:
    children = {
        'look_around': said(domain(**around)), 'try_model': model or said(MODEL),
        'measure_link': link or said({}),
    }
    return examination(MadeUpMachine(tmp_path, children), **(settings or {}))


def model(tmp_path: Path, ended: Ended, **settings: Any) -> Finding:
    return model_checks.check_model(exam_of(tmp_path, model=ended, settings=settings))


def test_a_network_that_runs(tmp_path: Path) -> None:
    found = model(tmp_path, said(MODEL))
    assert found.state is State.OK
    assert 'demo:detector (aaaaaaaaaaaa), 40 cuts' in found.found
    random = model(tmp_path, said({**MODEL, 'stamp': 'random weights'}))
    assert 'random weights' in random.found


@pytest.mark.parametrize(
    ('ended', 'found', 'cure'),
    [
        (Ended(-4), 'SIGILL', 'check torch'),
        (Ended(-9, seconds=120.0, timed_out=True), 'within 120 s', '--patience'),
        (Ended(1, errors='weights: <urlopen error no route>'), 'downloaded', '.safetensors'),
        (
            Ended(1, errors='noise\nthe weights of net cannot be downloaded from https://host/'
                  'net.pth (no route); connect once; or copy it to /home/me/net.pth'),
            'from https://host/net.pth (no route)', '/home/me/net.pth',
        ),
        (Ended(1, errors="No module named 'torch'"), 'not installed', 'check torch'),
        (Ended(1, errors='no such model'), 'no such model', 'dnn-offload doctor MODEL'),
        (said({**MODEL, 'same_as_exported': False}), 'does not compute', 'delete /nowhere'),
        (said({**MODEL, 'on_nodes': False, 'task': 'tensor'}), 'task tensor', 'classifies'),
    ],
)
def test_networks_that_do_not_run(tmp_path: Path, ended: Ended, found: str, cure: str) -> None:
    made = model(tmp_path, ended)
    assert made.state is State.FAILURE
    assert found in made.found and cure in made.cure


def test_the_network_of_the_others_is_meant_but_their_code_is_not_run(tmp_path: Path) -> None:
    exam = exam_of(tmp_path, servers=[{**SERVER, 'model': 'python:mine:net'}])
    found = model_checks.check_model(exam)
    assert found.state is State.SKIPPED and '--allow-code' in found.cure
    assert model_checks.check_agreement(exam).state is State.SKIPPED
    assert not [asked for asked in exam.machine.asked if asked[0] == 'try_model']  # type: ignore[attr-defined]
    other = exam_of(tmp_path, servers=[{**SERVER, 'model': 'torchvision:resnet18'}])
    assert other.model_name() == 'torchvision:resnet18'
    asked = exam_of(tmp_path, settings={'model': 'demo:detector'})
    assert asked.model_name() == 'demo:detector'


def test_the_network_of_a_robot_is_meant_where_there_is_no_server(tmp_path: Path) -> None:
    def profile(model: str) -> dict[str, Any]:
        return {'profile': replace(made_up_profile(), model=model).to_json(), 'plan': None}

    robots = {
        '/a': {'profile': '', 'plan': None}, '/b': {'profile': 'no profile', 'plan': None},
        '/c': profile('torchvision:alexnet'), '/d': profile('torchvision:vgg16'),
    }
    alone = exam_of(tmp_path, servers=[], robots=robots)
    assert alone.model_name() == 'torchvision:alexnet'
    second = exam_of(tmp_path, servers=[], robots=robots, settings={'namespace': 'd'})
    assert second.model_name() == 'torchvision:vgg16'
    assert exam_of(tmp_path, robots=robots).model_name() == SERVER['model']
    silent = exam_of(tmp_path, servers=[], robots={'/a': robots['/a']})
    assert silent.model_name() == DEFAULT_MODEL


def agreement(tmp_path: Path, **around: Any) -> Finding:
    return model_checks.check_agreement(exam_of(tmp_path, **around))


def test_agreement_with_a_server(tmp_path: Path) -> None:
    assert agreement(tmp_path).state is State.OK
    assert agreement(tmp_path, servers=[]).state is State.SKIPPED
    other = agreement(tmp_path, servers=[
        {**SERVER, 'identity': 'b' * 64, 'model': 'torchvision:resnet18'}
    ])
    assert other.state is State.FAILURE
    assert 'has torchvision:resnet18 (bbbbbbbbbbbb), here it is demo:detector' in other.found
    assert 'model:=demo:detector' in other.cure
    weights = agreement(tmp_path, servers=[{**SERVER, 'identity': 'b' * 64}])
    assert weights.state is State.FAILURE and 'same weights' in weights.cure
    wrong = agreement(tmp_path, servers=[{**SERVER, 'fingerprint': [1.0, 3.0]}])
    assert wrong.state is State.FAILURE and 'backend: torch in the parameter file' in wrong.cure


def test_agreement_of_a_robot_with_the_servers(tmp_path: Path) -> None:
    edge, _ = profiles()
    robots = {'/robot': {'profile': edge.to_json(), 'plan': None}}
    lost = agreement(tmp_path, robots=robots)
    assert lost.state is State.FAILURE
    assert f'robot /robot runs {edge.model}' in lost.found
    same = [{**SERVER, 'identity': edge.model_identity}, SERVER]
    assert agreement(tmp_path, robots=robots, servers=same).found.startswith(
        'robot /robot finds its network'
    )


def samples(bps: float, count: int = 8, kinds: tuple[int, ...] = (UPLINK, DOWNLINK)) -> list[Any]:
    """Transfers of two sizes over a link with 2 ms of fixed cost."""
    return [
        {'kind': kind, 'probe': False, 'nbytes': size, 'duration_ms': 2.0 + 8e3 * size / bps}
        for _ in range(count) for size in (100_000, 200_000) for kind in kinds
    ]


def link_of(transfers: list[Any], **changes: Any) -> Ended:
    return said({
        'connected': True, 'greeted': True, 'state': 'connected', 'reasons': [],
        'service_ms': [], 'samples': transfers, **changes,
    })


def test_a_link_is_measured_both_ways(tmp_path: Path) -> None:
    exam = exam_of(tmp_path, link=link_of(samples(50e6)))
    found = link_checks.check_link(exam)
    assert found.state is State.OK
    facts = found.facts['laptop']
    assert facts['uplink_bps'] == pytest.approx(50e6, rel=0.1)
    assert facts['downlink_bps'] == pytest.approx(50e6, rel=0.1)
    assert facts['transfers_up'] == facts['transfers_down'] == 16
    arguments = exam.machine.asked[-1]  # type: ignore[attr-defined]
    assert arguments[0] == 'measure_link' and '--folder' in arguments


def test_only_the_way_there_where_the_network_is_another_one(tmp_path: Path) -> None:
    exam = exam_of(
        tmp_path, link=link_of(samples(50e6, kinds=(UPLINK,))),
        servers=[{**SERVER, 'identity': 'b' * 64}],
    )
    found = link_checks.check_link(exam)
    assert found.facts['laptop']['downlink_bps'] is None and 'not measured' in found.found
    assert found.state is State.OK and 'dnn-offload doctor demo:detector' in found.cure
    assert '--folder' not in exam.machine.asked[-1]  # type: ignore[attr-defined]


def test_more_than_can_be_told_from_such_transfers_is_not_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_checks, 'FASTEST_BPS', 20e6)
    found = link_checks.check_link(exam_of(tmp_path, link=link_of(samples(50e6))))
    assert 'up over 0.02 Gbit/s + ' in found.found
    assert found.facts['laptop']['uplink_bps'] == pytest.approx(50e6, rel=0.1)


def test_why_the_way_back_is_not_measured_and_what_to_do(tmp_path: Path) -> None:
    up = link_of(samples(50e6, kinds=(UPLINK,)))
    silent = link_checks.check_link(exam_of(tmp_path, link=up))
    assert 'no frame was answered' in silent.found and 'log of the server' in silent.cure
    broken = link_checks.check_link(exam_of(tmp_path, link=up, model=Ended(-4)))
    assert 'was not run here' in broken.found and 'check model' in broken.cure
    slow = link_checks.check_link(
        exam_of(tmp_path, link=link_of(samples(1e6, kinds=(UPLINK,))))
    )
    assert slow.state is State.WARNING
    assert 'cable' in slow.cure and 'log of the server' in slow.cure


def test_links_with_trouble(tmp_path: Path) -> None:
    slow = link_checks.check_link(exam_of(tmp_path, link=link_of(samples(1e6))))
    assert slow.state is State.WARNING and 'cable' in slow.cure
    loss = {'kind': LOST, 'probe': False, 'nbytes': 0, 'duration_ms': 0.0}
    lossy = link_checks.check_link(exam_of(tmp_path, link=link_of([*samples(50e6), loss])))
    assert lossy.state is State.WARNING and 'fastdds_lossy.xml' in lossy.cure
    died = link_checks.check_link(exam_of(tmp_path, link=Ended(-11)))
    assert died.state is State.FAILURE and 'SIGSEGV' in died.found
    with pytest.raises(MissingError, match='no server'):
        link_checks.check_link(exam_of(tmp_path, servers=[]))


FULL = 'the server is full: it serves 8 robots; raise max_clients'
OTHER = 'the server runs another model; given: aaaa; allowed: bbbb'


@pytest.mark.parametrize(
    ('answer', 'found', 'cure', 'never'),
    [
        ({'reasons': [FULL], 'state': f'absent ({FULL})'}, 'full: it serves 8', 'stop a robot',
         'firewall'),
        ({'reasons': [OTHER], 'state': f'absent ({OTHER})'}, 'refuses this machine: the server ru',
         'same network', 'firewall'),
        ({'greeted': True, 'state': 'greeting (no acknowledgement for 1.0 s), 0.0 Mbit/s'},
         'answered a greeting, but nothing large', 'fastdds_lossy.xml', 'firewall'),
        ({'state': 'greeting (never seen), 0.0 Mbit/s'}, 'no greeting within 6 s', 'firewalls',
         'lossy'),
        ({'state': 'its status did not come'}, '6 s: its status did not come', 'firewalls',
         'lossy'),
    ],
)
def test_a_server_that_is_not_reached_has_a_cure_by_what_it_answers(
    tmp_path: Path, answer: dict[str, Any], found: str, cure: str, never: str
) -> None:
    link = link_of([], **{'connected': False, 'greeted': False, **answer})
    made = link_checks.check_link(exam_of(tmp_path, link=link))
    assert made.state is State.FAILURE and made.found.startswith('laptop ')
    assert found in made.found and cure in made.cure and never not in made.cure
    assert 'never seen' not in made.found
    assert made.facts['laptop']['state'] == answer['state']


def test_a_server_without_a_place_says_it_in_these_words() -> None:
    source = Path(link_checks.__file__).parents[1] / 'transport/tensor_server.py'
    assert link_checks.FULL in source.read_text(encoding='utf-8')


def test_expected_rate_by_plan(tmp_path: Path) -> None:
    edge, server = profiles()
    exam = exam_of(
        tmp_path, link=link_of(samples(50e6)),
        servers=[{**SERVER, 'identity': edge.model_identity}],
        robots={'/robot': {'profile': edge.to_json(), 'plan': None}},
        profiles={'laptop': server.to_json()},
    )
    found = link_checks.check_fps(exam)
    assert found.state is State.OK
    local, auto = found.facts['local'], found.facts['auto']
    assert local['latency_ms'] == pytest.approx(edge.whole_ms + edge.finish_ms)
    assert local['fps'] == pytest.approx(1e3 / local['latency_ms'])
    assert auto['server'] == 'laptop' and auto['latency_ms'] < local['latency_ms']
    assert 'profile of robot /robot' in found.found
    # Asked about another network: that robot's profile says nothing of it.
    other = exam_of(
        tmp_path, settings={'model': 'torchvision:resnet18'},
        robots={'/robot': {'profile': edge.to_json(), 'plan': None}},
    )
    with pytest.raises(MissingError, match='never measured'):
        link_checks.check_fps(other)


def test_expected_rate_without_a_server_or_a_profile(tmp_path: Path) -> None:
    edge, _ = profiles()
    folder = tmp_path / 'model'
    folder.mkdir()
    known = said({**MODEL, 'identity': edge.model_identity, 'folder': str(folder)})
    with pytest.raises(MissingError, match='never measured') as missing:
        link_checks.check_fps(exam_of(tmp_path, model=known, servers=[]))
    assert 'dnn-offload profile demo:detector' in missing.value.finding.cure
    (folder / 'profile_edge_torch_1t.json').write_text(edge.to_json())
    found = link_checks.check_fps(exam_of(tmp_path, model=known, servers=[]))
    assert found.state is State.OK and 'this machine' in found.found
    assert found.facts['remote'] is None and found.facts['auto']['server'] == ''
    assert 'no server that is ready' in found.found and 'server.launch.py' in found.cure
    other = [{**SERVER, 'identity': 'b' * 64}]
    found = link_checks.check_fps(exam_of(tmp_path, model=known, servers=other))
    assert 'no server with this network' in found.found
    assert f'server.launch.py model:={edge.model}' in found.cure


def test_expected_rate_without_ros(tmp_path: Path) -> None:
    edge, _ = profiles()
    (tmp_path / 'profile_edge_torch_1t.json').write_text(edge.to_json())
    known = said({**MODEL, 'identity': edge.model_identity, 'folder': str(tmp_path)})
    machine = MadeUpMachine(tmp_path, {'where_installed': said(NO_ROS), 'try_model': known})
    found = link_checks.check_fps(examination(machine))
    assert found.state is State.OK and 'there is no ROS 2' in found.found
