//! Pulls, loads and prunes that are killed at any moment: what is there afterwards is whole, and nothing is lost.

use super::fixture::Registry;
use super::{kept, noisy_image, prune};
use crate::sandbox::Sandbox;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How many verbs are killed.
const KILLS: u32 = 200;

/// Any numbers will do, but the same ones each time: a failure can be looked at again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn at_any_moment() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    // Two images that share a layer, one that shares nothing; each once more as an archive.
    let names: Vec<String> = ["one", "two", "three"].iter().map(|name| registry.name(name)).collect();
    for (name, text) in names.iter().zip(["1", "2"]) {
        let write = format!("head -c 1000000 /dev/urandom > /file{text}");
        sandbox.ok(["run", "--name", "maker", "--network", "none", "busybox", "sh", "-c", &write]);
        sandbox.ok(["commit", "maker", name]);
        sandbox.ok(["rm", "maker"]);
    }
    noisy_image(&sandbox, &names[2], 1 << 20, 3);
    let archive = sandbox.path("all.tar");
    let archive = archive.to_str().unwrap();
    let mut save = vec!["save", "-o", archive];
    save.extend(names.iter().map(String::as_str));
    sandbox.ok(save);
    for name in &names {
        let pushed = sandbox.ok(["push", name]);
        super::referrers::attach(&registry, name.rsplit('/').next().unwrap(), &pushed);
    }
    sandbox.ok(["rmi", "busybox"]);
    // And something that is no image.
    super::artifacts::artifact(&registry, "model", "latest");
    let model = registry.name("model");

    let verbs: Vec<Vec<&str>> = vec![
        vec!["pull", &names[0]],
        vec!["pull", &names[1]],
        vec!["pull", &names[2]],
        vec!["pull", &model],
        vec!["load", "-i", archive],
        vec!["image", "prune", "-af"],
        vec!["rmi", "-f", &names[1]],
    ];
    // How long each takes, so that the moments fall everywhere into it.
    prune(&sandbox);
    let longest = verbs.iter().map(|verb| {
        let start = Instant::now();
        sandbox.ok(verb);
        start.elapsed()
    });
    let longest: Vec<Duration> = longest.collect();
    let mut dice = Dice(20);
    let mut killed = 0;
    for round in 0..KILLS {
        let choice = usize::try_from(dice.below(verbs.len() as u64)).unwrap();
        let moment = dice.below(u64::try_from(longest[choice].as_micros()).unwrap());
        let mut child =
            sandbox.command(&verbs[choice]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(moment));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        if round % 10 == 9 {
            let checked = sandbox.dhow(["system", "check", "-q"]);
            assert_eq!((checked.code, checked.stdout.as_str()), (0, ""), "after {:?}", verbs[choice]);
        }
    }
    assert!(killed > KILLS / 4, "only {killed} of {KILLS} were killed while they ran");

    // All still works, to its end.
    sandbox.ok(["pull", &model]);
    for name in &names {
        assert!(sandbox.ok(["pull", name]).contains("Referrers: 2 kept with the image"));
    }
    sandbox.ok(["run", "--rm", "--network", "none", &names[1], "test", "-s", "/file2"]);
    let checked = sandbox.ok(["system", "check"]);
    assert!(checked.ends_with(": nothing is broken"), "{checked}");
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}
