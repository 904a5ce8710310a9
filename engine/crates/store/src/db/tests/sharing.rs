//! Several processes and threads at once, and their deaths.

use super::*;

const WRITERS: u64 = 8;
const EACH: u64 = 60;

/// What the children of the tests below run: this test binary again, told what to do by a variable.
#[test]
fn child() {
    let Ok(task) = std::env::var("DHOW_DB_TEST_CHILD") else { return };
    let words: Vec<&str> = task.split('|').collect();
    let (root, state, number) = (words[1], words[2], words[3].parse::<u64>().unwrap());
    let layout = Layout::new(root, state);
    if words[0] == "opens" {
        return opening::open_ten_thousand_times(&layout);
    }
    let mut db = StateDb::open(&layout).unwrap();
    match words[0] {
        "events" => (0..EACH).for_each(|n| write_one(&mut db, number, n)),
        "for-ever" => (0..u64::MAX).for_each(|n| write_one(&mut db, number, n)),
        other => panic!("unknown task {other}"),
    }
}

/// One container and its event, as the verbs do it.
fn write_one(db: &mut StateDb, writer: u64, n: u64) {
    let container = record((writer << 32) | n, &format!("w{writer}-{n}"));
    db.write(|t| {
        t.insert_image(&image(1, &[]))?;
        t.insert_container(&container)?;
        t.append_event(&event(&container.name), Timestamp(1))
    })
    .unwrap();
    db.write(|t| t.change_state(&container.id, |s| s.status.after(Move::BeginStart).map(|x| s.status = x)))
        .unwrap();
}

pub(super) fn spawn(task: &str, layout: &Layout, number: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "db::tests::sharing::child", "--nocapture"])
        .env(
            "DHOW_DB_TEST_CHILD",
            format!("{task}|{}|{}|{number}", layout.root().display(), layout.state().display()),
        )
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Follows events as documented until `count` came; returns their actors.
fn follow(layout: &Layout, count: u64) -> Vec<String> {
    let watch = EventWatch::new(layout).unwrap();
    let mut db = StateDb::open(layout).unwrap();
    let (mut cursor, mut actors) = (0, Vec::new());
    while (actors.len() as u64) < count {
        watch.drain();
        loop {
            let events = db.read(|t| t.events_after(cursor, 16)).unwrap();
            for event in &events {
                assert_eq!(event.seq, cursor + 1, "no gap, no disorder");
                cursor = event.seq;
                actors.push(event.event.actor.clone());
            }
            if events.is_empty() {
                break;
            }
        }
        // The writers are done long before: waiting for so long means that a wake-up was lost.
        let complete = actors.len() as u64 >= count;
        assert!(complete || watch.wait(Some(Duration::from_secs(60))).unwrap(), "nobody woke us");
    }
    actors
}

fn assert_all_came(actors: &[String]) {
    for writer in 0..WRITERS {
        let prefix = format!("w{writer}-");
        let own: Vec<_> = actors.iter().filter(|a| a.starts_with(&prefix)).cloned().collect();
        let wanted: Vec<_> = (0..EACH).map(|n| format!("w{writer}-{n}")).collect();
        assert_eq!(own, wanted, "in each writer's own order, too");
    }
}

#[test]
fn eight_processes_write_to_a_new_root_and_followers_see_everything() {
    let (_dir, layout) = place();
    std::thread::scope(|scope| {
        let children: Vec<Child> = (0..WRITERS).map(|n| spawn("events", &layout, n)).collect();
        let followers: Vec<_> = (0..3).map(|_| scope.spawn(|| follow(&layout, WRITERS * EACH))).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let seen: Vec<_> = followers.into_iter().map(|f| f.join().unwrap()).collect();
        assert_all_came(&seen[0]);
        assert!(seen.iter().all(|s| *s == seen[0]), "everyone sees the same order");
    });
    let mut db = StateDb::open(&layout).unwrap();
    db.check().unwrap();
    assert_eq!(db.read(|t| t.containers()).unwrap().len() as u64, WRITERS * EACH);
}

#[test]
fn eight_threads_do_the_same() {
    let (_dir, layout) = place();
    let seen = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let layout = &layout;
            scope.spawn(move || {
                let mut db = StateDb::open(layout).unwrap();
                (0..EACH).for_each(|n| write_one(&mut db, writer, n));
            });
        }
        scope.spawn(|| follow(&layout, WRITERS * EACH)).join().unwrap()
    });
    assert_all_came(&seen);
}

#[test]
fn a_killed_writer_leaves_a_sound_database() {
    let (_dir, layout) = place();
    let mut db = StateDb::open(&layout).unwrap();
    for round in 0..12 {
        let before = db.read(|t| t.last_seq()).unwrap();
        let mut child = spawn("for-ever", &layout, round);
        // Somewhere in the middle of something, at a different place each time.
        while db.read(|t| t.last_seq()).unwrap() < before + 5 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(137 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 3 == 0 {
            // Alone after the death: the next open recovers the WAL.
            drop(db);
            db = StateDb::open(&layout).unwrap();
        }
        db.check().unwrap();
        // Each event is there with its container, or neither is.
        let (events, containers) = db.read(|t| Ok((t.last_seq()?, t.container_ids()?.len()))).unwrap();
        assert_eq!(usize::try_from(events).unwrap(), containers);
    }
}

#[test]
fn a_new_root_is_made_once_by_many() {
    for _ in 0..10 {
        let (_dir, layout) = place();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| StateDb::open(&layout).unwrap().read(|t| t.engine_id()).unwrap()))
                .collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
    }
}

/// A crowd of writers that all come at once, as when many containers are stopped together.
#[test]
fn a_crowd_of_writers_is_served() {
    const CROWD: usize = 200;
    let (_dir, layout, mut db) = opened();
    let start = std::sync::Barrier::new(CROWD);
    std::thread::scope(|scope| {
        for writer in 0..CROWD {
            let (start, layout) = (&start, &layout);
            scope.spawn(move || {
                let mut db = StateDb::open(layout).unwrap();
                start.wait();
                for n in 0..10 {
                    db.write(|t| t.append_event(&event(&format!("{writer}-{n}")), Timestamp(1))).unwrap();
                }
            });
        }
    });
    assert_eq!(usize::try_from(db.read(|t| t.last_seq()).unwrap()).unwrap(), 10 * CROWD);
}
