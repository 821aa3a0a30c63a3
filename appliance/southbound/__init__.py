"""Floor 2, west tower: sockets and sessions; bytes become LwM2M operations and back."""
