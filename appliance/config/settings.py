"""Settings of the programme as a whole: section ``[log]`` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to the log; under systemd that is the journal of the unit."""

    level: str = field(
        default="info",
        metadata={
            "unit": "",
            "doc": "Least severity that is logged; debug also logs every message from and to a device.",
            "choices": ("debug", "info", "warning", "error"),
        },
    )
