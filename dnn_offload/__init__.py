# Kept free of code: the generated message package installs an __init__.py here too.
