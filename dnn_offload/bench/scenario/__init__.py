"""What a bench plays: conditions over time, read from YAML. Pure."""
