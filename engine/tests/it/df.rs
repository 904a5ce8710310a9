//! `system df`: sums and lists, as `docker system df` shows them of the same engine.

use crate::http::Api;
use crate::sandbox::Sandbox;
use std::path::Path;

/// Without what changes from one second to the next, and the widths that follow from it.
fn ageless(text: &str) -> String {
    let ages = regex_lite::Regex::new("(Less than a|[0-9]+) seconds?").unwrap();
    let text = ages.replace_all(text, "AGE");
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn sums_and_lists() {
    let sandbox = Sandbox::with_busybox();
    let busybox = sandbox.ok(["images", "-q", "--no-trunc"]);
    sandbox.ok(["volume", "create", "idle"]);
    let write = "dd if=/dev/zero of=/file bs=1000 count=30; dd if=/dev/zero of=/data/file bs=1000 count=20";
    sandbox.ok([
        "run",
        "--name",
        "done",
        "--network",
        "none",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        write,
    ]);
    sandbox.ok(["run", "-d", "--name", "up", "--network", "none", "busybox", "sleep", "1000"]);
    // A second image that shares all layers of the first but one.
    sandbox.ok(["commit", "done", "second"]);

    let field = |line: usize, field: &str| {
        sandbox.ok(["system", "df", "--format", field]).lines().nth(line).unwrap_or_default().to_owned()
    };
    assert_eq!(field(0, "{{.Type}} {{.TotalCount}} {{.Active}}"), "Images 2 1");
    assert_eq!(
        field(1, "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"),
        "Containers 2 1 30kB 30kB (100%)"
    );
    assert_eq!(
        field(2, "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"),
        "Local Volumes 2 1 20kB 0B (0%)"
    );
    assert_eq!(field(3, "{{.Type}} {{.Size}} {{.Reclaimable}}"), "Build Cache 0B 0B");

    let server = sandbox.serve();
    for arguments in [
        &["system", "df"][..],
        &["system", "df", "-v"],
        &["system", "df", "--format", "json"],
        &["system", "df", "--format", "table {{.Type}}\t{{.Reclaimable}}"],
        &["system", "df", "-v", "--format", "{{range .Volumes}}{{.Name}}={{.Size}},{{.Links}} {{end}}"],
        &[
            "system",
            "df",
            "-v",
            "--format",
            "{{range .Images}}{{.ID}}={{.SharedSize}}+{{.UniqueSize}} {{end}}",
        ],
    ] {
        let (ours, dockers) = (sandbox.dhow(arguments).ok(), server.docker(arguments).ok());
        assert_eq!(ageless(&ours), ageless(&dockers), "{arguments:?}");
    }
    let images =
        sandbox.ok(["system", "df", "-v", "--format", "{{range .Images}}{{.ID}} {{.Containers}}\n{{end}}"]);
    assert!(images.lines().any(|line| line == format!("{busybox} 2")), "{images}");

    let mut api = Api::new(Path::new(server.address.strip_prefix("unix://").unwrap()));
    let mut get = |path: &str| {
        let (status, body) = api.ask("GET", path, b"");
        (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    // Up to 1.51 the lists, later the sums, and lists when they are asked for.
    let (_, old) = get("/v1.44/system/df?type=volume");
    assert_eq!(
        (old["Volumes"].as_array().map(Vec::len), &old["Images"]),
        (Some(2), &serde_json::Value::Null)
    );
    let (_, new) = get("/v1.52/system/df?type=volume");
    assert_eq!((new["VolumeUsage"]["TotalSize"].as_u64(), new.get("ImageUsage")), (Some(20_000), None));
    assert!(new["VolumeUsage"].get("Items").is_none());
    let (_, new) = get("/v1.52/system/df?verbose=1");
    assert_eq!(new["ImageUsage"]["Items"].as_array().map(Vec::len), Some(2));
    let (status, refused) = get("/v1.44/system/df?type=ship");
    assert_eq!((status, refused["message"].as_str()), (400, Some("unknown object type: ship")));
}
