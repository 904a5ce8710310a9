//! The layouts and numbers that C sees in `include/dhow.h`, as libclang reads it for bindgen, are those that Rust has.

use crate::error::{NAMES, dhow_status};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What bindgen makes of the header, without white space.
fn bindings() -> String {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/dhow.h");
    let output = Command::new("bindgen")
        // Not what it includes.
        .args(["--allowlist-file", ".*/dhow\\.h"])
        .arg(&header)
        .output()
        .unwrap_or_else(|e| panic!("cannot run bindgen: {e}: run `cargo xtask setup`"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect()
}

/// `Size of X`, `Alignment of X` and `Offset of X::field`, each with its bytes, from bindgen's own assertions.
fn layouts_in_c(bindings: &str) -> BTreeMap<String, usize> {
    let mut layouts = BTreeMap::new();
    let mut parts = bindings.split("usize,concat!(\"");
    let mut before = parts.next().unwrap_or_default();
    for part in parts {
        let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
        let (what, rest) = part.split_once('"').unwrap();
        let names: Vec<&str> =
            rest.split("stringify!(").skip(1).take(2).map(|n| n.split(')').next().unwrap()).collect();
        let key = match what {
            "Sizeof:" => format!("size of {}", names[0]),
            "Alignmentof" => format!("alignment of {}", names[0]),
            "Offsetoffield:" => format!("offset of {}::{}", names[0], names[1]),
            other => panic!("bindgen says something new: {other}"),
        };
        layouts.insert(key, digits.parse().unwrap());
        before = part;
    }
    layouts
}

/// The same as Rust has it, for every structure of the header.
fn layouts_in_rust() -> BTreeMap<String, usize> {
    use crate::engine_handle::dhow_engine_options;
    use crate::events::dhow_events_options;
    use crate::image::dhow_import_options;
    use crate::logs::{dhow_log_entry, dhow_logs_options};
    use crate::process::dhow_process;
    use crate::run::{dhow_run_options, dhow_run_result};
    use crate::trace::dhow_trace_options;
    let mut layouts = BTreeMap::new();
    macro_rules! layout {
        ($name:ident { $($field:ident),* }) => {
            layouts.insert(format!("size of {}", stringify!($name)), size_of::<$name>());
            layouts.insert(format!("alignment of {}", stringify!($name)), align_of::<$name>());
            $(layouts.insert(
                format!("offset of {}::{}", stringify!($name), stringify!($field)),
                std::mem::offset_of!($name, $field),
            );)*
        };
    }
    layout!(dhow_engine_options { struct_size, root, state, helper });
    layout!(dhow_events_options { struct_size, since, cursor, filters });
    layout!(dhow_import_options { struct_size, reference, changes, changes_count, message, platform });
    layout!(dhow_log_entry { struct_size, time_ns, data, length, stream });
    layout!(dhow_logs_options { struct_size, flags, streams, tail, since, until });
    layout!(dhow_process { struct_size, pid, pidfd, stdin_fd, stdout_fd, stderr_fd });
    layout!(dhow_run_options {
        struct_size,
        name,
        flags,
        timeout_ms,
        stdin_data,
        stdin_length,
        on_output,
        user_data
    });
    layout!(dhow_run_result {
        struct_size,
        id,
        stdout_data,
        stdout_length,
        stderr_data,
        stderr_length,
        exit_code
    });
    layout!(dhow_trace_options { struct_size, containers, containers_count, kinds, flags });
    layouts
}

#[test]
fn layouts_are_the_same_on_both_sides() {
    let mut in_c = layouts_in_c(&bindings());
    // What a handle is made of, C does not know: bindgen gives it a size of its own.
    in_c.retain(|what, _| {
        let opaque = ["dhow_engine", "dhow_error", "dhow_events", "dhow_logs", "dhow_trace"];
        !opaque.iter().any(|name| what.ends_with(&format!(" {name}")))
    });
    assert_eq!(in_c, layouts_in_rust());
}

#[test]
fn numbers_are_the_same_on_both_sides_and_the_header_has_all() {
    let bindings = bindings();
    let statuses: BTreeMap<&str, i32> = bindings
        .split("pubconstdhow_status_")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once(":dhow_status=").unwrap();
            (name, rest.split(';').next().unwrap().parse().unwrap())
        })
        .collect();
    let ours: BTreeMap<&str, i32> =
        NAMES.iter().map(|(status, name)| (name.to_str().unwrap(), *status as i32)).collect();
    assert_eq!(statuses, ours);
    assert_eq!(size_of::<dhow_status>(), 4);
    assert!(bindings.contains("pubtypedhow_status=i32;"));

    let constants: BTreeMap<&str, u32> = bindings
        .split("pubconstDHOW_")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once(":u32=").unwrap();
            (name, rest.split(';').next().unwrap().parse().unwrap())
        })
        .collect();
    let ours = BTreeMap::from([
        ("ABI_VERSION", crate::version::DHOW_ABI_VERSION),
        ("IMAGE_REMOVE_FORCE", crate::image::DHOW_IMAGE_REMOVE_FORCE),
        ("LIST_ALL", crate::container::DHOW_LIST_ALL),
        ("LOGS_FOLLOW", crate::logs::DHOW_LOGS_FOLLOW),
        ("REMOVE_FORCE", crate::container::DHOW_REMOVE_FORCE),
        ("REMOVE_VOLUMES", crate::container::DHOW_REMOVE_VOLUMES),
        ("RUN_KEEP", crate::run::DHOW_RUN_KEEP),
        ("STREAM_STDERR", crate::process::DHOW_STREAM_STDERR),
        ("STREAM_STDIN", crate::process::DHOW_STREAM_STDIN),
        ("STREAM_STDOUT", crate::process::DHOW_STREAM_STDOUT),
        ("TRACE_UNTIL_EXIT", crate::trace::DHOW_TRACE_UNTIL_EXIT),
        ("WAIT_NEXT_EXIT", crate::container::DHOW_WAIT_NEXT_EXIT),
        ("WAIT_NOT_RUNNING", crate::container::DHOW_WAIT_NOT_RUNNING),
        ("WAIT_REMOVED", crate::container::DHOW_WAIT_REMOVED),
    ]);
    assert_eq!(constants, ours);
}

