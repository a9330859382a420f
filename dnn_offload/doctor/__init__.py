"""`dnn-offload doctor`: whether this machine is fit to be a robot or a server, and why not."""
