#!/bin/bash
# Brings ROS 2 and the package into the container's environment, then becomes the command.
set -e
# shellcheck disable=SC1090
source "/opt/ros/${ROS_DISTRO:?}/setup.bash"
# shellcheck disable=SC1091
source /opt/dnn_offload/local_setup.bash
exec "$@"
