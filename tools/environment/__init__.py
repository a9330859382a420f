"""The set-up, step by step; tools/bootstrap.py starts it. Standard library only."""
