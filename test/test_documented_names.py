"""Parameters and launch arguments that README, docs and examples name are declared."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
import re
import shlex
from typing import Any

import pytest
import yaml

from dnn_offload.bench.scenario import file as scenarios
from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.parameters import ROS_PARAMETERS
from dnn_offload.nodes.topics import TOPICS
from test_deploy import launch_arguments
from test_documented_commands import code_of, FENCE, NODES, ROOT
from test_documented_links import name_of, PAGES

FILES = sorted(
    path for name in ('config', 'deploy', 'examples') for path in ROOT.glob(f'{name}/**/*.yaml')
    if 'ros__parameters' in path.read_text(encoding='utf-8')
)
LAUNCHES = sorted(path.name for path in ROOT.glob('launch/*.launch.py'))
OF_NAV2 = {'local_costmap', 'controller_server'}
# Shown as what has no effect, and what other packages' camera nodes take.
NOT_OURS = {'param_file:=my.yaml', 'strategy:=local', 'format:=MJPEG', 'pixel_format:=raw_mjpeg'}
EXAMPLES = {  # names that the example nodes declare
    match[1]
    for path in ROOT.glob('examples/**/*.py')
    for match in re.finditer(
        r"(?m)(?:declare\w*\(\s*(?:self|node),|declare_parameter\(|^\s+\()\s*'(\w+)'",
        path.read_text(encoding='utf-8'),
    )
}
QOS: dict[str, Callable[[Any], bool]] = {
    'history': ('keep_last', 'keep_all').__contains__,
    'depth': lambda value: type(value) is int and value >= 1,
    'reliability': ('reliable', 'best_effort', 'best_available').__contains__,
}


# ---- parameters --------------------------------------------------------------------------------


def refused(node: str, name: str, value: Any) -> str:
    """Why a node of ours would pass over or refuse a parameter; '' if it takes it."""
    if name in ROS_PARAMETERS:
        return '' if isinstance(value, bool) else f'{node}: {name} is no bool'
    if name.startswith('qos_overrides.'):
        _, topic, end, policy = (name.split('.') + [''] * 3)[:4]
        ends = {'publisher': TOPICS[node].publishes, 'subscription': TOPICS[node].subscribes}
        known = any(
            one.overridable and topic.endswith(f'/{one.name}') for one in ends.get(end, ())
        )
        return '' if known and policy in QOS and QOS[policy](value) else f'{node}: {name} {value}'
    if name not in NODES[node]:
        return f'{node} has no parameter {name}'
    try:
        NODES[node][name].convert(value)
    except ConfigurationError as error:
        return f'{node}: {error}'
    return ''


def flat(settings: Mapping[str, Any], before: str = '') -> Iterator[tuple[str, Any]]:
    """Parameters by full name, as rcl makes them of a nested file."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f'{before}{name}.')
        else:
            yield before + name, value


def refused_in_file(content: Any, node: str = '') -> list[str]:
    """What nodes would pass over or refuse of a parameter file."""
    if not isinstance(content, Mapping):
        return [f'{node}: not a mapping']
    found = []
    for key, value in content.items():
        if key != 'ros__parameters':
            found += refused_in_file(value, key.rpartition('/')[2])
        elif node == '**':  # of every node
            found += [why for name in NODES for one in flat(value) if (why := refused(name, *one))]
        elif node in NODES:
            found += [why for one in flat(value) if (why := refused(node, *one))]
        elif node not in OF_NAV2:
            found.append(f'no node {node}')
    return found


def refused_in_blocks(text: str) -> list[str]:
    """The same of all parameter files that a page shows, and of ``name: value`` in its lines."""
    blocks = [block for block in FENCE.findall(text) if 'ros__parameters' in block]
    found = [why for block in blocks for why in refused_in_file(yaml.safe_load(block))]
    for line in re.findall(r'`(\w+: [^`\n]+)`', FENCE.sub('', text)):
        name, _, value = line.partition(': ')
        nodes = [node for node in NODES if name in NODES[node]]
        whys = [refused(node, name, yaml.safe_load(value)) for node in nodes]
        found += whys if all(whys) else []
    return found


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_nodes_take_the_parameters_that_a_page_shows(page: Path) -> None:
    assert refused_in_blocks(page.read_text(encoding='utf-8')) == []


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_nodes_take_the_parameters_of_our_files(path: Path) -> None:
    assert refused_in_file(yaml.safe_load(path.read_text(encoding='utf-8'))) == []


