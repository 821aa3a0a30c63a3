"""Floor 1: the OMA LwM2M specification as values and functions; no I/O, no clock."""
