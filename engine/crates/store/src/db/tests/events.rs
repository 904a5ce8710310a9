//! Events: numbers, retention, wake-ups.

use super::*;

#[test]
fn numbers_are_never_used_twice_and_a_failed_write_takes_none() {
    let (_dir, _, mut db) = opened();
    let append = |db: &mut StateDb, at| db.write(|t| t.append_event(&event("x"), Timestamp(at))).unwrap();
    assert_eq!((append(&mut db, 10), append(&mut db, 20)), (1, 2));
    let _ = db.write(|t| -> Result<()> {
        t.append_event(&event("never"), Timestamp(25))?;
        Err(Error::internal("no"))
    });
    assert_eq!(append(&mut db, 30), 3);
    let between = db.read(|t| t.events_between(Timestamp(15), Timestamp(30))).unwrap();
    assert_eq!(between.iter().map(|e| e.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(between[0].event, event("x"));
    assert_eq!(db.read(|t| t.events_after(1, 1)).unwrap()[0].seq, 2);
    db.connection.execute("DELETE FROM events", []).unwrap();
    assert_eq!(append(&mut db, 40), 4);
}

#[test]
fn old_ones_go() {
    let (_dir, _, mut db) = opened();
    let total = EVENTS_KEPT + 3000;
    db.write(|t| {
        for _ in 0..total {
            t.append_event(&event("x"), Timestamp(1))?;
        }
        Ok(())
    })
    .unwrap();
    let (first, last) = db.read(|t| Ok((t.first_seq()?, t.last_seq()?))).unwrap();
    assert_eq!(last, total);
    assert!((EVENTS_KEPT..EVENTS_KEPT + 1024).contains(&(last - first + 1)), "{first}..{last}");
}

#[test]
fn a_commit_without_events_wakes_nobody() {
    let (_dir, layout, mut db) = with_image();
    let watch = EventWatch::new(&layout).unwrap();
    db.write(|t| t.insert_container(&record(1, "one"))).unwrap();
    assert!(!watch.wait(Some(Duration::from_millis(20))).unwrap());
    db.write(|t| t.append_event(&event("x"), Timestamp(1))).unwrap();
    assert!(watch.wait(Some(Duration::from_secs(5))).unwrap());
    assert!(watch.wait(Some(Duration::ZERO)).unwrap(), "it stays readable until drained");
    watch.drain();
    assert!(!watch.wait(Some(Duration::ZERO)).unwrap());
    assert_eq!(std::fs::metadata(layout.notify()).unwrap().len(), dhow_sys::futex::COUNTER_BYTES);
}
