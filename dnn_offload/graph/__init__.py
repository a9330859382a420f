"""A torch model as a flat program that can be cut anywhere: sources, export, cuts, segments."""
