//! Every verb and flag at once: `dhow help --json`, which `cargo xtask parity` and other programs read.
//!
//! A command builds the parser of its own verb only; here all are built, from the same declarations.

use crate::cli::arguments::Rules;
use crate::cli::exit::Outcome;
use crate::cli::globals::Globals;
use crate::cli::spec::LIMITED;
use crate::cli::verbs::{self, GROUPS, NOT_YET, VERBS};
use crate::cli::{globals, output};
use clap::{Arg, Command, CommandFactory};
use serde_json::{Value, json};

/// The command line as one declaration: every verb with every name that it has.
pub(crate) fn command() -> Command {
    let globals = Globals::command();
    let options = globals.get_arguments().filter(|arg| !arg.is_positional()).cloned();
    let root = Command::new("dhow").about("A container engine").args(options);
    // Both are there already: `--help` among the options, `help` in front of any verb.
    let mut root = root.disable_help_flag(true).disable_help_subcommand(true);
    for (name, _, _) in VERBS.iter().filter(|(name, _, _)| !name.contains(' ')) {
        root = root.subcommands(verb(name));
    }
    for (group, summary) in GROUPS {
        let mut within = Command::new(*group).about(*summary).disable_help_subcommand(true);
        for (name, _, others) in VERBS {
            for full in std::iter::once(name).chain(others.iter()) {
                let Some(short) = full.strip_prefix(group).and_then(|rest| rest.strip_prefix(' ')) else {
                    continue;
                };
                within = within.subcommands(verb(name).map(|command| command.name(short)));
            }
        }
        root = root.subcommand(within);
    }
    root
}

/// One verb as it is declared, under its own name.
pub(crate) fn verb(name: &'static str) -> Option<Command> {
    verbs::declared(name).map(|(command, _)| command.name(name))
}

/// `dhow help --json`.
pub(crate) fn execute() -> Outcome {
    output::print(&format!("{:#}\n", tree()))?;
    Ok(0)
}

/// The whole command line.
fn tree() -> Value {
    let verbs: Vec<Value> = VERBS
        .iter()
        .filter_map(|(verb, summary, others)| {
            let (command, rules) = verbs::declared(verb)?;
            let mut described = describe(&command, rules);
            described["names"] = std::iter::once(verb).chain(others.iter()).copied().collect();
            described["summary"] = (*summary).into();
            if matches!(*verb, "run" | "create") {
                described["limited"] = LIMITED
                    .iter()
                    .map(|limit| json!({"flag": limit.flag, "value": limit.value, "reason": limit.reason}))
                    .collect();
            }
            Some(described)
        })
        .collect();
    let mut globals = describe(&Globals::command(), globals::RULES);
    globals["summary"] = "Options before the verb".into();
    json!({
        "globals": globals,
        "groups": GROUPS.iter().map(|(name, summary)| json!({"name": name, "summary": summary})).collect::<Vec<_>>(),
        "verbs": verbs,
        "refused": pairs(NOT_YET, "name"),
    })
}

fn describe(command: &Command, rules: Rules) -> Value {
    let shown = |arg: &&Arg| !arg.is_positional() && !arg.is_hide_set();
    json!({
        "flags": command.get_arguments().filter(shown).map(flag).collect::<Vec<_>>(),
        "refused": pairs(rules.refused, "flag"),
    })
}

fn flag(arg: &Arg) -> Value {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let others = arg.get_all_aliases().into_iter().flatten().map(|long| format!("--{long}"));
    json!({
        "names": short.into_iter().chain(long).collect::<Vec<_>>(),
        "aliases": others.collect::<Vec<_>>(),
        "takes_value": arg.get_action().takes_values(),
        "help": arg.get_help().map(ToString::to_string).unwrap_or_default(),
    })
}

fn pairs(list: &[(&str, &str)], key: &str) -> Value {
    list.iter().map(|(name, reason)| json!({key: name, "reason": reason})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_one_valid_command_line() {
        let mut whole = command();
        // Panics where two flags or verbs have one name.
        whole.build();
        let container = whole.find_subcommand("container").unwrap();
        assert!(container.find_subcommand("ls").is_some() && container.find_subcommand("ps").is_some());
        assert!(
            whole.find_subcommand("run").unwrap().get_arguments().any(|a| a.get_long() == Some("memory"))
        );
    }

    #[test]
    fn it_says_what_there_is_and_what_not() {
        let tree = tree();
        let verb = |name: &str| {
            let verbs = tree["verbs"].as_array().unwrap();
            verbs.iter().find(|v| v["names"][0] == name).unwrap_or_else(|| panic!("{name}")).clone()
        };
        let run = verb("run");
        let flags = run["flags"].as_array().unwrap();
        assert!(flags.iter().any(|f| f["names"] == json!(["-m", "--memory"]) && f["takes_value"] == true));
        assert!(flags.iter().any(|f| f["names"] == json!(["--network"]) && f["aliases"] == json!(["--net"])));
        let refused = run["refused"].as_array().unwrap();
        assert!(refused.iter().any(|r| r["flag"] == "--isolation" && r["reason"] == "it is for Windows"));
        assert_eq!(verb("ps")["names"][1], "container ls");
    }
}
