//! Opening, and what a transaction is.

use super::*;

#[test]
fn everything_is_private() {
    let (_dir, layout, mut db) = opened();
    db.write(|t| t.append_event(&event("x"), Timestamp(1))).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in [layout.root(), layout.state(), &layout.content(), &layout.layers().join("tmp")] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    for entry in std::fs::read_dir(layout.root()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
    db.check().unwrap();
}

#[test]
fn a_newer_database_is_refused_by_name() {
    let (_dir, layout, db) = opened();
    db.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let error = StateDb::open(&layout).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        format!(
            "{} was written by a newer dhow (schema 99, this one knows {}): upgrade dhow",
            layout.database().display(),
            crate::db::SCHEMA_VERSION
        )
    );
}

#[test]
fn what_is_no_database_is_said_to_be_none() {
    let (_dir, layout) = place();
    std::fs::create_dir_all(layout.root()).unwrap();
    std::fs::write(layout.database(), b"something else entirely, and long enough to be looked at").unwrap();
    let error = StateDb::open(&layout).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn the_engine_id_is_random_and_stays() {
    let (_dir, layout, mut db) = opened();
    let (_other_dir, _, mut other) = opened();
    let id = db.read(|t| t.engine_id()).unwrap();
    assert_eq!(id, StateDb::open(&layout).unwrap().read(|t| t.engine_id()).unwrap());
    assert_ne!(id, other.read(|t| t.engine_id()).unwrap());
}

#[test]
fn ten_thousand_opens_leak_nothing() {
    let (_dir, layout, first) = opened();
    drop(first);
    // In a process of its own: the other tests of this one open files and take memory at the same time.
    assert!(sharing::spawn("opens", &layout, 0).wait().unwrap().success());
}

pub(super) fn open_ten_thousand_times(layout: &Layout) {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let pages = || -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let open = || StateDb::open(layout).unwrap().read(|t| t.last_seq()).unwrap();
    (0..500).for_each(|_| assert_eq!(open(), 0));
    let before = (descriptors(), pages());
    (0..9_500).for_each(|_| assert_eq!(open(), 0));
    assert_eq!(descriptors(), before.0);
    // A kilobyte for each open would be 2,375 pages.
    assert!(pages() < before.1 + 512, "{} pages more", pages() - before.1);
}

#[test]
fn an_error_undoes_and_a_panic_too() {
    let (_dir, _, mut db) = with_image();
    let failed: Result<()> = db.write(|t| {
        t.insert_container(&record(1, "one"))?;
        Err(Error::internal("no"))
    });
    assert!(failed.is_err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.write(|t| -> Result<()> {
            t.insert_container(&record(2, "two"))?;
            panic!("in the middle")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(db.read(|t| t.containers()).unwrap(), []);
    db.write(|t| t.insert_container(&record(3, "three"))).unwrap();
}

#[test]
fn a_read_cannot_write_and_sees_one_moment() {
    let (_dir, layout, mut db) = with_image();
    let mut other = StateDb::open(&layout).unwrap();
    assert!(db.read(|t| t.insert_container(&record(1, "one"))).is_err());
    db.read(|t| {
        assert_eq!(t.last_seq()?, 0);
        other.write(|o| o.append_event(&event("x"), Timestamp(1)))?;
        assert_eq!(t.last_seq()?, 0);
        Ok(())
    })
    .unwrap();
    assert_eq!(db.read(|t| t.last_seq()).unwrap(), 1);
}

#[test]
fn a_durable_write_is_a_write() {
    let (_dir, _, mut db) = with_image();
    db.write_durable(|t| t.insert_container(&record(1, "one"))).unwrap();
    let level: i64 = db.connection.query_row("PRAGMA synchronous", [], |r| r.get(0)).unwrap();
    assert_eq!(level, 1);
}
