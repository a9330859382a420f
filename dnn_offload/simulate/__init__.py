"""Made-up conditions against the real estimators and planner. No torch, no ROS."""
