//! A layer that is so large that its pieces come over several connections at once.

use super::fixture::{Asked, Fault, Front, Registry};
use super::{kept, noise, noisy_image, prune};
use crate::sandbox::{Sandbox, eventually, finish, names_in};
use std::process::{Child, Stdio};

/// More than what comes over one connection, in six pieces.
const SIZE: usize = 42 << 20;
const PIECE: u64 = 8 << 20;
/// What a slow connection gives in ten milliseconds, and a slower one.
const SLOW: usize = 256 << 10;
const SLOWER: usize = 64 << 10;
/// What comes of a piece before its connection stalls.
const PART: usize = 3 << 20;

/// A registry with one large layer, and what is known of it.
struct Large {
    // Ends before its directory goes.
    registry: Registry,
    sandbox: Sandbox,
    /// Of the file `/noise` in it.
    sum: String,
}

impl Large {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox.path("registry"));
        let name = registry.name("noise");
        noisy_image(&sandbox, &name, SIZE, 1);
        sandbox.ok(["push", "-q", &name]);
        sandbox.ok(["rmi", "-f", &name]);
        let expected = sandbox.path("expected");
        std::fs::write(&expected, noise(SIZE, 1)).unwrap();
        let sum = crate::fixtures::sha256_of(&expected).trim_start_matches("sha256:").to_owned();
        Self { sandbox, registry, sum }
    }

    /// In front of it, with a rule for requests for the layer.
    fn front(&self, rule: impl Fn(&Asked, usize) -> Fault + Send + Sync + 'static) -> Front {
        // What is asked for in pieces is the layer, and so is what is asked for after them.
        let config = std::sync::Mutex::new(None);
        Front::of(&self.registry, move |asked, count| {
            if !asked.is_blob() {
                return Fault::None;
            }
            let first = config.lock().unwrap().get_or_insert_with(|| asked.path.clone()).clone();
            if first == asked.path { Fault::None } else { rule(asked, count) }
        })
    }

    /// What is there is what was pushed; then it is removed.
    fn check_and_remove(&self, name: &str) {
        let sum = self.sandbox.ok(["run", "--rm", "--network", "none", name, "sha256sum", "/noise"]);
        assert_eq!(sum.split(' ').next(), Some(self.sum.as_str()));
        self.sandbox.ok(["rmi", name]);
        assert_eq!(kept(&self.sandbox), Vec::<String>::new());
    }

    fn pulling(&self, name: &str) -> Child {
        self.sandbox.command(["pull", name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Files of partial blobs, and their bytes.
    fn partial(&self) -> Vec<u64> {
        let directory = self.sandbox.root().join("content/partial");
        names_in(&directory)
            .iter()
            .filter_map(|name| Some(directory.join(name).metadata().ok()?.len()))
            .collect()
    }
}

/// Requests for the layer.
fn layer(front: &Front) -> Vec<Asked> {
    let asked: Vec<Asked> = front.asked().into_iter().filter(Asked::is_blob).collect();
    let config = asked.first().map(|asked| asked.path.clone());
    asked.into_iter().filter(|asked| Some(&asked.path) != config.as_ref()).collect()
}

/// Where the pieces start that were asked for, without those that were asked for again.
fn starts(asked: &[Asked]) -> Vec<u64> {
    let mut starts: Vec<u64> = asked.iter().map(Asked::from).collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

#[test]
fn it_comes_over_as_many_connections_as_a_pull_may_have() {
    let large = Large::new();
    let sandbox = &large.sandbox;
    let front = large.front(|_, count| Fault::Throttle(if count <= 4 { SLOWER } else { SLOW }));
    let name = front.name("noise");
    sandbox.ok(["pull", &name]);
    let asked = layer(&front);
    assert_eq!(front.most_at_once(), 4, "{asked:?}");
    // Each piece once, and nothing twice.
    assert_eq!(starts(&asked), (0..6).map(|n| n * PIECE).collect::<Vec<_>>());
    assert_eq!(asked.len(), 6);
    assert!(asked.iter().all(|asked| asked.to().is_some_and(|to| to - asked.from() <= PIECE)));
    large.check_and_remove(&name);

    let file = sandbox.path("dhow.json");
    for connections in [1, 2] {
        std::fs::write(&file, format!(r#"{{"max-concurrent-downloads": {connections}}}"#)).unwrap();
        let front = large.front(|_, _| Fault::Throttle(SLOW));
        let name = front.name("noise");
        finish(sandbox.command(["--config-file", file.to_str().unwrap(), "pull", &name]), b"").ok();
        assert_eq!(front.most_at_once(), connections);
        assert_eq!(layer(&front).len(), if connections == 1 { 1 } else { 6 });
        large.check_and_remove(&name);
    }
}

#[test]
fn pieces_that_fail_for_a_while_are_asked_for_again() {
    let large = Large::new();
    let busy = || Fault::Answer("429 Too Many Requests", vec![("Retry-After", "0".into())], String::new());
    let storage = Front::of(&large.registry, |_, _| Fault::None);
    let elsewhere = storage.url("");
    let second = PIECE;
    type Rule = Box<dyn Fn(&Asked, usize) -> Fault + Send + Sync>;
    // What happens to which requests; the second argument counts those for the layer, whatever piece they want.
    let rules: [(&str, Rule); 6] = [
        (
            "cut",
            Box::new(
                move |asked, _| {
                    if asked.to() == Some(2 * second) { Fault::Cut(3 << 20) } else { Fault::None }
                },
            ),
        ),
        ("again and again", Box::new(|_, _| Fault::Cut(3 << 20))),
        ("busy", Box::new(move |_, count| if count % 3 == 1 { busy() } else { Fault::None })),
        (
            "broken",
            Box::new(|_, count| match count {
                2..4 => Fault::Answer("503 Service Unavailable", Vec::new(), String::new()),
                _ => Fault::None,
            }),
        ),
        (
            "another range",
            Box::new(
                move |asked, count| {
                    if asked.from() == second && count < 4 { Fault::OtherRange } else { Fault::None }
                },
            ),
        ),
        (
            "elsewhere",
            Box::new(move |asked, _| {
                let place = vec![("Location", format!("{elsewhere}{}", asked.path))];
                Fault::Answer("307 Temporary Redirect", place, String::new())
            }),
        ),
    ];
    for (what, rule) in rules {
        let front = large.front(rule);
        let name = front.name("noise");
        large.sandbox.ok(["pull", &name]);
        let asked = layer(&front);
        assert!(asked.iter().all(|asked| asked.to().is_some()), "{what}: ranges were given up: {asked:?}");
        large.check_and_remove(&name);
    }
    // The ranges went along with the redirect.
    let there = storage.asked();
    assert_eq!(starts(&there).len(), 6, "{there:?}");
    assert!(there.iter().all(|asked| asked.to().is_some()), "{there:?}");
}

#[test]
fn who_does_not_do_ranges_is_asked_for_the_whole() {
    let large = Large::new();
    let refuse = || Fault::Answer("416 Range Not Satisfiable", Vec::new(), String::new());
    type Rule = Box<dyn Fn(&Asked) -> Fault + Send + Sync>;
    let rules: [(&str, Rule); 4] = [
        ("all of it", Box::new(|_| Fault::Whole)),
        (
            "all of it, late",
            Box::new(|asked| if asked.from() >= 3 * PIECE { Fault::Whole } else { Fault::None }),
        ),
        ("refused", Box::new(move |asked| if asked.to().is_some() { refuse() } else { Fault::None })),
        ("others", Box::new(|asked| if asked.to().is_some() { Fault::OtherRange } else { Fault::None })),
    ];
    for (what, rule) in rules {
        let front = large.front(move |asked, _| rule(asked));
        let name = front.name("noise");
        large.sandbox.ok(["pull", &name]);
        let asked = layer(&front);
        // The answer to the request for the first piece is all of it, and taken for that.
        let is_taken = what == "all of it" && asked.len() <= 4;
        assert!(is_taken || asked.iter().any(|asked| asked.to().is_none()), "{what}: {asked:?}");
        large.check_and_remove(&name);
    }
}

#[test]
fn a_piece_that_stalls_is_given_up_and_goes_on_where_it_was() {
    let large = Large::new();
    let front = large.front(|asked, _| match (asked.from(), asked.to()) {
        (PIECE, _) => Fault::Stall(1 << 20),
        _ => Fault::None,
    });
    let name = front.name("noise");
    large.sandbox.ok(["pull", &name]);
    let asked = layer(&front);
    let again = asked.iter().find(|asked| asked.from() > PIECE && asked.to() == Some(2 * PIECE)).unwrap();
    assert!(again.from() <= PIECE + (1 << 20), "{asked:?}");
    large.check_and_remove(&name);
}

#[test]
fn a_byte_that_is_another_is_found_and_the_layer_fetched_once_more() {
    let large = Large::new();
    let front = large.front(|asked, count| match asked.from() == 3 * PIECE && count <= 6 {
        true => Fault::Flip(12_345),
        false => Fault::None,
    });
    let name = front.name("noise");
    large.sandbox.ok(["pull", &name]);
    assert_eq!(layer(&front).iter().filter(|asked| asked.from() == 3 * PIECE).count(), 2);
    large.check_and_remove(&name);

    // For ever: nothing of it is visible, and the layer is named.
    let front =
        large.front(|asked, _| if asked.from() == 3 * PIECE { Fault::Flip(12_345) } else { Fault::None });
    let ended = large.sandbox.dhow(["pull", &front.name("noise")]);
    let digest = layer(&front)[0].path.rsplit('/').next().unwrap().to_owned();
    ended.fails(1, &format!("blob {digest} of {}", front.name("noise")));
    assert!(large.sandbox.ok(["images", "-aq"]).is_empty());
    prune(&large.sandbox);
    assert_eq!(kept(&large.sandbox), Vec::<String>::new());
}

#[test]
fn a_piece_that_cannot_be_had_is_one_clear_error_and_the_others_are_kept() {
    let large = Large::new();
    let gone = |asked: &Asked| (4 * PIECE..5 * PIECE).contains(&asked.from());
    let front = large.front(move |asked, _| if gone(asked) { Fault::Cut(0) } else { Fault::None });
    let name = front.name("noise");
    let ended = large.sandbox.dhow(["pull", &name]);
    let digest = layer(&front)[0].path.rsplit('/').next().unwrap().to_owned();
    let size = large.partial().iter().sum::<u64>() + PIECE;
    let cause = format!("the transfer broke after {} of {size} bytes", 4 * PIECE);
    ended.fails(1, &format!("(blob {digest} of {name}): blob {digest}: {cause}"));
    // Five of six pieces.
    assert!(size > SIZE as u64 && size < SIZE as u64 + (2 << 20), "{size}");
    let again = large.front(|_, _| Fault::None);
    large.sandbox.ok(["pull", &again.name("noise")]);
    let asked = layer(&again);
    assert!(asked.iter().all(gone) && again.blob_bytes() < 2 * PIECE, "{asked:?}");
    large.check_and_remove(&again.name("noise"));
}

#[test]
fn a_pull_that_was_killed_goes_on_with_the_pieces_that_are_there() {
    let large = Large::new();
    let front = large.front(|_, count| if count <= 4 { Fault::Stall(PART) } else { Fault::None });
    let name = front.name("noise");
    let mut pulling = large.pulling(&name);
    let four_parts = || large.partial().iter().filter(|bytes| **bytes == PART as u64).count() == 4;
    eventually("four pieces are there in part", four_parts);
    pulling.kill().unwrap();
    pulling.wait().unwrap();
    assert!(large.sandbox.ok(["images", "-aq"]).is_empty());
    let here = 4 * PART as u64;
    let checked = large.sandbox.ok(["system", "check"]);
    assert_eq!(checked.matches("partial blob").count(), 1, "{checked}");
    assert!(checked.contains(&format!("{here} bytes were fetched")), "{checked}");
    let before = layer(&front).len();
    large.sandbox.ok(["pull", &name]);
    // From the byte where each of them stopped.
    let wanted: u64 = layer(&front)[before..].iter().map(|asked| asked.to().unwrap() - asked.from()).sum();
    let all = here + wanted;
    assert!(all > SIZE as u64 && all < SIZE as u64 + (2 << 20), "{here} and {wanted}");
    assert!(front.blob_bytes() < SIZE as u64 * 3 / 2, "{} bytes were given", front.blob_bytes());
    large.check_and_remove(&name);

    // Killed again, and given up, or mended.
    for verb in [&["image", "prune", "-af"][..], &["system", "check", "--repair"]] {
        let stalled = large.front(|_, _| Fault::Stall(PART));
        let mut pulling = large.pulling(&stalled.name("noise"));
        eventually("parts are there", four_parts);
        // What somebody fetches just now stays.
        large.sandbox.ok(["image", "prune", "-af"]);
        assert!(large.partial().len() >= 4);
        pulling.kill().unwrap();
        pulling.wait().unwrap();
        large.sandbox.ok(verb);
        assert_eq!(kept(&large.sandbox), Vec::<String>::new());
    }
}

#[test]
fn pulls_of_several_processes_fetch_each_piece_once() {
    let large = Large::new();
    let front = large.front(|_, _| Fault::Throttle(SLOW));
    let name = front.name("noise");
    let pulls: Vec<Child> = (0..4).map(|_| large.pulling(&name)).collect();
    for mut pull in pulls {
        assert!(pull.wait().unwrap().success());
    }
    let asked = layer(&front);
    assert_eq!((starts(&asked).len(), asked.len()), (6, 6), "{asked:?}");
    large.check_and_remove(&name);
}
