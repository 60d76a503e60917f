-- What a store of papers holds; made once, in a file of the user's own.
CREATE TABLE papers (
    id INTEGER PRIMARY KEY,
    arxiv TEXT UNIQUE,                  -- without version
    doi TEXT,                           -- in lower case
    title_key TEXT NOT NULL,            -- the title's letters and digits, by which it is recognised without either
    title TEXT NOT NULL,
    abstract TEXT NOT NULL,
    authors TEXT NOT NULL,              -- a JSON list
    date TEXT NOT NULL,                 -- day of the first version
    version INTEGER NOT NULL,
    votes INTEGER NOT NULL,
    url TEXT NOT NULL,
    seen TEXT NOT NULL                  -- when it was first imported
);
CREATE INDEX papers_by_doi ON papers (doi);
CREATE INDEX papers_by_title ON papers (title_key);
CREATE INDEX papers_by_date ON papers (date);

CREATE TABLE quarantine (
    file TEXT NOT NULL,
    place TEXT NOT NULL,                -- which entry of the file
    title TEXT NOT NULL,
    reason TEXT NOT NULL,
    seen TEXT NOT NULL,
    UNIQUE (file, place, title, reason)
);

CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);

CREATE TABLE subscribers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never given twice: old links name nobody else
    address TEXT NOT NULL UNIQUE COLLATE NOCASE,
    topic TEXT NOT NULL,
    every_days INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('asked', 'active')),
    nonce_hash TEXT NOT NULL,           -- of the confirmation; the nonce itself is in the mail alone
    asked REAL NOT NULL,                -- seconds since 1970, as all times below
    issues INTEGER NOT NULL DEFAULT 0,  -- digests that were queued
    next_due REAL
);
CREATE TABLE told (
    subscriber INTEGER NOT NULL REFERENCES subscribers (id) ON DELETE CASCADE,
    paper INTEGER NOT NULL REFERENCES papers (id) ON DELETE CASCADE,
    PRIMARY KEY (subscriber, paper)
);

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,           -- one message to one person about one thing, once and for all
    sender TEXT NOT NULL,               -- to whom failures are reported
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    message BLOB,                       -- the whole mail; emptied when it is sent or given up
    state TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'failed', 'uncertain')),
    tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,
    owner TEXT,                         -- who claimed it: host, process and a random number
    lease REAL,                         -- when the claim lapses
    error TEXT NOT NULL DEFAULT '',
    queued REAL NOT NULL,
    ended REAL
);
CREATE INDEX outbox_by_due ON outbox (state, due);
