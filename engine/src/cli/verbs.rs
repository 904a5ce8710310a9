//! Every verb by name: those that work, their places in Docker's groups, and those that are not there yet.

use crate::cli::arguments::{self, Rules};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use std::ffi::OsString;
use std::fmt::Write;

/// A verb and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command<'a> {
    /// The name in [`VERBS`].
    pub(crate) verb: &'static str,
    /// What follows it.
    pub(crate) rest: &'a [OsString],
}

/// What works: name, summary, and its other names within the groups of [`GROUPS`].
pub(crate) const VERBS: &[(&str, &str, &[&str])] = &[
    ("run", "Create and run a new container from an image", &["container run"]),
    ("exec", "Execute a command in a running container", &["container exec"]),
    ("ps", "List containers", &["container ls", "container list", "container ps"]),
    ("images", "List images", &["image ls", "image list"]),
    (
        "attach",
        "Attach local standard input, output, and error streams to a running container",
        &["container attach"],
    ),
    ("commit", "Create a new image from a container's changes", &["container commit"]),
    ("completion", "Generate the autocompletion script for the specified shell", &[]),
    ("cp", "Copy files/folders between a container and the local filesystem", &["container cp"]),
    ("create", "Create a new container", &["container create"]),
    ("diff", "Inspect changes to files or directories on a container's filesystem", &["container diff"]),
    ("events", "Get real time events from the server", &["system events"]),
    ("export", "Export a container's filesystem as a tar archive", &["container export"]),
    ("history", "Show the history of an image", &["image history"]),
    ("import", "Import the contents from a tarball to create a filesystem image", &["image import"]),
    ("info", "Display system-wide information", &["system info"]),
    ("inspect", "Return low-level information on objects", &[]),
    ("kill", "Kill one or more running containers", &["container kill"]),
    ("load", "Load an image from a tar archive or STDIN", &["image load"]),
    ("login", "Authenticate to a registry", &[]),
    ("logout", "Log out from a registry", &[]),
    ("logs", "Fetch the logs of a container", &["container logs"]),
    ("man", "Write the manual pages into a directory", &[]),
    ("pause", "Pause all processes within one or more containers", &["container pause"]),
    ("port", "List port mappings or a specific mapping for the container", &["container port"]),
    ("pull", "Download an image from a registry", &["image pull"]),
    ("push", "Upload an image to a registry", &["image push"]),
    ("rename", "Rename a container", &["container rename"]),
    ("restart", "Restart one or more containers", &["container restart"]),
    ("rm", "Remove one or more containers", &["container rm", "container remove"]),
    ("rmi", "Remove one or more images", &["image rm", "image remove"]),
    ("save", "Save one or more images to a tar archive (streamed to STDOUT by default)", &["image save"]),
    ("search", "Search Docker Hub for images", &[]),
    ("serve", "Serve the Docker Engine API", &[]),
    ("start", "Start one or more stopped containers", &["container start"]),
    ("stats", "Display a live stream of container(s) resource usage statistics", &["container stats"]),
    ("stop", "Stop one or more running containers", &["container stop"]),
    ("tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", &["image tag"]),
    ("top", "Display the running processes of a container", &["container top"]),
    ("trace", "Show what the processes of containers do", &["container trace"]),
    ("unpause", "Unpause all processes within one or more containers", &["container unpause"]),
    ("update", "Update configuration of one or more containers", &["container update"]),
    ("version", "Show the version information", &[]),
    ("wait", "Block until one or more containers stop, then print their exit codes", &["container wait"]),
    ("container prune", "Remove all stopped containers", &[]),
    ("image prune", "Remove unused images", &[]),
    ("manifest annotate", "Add additional information to a local image manifest", &[]),
    ("manifest create", "Create a local manifest list for annotating and pushing to a registry", &[]),
    ("manifest inspect", "Display an image manifest, or manifest list", &[]),
    ("manifest push", "Push a manifest list to a repository", &[]),
    ("manifest rm", "Delete one or more manifest lists from local storage", &[]),
    ("system check", "Check that what is stored is what its digests and the database say", &[]),
    ("system df", "Show docker disk usage", &[]),
    ("system dial-stdio", "Proxy the stdio stream to the daemon connection", &[]),
    ("system prune", "Remove unused data", &[]),
    ("network connect", "Connect a container to a network", &[]),
    ("network create", "Create a network", &[]),
    ("network disconnect", "Disconnect a container from a network", &[]),
    ("network inspect", "Display detailed information on one or more networks", &[]),
    ("network ls", "List networks", &["network list"]),
    ("network prune", "Remove all unused networks", &[]),
    ("network rm", "Remove one or more networks", &["network remove"]),
    ("volume create", "Create a volume", &[]),
    ("volume export", "Export a volume's files as a tar archive", &[]),
    ("volume import", "Extract a tar archive, plain or compressed, into a volume", &[]),
    ("volume inspect", "Display detailed information on one or more volumes", &[]),
    ("volume ls", "List volumes", &["volume list"]),
    ("volume prune", "Remove unused local volumes", &[]),
    ("volume rm", "Remove one or more volumes", &["volume remove"]),
    ("volume snapshot", "Create a volume that has what another has now", &[]),
    ("container inspect", "Display detailed information on one or more containers", &[]),
    ("image inspect", "Display detailed information on one or more images", &[]),
];

