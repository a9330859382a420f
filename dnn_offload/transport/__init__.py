"""Bytes over DDS: QoS, pacing, message conversion, reassembly."""
