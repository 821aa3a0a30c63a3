-- Schema 3: what trust leaves behind: sessions, replay windows, bootstrap sessions, strangers.

-- A DTLS session: its keys and what else it needs, sealed by the vault's key.
CREATE TABLE dtls_session (
    id INTEGER PRIMARY KEY,
    sealed BLOB NOT NULL
);

-- What moves with each record: the newest number taken, the window below it, and up to where we may have sent.
CREATE TABLE dtls_mark (
    id INTEGER PRIMARY KEY,
    newest INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    sent_below INTEGER NOT NULL
);

-- An OSCORE context by its identity: sequence numbers and replay window (RFC 8613 §7.5, Appendix B.1), as JSON.
CREATE TABLE oscore_context (
    identity TEXT PRIMARY KEY,
    state TEXT NOT NULL
) WITHOUT ROWID;

-- The request that an observation's notifications are bound to (RFC 8613 §4.1.3.5.2), as JSON.
CREATE TABLE oscore_observation (
    token BLOB PRIMARY KEY,
    state TEXT NOT NULL
) WITHOUT ROWID;

-- A bootstrap session, step by step, as JSON without secrets; a short history.
CREATE TABLE bootstrap_session (
    id INTEGER PRIMARY KEY,
    endpoint_name TEXT NOT NULL,
    state TEXT NOT NULL
);

-- Who knocked and was not let in, as JSON.
CREATE TABLE stranger (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL
);

-- When an identity was last used, and how its last handshake failed, as JSON.
CREATE TABLE identity_use (
    identity TEXT PRIMARY KEY,
    state TEXT NOT NULL
) WITHOUT ROWID;
