"""What a layer takes on a device that has not run it: regression, factorisation, and both."""