@pytest.mark.parametrize(
    ('node', 'setting', 'why'),
    [
        ('/**/camera_node', 'rate_hz: 10.0', ''),
        ('/**/camera_node', 'rate_hertz: 10.0', 'no parameter rate_hertz'),
        ('/**/camera_node', 'rate_hz: fast', 'a value of type double'),
        ('/**/camera_node', 'rate_hz: -1.0', 'refused'),
        ('/**/camera_nod', 'rate_hz: 10.0', 'no node camera_nod'),
        ('/robot/camera_node', 'use_sim_time: true', ''),
        ('/robot/camera_node', 'use_sim_time: 1', 'no bool'),
        ('/**', 'nice: 3', ''),
        ('/**', 'rate_hz: 3.0', 'no parameter rate_hz'),
        ('/r/camera_node', 'qos_overrides: {/r/image_raw: {publisher: {depth: 5}}}', ''),
        ('/r/camera_node', 'qos_overrides: {/r/image_raw: {publisher: {depth: 0}}}', 'depth 0'),
        ('/r/camera_node', 'qos_overrides: {/r/image: {publisher: {depth: 5}}}', '/r/image.'),
        ('/r/camera_node', 'qos_overrides: {/r/image_raw: {subscriber: {depth: 5}}}', 'subscr'),
    ],
)
def test_parameters_that_no_node_takes_are_found(node: str, setting: str, why: str) -> None:
    block = f'text\n\n```yaml\n{node}:\n  ros__parameters:\n    {setting}\n```\n'
    found = refused_in_blocks(block)
    assert why in ''.join(found) and bool(found) == bool(why)
    nested = {'robot': {node.rpartition('/')[2]: {'ros__parameters': yaml.safe_load(setting)}}}
    assert bool(refused_in_file(nested)) == bool(why)


def test_values_in_lines_of_text_are_looked_at() -> None:
    assert refused_in_blocks('set `backend: torch`, `grid: 4` is of others') == []
    assert refused_in_blocks('set `backend: tensorflow`') != []


def test_parameters_in_the_table_of_the_readme_are_those_of_their_node() -> None:
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    table = re.search(r'(?ms)^\| node \| parameter \|.*?\n\n', text)
    assert table is not None
    node, seen = '', set()
    for row in table[0].strip().splitlines()[2:]:
        first, names = (cell.strip() for cell in row.split('|')[1:3])
        node = first.strip('`') or node
        for one in NODES if node == 'all' else (node,):
            assert set(re.findall(r'`(\w+)`', names)) <= set(NODES[one]), row
        seen.add(node)
    assert len(seen) > 3


def test_defaults_in_the_table_of_the_readme_are_declared() -> None:
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    table = re.search(r'(?ms)^\| node \| parameter \|.*?\n\n', text)
    assert table is not None
    node, compared = '', 0
    for row in table[0].strip().splitlines()[2:]:
        first, names, told = (cell.strip() for cell in row.split('|')[1:4])
        node = first.strip('`') or node
        if node == 'all':  # in words
            continue
        told = re.sub(r'\(.*?\)', '', told)
        for name, value in zip(
            re.findall(r'`(\w+)`', names), (each.strip() for each in told.split(',')), strict=True
        ):
            default = NODES[node][name].default
            said: object = {'none': '', 'all': ()}.get(value, value.strip('`'))
            numeric = isinstance(default, int | float)
            assert (float(value) if numeric else said) == default, row
            compared += 1
    assert compared > 8


def test_the_scenario_that_is_shown_is_taken() -> None:
    block, = re.findall(r'(?ms)^```yaml\n(.*?)^```', (ROOT / 'docs/bench.md').read_text())
    assert scenarios.parse(block, 'shown').title
    with pytest.raises(ConfigurationError):
        scenarios.parse(block.replace('robot_speed', 'robots_speed'), 'shown')


# ---- name:=value -------------------------------------------------------------------------------


def choices() -> dict[str, tuple[str, ...]]:
    """Values of those launch arguments that do not take any."""
    found = {}
    for path in (*ROOT.glob('launch/*.py'), ROOT / 'dnn_offload/nodes/launch_parts.py'):
        for call in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == 'DeclareLaunchArgument':
                for keyword in call.keywords:
                    if keyword.arg == 'choices':
                        found[ast.literal_eval(call.args[0])] = ast.literal_eval(keyword.value)
    return found


CHOICES = choices()
NO_VALUE = ('', '...', '…')  # the name alone is meant


