"""The rooms of the house (docs/architecture.md) import downwards only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import re
import sys

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'dnn_offload'

# Modules of the top level: the shared vocabulary, for all rooms.
SHARED = {
    'errors', 'tensors', 'exchange', 'own_program', 'whole_file', 'writable', 'ending',
    'file_lock', 'process_end',
}  # fmt: skip

# room -> rooms that it may import, beside itself and SHARED.
ALLOWED = {
    'codec': set(),
    'vision': set(),
    'graph': set(),
    'cost': set(),
    'planning': {'cost'},
    'simulate': {'planning', 'cost'},
    'report': {'planning', 'cost'},
    'transport': {'codec'},
    'runtime': {'graph', 'codec', 'vision', 'cost'},
}
_BELOW = set(ALLOWED)
ALLOWED |= {
    'nodes': _BELOW - {'simulate', 'report'},
    'testbed': _BELOW,
    'bench': _BELOW | {'testbed'},
    'watch': {'report', 'transport'},
    'demo': _BELOW | {'testbed'},
    'doctor': _BELOW - {'simulate', 'report'},
    'cli': _BELOW | {'demo', 'testbed', 'bench', 'watch', 'doctor'},
}

ROS = {
    'rclpy', 'cv_bridge', 'ament_index_python', 'launch', 'launch_ros', 'builtin_interfaces',
    'diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs', 'nav_msgs', 'rcl_interfaces',
    'sensor_msgs', 'std_msgs', 'vision_msgs', 'visualization_msgs',
}  # fmt: skip
ROS_ROOMS = {'nodes', 'transport', 'demo', 'testbed', 'bench', 'watch'}
# The rest of these rooms is tested without ROS.
ROS_HALF_OF_DEMO = {
    'demo/__main__.py', 'demo/navigation_node.py', 'demo/script.py', 'demo/pictures.py',
}  # fmt: skip

ROS_HALF_OF_WATCH = {'watch/conversion.py', 'watch/main.py', 'watch/reception.py'}

# Programs of the doctor's, started by their paths, each to try what a node does: what they may
# import beside what their room may. Nothing imports them.
DOCTORS_CHILDREN = {
    'doctor/children/look_around.py': {'testbed', 'msg', 'ROS'},
    'doctor/children/measure_link.py': {'testbed', 'ROS'},
    'doctor/children/try_camera.py': {'nodes'},
    'doctor/children/try_torch.py': {'torch'},
}

TORCH = {'torch', 'torchvision'}
TORCH_ROOMS = {'graph', 'runtime', 'demo', 'bench'}
# What a room may import of the outside, where it is restricted (docs/architecture.md, Rooms).
ONLY = {
    'cost': {'numpy', 'scipy', 'psutil'},
    'planning': {'numpy', 'scipy'},
    'codec': {'numpy', 'zstandard', 'cv2'},
    'vision': {'numpy', 'cv2'},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob('*.py'))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import in a file, inner ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno} imports relatively'
            assert node.module is not None
            if node.module == 'dnn_offload':  # from dnn_offload import room
                for alias in node.names:
                    yield node.lineno, f'dnn_offload.{alias.name}'
            else:
                yield node.lineno, node.module


def room_of(path: Path, package: Path = PACKAGE) -> str:
    """Return the sub-package of a file, '' for the top level."""
    inside = path.relative_to(package)
    return inside.parts[0] if len(inside.parts) > 1 else ''


def violations(path: Path, package: Path = PACKAGE) -> Iterator[str]:
    """Yield what a file imports against the rules."""
    room = room_of(path, package)
    name = path.relative_to(package).as_posix()
    more = DOCTORS_CHILDREN.get(name, set())
    for line, target in imported(path):
        top, *rest = target.split('.')
        where = f'{name}:{line} imports {target}'
        if top == 'dnn_offload':
            other = rest[0] if rest else ''
            if rest[:2] == ['doctor', 'children']:
                yield f'{where}: the doctor starts its children, nothing imports them'
                continue
            if other in more:
                continue
            if other == 'msg':
                if room not in ROS_ROOMS:
                    yield f'{where}: message types are for nodes and transport'
            elif other not in SHARED and other != room and other not in ALLOWED.get(room, set()):
                yield f'{where}: {room or "the top level"} may not import {other or "the package"}'
        elif top in ROS:
            if room not in ROS_ROOMS and 'ROS' not in more:
                yield f'{where}: ROS is for nodes and transport'
            elif room in ('demo', 'watch') and name not in ROS_HALF_OF_DEMO | ROS_HALF_OF_WATCH:
                yield f'{where}: not in the ROS half of its room (ROS_HALF_OF_...)'
        elif top in TORCH:
            if room not in TORCH_ROOMS and 'torch' not in more:
                yield f'{where}: torch is for graph and runtime'
        elif top not in sys.stdlib_module_names and room in ONLY and top not in ONLY[room]:
            yield f'{where}: {room} uses {", ".join(sorted(ONLY[room]))} only'


def test_there_is_something_to_check() -> None:
    assert len(modules()) > 20


@pytest.mark.parametrize('path', modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_downwards_only(path: Path) -> None:
    assert list(violations(path)) == []


def drawn_rules(text: str) -> dict[str, set[str]]:
    """Return what each room may import, as the diagram of the rooms draws it."""
    blocks = re.findall(r'```mermaid\n(.*?)```', text, re.S)
    (diagram,) = [block for block in blocks if 'cli -->' in block]
    arrows: dict[str, set[str]] = {}
    alone: dict[str, set[str]] = {}
    for line in diagram.splitlines()[1:]:
        drawn = re.fullmatch(r'  (\w+) (-->|-\.->) (\w+(?: & \w+)*)', line)
        assert drawn, line
        kind = arrows if drawn[2] == '-->' else alone
        kind.setdefault(drawn[1], set()).update(drawn[3].split(' & '))

    def reached(room: str) -> set[str]:
        return set().union(*({other} | reached(other) for other in arrows.get(room, set())))

    rooms = {*arrows, *alone}.union(*arrows.values(), *alone.values())
    return {room: reached(room) | alone.get(room, set()) for room in rooms}


def test_the_diagram_of_the_rooms_draws_these_rules() -> None:
    text = (PACKAGE.parent / 'docs/architecture.md').read_text(encoding='utf-8')
    assert drawn_rules(text) == ALLOWED


def test_an_arrow_too_many_or_too_few_in_the_diagram_is_seen() -> None:
    head = '```mermaid\nflowchart TD\n  cli --> demo\n  demo --> codec & cost\n'
    drawn = drawn_rules(head + '  watch -.-> demo\n```\n')
    nothing: set[str] = set()
    assert drawn == {
        'cli': {'demo', 'codec', 'cost'}, 'demo': {'codec', 'cost'}, 'watch': {'demo'},
        'codec': nothing, 'cost': nothing,
    }  # fmt: skip


def test_every_room_has_rules() -> None:
    rooms = {room_of(path) for path in modules()} - {''}
    assert rooms <= set(ALLOWED)


def test_the_top_level_holds_the_shared_vocabulary_only() -> None:
    names = {path.stem for path in PACKAGE.glob('*.py')} - {'__init__'}
    assert names == SHARED


@pytest.mark.parametrize(
    'path',
    [path for path in modules() if path.name == '__init__.py'],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_package_files_hold_a_docstring_only(path: Path) -> None:
    # The message generators write dnn_offload/__init__.py too: code in ours would be lost or win
    # by the order of installation.
    body = ast.parse(path.read_text(encoding='utf-8')).body
    assert all(isinstance(node, ast.Expr) for node in body)
    assert all(isinstance(node.value, ast.Constant) for node in body)


def test_the_rules_catch_what_they_are_for(tmp_path: Path) -> None:
    for name, line in (
        ('cost/a.py', 'import torch'),
        ('planning/a.py', 'from dnn_offload.nodes import base'),
        ('runtime/a.py', 'import rclpy'),
        ('codec/a.py', 'from dnn_offload.msg import Plan'),
        ('vision/a.py', 'import scipy'),
        ('graph/a.py', 'from dnn_offload import cli'),
        ('doctor/a.py', 'import rclpy'),
        ('doctor/children/try_torch.py', 'from dnn_offload.nodes import base'),
        ('cli/a.py', 'from dnn_offload.doctor.children import try_model'),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'def inside():\n    {line}\n', encoding='utf-8')
        assert len(list(violations(path, tmp_path))) == 1, name
