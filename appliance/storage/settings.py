"""Settings of the storage room: section ``[storage]`` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """When rows reach the disk, and how much of the disk they may take."""

    grouping_window_ms: int = field(
        default=250,
        metadata={
            "unit": "ms",
            "doc": "Rows are committed together at most once per window; an idle database commits at once.",
            "min": 0,
            "max": 2000,
        },
    )
    sync: str = field(
        default="full",
        metadata={
            "unit": "",
            "doc": "full: acknowledged rows survive a power cut; normal: only a crash of the program.",
            "choices": ("full", "normal"),
        },
    )
    group_max_rows: int = field(
        default=500,
        metadata={
            "unit": "",
            "doc": "A group of this many rows is committed before its window ends.",
            "min": 1,
            "max": 100000,
        },
    )
    max_queued_rows: int = field(
        default=20000,
        metadata={
            "unit": "",
            "doc": "Rows that may wait for the disk; beyond that, reports are refused.",
            "min": 100,
            "max": 1000000,
        },
    )
    page_size_bytes: int = field(
        default=1024,
        metadata={
            "unit": "bytes",
            "doc": "Page size of a new database file; small pages write less to the card.",
            "choices": (512, 1024, 2048, 4096),
        },
    )
    checkpoint_kb: int = field(
        default=2048,
        metadata={
            "unit": "kB",
            "doc": "Size of the write-ahead log at which it is copied into the database file.",
            "min": 64,
            "max": 65536,
        },
    )
    max_size_mb: int = field(
        default=2048,
        metadata={
            "unit": "MB",
            "doc": "The database file never grows beyond this; rows that do not fit are refused.",
            "min": 1,
            "max": 1048576,
        },
    )
    journal_max_rows: int = field(
        default=200000,
        metadata={
            "unit": "",
            "doc": "Changes kept in the journal; the oldest gives way to the newest.",
            "min": 1000,
            "max": 100000000,
        },
    )
    journal_memory_rows: int = field(
        default=1000,
        metadata={
            "unit": "",
            "doc": "Newest changes also kept in memory, for readers that are nearly up to date.",
            "min": 10,
            "max": 100000,
        },
    )
    entity_save_s: float = field(
        default=60.0,
        metadata={
            "unit": "s",
            "doc": "How often changed entities are saved; a start replays what is newer.",
            "min": 1.0,
            "max": 3600.0,
        },
    )
    files_max_bytes: int = field(
        default=512 * 1024 * 1024,
        metadata={
            "unit": "bytes",
            "doc": "All stored files together; what does not fit is refused.",
            "min": 0,
            "max": 1099511627776,
        },
    )
    file_max_bytes: int = field(
        default=64 * 1024 * 1024,
        metadata={
            "unit": "bytes",
            "doc": "One stored file, such as a firmware package.",
            "min": 1024,
            "max": 4294967296,
        },
    )
