"""``dnn-offload bench``: scenarios played on emulated machines, and rows compared under them."""
