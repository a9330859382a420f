"""Each parameter that is live is set on a running node by some test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dnn_offload.nodes import (
    camera_parameters,
    load_monitor_parameters,
    local_parameters,
    planner_parameters,
    remote_parameters,
)
from dnn_offload.nodes.parameters import ParameterSpec

FOLDER = Path(__file__).parent / 'ros'
# Where; and what no test here can show.
NODES: dict[str, tuple[tuple[ParameterSpec, ...], tuple[str, ...], frozenset[str]]] = {
    'camera_node': (
        camera_parameters.PARAMETERS, ('test_camera_node',),
        frozenset({'pixel_format'}),  # asked of a V4L2 driver; there is none
    ),
    'load_monitor_node': (
        load_monitor_parameters.PARAMETERS, ('test_load_monitor_node',), frozenset()
    ),
    'partition_planner_node': (
        planner_parameters.PARAMETERS, ('test_live_planner', 'test_planner_node'), frozenset()
    ),
    'local_inference_node': (
        local_parameters.PARAMETERS,
        ('test_live_robot', 'test_tasks', 'test_compressed_cameras'), frozenset(),
    ),
    'remote_inference_node': (remote_parameters.PARAMETERS, ('test_remote_node',), frozenset()),
}


SETTERS = {'set_parameter', 'set_parameters', 'put'}


def set_in(text: str) -> set[str]:
    """Names that a test hands to a setter, by keyword, as they are, or one after the other.

    That it looks at what they do is for people to see: this tells of those that are left out.
    """
    found: set[str] = set()
    tree = ast.parse(text)
    refused = {id(node.value) for node in ast.walk(tree)
               if isinstance(node, ast.Attribute) and node.attr == 'reason'}
    for node in ast.walk(tree):
        if id(node) in refused:
            continue
        of: list[ast.AST] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            if name in SETTERS:
                found |= {keyword.arg for keyword in node.keywords if keyword.arg}
            if name in SETTERS | {'parametrize'}:
                of = list(node.args)
        elif isinstance(node, ast.For):
            of = [node.iter]
        for part in of:
            found |= {str(leaf.value) for leaf in ast.walk(part) if isinstance(leaf, ast.Constant)}
    return found


@pytest.mark.parametrize('node', NODES)
def test_each_live_parameter_is_set_while_its_node_runs(node: str) -> None:
    specs, files, unseen = NODES[node]
    found = set().union(*(
        set_in((FOLDER / f'{name}.py').read_text(encoding='utf-8')) for name in files
    ))
    assert {spec.name for spec in specs if spec.applies == 'live'} - found == unseen
