"""What things cost: profile schema, link and load estimates. No torch, no ROS."""
