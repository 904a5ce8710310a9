//! A small command line beside another.

use super::*;

const DOCKER: &str = "container ls, ps\n  -a, --all bool\n  --filter filter\ncontainer run, run\n  --isolation string\n  -m, --memory bytes\n  --runtime string\nservice ls\n  -q, --quiet bool\nvolume ls\n";

fn rows() -> Vec<Row> {
    let ours = serde_json::from_str(
        r#"{
        "globals": {"flags": [], "refused": []},
        "verbs": [
            {"names": ["ps"], "flags": [{"names": ["-a", "--all"]}], "refused": []},
            {"names": ["run", "container run"],
             "flags": [{"names": ["-m", "--memory"]}, {"names": ["--runtime"]}, {"names": ["--trace"]}],
             "refused": [{"flag": "--isolation", "reason": "it is for Windows"}],
             "limited": [{"flag": "--runtime", "reason": "only one"}]}
        ],
        "refused": [{"name": "service", "reason": "no cluster"}]
    }"#,
    )
    .unwrap();
    compare(&docker::parse(DOCKER).unwrap(), &ours)
}

#[test]
fn what_is_missing_is_listed() {
    assert_eq!(
        missing(&rows()),
        ["container ls: the name container ls", "container ls --filter", "volume ls"]
    );
}

#[test]
fn the_table_tells_all_four_states() {
    let text = table::markdown(&rows());
    let sums = "all: Verbs: 2 present, 1 refused, 1 missing. \
                Flags of the present verbs: 2 present, 1 limited, 1 refused, 1 missing.";
    assert!(table::summary(&rows()).ends_with(sums), "{}", table::summary(&rows()));
    for line in [
        "| container ls | | present | also ps; the name container ls is missing |",
        "| container ls | --filter | missing |  |",
        "| container run | --isolation | refused | it is for Windows |",
        "| container run | --runtime | limited | only one |",
        "| container run | --trace | dhow's own | |",
        "| service ls | | refused | no cluster |",
        "| volume ls | | missing |  |",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn the_committed_list_is_readable() {
    let verbs = docker::verbs().unwrap();
    assert_eq!(verbs.iter().filter(|v| v.names[0] == docker::GLOBALS).count(), 1);
    let run = verbs.iter().find(|v| v.names[0] == "container run").unwrap();
    assert!(run.flags.iter().any(|f| f.names == ["-m", "--memory"]));
    assert!(docker::parse("  --flag bool\n").is_err());
}
