"""Storage: one SQLite file with one writer, TinyDB documents that survive a power cut, and backups.

What devices write goes through :class:`appliance.storage.database.Database`; what people write is a
document of :mod:`appliance.storage.documents`; :mod:`appliance.storage.backup` copies both.
"""
