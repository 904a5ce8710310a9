//! Many containers, many processes at once.

use crate::sandbox::Sandbox;

/// Processes of `dhow` at work at any time.
const WORKERS: usize = 8;
/// Containers in all.
const CONTAINERS: usize = 200;

#[test]
fn two_hundred_containers_by_eight_processes_at_once() {
    let sandbox = Sandbox::with_busybox();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for number in (worker..CONTAINERS).step_by(WORKERS) {
                    let name = format!("c{number}");
                    let id = sandbox.ok(["create", "--name", &name, "busybox", "sleep", "1000"]);
                    assert_eq!(sandbox.ok(["start", &name]), name);
                    assert_eq!(sandbox.ok(["stop", "-t", "0", &id]), id);
                    assert_eq!(sandbox.ok(["rm", &name]), name);
                }
            });
        }
    });
    sandbox.assert_no_containers();
    let events = sandbox.events();
    for action in ["create", "start", "die", "stop", "destroy"] {
        let count = events.iter().filter(|e| e["Type"] == "container" && e["Action"] == action).count();
        assert_eq!(count, CONTAINERS, "{action}");
    }
}

#[test]
fn one_name_goes_to_exactly_one() {
    let sandbox = Sandbox::with_busybox();
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let create = || sandbox.dhow(["create", "--name", "one", "busybox", "true"]).code;
        let racers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(create)).collect();
        racers.into_iter().map(|r| r.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|c| **c == 0).count(), 1, "{codes:?}");
    assert_eq!(sandbox.container_ids().len(), 1);
    // Everybody may start it, stop it and remove it at once, too.
    for verb in [&["start"][..], &["stop", "-t", "0"], &["rm", "-f"]] {
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    let ended = sandbox.dhow(verb.iter().chain(&["one"]));
                    let gone = ended.stderr.contains("No such container")
                        || ended.stderr.contains("already in progress");
                    assert!(ended.code == 0 || gone, "{ended:?}");
                });
            }
        });
    }
    sandbox.assert_no_containers();
}
