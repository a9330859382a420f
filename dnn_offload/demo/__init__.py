"""The demo: drawn scenes, a small detector, a navigation stand-in."""