#[test]
fn numbers_never_change() {
    // A number that was given once is never given to something else. Only append.
    let given = [
        (0, "DHOW_OK"),
        (1, "DHOW_ERROR_INVALID_ARGUMENT"),
        (2, "DHOW_ERROR_NOT_FOUND"),
        (3, "DHOW_ERROR_CONFLICT"),
        (4, "DHOW_ERROR_NOT_MODIFIED"),
        (5, "DHOW_ERROR_FORBIDDEN"),
        (6, "DHOW_ERROR_UNAUTHORIZED"),
        (7, "DHOW_ERROR_UNSUPPORTED"),
        (8, "DHOW_ERROR_COMMAND_NOT_FOUND"),
        (9, "DHOW_ERROR_COMMAND_NOT_EXECUTABLE"),
        (10, "DHOW_ERROR_START_FAILED"),
        (11, "DHOW_ERROR_CORRUPT"),
        (12, "DHOW_ERROR_UNAVAILABLE"),
        (13, "DHOW_ERROR_INTERNAL"),
        (14, "DHOW_ERROR_TIMEOUT"),
        (15, "DHOW_ERROR_CANCELLED"),
        (16, "DHOW_ERROR_PANIC"),
        (1000, "DHOW_AGAIN"),
        (1001, "DHOW_END"),
    ];
    let now: Vec<(i32, &str)> = NAMES.iter().map(|(s, name)| (*s as i32, name.to_str().unwrap())).collect();
    assert_eq!(now[..given.len()], given);
}
