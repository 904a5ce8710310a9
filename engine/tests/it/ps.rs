//! `ps`: every filter of Docker's, counts and columns.

use crate::sandbox::{Ended, Sandbox};

fn names(ended: Ended) -> Vec<String> {
    let mut names: Vec<String> = ended.ok().lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn filters() {
    let sandbox = Sandbox::with_busybox();
    let none = ["--network", "none"];
    let create = |name: &str, more: &[&str]| {
        sandbox.ok([&["create", "--name", name], &none[..], more, &["busybox", "true"]].concat())
    };
    create("web-1", &["--label", "tier=front", "--expose", "80", "-v", "data:/data"]);
    let second = create("web-2", &["--label", "tier=back", "--expose", "8000-8002/udp"]);
    sandbox.ok([&["run", "-d", "--name", "up"], &none[..], &["busybox", "sleep", "1000"]].concat());
    assert_eq!(
        sandbox
            .dhow([&["run", "--name", "failed"], &none[..], &["busybox", "sh", "-c", "exit 3"]].concat())
            .code,
        3
    );

    let server = sandbox.serve();
    for (filters, wanted) in [
        (&["name=web"][..], &["web-1", "web-2"][..]),
        (&["name=^/web-1$"], &["web-1"]),
        (&["name=w.b-[2-9]"], &["web-2"]),
        (&["name=up", "name=failed"], &["failed", "up"]),
        (&["label=tier"], &["web-1", "web-2"]),
        (&["label=tier=back"], &["web-2"]),
        (&["label=tier=front", "label=tier=back"], &[]),
        (&["status=created"], &["web-1", "web-2"]),
        (&["status=running", "status=exited"], &["failed", "up"]),
        (&["exited=3"], &["failed"]),
        (&["exited=0"], &[]),
        (&["expose=80"], &["web-1"]),
        (&["expose=8001/udp"], &["web-2"]),
        (&["expose=70-90/tcp"], &["web-1"]),
        (&["publish=80"], &[]),
        (&["volume=data"], &["web-1"]),
        (&["volume=/data"], &["web-1"]),
        (&["ancestor=busybox"], &["failed", "up", "web-1", "web-2"]),
        (&["ancestor=busybox:other"], &[]),
        (&["network=none", "name=up"], &["up"]),
        (&["network=host"], &[]),
        (&["before=web-2"], &["web-1"]),
        (&["since=web-2"], &["failed", "up"]),
        (&["health=none", "name=web"], &["web-1", "web-2"]),
        (&["health=healthy"], &[]),
        (&["is-task=true"], &[]),
        (&["is-task=false", "name=up"], &["up"]),
    ] {
        let mut words = vec!["ps", "-a", "--format", "{{.Names}}"];
        words.extend(filters.iter().flat_map(|filter| ["--filter", *filter]));
        assert_eq!(names(sandbox.dhow(&words)), wanted, "{filters:?}");
        assert_eq!(names(server.docker(&words)), wanted, "docker: {filters:?}");
    }
    let id = format!("id={}", &second[..8]);
    assert_eq!(sandbox.ok(["ps", "-aq", "--no-trunc", "--filter", &id]), second);
    sandbox.dhow(["ps", "--filter", "color=red"]).fails(1, "invalid filter 'color'");
    sandbox.dhow(["ps", "--filter", "expose=http"]).fails(1, "invalid filter 'expose=http'");
    sandbox.dhow(["ps", "--filter", "before=gone"]).fails(1, "No such container: gone");
    sandbox.dhow(["ps", "--filter", "name"]).fails(125, "bad format of filter");
}

#[test]
fn counts_and_columns() {
    let sandbox = Sandbox::with_busybox();
    for name in ["first", "second", "third"] {
        sandbox.ok([
            "create",
            "--name",
            name,
            "--network",
            "none",
            "--annotation",
            "a=b",
            "busybox",
            "echo",
            "a b",
        ]);
    }
    let shown = |arguments: &[&str]| sandbox.ok([&["ps", "--format", "{{.Names}}"], arguments].concat());
    assert_eq!(shown(&[]), "");
    assert_eq!(shown(&["-l"]), "third");
    assert_eq!(shown(&["-n", "2"]), "third\nsecond");
    assert_eq!(shown(&["-n2", "--filter", "name=first"]), "first");
    assert_eq!(shown(&["-a"]), "third\nsecond\nfirst");
    let table = sandbox.ok(["ps", "-lsa"]);
    let mut lines = table.lines();
    assert_eq!(
        lines.next().unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>(),
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES", "SIZE"]
    );
    let row = lines.next().unwrap();
    assert!(row.contains("\"echo 'a b'\"") && row.contains("0B (virtual "), "{row}");
    let full =
        sandbox.ok(["ps", "-l", "--no-trunc", "--format", "{{.ID}} {{.Command}} {{.Networks}} {{.State}}"]);
    assert_eq!(full.split_once(' ').unwrap().1, "\"echo 'a b'\" none created");
    assert_eq!(full.split_once(' ').unwrap().0.len(), 64);
}

#[test]
fn images_made_of_an_image_are_its_descendants() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "--name", "first", "busybox", "touch", "/one"]);
    sandbox.ok(["commit", "first", "child"]);
    sandbox.ok(["run", "--name", "second", "child", "touch", "/two"]);
    sandbox.ok(["commit", "second", "grandchild"]);
    sandbox.ok(["run", "--name", "third", "grandchild", "true"]);
    let server = sandbox.serve();
    for (ancestor, want) in [
        (&["busybox"][..], "first\nsecond\nthird"),
        (&["child"], "second\nthird"),
        (&["grandchild"], "third"),
        (&["grandchild", "nobody"], "third"),
        (&["nobody"], ""),
    ] {
        let filters = ancestor.iter().flat_map(|name| ["-f".to_owned(), format!("ancestor={name}")]);
        let arguments: Vec<String> =
            ["ps", "-a", "--format", "{{.Names}}"].map(str::to_owned).into_iter().chain(filters).collect();
        for listed in [sandbox.dhow(&arguments).ok(), server.docker(&arguments).ok()] {
            let mut names: Vec<&str> = listed.lines().collect();
            names.sort_unstable();
            assert_eq!(names.join("\n"), want, "{ancestor:?}");
        }
    }
}
