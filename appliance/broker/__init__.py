"""Broker: the hall of the house. Entities, the one journal of accepted changes, cursors on it."""
