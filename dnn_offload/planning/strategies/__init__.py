"""One published (or our own) way to choose a plan per module."""
