//! Figures, not checks: `cargo test -p dhow-store --release measure -- --ignored --nocapture`.

use super::*;

fn median(times: usize, mut run: impl FnMut(usize)) -> Duration {
    let mut all: Vec<Duration> = (0..times)
        .map(|n| {
            let start = Instant::now();
            run(n);
            start.elapsed()
        })
        .collect();
    all.sort();
    all[times / 2]
}

fn show(what: &str, time: Duration) {
    println!("{what:<58} {:>9.1} µs", time.as_secs_f64() * 1e6);
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    let (_dir, layout) = place();
    show("make a new root", median(1, |_| drop(StateDb::open(&layout).unwrap())));
    show("open and close, alone, empty WAL", median(200, |_| drop(StateDb::open(&layout).unwrap())));
    let mut db = StateDb::open(&layout).unwrap();
    db.write(|t| t.insert_image(&image(1, &[]))).unwrap();
    show("open and close beside another", median(200, |_| drop(StateDb::open(&layout).unwrap())));
    show(
        "open, read the last event's number, close",
        median(200, |_| {
            StateDb::open(&layout).unwrap().read(|t| t.last_seq()).unwrap();
        }),
    );
    show(
        "insert a container and its event",
        median(1000, |n| {
            let container = record(n as u64, &format!("c{n}"));
            db.write(|t| {
                t.insert_container(&container)?;
                t.append_event(&event(container.id.as_str()), Timestamp(1))
            })
            .unwrap();
        }),
    );
    show(
        "change a state, with an event",
        median(1000, |n| {
            db.write(|t| {
                t.change_state(&id_of(n as u64), |s| {
                    s.pid += 1;
                    Ok(())
                })?;
                t.append_event(&event("x"), Timestamp(1))
            })
            .unwrap();
        }),
    );
    show(
        "the same, durable",
        median(50, |_| {
            db.write_durable(|t| t.append_event(&event("x"), Timestamp(1))).unwrap();
        }),
    );
    show(
        "find a container by name",
        median(1000, |n| {
            db.read(|t| t.find_container(&format!("c{n}"))).unwrap();
        }),
    );
    show(
        "1000 summaries (ps)",
        median(50, |_| assert_eq!(db.read(|t| t.container_summaries()).unwrap().len(), 1000)),
    );
    show("1000 whole records", median(50, |_| assert_eq!(db.read(|t| t.containers()).unwrap().len(), 1000)));
    show(
        "open, 1000 summaries, close",
        median(50, |_| {
            StateDb::open(&layout).unwrap().read(|t| t.container_summaries()).unwrap();
        }),
    );
    println!("WAL: {} KiB", db.wal.size() / 1024);
    show("copy it back", median(1, |_| db.tidy().unwrap()));
    drop(db);
    show(
        "open, read, close, alone, tidied",
        median(200, |_| {
            StateDb::open(&layout).unwrap().read(|t| t.last_seq()).unwrap();
        }),
    );
    show(
        "open, write, close, alone",
        median(20, |_| {
            StateDb::open(&layout).unwrap().write(|t| t.append_event(&event("x"), Timestamp(1))).unwrap();
        }),
    );
}

/// What `run --rm` asks of the database, without anything else.
#[test]
#[ignore = "prints figures"]
fn a_whole_run() {
    let (_dir, layout) = place();
    StateDb::open(&layout).unwrap().write(|t| t.insert_image(&image(1, &[]))).unwrap();
    let seq = |t: &Txn<'_>| t.append_event(&event("x"), Timestamp(1));
    let mut between = 0;
    show(
        "run --rm: the command's and the monitor's part",
        median(300, |n| {
            let one = record(0x0123_4567_89ab_cdef_u64.wrapping_mul(n as u64 + 1), "web");
            let mut command = StateDb::open(&layout).unwrap();
            command.read(|t| t.find_image_id("sha256:01")).unwrap();
            command.write(|t| t.insert_container(&one).and_then(|()| seq(t))).unwrap();
            command
                .write(|t| {
                    t.change_state(&one.id, |s| s.status.after(Move::BeginStart).map(|x| s.status = x))
                })
                .unwrap();
            let mut monitor = StateDb::open(&layout).unwrap();
            for step in [Move::Started, Move::Exited, Move::BeginRemove] {
                monitor
                    .write(|t| {
                        t.change_state(&one.id, |s| s.status.after(step).map(|x| s.status = x))?;
                        seq(t)
                    })
                    .unwrap();
            }
            command.read(|t| t.events_after(t.last_seq()? - 3, 10)).unwrap();
            monitor.write(|t| t.delete_container(&one.id).and_then(|_| seq(t))).unwrap();
            between += 1;
            if between == 8 {
                // As the monitors do it, where nobody waits.
                monitor.tidy().unwrap();
                between = 0;
            }
        }),
    );
    let wal = std::fs::metadata(layout.root().join("state.db-wal")).unwrap().len();
    println!("WAL: {} KiB", wal / 1024);
}

#[test]
#[ignore = "prints figures"]
fn contention() {
    let (_dir, layout) = place();
    StateDb::open(&layout).unwrap().write(|t| t.insert_image(&image(1, &[]))).unwrap();
    for writers in [1u64, 2, 8, 32] {
        let start = Instant::now();
        let slowest = std::thread::scope(|scope| {
            let all: Vec<_> = (0..writers)
                .map(|_| {
                    scope.spawn(|| {
                        let mut db = StateDb::open(&layout).unwrap();
                        let mut slowest = Duration::ZERO;
                        for _ in 0..200 {
                            let one = Instant::now();
                            db.write(|t| t.append_event(&event("x"), Timestamp(1))).unwrap();
                            slowest = slowest.max(one.elapsed());
                        }
                        slowest
                    })
                })
                .collect();
            all.into_iter().map(|t| t.join().unwrap()).max().unwrap()
        });
        let each = start.elapsed() / u32::try_from(writers * 200).unwrap();
        println!("{writers:>3} writers: {each:>10.1?} a commit, slowest wait {slowest:>10.1?}");
    }
}
