"""Pieces of a program as ONNX models: what onnxruntime and openvino read."""
