"""The plan as floating text for rviz, readable from a few metres and never out of date."""

from __future__ import annotations

from rclpy.duration import Duration
from visualization_msgs.msg import Marker

HEIGHT_M = 1.0
# Lines of plan_words.LINE_CHARS are about 4 m wide: fits a view from 6 m, as in
# config/dnn_offload.rviz.
LETTER_M = 0.12
LIFETIME_S = 5    # the planner speaks every second: older text is of a planner that is gone


def plan_marker(plan: str, reason: str, frame_id: str) -> Marker:
    """Text of two lines that turns to the viewer.

    Args:
        plan: The first line: what runs (``plan_words.plan_line``).
        reason: The second: why (``plan_words.reason_line``).
        frame_id: Frame whose origin the text floats above. Its stamp is zero and it is locked to
            the frame: rviz takes the newest transform into its own fixed frame, and again for
            each picture. With a stamp of now that transform is not there yet, and the text is
            not drawn at all.
    """
    marker = Marker(ns='plan', id=0, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD)
    marker.header.frame_id = frame_id
    marker.frame_locked = True
    marker.lifetime = Duration(seconds=LIFETIME_S).to_msg()
    marker.pose.position.z = HEIGHT_M
    marker.pose.orientation.w = 1.0
    marker.scale.z = LETTER_M
    marker.color.r = marker.color.g = marker.color.b = marker.color.a = 1.0
    marker.text = f'{plan}\n{reason}'
    return marker
