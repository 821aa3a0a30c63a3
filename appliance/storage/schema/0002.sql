-- Schema 2: operations that wait for a device, and how they ended; what people say of devices.

-- request is the JSON that was asked, about a JSON list of what is decided about it, outcome JSON or NULL. No
-- index: what is open is held in memory, what has ended is a short history.
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    endpoint_name TEXT NOT NULL,
    state TEXT NOT NULL,
    batch TEXT,
    request TEXT NOT NULL,
    about TEXT NOT NULL,
    outcome TEXT
);

CREATE TABLE awake (
    endpoint_name TEXT PRIMARY KEY,
    awake_s REAL NOT NULL
) WITHOUT ROWID;
