"""Names of topics that depend on how others were remapped."""

from __future__ import annotations

from rclpy.node import Node

from dnn_offload.nodes.topics import IMAGE_COMPRESSED, IMAGE_RAW


def compressed_topic(node: Node) -> str:
    """Where compressed pictures are, as image_transport has it: beside the remapped base topic.

    A remapping of their own comes first.
    """
    name = IMAGE_COMPRESSED.name
    own, plain = node.resolve_topic_name(name), node.resolve_topic_name(name, only_expand=True)
    if own != plain:
        return own
    return f'{node.resolve_topic_name(IMAGE_RAW.name)}/compressed'