const REGISTRIES: &str = "signatures of registries come later";
const BUILDS: &str = "builds come later; make images elsewhere and load them with dhow load";
const LATER: &str = "it comes with a later version";
const SWARM: &str = "dhow has no cluster mode";

/// What Docker has and dhow has not, with the reason.
pub(crate) const NOT_YET: &[(&str, &str)] = &[
    ("trust", REGISTRIES),
    ("build", BUILDS),
    ("builder", BUILDS),
    ("buildx", BUILDS),
    ("bake", BUILDS),
    ("image build", BUILDS),
    ("compose", LATER),
    ("volume update", SWARM),
    ("context", "name a context with --context, DOCKER_CONTEXT or -H; manage contexts with docker context"),
    ("plugin", LATER),
    ("checkpoint", LATER),
    ("debug", LATER),
    ("scout", LATER),
    ("model", LATER),
    ("swarm", SWARM),
    ("service", SWARM),
    ("stack", SWARM),
    ("node", SWARM),
    ("secret", SWARM),
    ("config", SWARM),
];

/// Groups whose second word is a verb.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("manifest", "Manage image manifests and manifest lists"),
    ("network", "Manage networks"),
    ("system", "Manage dhow"),
    ("volume", "Manage volumes"),
];

/// Finds the verb; `None` when there is none and help is wanted.
pub(crate) fn resolve(args: &[OsString]) -> Outcome<Option<Command<'_>>> {
    let word = |at: usize| args.get(at).and_then(|a| a.to_str());
    let Some(first) = args.first() else { return Ok(None) };
    let Some(mut name) = first.to_str().map(str::to_owned) else {
        return Err(unknown(&first.to_string_lossy()));
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        return match args.get(1..) {
            Some([]) | None => Ok(None),
            Some([flag]) if flag == "--json" => Ok(Some(Command { verb: TREE, rest: &[] })),
            Some(rest) => Ok(resolve(rest)?
                .map(|c| Command { verb: c.verb, rest: HELP_FLAG.get_or_init(|| ["--help".into()]) })),
        };
    }
    let mut used = 1;
    if let Some((group, _)) = GROUPS.iter().find(|(group, _)| *group == name) {
        match word(1) {
            None => return Ok(Some(Command { verb: group, rest: &[] })),
            Some("--help" | "-h") => return Ok(Some(Command { verb: group, rest: &args[1..2] })),
            Some(second) => name = format!("{name} {second}"),
        }
        used = 2;
    }
    let known = VERBS.iter().find(|(verb, _, others)| *verb == name || others.contains(&name.as_str()));
    if let Some((verb, _, _)) = known {
        return Ok(Some(Command { verb, rest: &args[used..] }));
    }
    // `container stats` is refused for the same reason as `stats`.
    let last = name.rsplit(' ').next().unwrap_or_default();
    let refused =
        NOT_YET.iter().find(|(verb, _)| *verb == name || (name.starts_with("container ") && *verb == last));
    match refused {
        Some((_, why)) => Err(Failure::new(format!("'{name}' is not there yet: {why}"))),
        None => Err(unknown(&name)),
    }
}

