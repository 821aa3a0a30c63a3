"""Floor 7: one TOML file and the overrides of the command line become one frozen value per room."""
