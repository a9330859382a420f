"""The files for rviz and Foxglove are such as these programs take, and show what they should.

That nodes publish what the files name is tested with real nodes in ``test/ros/test_top.py``.
"""

from __future__ import annotations

from pathlib import Path
import re

import pytest

from dnn_offload.nodes.topics import DIAGNOSTICS, TOPICS
from dnn_offload.transport.topics import Reliability
import view_files
from view_files import Shown

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'config'

ANNOTATED = 'image_annotated/compressed'

# Of what rviz_default_plugins and rviz_common of Jazzy register (their plugins_description.xml).
RVIZ_CLASSES = {
    'rviz_common/Displays', 'rviz_common/Views', 'rviz_default_plugins/Grid',
    'rviz_default_plugins/Image', 'rviz_default_plugins/Interact', 'rviz_default_plugins/Marker',
    'rviz_default_plugins/MoveCamera', 'rviz_default_plugins/Orbit', 'rviz_default_plugins/TF',
}  # fmt: skip
RVIZ_POLICIES = {  # qos_profile_property.cpp
    'Reliability Policy': {'Reliable', 'Best Effort', 'System Default'},
    'Durability Policy': {'Volatile', 'Transient Local', 'System Default'},
    'History Policy': {'Keep Last', 'Keep All', 'System Default'},
}
FOXGLOVE_PANELS = {
    '3D', 'DiagnosticSummary', 'Image', 'Plot', 'RawMessages', 'StateTransitions', 'Tab',
}  # fmt: skip


def classes(part: object) -> set[str]:
    """All values of `Class` in a file for rviz, but the empty one of the manager."""
    if isinstance(part, dict):
        found = {part['Class']} if part.get('Class') else set()
        return found.union(*(classes(item) for item in part.values()))
    return set().union(*(classes(item) for item in part)) if isinstance(part, list) else set()


def test_rviz_knows_every_class_and_policy() -> None:
    loaded = view_files.rviz(CONFIG)
    assert set(loaded) == {'Panels', 'Visualization Manager', 'Window Geometry'}
    assert classes(loaded) <= RVIZ_CLASSES
    for display in loaded['Visualization Manager']['Displays']:
        assert display['Enabled'] == display['Value']
        for policy, allowed in RVIZ_POLICIES.items():
            assert display.get('Topic', {}).get(policy, 'System Default') in allowed
    # A picture has a dock window of its own name.
    names = [d['Name'] for d in loaded['Visualization Manager']['Displays']]
    assert len(set(names)) == len(names)
    assert set(loaded['Window Geometry']) - {'Width', 'Height'} <= {*names, 'Displays', 'Views'}


def test_rviz_looks_at_the_frame_in_which_the_plan_floats() -> None:
    manager = view_files.rviz(CONFIG)['Visualization Manager']
    parameters = (ROOT / 'dnn_offload/nodes/planner_parameters.py').read_text(encoding='utf-8')
    default = re.search(r"'marker_frame_id',\s*'(\w+)'", parameters)
    assert default is not None
    assert manager['Global Options']['Fixed Frame'] == default.group(1)


def test_every_panel_of_foxglove_is_placed_once_and_of_a_kind_that_it_has() -> None:
    layout = view_files.foxglove(CONFIG)
    placed = view_files.panels(layout)
    assert set(placed) == set(layout['configById'])
    assert {name.partition('!')[0] for name in placed} <= FOXGLOVE_PANELS
    assert set(layout) == {
        'configById', 'globalVariables', 'userNodes', 'playbackConfig', 'layout',
    }


@pytest.mark.parametrize(
    'topics, from_the_start',
    [
        (view_files.rviz_topics, {ANNOTATED, 'plan_marker'}),
        (view_files.foxglove_topics, {ANNOTATED, 'plan', 'load', 'frame_report'}),
    ],
)
def test_a_stranger_sees_what_matters_and_can_switch_on_the_rest(
    topics: object, from_the_start: set[str]
) -> None:
    shown = list(topics(CONFIG))  # type: ignore[operator]
    robot = f'{view_files.ROBOT}/'
    seen = {item.topic.removeprefix(robot) for item in shown if item.from_the_start}
    assert from_the_start <= seen
    later = {item.topic.removeprefix(robot) for item in shown} - seen
    assert 'segmentation' in later
    if topics is view_files.foxglove_topics:
        assert {'detections', 'classification'} <= later


def test_every_topic_is_declared_with_its_type_and_a_quality_that_matches() -> None:
    declared = {
        e.name if e.name.startswith('/') else f'{view_files.ROBOT}/{e.name}': e
        for e in (DIAGNOSTICS, *(e for node in TOPICS.values() for e in node.publishes))
    }
    for item in [*view_files.rviz_topics(CONFIG), *view_files.foxglove_topics(CONFIG)]:
        assert declared[item.topic].type_name == item.type_name, item
    for display in view_files.rviz(CONFIG)['Visualization Manager']['Displays']:
        if 'Topic' in display:
            asked = display['Topic']
            offered = declared[f'{view_files.ROBOT}/{asked["Value"]}'].quality
            if asked['Reliability Policy'] == 'Reliable':
                assert offered.reliability is Reliability.RELIABLE, asked
            if asked['Durability Policy'] == 'Transient Local':
                assert offered.latched, asked


def test_foxglove_plots_fields_that_exist() -> None:
    shown: list[Shown] = list(view_files.foxglove_topics(CONFIG))
    fields = {(item.type_name, item.field) for item in shown if item.field}
    assert {field for _, field in fields} >= {
        'latency_ms', 'predicted_ms', 'deadline_ms', 'factor', 'outcome', 'reason', 'uplink_bps',
    }
    for type_name, field in fields:
        declared = (ROOT / f'msg/{type_name.rpartition("/")[2]}.msg').read_text(encoding='utf-8')
        assert re.search(rf'^\S+ {field}\b', declared, re.MULTILINE), f'{type_name}.{field}'
