"""From costs to a plan: search, strategies, when to switch. No torch, no ROS."""
