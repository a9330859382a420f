# Brings the environment of dnn_offload into this shell:  source tools/env.sh
# (after `make setup`; bash). Then `python`, `ros2` where there is one, and
# `import dnn_offload.msg` work, and executables lie in $DNN_OFFLOAD_NODES.
#
# With ROS 2 Jazzy sourced, its packages stay visible; without, .venv is the ROS prefix.

_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

if [ ! -f "$_root/.venv/bin/activate" ] || [ ! -f "$_root/install/local_setup.bash" ]; then
  echo "dnn_offload: the environment is not set up; run 'make setup' in $_root" >&2
  unset _root
  return 1 2>/dev/null || exit 1
fi

# The ROS wheels set library paths once per process tree and mark that in this variable; a mark
# inherited from another environment would leave the paths of that one in force.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE

. "$_root/.venv/bin/activate"
if [ -f "$_root/.venv/share/rclpy/package.xml" ]; then
  export AMENT_PREFIX_PATH="$VIRTUAL_ENV"
  export CMAKE_PREFIX_PATH="$VIRTUAL_ENV"
  export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
fi
. "$_root/install/local_setup.bash"
export DNN_OFFLOAD_NODES="$_root/install/dnn_offload/lib/dnn_offload"

unset _root
