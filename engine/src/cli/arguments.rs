//! Docker's command line rules on top of clap.
//!
//! clap knows the flags; Docker's users also expect: `--flag=false`, the last of two equal flags wins, flags
//! only before the image of `run` and the container of `exec`, and errors in Docker's words. A verb's parser is built only
//! when that verb runs, because building all of them would cost more than a whole request.

use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, Parser};
use std::ffi::OsString;

/// How a verb reads its command line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Everything from the first argument on belongs to the container's command.
    pub(crate) stop_at_first: bool,
    /// Flags that Docker has and dhow refuses, each with the reason.
    pub(crate) refused: &'static [(&'static str, &'static str)],
}

/// Why `--platform` is refused by the verbs of images.
pub(crate) const ONE_PLATFORM: &str = "an image is kept for one platform, this machine's";

/// Parses a verb's arguments. `Err` may also be a help text that was asked for and printed.
pub(crate) fn parse<A: Parser>(rules: Rules, args: &[OsString]) -> Outcome<A> {
    let command = A::command();
    let name = command.get_name().to_owned();
    // Only where the flag was renamed: a container's program may have one of that name.
    let renamed = command.get_arguments().any(|arg| arg.get_long() == Some("timeout"));
    let args = if renamed { with_new_spelling(args) } else { args.to_vec() };
    let args = if rules.stop_at_first { stop_at_first(&command, &args) } else { args };
    let mut lenient = command.clone().mut_args(like_go).no_binary_name(true).args_override_self(true);
    let matches = match lenient.try_get_matches_from_mut(&args) {
        Ok(matches) => matches,
        Err(error) => return Err(explain(&error, &command, &name, rules)),
    };
    A::from_arg_matches(&matches).map_err(|error| explain(&error, &command, &name, rules))
}

/// Docker kept `--time` of `stop` when it renamed it, with a word to who uses it.
fn with_new_spelling(args: &[OsString]) -> Vec<OsString> {
    let renamed: Vec<OsString> = args.iter().map(without_old_spelling).collect();
    if renamed != args {
        output::warn_line("Flag --time has been deprecated, use --timeout instead");
    }
    renamed
}

fn without_old_spelling(arg: &OsString) -> OsString {
    match arg.to_str() {
        Some("--time") => "--timeout".into(),
        Some(text) => match text.strip_prefix("--time=") {
            Some(value) => format!("--timeout={value}").into(),
            None => arg.clone(),
        },
        None => arg.clone(),
    }
}

/// Lets a switch take `=true` and `=false`, and a flag any value, as Go's flag packages do.
fn like_go(arg: Arg) -> Arg {
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_parser(clap::builder::StringValueParser::new().try_map(|text| parse_bool(&text))),
        // What follows a flag is its value, whatever it begins with: `--memory -5` is a bad size.
        _ if !arg.is_positional() && arg.get_action().takes_values() => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Puts `--` before the first argument that is not a flag, so that what follows is never taken for one.
fn stop_at_first(command: &Command, args: &[OsString]) -> Vec<OsString> {
    // A flag whose value needs a `=` takes nothing of what follows.
    let takes_value = |arg: &Arg| arg.get_action().takes_values() && !arg.is_require_equals_set();
    let mut at = 0;
    while at < args.len() {
        let Some(text) = args[at].to_str() else { break };
        if text == "--" {
            return args.to_vec();
        }
        let mut consumed = 1;
        if let Some(long) = text.strip_prefix("--") {
            let Some(arg) = command.get_arguments().find(|a| a.get_long() == Some(long)) else {
                if long.contains('=') {
                    at += 1;
                    continue;
                }
                // clap says what is wrong with it.
                return args.to_vec();
            };
            consumed += usize::from(takes_value(arg));
        } else if text.len() > 1 && text.starts_with('-') {
            for (index, short) in text.char_indices().skip(1) {
                let Some(arg) = command.get_arguments().find(|a| a.get_short() == Some(short)) else {
                    return args.to_vec();
                };
                let rest = &text[index + short.len_utf8()..];
                if takes_value(arg) {
                    consumed += usize::from(rest.is_empty());
                    break;
                }
                if rest.starts_with('=') {
                    break;
                }
            }
        } else {
            break;
        }
        at += consumed;
    }
    let at = at.min(args.len());
    let mut split = args[..at].to_vec();
    if at < args.len() {
        split.push("--".into());
        split.extend_from_slice(&args[at..]);
    }
    split
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// clap's error in Docker's words.
fn explain(error: &clap::Error, command: &Command, name: &str, rules: Rules) -> Failure {
    let invalid = context(error, ContextKind::InvalidArg).unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // From the command as declared: switches without their optional values.
            match output::print(&command.clone().render_help().to_string()) {
                Ok(()) => Failure::silent(0),
                Err(failure) => failure,
            }
        }
        ErrorKind::UnknownArgument if invalid.starts_with('-') => unknown_flag(&invalid, name, rules),
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument | ErrorKind::TooManyValues => {
            Failure::new(wrong_count(command, name)).with_help_of(name)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
            let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
            let flag = flag_names(command, &invalid);
            let reason =
                std::error::Error::source(error).map(|e| format!(": {}", go_reason(&e.to_string(), &value)));
            if value.is_empty() && reason.is_none() {
                return Failure::usage(format!("flag needs an argument: {flag}")).with_help_of(name);
            }
            let reason = reason.unwrap_or_else(|| ": invalid value".to_owned());
            Failure::usage(format!("invalid argument {value:?} for \"{flag}\" flag{reason}"))
                .with_help_of(name)
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            Failure::usage(line.trim_start_matches("error: ")).with_help_of(name)
        }
    }
}

