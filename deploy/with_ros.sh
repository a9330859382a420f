#!/bin/bash
# Runs a command with ROS 2 (if it is installed) and this checkout in its environment:
#   deploy/with_ros.sh ros2 launch dnn_offload robot.launch.py
# For systemd, cron and ssh, whose shells have read no .bashrc.
set -e
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [ -f /opt/ros/jazzy/setup.bash ]; then
  # shellcheck disable=SC1091
  source /opt/ros/jazzy/setup.bash
fi
# shellcheck disable=SC1091
source "$root/tools/env.sh"
exec "$@"
