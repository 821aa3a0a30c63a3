-- Schema 1. A released schema is never edited: a change is a new numbered file.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

-- Registrations of devices; doc is JSON. The location, id, has no index: it is looked up in memory.
CREATE TABLE registrations (
    endpoint_name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    doc TEXT NOT NULL
);

CREATE TABLE observations (
    token BLOB PRIMARY KEY,
    registration_id TEXT NOT NULL,
    doc TEXT NOT NULL
) WITHOUT ROWID;

-- What people want from a device, whether it is there or not: observations and their attributes.
CREATE TABLE desired (
    endpoint_name TEXT NOT NULL,
    path TEXT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (endpoint_name, path)
) WITHOUT ROWID;

-- The journal is a ring: slot = seq modulo meta.journal_slots. Writing over the oldest row needs no
-- free list and no index, which halves the bytes written per report; see ARCHITECTURE.md.
CREATE TABLE journal (
    slot INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    entity TEXT NOT NULL,
    body TEXT NOT NULL,
    receipt BLOB
);

-- Not WITHOUT ROWID: a doc longer than a quarter page would go to overflow pages.
CREATE TABLE entities (
    id TEXT PRIMARY KEY,
    doc TEXT NOT NULL,
    seq INTEGER NOT NULL
);

CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) WITHOUT ROWID;
