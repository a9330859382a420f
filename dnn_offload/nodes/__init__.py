"""ROS nodes: thin shells around the pure modules; their parameters as plain data."""
