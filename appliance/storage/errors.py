"""What can go wrong in storage, each with words for the person who has to act."""

from __future__ import annotations


class StorageError(Exception):
    """Something that storage was asked for could not be done; the text says what to do next."""


class StorageFull(StorageError):
    """More rows wait for the disk than the settings allow; the row was not taken."""


class StorageInUse(StorageError):
    """Another process has the state folder open."""


class SchemaTooNew(StorageError):
    """The database file was written by a newer release."""


class DocumentError(StorageError):
    """A document file and its previous version are both unreadable, or the file is locked for too long."""


class BackupError(StorageError):
    """A backup could not be made or restored; nothing was changed."""
