"""Floor 0, west tower: the CoAP RFCs as a machine without I/O; time is an argument."""