/// `dhow help --json`: every verb and flag, for programs.
const TREE: &str = "help --json";

static HELP_FLAG: std::sync::OnceLock<[OsString; 1]> = std::sync::OnceLock::new();

fn unknown(name: &str) -> Failure {
    let group = name.split_once(' ').map(|(group, _)| group).filter(|name| group_help(name).is_some());
    let help_of = group.map_or_else(|| "dhow".to_owned(), |group| format!("dhow {group}"));
    Failure::new(format!("unknown command: dhow {name}")).with_help_of(&help_of)
}

/// The list of verbs.
pub(crate) fn help() -> String {
    let mut text = "Usage:  dhow [OPTIONS] COMMAND\n\nA container engine\n\nCommands:\n".to_owned();
    for (verb, summary, _) in VERBS.iter().filter(|(verb, _, _)| !verb.contains(' ')) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {verb:<11} {summary}");
    }
    text.push_str("\nManagement Commands:\n");
    for (group, summary) in GROUPS {
        let _ = writeln!(text, "  {group:<11} {summary}");
    }
    text.push_str(
        "\nGlobal Options:\n      \
         --config string      Location of client config files\n  \
         -c, --context string     Name of the Docker context that says which engine to talk to\n  \
         -D, --debug              Print every request on standard error\n  \
         -H, --host string        Engine to talk to, instead of the one in this process\n  \
         -l, --log-level string   debug, info, warn, error or fatal\n      \
         --root string        Where the engine keeps images and containers\n      \
         --state string       Where the engine keeps sockets and locks\n  \
         -v, --version            Print the version and quit\n\n\
         Run 'dhow COMMAND --help' for more information on a command.\n",
    );
    text
}

/// The verbs of one group, by the names that they have in it.
pub(crate) fn group_help(group: &str) -> Option<String> {
    let (_, summary) = GROUPS.iter().find(|(name, _)| *name == group)?;
    let mut text = format!("Usage:  dhow {group} COMMAND\n\n{summary}\n\nCommands:\n");
    let mut lines: Vec<(&str, &str)> = VERBS
        .iter()
        .filter_map(|(verb, summary, others)| {
            let within = std::iter::once(verb).chain(others.iter());
            let name = within.filter_map(|name| name.strip_prefix(group)?.strip_prefix(' ')).next()?;
            Some((name, *summary))
        })
        .collect();
    lines.sort_unstable();
    for (name, summary) in lines {
        let _ = writeln!(text, "  {name:<11} {summary}");
    }
    let _ = writeln!(text, "\nRun 'dhow {group} COMMAND --help' for more information on a command.");
    Some(text)
}

/// A verb's flags as clap knows them, and the rules that they are read by. Made of the same list as
/// [`execute`], so that no verb can be missing in one of them.
macro_rules! verbs {
    ($($name:literal => $($module:ident)::+),* $(,)?) => {
        /// Parses the verb's arguments and runs it.
        pub(crate) async fn execute(context: &Context, command: &Command<'_>) -> Outcome {
            match command.verb {
                $($name => crate::cli::$($module)::+::execute(
                    context,
                    arguments::parse(crate::cli::$($module)::+::RULES, command.rest)?,
                ).await,)*
                "container inspect" => crate::cli::inspect::execute_container(context, command.rest).await,
                "image inspect" => crate::cli::inspect::execute_image(context, command.rest).await,
                TREE => crate::cli::tree::execute(),
                other => match group_help(other) {
                    // Nobody asked for it: it says what is missing.
                    Some(text) if command.rest.is_empty() => {
                        output::warn_line(text.trim_end());
                        Ok(0)
                    }
                    Some(text) => output::print(&text).map(|()| 0),
                    None => Err(unknown(other)),
                },
            }
        }

        /// How a verb's command line is declared.
        pub(crate) fn declared(verb: &str) -> Option<(clap::Command, Rules)> {
            use clap::CommandFactory;
            match verb {
                $($name => Some((
                    crate::cli::$($module)::+::Args::command(),
                    crate::cli::$($module)::+::RULES,
                )),)*
                "container inspect" => Some(crate::cli::inspect::declared_container()),
                "image inspect" => Some(crate::cli::inspect::declared_image()),
                "serve" => Some((crate::cli::serve::Args::command(), Rules::default())),
                _ => None,
            }
        }
    };
}

