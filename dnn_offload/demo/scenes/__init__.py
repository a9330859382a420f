"""Scenes drawn by our own code: yards and corridors seen from a moving vehicle."""
