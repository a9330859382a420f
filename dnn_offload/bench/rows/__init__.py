"""What a bench compares: the best by trying, and what a user could run instead of us."""
