-- Times are milliseconds since 1970. Nested data is JSON.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE environments (
    id      INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    region  TEXT NOT NULL,
    app     TEXT NOT NULL,
    env     TEXT NOT NULL,
    world   TEXT,
    serving TEXT REFERENCES releases (id),
    UNIQUE (account, region, app, env)
) STRICT;

-- The row stays when a lease is given back: the fencing token must go on rising.
CREATE TABLE leases (
    environment INTEGER PRIMARY KEY REFERENCES environments (id),
    fence       INTEGER NOT NULL,
    held        INTEGER NOT NULL,
    holder      TEXT NOT NULL,
    acquired    INTEGER NOT NULL,
    renewed     INTEGER NOT NULL,
    expires     INTEGER NOT NULL
) STRICT;

CREATE TABLE deployments (
    id          TEXT PRIMARY KEY,
    environment INTEGER NOT NULL REFERENCES environments (id),
    world       TEXT,
    archived    INTEGER NOT NULL DEFAULT 0,
    plan        TEXT NOT NULL,
    ended       INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX deployments_by_environment ON deployments (environment, archived, ended, id);

CREATE TABLE entries (
    deployment TEXT NOT NULL REFERENCES deployments (id),
    position   INTEGER NOT NULL,
    entry      TEXT NOT NULL,
    PRIMARY KEY (deployment, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE releases (
    id               TEXT PRIMARY KEY,
    environment      INTEGER NOT NULL REFERENCES environments (id),
    world            TEXT,
    archived         INTEGER NOT NULL DEFAULT 0,
    number           INTEGER NOT NULL,
    created          INTEGER NOT NULL,
    created_by       TEXT NOT NULL,
    deployment       TEXT,
    parent           TEXT,
    outcome          TEXT NOT NULL,
    git              TEXT,
    image_digest     TEXT NOT NULL,
    image_reference  TEXT NOT NULL,
    task_definitions TEXT NOT NULL,
    fingerprint      TEXT NOT NULL,
    config_hash      TEXT NOT NULL,
    config           TEXT NOT NULL,
    secrets          TEXT NOT NULL,
    migrations       TEXT NOT NULL,
    checks           TEXT NOT NULL,
    builder          TEXT NOT NULL,
    url              TEXT,
    UNIQUE (environment, number)
) STRICT;

CREATE TABLE remembered (
    kind  TEXT NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