verbs! {
    "attach" => attach,
    "commit" => commit,
    "completion" => completion,
    "cp" => cp,
    "create" => create,
    "diff" => diff,
    "events" => events,
    "exec" => exec,
    "export" => export,
    "history" => history,
    "images" => images,
    "import" => import,
    "info" => info,
    "inspect" => inspect,
    "kill" => kill,
    "load" => load,
    "login" => login,
    "logout" => logout,
    "logs" => logs,
    "man" => man,
    "pause" => pause,
    "port" => port,
    "ps" => ps,
    "pull" => pull,
    "push" => push,
    "rename" => rename,
    "restart" => restart,
    "rm" => rm,
    "rmi" => rmi,
    "run" => run,
    "save" => save,
    "search" => search,
    "start" => start,
    "stats" => stats,
    "stop" => stop,
    "tag" => tag,
    "top" => top,
    "trace" => trace,
    "unpause" => unpause,
    "update" => update,
    "version" => version,
    "wait" => wait,
    "container prune" => container::prune,
    "image prune" => image::prune,
    "manifest annotate" => manifest::annotate,
    "manifest create" => manifest::create,
    "manifest inspect" => manifest::inspect,
    "manifest push" => manifest::push,
    "manifest rm" => manifest::rm,
    "system check" => system::check,
    "system df" => system::df,
    "system dial-stdio" => system::dial_stdio,
    "system prune" => system::prune,
    "network connect" => network::connect,
    "network create" => network::create,
    "network disconnect" => network::disconnect,
    "network inspect" => network::inspect,
    "network ls" => network::ls,
    "network prune" => network::prune,
    "network rm" => network::rm,
    "volume create" => volume::create,
    "volume export" => volume::export,
    "volume import" => volume::import,
    "volume inspect" => volume::inspect,
    "volume ls" => volume::ls,
    "volume prune" => volume::prune,
    "volume rm" => volume::rm,
    "volume snapshot" => volume::snapshot,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn names_and_groups() {
        for (text, verb, rest) in [
            ("ps -a", "ps", 1),
            ("container ls", "ps", 0),
            ("image rm x", "rmi", 1),
            ("container inspect x", "container inspect", 1),
            ("system info", "info", 0),
            ("help run", "run", 1),
        ] {
            let args = words(text);
            let command = resolve(&args).unwrap().unwrap();
            assert_eq!((command.verb, command.rest.len()), (verb, rest), "{text}");
        }
        for text in ["", "help", "--help"] {
            assert_eq!(resolve(&words(text)), Ok(None), "{text}");
        }
        for (text, group) in
            [("image", "image"), ("container --help", "container"), ("help system", "system")]
        {
            let args = words(text);
            let command = resolve(&args).unwrap().unwrap();
            assert_eq!(command.verb, group, "{text}");
            assert!(group_help(group).unwrap().starts_with(&format!("Usage:  dhow {group} COMMAND\n")));
        }
        assert!(group_help("container").unwrap().contains("\n  ls          List containers\n"));
    }

    #[test]
    fn every_verb_is_declared() {
        for (verb, _, others) in VERBS {
            let (command, rules) = declared(verb).unwrap_or_else(|| panic!("{verb} is not declared"));
            assert_eq!(command.get_name(), format!("dhow {verb}"));
            let without_reason: Vec<_> = rules.refused.iter().filter(|(_, why)| why.is_empty()).collect();
            assert_eq!(without_reason, Vec::<&(&str, &str)>::new(), "{verb}");
            for other in *others {
                let args = words(other);
                assert_eq!(resolve(&args).unwrap().unwrap().verb, *verb, "{other}");
            }
        }
    }

    #[test]
    fn what_is_not_there_says_so() {
        let refusal = |text: &str| resolve(&words(text)).unwrap_err().message;
        assert_eq!(refusal("trust x"), "'trust' is not there yet: signatures of registries come later");
        assert!(refusal("container checkpoint").starts_with("'container checkpoint' is not there yet"));
        assert_eq!(refusal("frob"), "unknown command: dhow frob");
        assert_eq!(refusal("system frob"), "unknown command: dhow system frob");
    }
}
