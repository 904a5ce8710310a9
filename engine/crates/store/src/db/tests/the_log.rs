//! The write-ahead log stays short.

use super::*;

fn grow(db: &mut StateDb, bytes: u64) {
    while db.wal.size() < bytes {
        db.write(|t| t.append_event(&event("x"), Timestamp(1))).unwrap();
    }
}

#[test]
fn tidying_empties_it_once_it_has_grown() {
    let (_dir, layout, mut db) = opened();
    grow(&mut db, 1);
    db.tidy().unwrap();
    assert!(db.wal.size() > 0, "a short one is left alone");
    grow(&mut db, WAL_SOFT_LIMIT_BYTES);
    db.tidy().unwrap();
    assert_eq!(db.wal.size(), 0);
    let last = db.read(|t| t.last_seq()).unwrap();
    drop(db);
    assert_eq!(StateDb::open(&layout).unwrap().read(|t| t.last_seq()).unwrap(), last);
}

#[test]
fn whoever_is_idle_empties_it() {
    let (_dir, layout, mut db) = opened();
    grow(&mut db, 1);
    StateDb::tidy_at(&layout).unwrap();
    assert!(db.wal.size() > 0, "a short one is left alone");
    grow(&mut db, WAL_SOFT_LIMIT_BYTES);
    StateDb::tidy_at(&layout).unwrap();
    assert_eq!(db.wal.size(), 0);
    drop(db);
    std::fs::remove_dir_all(layout.root()).unwrap();
    StateDb::tidy_at(&layout).unwrap();
    assert!(!layout.root().exists(), "nothing is made where there is nothing to tidy");
}

#[test]
fn a_reader_is_neither_waited_for_nor_disturbed() {
    let (_dir, layout, mut db) = opened();
    let mut reader = StateDb::open(&layout).unwrap();
    reader
        .read(|t| {
            assert_eq!(t.last_seq()?, 0);
            grow(&mut db, WAL_SOFT_LIMIT_BYTES);
            let start = Instant::now();
            db.tidy()?;
            assert!(start.elapsed() < Duration::from_secs(5));
            assert!(db.wal.size() > 0);
            assert_eq!(t.last_seq()?, 0);
            Ok(())
        })
        .unwrap();
    grow(&mut db, 2 * WAL_SOFT_LIMIT_BYTES);
    db.tidy().unwrap();
    assert_eq!(db.wal.size(), 0);
}

#[test]
fn writers_bound_it() {
    let (_dir, _, mut db) = opened();
    for _ in 0..5000 {
        db.write(|t| t.append_event(&event("x"), Timestamp(1))).unwrap();
        assert!(db.wal.size() <= WAL_HARD_LIMIT_BYTES + (64 << 10));
    }
}
