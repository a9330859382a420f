"""``dnn-offload top``: what a running system is doing, from its topics alone."""
