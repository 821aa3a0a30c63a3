"""Floor 4, the bridge between LwM2M and the hall: registrations, observations, operations."""
