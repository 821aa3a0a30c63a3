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
    awake_s: float = field(
        default=93.0,
        metadata={
            "unit": "s",
            "doc": "How long a device in queue mode listens after a message, until its own time is known.",
            "min": 1.0,
            "max": 86400.0,
        },
    )
    task_ttl_s: float = field(
        default=604800.0,
        metadata={
            "unit": "s",
            "doc": "How long an operation waits for a device that sleeps when nobody said how long.",
            "min": 60.0,
            "max": 31536000.0,
        },
    )
    max_tasks: int = field(
        default=20000,
        metadata={
            "unit": "",
            "doc": "Operations that may wait for devices at a time, in all.",
            "min": 1,
            "max": 1000000,
        },
    )
    max_tasks_per_device: int = field(
        default=256,
        metadata={
            "unit": "",
            "doc": "Operations that may wait for one device.",
            "min": 1,
            "max": 10000,
        },
    )
    kept_tasks: int = field(
        default=10000,
        metadata={
            "unit": "",
            "doc": "Operations that are shown after they ended; the oldest go first.",
            "min": 0,
            "max": 1000000,
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
    max_end_devices: int = field(
        default=500,
        metadata={
            "unit": "",
            "doc": "Devices behind one LwM2M gateway (object 25) beyond this number are left out.",
            "min": 1,
            "max": 100000,
        },
    )
