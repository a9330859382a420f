"""What the files for rviz and Foxglove in config/ ask for, for their tests. No ROS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import json
from pathlib import Path
import re
from typing import Any

import yaml

IMAGE, MARKER = 'sensor_msgs/msg/Image', 'visualization_msgs/msg/Marker'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
DIAGNOSTICS = 'diagnostic_msgs/msg/DiagnosticArray'
OURS = {
    'frame_report': 'dnn_offload/msg/FrameReport', 'plan': 'dnn_offload/msg/Plan',
    'load': 'dnn_offload/msg/Load', 'detections': 'vision_msgs/msg/Detection2DArray',
    'classification': 'vision_msgs/msg/Classification',
}
ROBOT = '/robot'  # whose topics the Foxglove layout names; the one that the launch file makes


@dataclass(frozen=True)
class Shown:
    """A topic that a view shows: absolute, its type, the field (empty = the whole message)."""

    topic: str
    type_name: str
    field: str = ''
    from_the_start: bool = True


def rviz(config: Path) -> dict[str, Any]:
    """The file for rviz."""
    text = (config / 'dnn_offload.rviz').read_text(encoding='utf-8')
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def foxglove(config: Path) -> dict[str, Any]:
    """The layout for Foxglove."""
    text = (config / 'foxglove_layout.json').read_text(encoding='utf-8')
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def picture_type(topic: str) -> str:
    """By the topic's last part, as image_transport names it; both programs go by that."""
    return COMPRESSED if topic.endswith('/compressed') else IMAGE


def rviz_topics(config: Path) -> Iterator[Shown]:
    """What rviz shows when it is started in the robot's namespace."""
    for display in rviz(config)['Visualization Manager']['Displays']:
        if 'Topic' in display:
            topic = f'{ROBOT}/{display["Topic"]["Value"]}'
            picture = display['Class'] == 'rviz_default_plugins/Image'
            type_name = picture_type(topic) if picture else MARKER
            yield Shown(topic, type_name, '', display['Enabled'])


def panels(layout: dict[str, Any]) -> dict[str, bool]:
    """Names of the panels that are placed, and whether they are seen from the start."""
    found: dict[str, bool] = {}

    def walk(part: Any, seen: bool) -> None:
        if isinstance(part, dict):
            assert part['direction'] in ('row', 'column'), part
            assert 0 < part['splitPercentage'] < 100, part
            walk(part['first'], seen)
            walk(part['second'], seen)
            return
        found[part] = seen
        if part.startswith('Tab!'):
            config = layout['configById'][part]
            for number, tab in enumerate(config['tabs']):
                walk(tab['layout'], seen and number == config['activeTabIdx'])

    walk(layout['layout'], True)
    return found


def foxglove_topics(config: Path) -> Iterator[Shown]:
    """What the Foxglove layout shows of a robot in ``/robot``."""
    layout = foxglove(config)
    for name, seen in panels(layout).items():
        settings = layout['configById'][name]
        if name.startswith('Image!'):
            topic = settings['imageMode']['imageTopic']
            yield Shown(topic, picture_type(topic), '', seen)
        elif name.startswith('3D!'):
            for topic in settings['topics']:
                yield Shown(topic, MARKER, '', seen)
        elif name.startswith('DiagnosticSummary!'):
            yield Shown(settings['topicToRender'], DIAGNOSTICS, '', seen)
        elif not name.startswith('Tab!'):
            paths = [item['value'] for item in settings.get('paths', ())]
            for path in [*paths, *filter(None, [settings.get('topicPath')])]:
                topic, _, field = path.partition('.')
                assert re.fullmatch(r'(/\w+)+', topic), path
                yield Shown(topic, OURS[topic.removeprefix(f'{ROBOT}/')], field, seen)
