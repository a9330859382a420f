"""A parameter's description as ROS shows it: type, descriptor, ranges."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter

from dnn_offload.nodes.parameters import ParameterSpec

PARAMETER_TYPES = {
    'bool': Parameter.Type.BOOL,
    'integer': Parameter.Type.INTEGER,
    'double': Parameter.Type.DOUBLE,
    'string': Parameter.Type.STRING,
    'bool_array': Parameter.Type.BOOL_ARRAY,
    'integer_array': Parameter.Type.INTEGER_ARRAY,
    'double_array': Parameter.Type.DOUBLE_ARRAY,
    'string_array': Parameter.Type.STRING_ARRAY,
}


def descriptor_of(spec: ParameterSpec) -> ParameterDescriptor:
    """The descriptor that ``ros2 param describe`` and rqt_reconfigure show."""
    notes = [f'Unit: {spec.unit}.'] if spec.unit else []
    if spec.is_array and spec.allowed():  # ROS has ranges for single numbers only
        notes.append(f'Allowed, each: {spec.allowed()}.')
    elif spec.choices:
        notes.append(f'Allowed: {spec.allowed()}.')
    if spec.at_configure:
        notes.append('Takes effect at the next configure.')
    descriptor = ParameterDescriptor(
        description=spec.description,
        additional_constraints=' '.join(notes),
        read_only=spec.read_only,
    )
    if spec.minimum is not None and spec.maximum is not None and not spec.is_array:
        if spec.scalar_type is int:
            descriptor.integer_range = [
                IntegerRange(from_value=int(spec.minimum), to_value=int(spec.maximum))
            ]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(
                    from_value=float(spec.minimum), to_value=float(spec.maximum)
                )
            ]
    return descriptor


def coerced(parameter: Parameter, spec: ParameterSpec) -> Parameter:
    """What can be converted without doubt in the declared type: a whole double, an empty array."""
    kind = PARAMETER_TYPES[spec.type_name]
    value = parameter.value
    if spec.read_only:
        return parameter
    if kind == Parameter.Type.DOUBLE and parameter.type_ == Parameter.Type.INTEGER:
        return Parameter(parameter.name, kind, float(value))
    scalar = isinstance(value, (str, bool, int, float, type(None)))
    if spec.is_array and not scalar and len(value) == 0:
        return Parameter(parameter.name, kind, [])
    return parameter
