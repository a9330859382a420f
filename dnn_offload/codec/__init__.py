"""Arrays to self-describing bytes to slices, and back. No torch, no ROS."""
