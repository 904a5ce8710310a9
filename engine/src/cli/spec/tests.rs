//! Flags together.

use super::*;
use crate::cli::arguments::{Rules, parse};
use clap::Parser;
use std::ffi::OsString;

#[derive(Debug, Parser)]
#[command(name = "dhow run", disable_help_flag = true)]
struct Run {
    #[command(flatten)]
    spec: SpecArgs,
}

fn built(line: &str) -> Outcome<Spec> {
    let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let run: Run = parse(Rules { stop_at_first: true, refused: REFUSED }, &args)?;
    build(&run.spec)
}

#[test]
fn streams() {
    let s = built("img").unwrap();
    assert!(!s.attach_stdin && s.attach_stdout && s.attach_stderr);
    let s = built("-i img cat").unwrap();
    assert!(s.attach_stdin && s.body.stdin_once == Some(true) && s.body.open_stdin == Some(true));
    let s = built("-a stdin -i img").unwrap();
    assert!(s.attach_stdin && !s.attach_stdout);
    let mut s = built("-it img").unwrap();
    s.detach();
    assert!(!s.attach_stdin && s.body.stdin_once == Some(false) && s.body.tty == Some(true));
}

#[test]
fn everything_gets_to_its_place() {
    let s = built(
        "-h web -e A=1 -l a=b -w /w -u 1:2 --entrypoint /e -m 64m --memory-swap -1 --cpus 1.5 --pids-limit 5 \
         -v /a:/b:ro -v /anon --tmpfs /t:size=1m --cap-add NET_ADMIN --restart on-failure:3 --network none --init \
         --ulimit nofile=1:2 --sysctl net.x=1 --security-opt systempaths=unconfined --stop-timeout -1 -p 80:80 \
         --expose 81 --shm-size 1m --oom-score-adj -500 --dns 1.1.1.1 img cmd -x",
    )
    .unwrap();
    let b = s.body;
    let h = b.host_config.unwrap();
    assert_eq!(b.cmd.unwrap(), ["cmd", "-x"]);
    assert_eq!(b.entrypoint.unwrap(), ["/e"]);
    assert_eq!(b.exposed_ports.unwrap(), ["80/tcp", "81/tcp"]);
    assert_eq!(b.volumes.unwrap(), ["/anon"]);
    assert_eq!(b.stop_timeout, Some(-1));
    assert_eq!((h.memory, h.memory_swap, h.nano_cpus), (Some(64 << 20), Some(-1), Some(1_500_000_000)));
    assert_eq!(h.binds.unwrap(), ["/a:/b:ro"]);
    assert_eq!(h.tmpfs.unwrap()["/t"], "size=1m");
    assert_eq!(h.restart_policy.unwrap().maximum_retry_count, Some(3));
    assert_eq!(h.masked_paths, Some(vec![]));
    assert_eq!(h.network_mode.as_deref(), Some("none"));
    assert_eq!(h.oom_score_adj, Some(-500));
    assert_eq!(h.init, Some(true));
}

#[test]
fn what_contradicts_itself() {
    for (line, why) in [
        ("--rm --restart always img", "conflicting options: cannot specify both --restart and --rm"),
        ("--pid x img", "--pid: invalid PID mode"),
        ("--pull x img", "invalid pull option: 'x': must be one of \"always\", \"missing\" or \"never\""),
        ("--restart foo img", "invalid restart policy 'foo'"),
        ("--memory-swappiness 101 img", "invalid value: 101. Valid memory swappiness range is 0-100"),
        ("--log-driver none --log-opt a=b img", "invalid logging opts for driver none"),
        (
            "--kernel-memory 64m img",
            "--kernel-memory is not supported by dhow: Linux has no limit of kernel memory any more",
        ),
        ("--health-retries -1 img", "--health-retries cannot be negative"),
        ("--health-interval -1s img", "--health-interval cannot be negative"),
        ("--health-cmd x --no-healthcheck img", "--no-healthcheck conflicts with --health-* options"),
        (
            "-a foo img",
            "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
        ),
        (
            "--cpu-shares x img",
            "invalid argument \"x\" for \"-c, --cpu-shares\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
    ] {
        let failure = built(line).unwrap_err();
        assert_eq!((failure.message.as_str(), failure.code), (why, 125), "{line}");
    }
    assert!(built("--rm --restart no img").is_ok());
}