/// Rust's words about a number, in Go's.
fn go_reason(reason: &str, value: &str) -> String {
    match reason {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            format!("strconv.ParseInt: parsing {value:?}: invalid syntax")
        }
        "number too large to fit in target type" | "number too small to fit in target type" => {
            format!("strconv.ParseInt: parsing {value:?}: value out of range")
        }
        other => other.to_owned(),
    }
}

fn unknown_flag(flag: &str, name: &str, rules: Rules) -> Failure {
    let bare = flag.split_once('=').map_or(flag, |(bare, _)| bare);
    if let Some((known, why)) = rules.refused.iter().find(|(known, _)| *known == bare) {
        return Failure::usage(format!("{known} is not supported by dhow: {why}")).with_help_of(name);
    }
    if bare.starts_with("--") {
        return Failure::usage(format!("unknown flag: {bare}")).with_help_of(name);
    }
    let short = bare.trim_start_matches('-').chars().next().unwrap_or('-');
    Failure::usage(format!("unknown shorthand flag: '{short}' in {bare}")).with_help_of(name)
}

/// `'dhow tag' requires 2 arguments`.
fn wrong_count(command: &Command, name: &str) -> String {
    let mut least = 0;
    let mut open = false;
    let mut most = 0;
    for arg in command.get_positionals() {
        let many = arg.get_num_args().is_some_and(|n| n.max_values() > 1)
            || matches!(arg.get_action(), ArgAction::Append);
        least += usize::from(arg.is_required_set());
        most += 1;
        open |= many;
    }
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    match (least, most) {
        (0, 0) => format!("'{name}' accepts no arguments"),
        _ if !open && least == most => format!("'{name}' requires {least} argument{}", plural(least)),
        (0, _) if !open => format!("'{name}' accepts at most {most} argument{}", plural(most)),
        _ => format!("'{name}' requires at least {least} argument{}", plural(least)),
    }
}

/// `-m, --memory` from clap's `--memory <BYTES>`.
fn flag_names(command: &Command, shown: &str) -> String {
    let bare = shown.split([' ', '=', '[']).next().unwrap_or(shown);
    let found = command.get_arguments().find(|arg| {
        bare.strip_prefix("--").is_some_and(|long| arg.get_long() == Some(long))
            || (bare.len() == 2 && arg.get_short() == bare.chars().nth(1))
    });
    match found.map(|arg| (arg.get_short(), arg.get_long())) {
        Some((Some(short), Some(long))) => format!("-{short}, --{long}"),
        Some((None, Some(long))) => format!("--{long}"),
        _ => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "dhow try")]
    struct Try {
        #[arg(short, long)]
        interactive: bool,
        #[arg(short, long)]
        tty: bool,
        #[arg(short, long, value_parser = |t: &str| t.parse::<u8>().map_err(|_| format!("invalid size: '{t}'")))]
        memory: Option<u8>,
        #[arg(short, long)]
        env: Vec<String>,
        #[arg(required = true)]
        image: String,
        command: Vec<String>,
    }

    fn parsed(args: &[&str]) -> Outcome<Try> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        parse(Rules { stop_at_first: true, refused: &[("--gpus", "no driver")] }, &args)
    }

    #[test]
    fn what_follows_the_image_is_the_command() {
        let t = parsed(&["-it", "-e", "A=1", "--env", "B=2", "img", "sh", "-c", "-t", "--memory"]).unwrap();
        assert!(t.interactive && t.tty);
        assert_eq!(t.env, ["A=1", "B=2"]);
        assert_eq!(t.command, ["sh", "-c", "-t", "--memory"]);
        assert_eq!(parsed(&["img", "--", "-x"]).unwrap().command, ["--", "-x"]);
    }

    #[test]
    fn switches_take_values_and_the_last_flag_wins() {
        let t = parsed(&["-i=false", "--tty=1", "-m", "1", "-m2", "img"]).unwrap();
        assert!(!t.interactive && t.tty);
        assert_eq!(t.memory, Some(2));
        assert!(parsed(&["--tty", "--tty=false", "img"]).is_ok_and(|t| !t.tty));
    }

    #[test]
    fn errors_in_dockers_words() {
        for (args, message, code) in [
            (&["--foo", "img"][..], "unknown flag: --foo", 125),
            (&["-z", "img"], "unknown shorthand flag: 'z' in -z", 125),
            (
                &["-m", "abc", "img"],
                "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'",
                125,
            ),
            (&["--gpus", "all", "img"], "--gpus is not supported by dhow: no driver", 125),
            (&["--gpus=all", "img"], "--gpus is not supported by dhow: no driver", 125),
            (&[], "'dhow try' requires at least 1 argument", 1),
            (
                &["--tty=maybe", "img"],
                "invalid argument \"maybe\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
                125,
            ),
        ] {
            let failure = parsed(args).unwrap_err();
            assert_eq!((failure.message.as_str(), failure.code), (message, code), "{args:?}");
        }
    }
}
