//! The tables, and how an older database gets the newest ones.
//!
//! `PRAGMA user_version` counts the migrations that a database has seen. A released migration never changes;
//! a change to a table, or to what a JSON column holds, is a new one at the end of [`MIGRATIONS`].

use super::error::{DbResult, is_busy};
use dhow_model::{Error, ErrorKind, Result};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::time::{Duration, Instant};

/// The schema that this build knows.
pub const VERSION: i64 = 9;

/// As many as [`VERSION`] says.
const MIGRATIONS: [&str; 9] = [V1, V2, V3, V4, V5, V6, V7, V8, V9];

/// Ids, digests, names and references are text as users see them; times are nanoseconds since 1970; JSON
/// columns hold what is only read whole. A container is two rows, because its state changes often and its
/// configuration, which is a hundred times larger, next to never.
const V1: &str = r"
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('engine_id', lower(hex(randomblob(16))));

CREATE TABLE layers (
    diff_id    TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    installed  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE images (
    id        TEXT PRIMARY KEY,
    manifest  TEXT,
    created   INTEGER,
    installed INTEGER NOT NULL,
    image     TEXT NOT NULL
) STRICT;

CREATE TABLE image_layers (
    image    TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id  TEXT NOT NULL REFERENCES layers,
    PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layers_by_layer ON image_layers (diff_id);

CREATE TABLE image_tags (
    reference TEXT PRIMARY KEY,
    image     TEXT NOT NULL REFERENCES images ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX image_tags_by_image ON image_tags (image);

CREATE TABLE volumes (
    name      TEXT PRIMARY KEY,
    created   INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    labels    TEXT NOT NULL,
    options   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE containers (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    created         INTEGER NOT NULL,
    image           TEXT NOT NULL REFERENCES images,
    status          TEXT NOT NULL,
    pid             INTEGER NOT NULL,
    pid_start_ticks INTEGER NOT NULL,
    monitor_pid     INTEGER NOT NULL,
    exit_code       INTEGER NOT NULL,
    oom_killed      INTEGER NOT NULL,
    error           TEXT NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    restart_count   INTEGER NOT NULL,
    stopped_by_user INTEGER NOT NULL,
    summary         TEXT NOT NULL
) STRICT;
CREATE INDEX containers_by_image ON containers (image);

CREATE TABLE container_configs (
    container TEXT PRIMARY KEY REFERENCES containers ON DELETE CASCADE,
    config    TEXT NOT NULL
) STRICT;

CREATE TABLE container_volumes (
    container TEXT NOT NULL REFERENCES containers ON DELETE CASCADE,
    volume    TEXT NOT NULL REFERENCES volumes,
    PRIMARY KEY (container, volume)
) STRICT, WITHOUT ROWID;
CREATE INDEX container_volumes_by_volume ON container_volumes (volume);

CREATE TABLE execs (
    id              TEXT PRIMARY KEY,
    container       TEXT NOT NULL REFERENCES containers ON DELETE CASCADE,
    created         INTEGER NOT NULL,
    running         INTEGER NOT NULL,
    pid             INTEGER NOT NULL,
    pid_start_ticks INTEGER NOT NULL,
    exit_code       INTEGER,
    config          TEXT NOT NULL
) STRICT;
CREATE INDEX execs_by_container ON execs (container);

-- AUTOINCREMENT: a sequence number is never used twice, not even after the newest rows were deleted.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    time       INTEGER NOT NULL,
    type       TEXT NOT NULL,
    action     TEXT NOT NULL,
    actor      TEXT NOT NULL,
    attributes TEXT NOT NULL
) STRICT;

CREATE TABLE intents (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    operation         TEXT NOT NULL,
    object            TEXT NOT NULL,
    data              TEXT NOT NULL,
    created           INTEGER NOT NULL,
    owner_pid         INTEGER NOT NULL,
    owner_start_ticks INTEGER NOT NULL
) STRICT;
";

/// Health, causes of ends, and the last results of a container's probes.
const V2: &str = r"
ALTER TABLE containers ADD COLUMN life TEXT NOT NULL DEFAULT '{}';

CREATE TABLE health_logs (
    container TEXT PRIMARY KEY REFERENCES containers ON DELETE CASCADE,
    log       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What registries call a layer, which is known here by its diff id: so that it need not be sent there again.
const V3: &str = r"
CREATE TABLE layer_blobs (
    diff_id    TEXT NOT NULL REFERENCES layers ON DELETE CASCADE,
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (diff_id, repository, digest)
) STRICT, WITHOUT ROWID;
";

/// Networks, and what containers that run hold of them. The three that are always there get their ids here; the
/// subnet of the default bridge is chosen when it is first used.
const V4: &str = r#"
CREATE TABLE networks (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    config  TEXT NOT NULL,
    last4   TEXT,
    last6   TEXT
) STRICT;
INSERT INTO networks (id, name, created, config) VALUES
    (lower(hex(randomblob(32))), 'bridge', unixepoch() * 1000000000, '{"driver":"bridge"}'),
    (lower(hex(randomblob(32))), 'host', unixepoch() * 1000000000, '{"driver":"host"}'),
    (lower(hex(randomblob(32))), 'none', unixepoch() * 1000000000, '{"driver":"null"}');

CREATE TABLE endpoints (
    container TEXT NOT NULL REFERENCES containers ON DELETE CASCADE,
    network   TEXT NOT NULL REFERENCES networks,
    ipv4      INTEGER,
    ipv6      BLOB,
    about     TEXT NOT NULL,
    PRIMARY KEY (container, network),
    UNIQUE (network, ipv4),
    UNIQUE (network, ipv6)
) STRICT, WITHOUT ROWID;

CREATE TABLE published_ports (
    protocol  TEXT NOT NULL,
    host_port INTEGER NOT NULL,
    host_ip   TEXT NOT NULL,
    container TEXT NOT NULL REFERENCES containers ON DELETE CASCADE,
    port      INTEGER NOT NULL,
    target    TEXT,
    PRIMARY KEY (protocol, host_port, host_ip)
) STRICT, WITHOUT ROWID;
CREATE INDEX published_ports_by_container ON published_ports (container);
"#;

/// Images that containers mount beside the one that they are made of.
const V5: &str = r"
CREATE TABLE mounted_images (
    container TEXT NOT NULL REFERENCES containers ON DELETE CASCADE,
    image     TEXT NOT NULL REFERENCES images,
    PRIMARY KEY (container, image)
) STRICT, WITHOUT ROWID;
CREATE INDEX mounted_images_by_image ON mounted_images (image);
";

/// What refers to manifests that are kept: by the digest of what it refers to, whoever keeps that.
const V6: &str = r"
CREATE TABLE referrers (
    subject  TEXT NOT NULL,
    manifest TEXT NOT NULL,
    referrer TEXT NOT NULL,
    PRIMARY KEY (subject, manifest)
) STRICT, WITHOUT ROWID;
";

/// What is no image and is kept as it came: charts, models, policies. A reference points at an image or at one of
/// these, never at both.
const V7: &str = r"
CREATE TABLE artifacts (
    id       TEXT PRIMARY KEY,
    artifact TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE artifact_tags (
    reference TEXT PRIMARY KEY,
    artifact  TEXT NOT NULL REFERENCES artifacts ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX artifact_tags_by_artifact ON artifact_tags (artifact);
";

/// Every command begins with the ids of containers that claim to run: from this index alone, without a look at the rows,
/// which are many pages where there are many containers.
const V8: &str = "CREATE INDEX containers_by_status ON containers (status, id);";

/// For whoever lists containers one by one, the newest first. From here on `summary` and `life` leave out what is
/// empty or not there.
const V9: &str = "CREATE INDEX containers_by_age ON containers (created);";

/// How many migrations the database has seen; 0 for an empty file.
pub(super) fn version(connection: &Connection) -> Result<i64> {
    let path = || connection.path().unwrap_or("the state database").to_owned();
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .on(|| format!("read the schema version of {}", path()))?;
    if found > VERSION {
        return Err(Error::unsupported(format!(
            "{} was written by a newer dhow (schema {found}, this one knows {VERSION}): upgrade dhow",
            path()
        )));
    }
    Ok(found)
}

/// Brings the database to [`VERSION`]. The caller holds the lock that keeps other processes from doing the
/// same; a process that already works with the database may be in the way for a moment.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let what = || format!("prepare the schema of {}", path.display());
    use_wal(connection, path)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).on(what)?;
    // Read again: another process may have been here while this one waited for the lock.
    let found = usize::try_from(version(&transaction)?)
        .map_err(|_| Error::corrupt(format!("{} has a negative schema version", path.display())))?;
    for migration in &MIGRATIONS[found.min(MIGRATIONS.len())..] {
        transaction.execute_batch(migration).on(what)?;
    }
    transaction.pragma_update(None, "user_version", VERSION).on(what)?;
    transaction.commit().on(what)
}

/// The change to WAL needs the file for itself, and SQLite does not wait for that on its own.
fn use_wal(connection: &Connection, path: &Path) -> Result<()> {
    let deadline = Instant::now() + super::turns::TIMEOUT;
    loop {
        let mode = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get::<_, String>(0));
        match mode {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "{}: this filesystem cannot hold a shared database (journal mode {mode}); \
                         use --root to choose another",
                        path.display()
                    ),
                ));
            }
            Err(error) => return Err(error).on(|| format!("switch {} to a write-ahead log", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_counts_the_migrations() {
        assert_eq!(usize::try_from(super::VERSION).unwrap(), super::MIGRATIONS.len());
    }
}
