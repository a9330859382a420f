"""What colcon installs: executables, shared files, messages that others on the wire understand."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
import pytest
import yaml

import dnn_offload.msg

SOURCE = Path(__file__).resolve().parents[2]
NODES = {
    'camera_node',
    'load_monitor_node',
    'local_inference_node',
    'navigation_node',
    'partition_planner_node',
    'remote_inference_node',
}


def share() -> Path:
    return Path(get_package_share_directory('dnn_offload'))


def test_every_node_is_an_executable() -> None:
    folder = Path(get_package_prefix('dnn_offload')) / 'lib/dnn_offload'
    assert {path.name for path in folder.iterdir()} == NODES | {'demo', 'dnn-offload'}
    assert all(os.access(path, os.X_OK) for path in folder.iterdir())


def test_launch_files_and_configuration_are_shared() -> None:
    assert {path.name for path in (share() / 'launch').glob('*.py')} == {
        'demo.launch.py', 'robot.launch.py', 'server.launch.py',
    }  # fmt: skip
    for name in (
        'robot.yaml', 'server.yaml', 'fastdds.xml', 'fastdds_lossy.xml', 'dnn_offload.rviz',
        'foxglove_layout.json',
    ):
        assert (share() / 'config' / name).is_file()


@pytest.mark.parametrize('name', ['robot.yaml', 'server.yaml'])
def test_parameter_files_apply_in_any_namespace(name: str) -> None:
    content = yaml.safe_load((share() / 'config' / name).read_text(encoding='utf-8'))
    assert content
    for node, settings in content.items():
        assert node.startswith('/**/')
        assert node.removeprefix('/**/') in NODES
        assert set(settings) == {'ros__parameters'}


def test_every_message_of_the_source_is_there() -> None:
    for path in (SOURCE / 'msg').glob('*.msg'):
        message = getattr(dnn_offload.msg, path.stem)
        message.__class__.__import_type_support__()
        message()


def test_installed_modules_are_those_of_the_source() -> None:
    installed = Path(dnn_offload.msg.__file__).parents[1]
    source = SOURCE / 'dnn_offload'

    def modules(top: Path) -> set[str]:
        names = {path.relative_to(top).as_posix() for path in top.rglob('*.py')}
        return {name for name in names if not name.startswith('msg/')}

    assert modules(installed) == modules(source)


def test_vision_msgs_are_those_of_the_distribution() -> None:
    # type_hashes.json was recorded from a build of the public vision_msgs 4.1.1. Equal hashes
    # mean equal names, fields and types: nodes of both kinds understand each other.
    recorded = json.loads(
        (SOURCE / 'tools/vision_msgs/type_hashes.json').read_text(encoding='utf-8')
    )
    built = {}
    for path in Path(get_package_share_directory('vision_msgs')).glob('msg/*.json'):
        for entry in json.loads(path.read_text(encoding='utf-8'))['type_hashes']:
            if entry['type_name'].startswith('vision_msgs/'):
                built[entry['type_name']] = entry['hash_string']
    assert {name: built.get(name) for name in recorded} == recorded
