"""Settings of the devices room: section ``[devices]`` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DevicesSettings:
    """What is observed out of the box, and when a silent device counts as gone."""

    observe_sensors: bool = field(
        default=True,
        metadata={
            "unit": "",
            "doc": "Observe each sensor value offered: resource 5700, or 5500, of objects 3200 to 3399.",
        },
    )
    observe_paths: tuple[str, ...] = field(
        default=("/3/0/9", "/4/0/2", "/6/0"),
        metadata={
            "unit": "",
            "doc": "Further paths observed on every device that has the object instance.",
        },
    )
    operation_timeout_s: float = field(
        default=60.0,
        metadata={
            "unit": "s",
            "doc": "How long an operation asked for by a person or a program may take.",
            "min": 1.0,
            "max": 3600.0,
        },
    )
    expiry_grace_s: float = field(
        default=60.0,
        metadata={
            "unit": "s",
            "doc": "A late device is kept this long after its lifetime, but never longer than a tenth of it.",
            "min": 0.0,
            "max": 3600.0,
        },
    )
    max_devices: int = field(
        default=20000,
        metadata={
            "unit": "",
            "doc": "Registrations beyond this number are refused with 5.03.",
            "min": 1,
            "max": 1000000,
        },
    )
