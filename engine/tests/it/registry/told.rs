//! What a pull says, line for line, to the real docker and to ours.

use super::digest_line;
use super::fixture::Registry;
use crate::sandbox::{Sandbox, Server};

/// What both command lines show, which is the same.
#[track_caller]
fn pulled(sandbox: &Sandbox, server: &Server, arguments: &[&str]) -> String {
    let theirs = server.docker([&["pull"], arguments].concat()).ok();
    let ours = sandbox.ok([&["pull"], arguments].concat());
    assert_eq!(ours, theirs);
    theirs
}

#[test]
fn what_is_here_is_not_told_and_what_is_shared_is() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let (base, above) = (registry.name("base"), registry.name("team/above"));
    sandbox.ok(["run", "--name", "made", "--network", "none", "busybox", "touch", "/more"]);
    sandbox.ok(["tag", "busybox", &base]);
    sandbox.ok(["commit", "made", &above]);
    sandbox.ok(["rm", "made"]);
    for name in [&base, &above] {
        sandbox.ok(["push", name]);
    }
    sandbox.ok(["rmi", "-f", &base, &above, "busybox"]);
    let server = sandbox.serve();
    let first = server.docker(["pull", &base]).ok();
    let digest = digest_line(&first);
    let layer = first.lines().nth(2).unwrap().split(": ").next().unwrap().to_owned();
    let new = |status: &str| format!("{layer}: {status}\n");
    let steps =
        ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"].map(new).concat();
    let head = "Using default tag: latest\nlatest: Pulling from ";
    let end = format!("Status: Downloaded newer image for {base}:latest\n{base}:latest");
    assert_eq!(first, format!("{head}base\n{steps}Digest: {digest}\n{end}"));

    // All of it is here.
    let end = format!("Status: Image is up to date for {base}:latest\n{base}:latest");
    assert_eq!(pulled(&sandbox, &server, &[&base]), format!("{head}base\nDigest: {digest}\n{end}"));
    // Under another name.
    let by_digest = format!("{base}@{digest}");
    let told = pulled(&sandbox, &server, &[&by_digest]);
    let end = format!("Status: Image is up to date for {by_digest}\n{by_digest}");
    assert_eq!(told, format!("{by_digest}: Pulling from base\nDigest: {digest}\n{end}"));
    assert_eq!(pulled(&sandbox, &server, &["-q", &by_digest]), by_digest);

    // A layer of it is that of another image.
    let second = server.docker(["pull", &above]).ok();
    let lines: Vec<&str> = second.lines().collect();
    assert_eq!(lines[2], format!("{layer}: Already exists"), "{second}");
    assert_eq!(lines.iter().filter(|line| line.contains(&layer)).count(), 1, "{second}");
    assert_eq!(second.matches(": Pull complete").count(), 1, "{second}");
    assert!(!second.contains("Extracting"), "{second}");
}

#[test]
fn all_tags_have_one_status() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let name = registry.name("many");
    for tag in ["one", "two"] {
        sandbox.ok(["tag", "busybox", &format!("{name}:{tag}")]);
    }
    sandbox.ok(["push", "-a", &name]);
    let tags = [format!("{name}:one"), format!("{name}:two")];
    sandbox.ok(["rmi", &tags[0]]);
    let server = sandbox.serve();
    let told = server.docker(["pull", "-a", &name]).ok();
    let digest = digest_line(&told);
    let each = ["one", "two"].map(|tag| format!("{tag}: Pulling from many\nDigest: {digest}\n")).concat();
    assert_eq!(told, format!("{each}Status: Downloaded newer image for {name}\n{name}"));
    let told = pulled(&sandbox, &server, &["-a", &name]);
    assert_eq!(told, format!("{each}Status: Image is up to date for {name}\n{name}"));

    // What there is not.
    let none = registry.name("none");
    let lost = server.docker(["pull", "-a", &none]);
    lost.fails(1, &format!("repository {none} not found: "));
    let lost = server.docker(["push", &none]);
    let head = format!("Using default tag: latest\nThe push refers to repository [{none}]\n");
    assert_eq!((lost.code, lost.stdout.as_str()), (1, head.as_str()));
    assert_eq!(lost.stderr, format!("An image does not exist locally with the tag: {none}\n"));

    // Patterns with classes, of which Docker's command line knows nothing: the engine does.
    let repository = |pattern: &str| {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let theirs = server.docker([&format[..], &[pattern]].concat()).ok();
        assert_eq!(sandbox.ok([&format[..], &[pattern]].concat()), theirs, "{pattern}");
        theirs
    };
    assert_eq!(repository("[a-s]*"), "busybox:latest");
    assert_eq!(repository("[^b]*"), "");
    assert_eq!(repository("*/m[a]ny:[m-p]*"), tags[0]);
    assert_eq!(repository("*/*").lines().count(), 2);
    server.docker(["images", "[a-"]).fails(1, "syntax error in pattern");
    sandbox.dhow(["images", "--filter", "reference=[]"]).fails(1, "syntax error in pattern");
}
