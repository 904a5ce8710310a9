//! What the file may say, and how it is told what it may not.

use super::*;

#[test]
fn everything_is_read() {
    let settings = Settings::parse(
        r#"{
            "data-root": "/d", "exec-root": "/e", "cgroup-parent": "mine/here",
            "log-driver": "local", "log-opts": {"max-size": "1m"},
            "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 10, "Hard": 20}, "core": {"Soft": 0}},
            "default-runtime": "crun", "runtimes": {"crun": {"path": "/bin/crun", "runtimeArgs": ["--debug"]}},
            "detach-keys": "ctrl-a", "max-concurrent-downloads": 8, "userns-remap": "default"
        }"#,
    )
    .unwrap();
    assert_eq!(settings.data_root.as_deref(), Some(Path::new("/d")));
    assert_eq!(settings.runtimes["crun"].args, ["--debug"]);
    assert_eq!(settings.max_concurrent_downloads, Some(8));
    let nofile = Ulimit { name: "nofile".into(), soft: 1, hard: 2 };
    let merged = settings.with_ulimits(vec![nofile.clone()]);
    assert_eq!((merged.len(), &merged[0]), (2, &nofile));
    let log = settings.log(None, BTreeMap::from([("max-file".into(), "2".into())])).unwrap();
    assert_eq!((log.driver.as_str(), log.max_size_bytes, log.max_files), ("local", 1 << 20, 2));
    let other = settings.log(Some("json-file"), BTreeMap::new()).unwrap();
    assert_eq!(other.options.len(), 0, "options are for their own driver");
    assert_eq!(Settings::parse("{}").unwrap(), Settings::default());
}

#[test]
fn what_is_wrong_is_told_with_line_and_key() {
    for (text, message) in [
        ("{\n \"odd\": 1}", "line 2: \"odd\": unknown key"),
        ("{\n\n\"hosts\": []}", "line 3: \"hosts\": Docker has this key"),
        ("{\"registry-mirrors\": [5]}", "line 1: \"registry-mirrors\": want hosts"),
        (
            "{\"max-concurrent-downloads\": 0}",
            "line 1: \"max-concurrent-downloads\": want a number from 1 to 64",
        ),
        ("{\"data-root\":\n 5}", "line 1: \"data-root\": want a text in quotes"),
        ("{\"data-root\": \"here\"}", "line 1: \"data-root\": want an absolute path"),
        ("{\n\"log-opts\": {\n\"max-size\": 5}}", "line 3: \"log-opts.max-size\": want a text"),
        ("{\n\"log-driver\": \"odd\"}", "line 2: \"log-driver\": error looking up"),
        ("{\n\"log-opts\": {\"odd\": \"1\"}}", "line 2: \"log-opts\": unknown log opt 'odd'"),
        (
            "{\"default-ulimits\": {\n\"nofile\": {\n\"Soft\": -2}}}",
            "line 3: \"default-ulimits.nofile.Soft\": want a number",
        ),
        ("{\"default-ulimits\": {\n\"odd\": {\"Soft\": 2}}}", "line 2: \"default-ulimits.odd\": "),
        ("{\"runtimes\": {\n\"x\": {}}}", "line 2: \"runtimes.x\": \"path\" is missing"),
        (
            "{\"runtimes\": {\"x\": {\n\"runtimeType\": \"y\"}}}",
            "line 2: \"runtimes.x.runtimeType\": there are no containerd",
        ),
        ("{\n\"default-runtime\": \"x\"}", "line 2: \"default-runtime\": \"x\" is not among"),
        (
            "{\n\"userns-ids\": {\"first\": 0, \"count\": 5}}",
            "line 2: \"userns-ids\": want a number: \"first\"",
        ),
        ("{\n\"layer-store\": \"zip\"}", "line 2: \"layer-store\": want \"auto\", \"indexed\" or"),
        ("{\"detach-keys\": \"ctrl-\"}", "line 1: \"detach-keys\": Invalid detach keys"),
        ("{\"a\\\"b\": 1}", "line 1: \"a\\\"b\": unknown key"),
        ("{\"data-root\": \"/a\",\n\"data-root\": \"/b\"}", "line 2: \"data-root\" is there twice"),
        ("{\n  \"x\" 1}", "line 2, column"),
        ("[]", "want an object"),
    ] {
        let error = Settings::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message) || error.contains(message), "{text}: {error}");
    }
}
