"""Backends that run segments, one file each, behind ``base.py``."""
