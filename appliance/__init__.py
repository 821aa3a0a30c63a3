"""Homard Edge: a LwM2M gateway appliance for one Raspberry-Pi-class board."""

__version__ = "0.1.0"
