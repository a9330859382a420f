"""Pictures into networks, outputs into answers, answers onto pictures. No torch, no ROS."""