def wrong_argument(name: str, value: str, files: list[str]) -> str:
    """Why no such launch argument can be given to any of some launch files."""
    if not any(name in launch_arguments(file) for file in files):
        return f'{" ".join(files)}: no argument {name}'
    if value in NO_VALUE:
        return ''
    if name in CHOICES:
        return '' if value in CHOICES[name] else f'{name}:={value} is none of {CHOICES[name]}'
    nodes = [n for n in NODES if name in NODES[n] and isinstance(NODES[n][name].default, str)]
    whys = [refused(node, name, value) for node in nodes]
    return whys[0] if whys and all(whys) else ''


def wrong_settings(text: str) -> list[str]:
    """``name:=value`` in a page that no launch file or node takes."""
    wrong = []
    for line in code_of(text):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # prose
            words = line.split()
        ran = words[words.index('run') + 1:][:2] if 'run' in words else []
        launch = [word for word in words if word.endswith('.launch.py')]
        example = any(word.endswith('.py') and word not in launch for word in words)
        wrong += [f'no launch file {word}' for word in launch if word not in LAUNCHES]
        for before, word in zip(['', *words], words, strict=False):
            match = re.fullmatch(r'([a-z][\w.]*):=(.*?)[,;.]?', word)
            if match is None or before in ('-r', '--remap') or match[0] in NOT_OURS:
                continue
            name, value = match.groups()
            if before not in ('-p', '--param'):
                files = [word for word in launch if word in LAUNCHES]
                wrong.append(wrong_argument(name, value, files or LAUNCHES))
            elif ran and ran[0] != 'dnn_offload':
                continue  # a node of somebody else
            elif example or not ran:
                known = EXAMPLES if example else EXAMPLES.union(*NODES.values())
                wrong.append('' if name in known else f'no parameter {name}')
            elif value not in NO_VALUE:
                wrong.append(refused(ran[1], name, yaml.safe_load(value)))
    return [why for why in wrong if why]


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_launch_files_and_nodes_take_what_is_given_to_them(page: Path) -> None:
    text = page.read_text(encoding='utf-8').replace('-p name:=value', '')  # says how, not what
    assert wrong_settings(text) == []


@pytest.mark.parametrize(
    ('line', 'why'),
    [
        ('ros2 launch dnn_offload robot.launch.py source:=0 rviz:=true', ''),
        ('ros2 launch dnn_offload robot.launch.py sauce:=0', 'no argument sauce'),
        ('ros2 launch dnn_offload server.launch.py source:=0', 'no argument source'),
        ('ros2 launch dnn_offload robots.launch.py', 'no launch file robots.launch.py'),
        ('ros2 launch dnn_offload robot.launch.py rviz:=yes', 'rviz:=yes is none of'),
        ('ros2 launch dnn_offload robot.launch.py input_size:=large', 'refused'),
        ('ros2 launch dnn_offload robot.launch.py backend:=all', 'no argument backend'),
        ('server.launch.py model:=demo:detector, weights:=random', ''),
        ('model:=, namespace:=robot2', ''),
        ('pass_jpeg:=never', 'no argument pass_jpeg'),
        ('ros2 run dnn_offload camera_node --ros-args -p source:=/dev/video0', ''),
        ('ros2 run dnn_offload camera_node --ros-args -p sauce:=0', 'no parameter sauce'),
        ('ros2 run dnn_offload camera_node --ros-args -p rate_hz:=fast', 'double'),
        ('ros2 run dnn_offload camera_node -r __ns:=/robot -r image_raw:=/image', ''),
        ('ros2 run usb_cam usb_cam_node_exe --ros-args -p pixel_format:=yuyv -p any:=1', ''),
        ('python3 detection_obstacles.py --ros-args -p camera_height_m:=0.3', ''),
        ('python3 detection_obstacles.py --ros-args -p camera_hight_m:=0.3', 'camera_hight_m'),
        ('-p output:=twist', ''),
        ('-p outputs:=twist', 'no parameter outputs'),
    ],
)
def test_names_that_nothing_declares_are_found(line: str, why: str) -> None:
    broken = ' \\\n    '.join(line.split())
    for text in (f'```\n{broken}\n```\n', f'take `{line}`\n', f'```\n{line}   # so\n```\n',
                 f'- take `{line.replace(" ", chr(10) + "  ", 1)}`, or not\n'):
        found = wrong_settings(text)
        assert why in ''.join(found) and bool(found) == bool(why), text
