"""Programs that the doctor starts: each tries what a node does, and may die of it."""
