"""Names of topics that depend on how others were remapped."""

from __future__ import annotations

from rclpy.node import Node

from dnn_offload.nodes.topics import IMAGE_RAW
from dnn_offload.transport.topics import Endpoint

COMPRESSED = '/compressed'  # what image_transport adds to the name of the base topic


def compressed_topic(node: Node, base: Endpoint = IMAGE_RAW) -> str:
    """Where compressed pictures are, as image_transport has it: beside the remapped base topic.

    A remapping of their own comes first.
    """
    name = f'{base.name}{COMPRESSED}'
    own, plain = node.resolve_topic_name(name), node.resolve_topic_name(name, only_expand=True)
    if own != plain:
        return own
    return f'{node.resolve_topic_name(base.name)}{COMPRESSED}'
