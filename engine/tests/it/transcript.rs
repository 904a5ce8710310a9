//! The commands of Docker's own documentation, as `docker` against `dhow serve` and as `dhow`: the same output, the
//! same codes. What must differ (ids, times, names) is replaced by words first.
//!
//! Each side has containers of its own; `@` in a command stands for the beginning of their names.

use crate::sandbox::{Ended, Sandbox, assert_none};
use regex_lite::Regex;

/// One after the other, on both sides. Blanks separate words, but within single quotes.
const COMMANDS: &[&str] = &[
    // container run, create, start
    "run --name @test busybox echo hello",
    "run -d --name @box --label color=blue --label com.example.tier=front busybox sleep 1000",
    "run --rm --name @gone -w /path/to/dir/ busybox pwd",
    "run --rm --name @env -e MYVAR1 --env MYVAR2=foo busybox env",
    "run --rm --name @ro --read-only busybox touch /file",
    "run --rm --name @code busybox sh -c 'exit 7'",
    "run --rm --name @nocmd busybox no-such-command",
    "run --rm --name @dir busybox /etc",
    "run --name @box busybox true",
    "run --rm --name @mem -m 64m --cpus 0.5 --pids-limit 20 busybox true",
    "run --rm --name @user -u 1000:1000 busybox id -u",
    "run --rm --name @host -h myhost busybox hostname",
    "run --rm --name @tmp --tmpfs /run:rw,noexec,nosuid,size=65536k busybox grep -c ' /run tmpfs ' /proc/mounts",
    "run --rm --name @lim --ulimit nofile=1024:1024 busybox sh -c 'ulimit -n'",
    "run --rm --name @add --add-host=docker:93.184.216.34 busybox grep docker /etc/hosts",
    "run --rm --name @init --init busybox true",
    "run -d --rm --name @brief --stop-timeout 1 busybox sleep 1000",
    "create --name @made --expose 80 --volume @data:/data busybox sh -c 'echo made; echo bad >&2; exit 2'",
    "start @made",
    "start -a @made",
    "start no-such",
    // container exec
    "exec @box ls -d /tmp",
    "exec -e VAR_A=1 -e VAR_B=2 @box sh -c 'echo $VAR_A $VAR_B'",
    "exec -w /root @box pwd",
    "exec -u 1000 @box id -u",
    "exec -d @box touch /tmp/execWorks",
    "exec @box no-such-command",
    "exec @box sh -c 'exit 9'",
    "exec @made true",
    "exec no-such true",
    // container ls
    "ps --filter name=@",
    "ps -a --filter name=@",
    "ps -a --no-trunc --filter name=@",
    "ps -a --size --filter name=@box",
    "ps -aq --filter name=@",
    "ps -a --filter label=color --filter name=@",
    "ps -a --filter label=color=blue --filter name=@ --format '{{.Names}}'",
    "ps -a --filter exited=7 --filter name=@ -q",
    "ps -a --filter exited=2 --filter name=@ --format '{{.Names}}: {{.Status}}'",
    "ps --filter status=running --filter name=@ --format '{{.ID}}: {{.Command}}'",
    "ps --filter name=@box --format 'table {{.ID}}\\t{{.Labels}}'",
    "ps --filter name=@box --format 'table {{.Names}}\\t{{.Image}}\\t{{.Label \"com.example.tier\"}}'",
    "ps -a --filter name=@made --format '{{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.State}}'",
    "ps --filter name=@box --format json",
    "ps --filter name=@box --format '{{json .}}'",
    "ps --filter name=@box --format '{{upper .Names}} {{len .Labels}}'",
    "ps --filter name=@box --format '{{.Nope}}'",
    "ps --filter name=@box --format '{{.Names'",
    "ps --filter color=blue",
    "ps --filter name=@none --format '{{.Nope}}'",
    "ps --filter name=@none --format 'table {{.Names}}\\t{{.Nope}}'",
    "ps --filter name=@box --format '{{.Names}} {{.Label}}'",
    "ps --filter name=@box --format '{{.Names.Nope}}'",
    "ps --filter name=@box --format '  table {{.Names}}'",
    "ps --filter name=@box --format raw",
    "ps --filter name=@box --size --format raw",
    "ps --filter name=@box --format raw -q",
    "ps --filter name=@box --format '{{.Names}}' -q",
    "stats --no-stream --format '{{.Nope}}' @box",
    "images --format raw busybox",
    "images --format raw -q busybox",
    "images --format raw --digests busybox",
    "images --format 'table {{.Nope}}' busybox",
    "images --format '{{' busybox",
    "history --format '{{.Nope}}' busybox",
    "volume ls --format raw --filter name=@",
    "volume ls --format raw -q --filter name=@",
    "volume ls --format 'table {{.Name}}\\t{{.Nope}}' --filter name=@none",
    "network ls --format raw --filter name=none",
    "network ls --format raw -q --filter name=none",
    "network ls --format '{{.Nope}}'",
    "system df --format '{{.Nope}}'",
    "info --format '{{.Nope}}'",
    "events --since 0 --until 1 --format '{{'",
    "container ls -a --filter name=@made --format '{{.Names}}'",
    // inspect
    "inspect --format '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}' @box @made",
    "inspect --format '{{.Config.Image}}' @box",
    "inspect --format '{{json .Config.Labels}}' @box",
    "inspect --format '{{json .Config.Cmd}} {{json .HostConfig.RestartPolicy.Name}}' @box",
    "inspect --format '{{json .HostConfig.RestartPolicy}} {{json .Config.Labels}}' @box",
    "inspect --format '{{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}}' @box",
    "inspect --format '{{.State}}' @made",
    "inspect --format '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}}{{end}}' @made",
    "inspect --format '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}' @box",
    "inspect --format '{{index .Config.Labels \"color\"}}' @box",
    "inspect --format '{{join .Config.Cmd \" \"}}' @box",
    "inspect --format '{{if .State.Running}}up{{else}}down{{end}}' @box @made",
    "inspect --format '{{with .State}}{{.Status}}{{end}} {{println .Name}}' @box",
    "inspect --format '{{.HostConfig.PortBindings}} {{.Config.Env}}' @box",
    "inspect --format '{{.State.Nope}}' @box",
    // Fields that JSON leaves out: a template sees them all the same.
    "inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{.State.Health}}' @box",
    "inspect --format '{{.Config.Entrypoint}} {{.Config.Shell}} {{.Config.Healthcheck}} {{.Config.StopTimeout}}' @box",
    "inspect --format '{{.HostConfig.CapAdd}} {{.HostConfig.Mounts}} {{.HostConfig.Tmpfs}} {{.HostConfig.Init}}' @box",
    "inspect --format '{{json .HostConfig.Links}} {{json .HostConfig.PidsLimit}} {{json .Config.OnBuild}}' @box",
    "inspect --format '{{json .Config}}' @made",
    "inspect --format '{{json .State}}' @made",
    "inspect --format '{{.Config.ExposedPorts}} {{.Config.Volumes}} {{.SizeRw}}' @made",
    "inspect --format '{{range .NetworkSettings.Networks}}{{.IPAMConfig}} {{.Links}} {{.DriverOpts}}{{end}}' @made",
    "image inspect --format '{{.Config.Cmd}} {{.Config.Entrypoint}} {{.Variant}} {{json .Config}}' busybox",
    "info --format '{{.IPv4Forwarding}} {{.Isolation}} {{.NFd}} {{.RuncCommit.ID}} {{json .Swarm}} {{json .Plugins}}'",
    "inspect --format '{{.State' @box",
    "inspect --format '{{nope .State}}' @box",
    "inspect --format '{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Name}}{{block \"u\" .State}}{{.Status}}{{end}}' @box",
    "inspect --format '{{$x := 5}}{{$x}} {{$y}}' @box",
    "inspect --format '{{eq 1 \"a\"}}' @box",
    "inspect --format '{{.Name.Nope}}' @box",
    // "Format command and log output" of Docker's documentation.
    "inspect --format '{{join .Args \" , \"}}' @box",
    "volume list --filter name=@ --format 'table {{.Name}}\\t{{.Driver}}'",
    "inspect --format '{{json .Mounts}}' @box",
    "inspect --format '{{lower .Name}} {{upper .Name}} {{title .Path}}' @box",
    "inspect --format '{{split .Image \":\"}}' @box",
    "image list --format '{{pad .Repository 5 10}}|'",
    "image list --format '{{truncate .Repository 4}}'",
    "inspect --format='{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}' @box",
    "inspect --format '{{printf \"%-10s|%5d|%q\" .Name .RestartCount .Driver}}' @box",
    "inspect --format '{{$c := .Config}}{{range $i, $w := $c.Cmd}}{{if $i}}, {{end}}{{$w}}{{end}}' @box",
    "inspect --format '{{if and .State.Running (eq .HostConfig.NetworkMode \"none\")}}alone{{end}}' @box",
    "inspect --format '{{slice .Id 0 3 | len}} {{index .Config.Cmd 1}} {{index .Config.Cmd 5}}' @box",
    "inspect --type container --format '{{.Name}}' @box",
    "inspect --type image --format '{{.RepoTags}}' busybox",
    "inspect --type volume --format '{{.Name}}' @data",
    "inspect no-such",
    "inspect @box no-such --format '{{.Name}}'",
    "container inspect no-such",
    "inspect -s --format '{{.SizeRw}}' @box",
    // logs, top, port, stats, diff
    "logs @made",
    "logs --tail 1 @test",
    "logs -t @test",
    "logs --since 2013-01-02T13:23:37Z @test",
    "logs no-such",
    "top @box -o pid,comm",
    "top @made",
    "port @box",
    "port @box 80",
    "stats --no-stream --format '{{.Name}} {{.PIDs}}' @box",
    "diff @box",
    "port @box nonsense/tcp",
    "commit -c 'BOGUS x' @box",
    "commit -c 'ENV A' @box",
    "kill @none",
    "cp :x @box:/",
    "logout 127.0.0.1:1",
    "run --rm --name @plat --platform bogus busybox true",
    "run --rm --name @shm busybox sh -c 'df /dev/shm | grep -c ^shm'",
    // pause, rename, stop, kill, wait, rm
    "pause @box",
    "ps --filter name=@box --format '{{.Status}} {{.State}}'",
    "pause @box",
    "exec @box true",
    "unpause @box",
    "unpause @box",
    "rename @box @boxed",
    "kill --signal=SIGHUP @brief",
    "kill @made",
    "stop -t 1 @brief",
    "restart -t 1 @boxed",
    "rm @boxed",
    "stop -t 1 @boxed",
    "stop @boxed",
    "wait @boxed @made",
    "start @boxed @test",
    "kill -s KILL @boxed",
    "wait @boxed",
    "rm @boxed no-such",
    "rm -f no-such",
    "rm -v @made @test",
    "kill no-such",
    // images
    "images",
    "images busybox",
    "images no-such",
    "images --no-trunc --format '{{.Repository}}:{{.Tag}}'",
    "images --format 'table {{.Repository}}\\t{{.Tag}}'",
    "images --filter dangling=true -q",
    "images --format json",
    "images --format '{{json .}}'",
    "images --format '{{json .Digest}} {{. | json}}'",
    "tag busybox @image:v1",
    "image ls @image",
    "image inspect --format '{{.Os}}/{{.Architecture}} {{len .RootFS.Layers}}' @image:v1",
    "image inspect no-such",
    "history --format '{{.ID}}: {{.CreatedBy}}' busybox",
    "rmi @image:v1",
    "rmi @image:v1",
    // volumes
    "volume create @hello",
    "volume ls --filter name=@",
    "volume ls --filter name=@ --format '{{.Name}}: {{.Driver}}'",
    "volume ls -q --filter name=@",
    "volume inspect --format '{{.Driver}} {{.Scope}}' @hello",
    "volume inspect no-such",
    "volume rm @hello @data",
    "volume rm @hello",
    // system
    "version --format '{{.Server.APIVersion}} {{.Server.Os}}'",
    "info --format '{{.Driver}} {{.OSType}}'",
    "info --format '{{json .DefaultRuntime}}'",
    "events --since 0 --until 1",
    "events --since 1h --until 0s --filter container=@gone --format json",
    "events --since 1h --until 0s --filter container=@gone --format '{{json .}}'",
    "events --since 1h --until 0s --filter container=@gone --format '{{.Status}} {{.ID}} {{.From}} {{.Scope}} {{.Actor.Attributes.name}}'",
    "run",
    "rm",
    "run --nonsense busybox",
    "run --memory nonsense busybox",
];

/// Networks and volumes: containers are on networks here.
const NETWORKS_AND_VOLUMES: &[&str] = &[
    "network create --driver bridge --label @net @mine",
    "network create --internal --label a=b @closed",
    "network create @mine",
    "network create -d no-such-driver @x",
    "network create --subnet 10.1.2.3/8 @x",
    "network create --subnet nonsense @x",
    "network create -o com.docker.network.driver.mtu=1400 --ipv6 @six",
    "network ls --filter name=@",
    "network ls --filter name=@ --format '{{.Name}}: {{.Driver}} {{.Scope}} {{.Internal}} {{.IPv6}}'",
    "network ls --filter label=@net --format '{{.Labels}}'",
    "network ls -q --filter driver=null",
    "network ls --filter name=@ --filter dangling=true --format 'table {{.ID}}\\t{{.Name}}'",
    "network ls --filter nope=x",
    "network inspect --format '{{.Name}} {{.Driver}} {{.Internal}} {{.Labels}} {{json .Options}}' @closed @six",
    "network inspect --format '{{.IPAM.Options}} {{json .IPAM.Options}} {{.Peers}} {{json .ConfigFrom}}' @closed",
    "network inspect @nope",
    "run -d --name @box --network @mine --network-alias www busybox sleep 1000",
    "run --rm --name @asks --network @mine busybox sh -c 'ping -c 1 -W 3 www >/dev/null && echo reached'",
    "run --rm --name @twice --network @mine --network @mine busybox true",
    "run --rm --name @modes --network @mine --network host busybox true",
    "run --rm --name @lost --network @nope busybox true",
    "run --rm --name @far --network @mine --ip 203.0.113.9 busybox true",
    "network connect --alias c2 --link-local-ip 169.254.7.7 @closed @box",
    "network connect @closed @box",
    "network connect @nope @box",
    "network connect @mine @nope",
    "network connect host @box",
    "network connect none @box",
    "network inspect --format '{{range .Containers}}{{.Name}}{{end}}' @closed",
    "inspect --format '{{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{$e.Aliases}} {{end}}' @box",
    "inspect --format '{{(index .NetworkSettings.Networks \"@closed\").IPAMConfig.LinkLocalIPs}}' @box",
    "ps --filter network=@closed --format '{{.Names}}'",
    "network rm @mine",
    "network disconnect @closed @box",
    "network disconnect @closed @box",
    "network disconnect -f @mine @box",
    "inspect --format '{{json .NetworkSettings.Networks}}' @box",
    "network rm bridge",
    "network rm @closed @nope",
    "network rm -f @nope",
    "network prune -f --filter label=@net",
    "network rm @six",
    "volume create --label @vol --opt type=tmpfs --opt device=tmpfs --opt o=size=1m @memory",
    "volume create --label @vol @memory",
    "volume create -d no-such-driver @x",
    "volume create -o bogus=1 @x",
    "volume create 'a b'",
    "volume inspect --format '{{json .Options}} {{json .Labels}} {{.Driver}}' @memory",
    "volume inspect --format '{{.Status}} {{.UsageData}} {{json .UsageData}}' @memory",
    "volume ls --filter label=@vol",
    "volume ls --filter name=@ --filter dangling=true --format '{{.Name}} {{.Labels}} {{.Scope}}'",
    "volume ls --filter nope=x",
    "run --rm --name @fills -v @memory:/d busybox sh -c 'df -k /d | grep -c 1024'",
    "run --rm --name @bad -v @memory:d busybox true",
    "run --rm --name @mount --mount type=volume,source=@memory,target=/d,readonly busybox touch /d/x",
    "run --rm --name @mix --mount type=volume,source=@memory,target=/d,bind-propagation=rshared busybox true",
    "run --rm --name @none --mount type=bind,source=/no/such,target=/d busybox true",
    "run -d --name @user -v @memory:/d busybox sleep 1000",
    "inspect --format '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}' @user",
    "volume ls -q --filter name=@ --filter dangling=true",
    "volume rm @memory",
    "rm -f @user @box",
    "volume prune -f --filter label=@vol",
    "volume prune -a -f --filter label=@vol",
    "volume inspect @memory",
    "volume rm @memory",
    "volume rm -f @memory",
];

/// The words of a command.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Takes out what must differ between two runs and two programs.
struct Plain(Vec<(Regex, &'static str)>);

impl Plain {
    fn new() -> Self {
        let replace = |pattern: &str, with: &'static str| (Regex::new(pattern).unwrap(), with);
        Self(vec![
            // Each side's own names.
            replace(r"\b(dk|dh)-", "@"),
            replace(r"\b(DK|DH)-", "@"),
            replace(r"\b[0-9a-f]{64}\b", "ID64"),
            replace(r"\b[0-9a-f]{12}\b", "ID12"),
            replace(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d\d:?\d\d)?( [A-Z]+|Z)?", "DATE"),
            replace(r"(Less than a second|About an? \w+|\d+ (seconds?|minutes?|hours?|days?))( ago)?", "AGO"),
            replace(r"(?m)^\d+( +\w+)$", "PID$1"),
            // Events' own times; their numbers are ours alone.
            replace(r#""time(Nano)?":\d+"#, "\"time\":0"),
            replace(r#","seq":\d+"#, ""),
            replace(r#""execDuration":"\d+""#, "\"execDuration\":\"0\""),
            // Who speaks.
            replace(r"(?m)^(docker|dhow): ", ""),
            replace(r"(?m)^(Error: )?(Error response from daemon: )?(Error: )?", ""),
            replace(r"(?m)^(Run|See) '(docker|dhow)[^\n]*\n?", ""),
            replace(r"(?m)^Usage:  (docker|dhow)[^\n]*\n", ""),
            // What docker says beside the engine's own words when it removes networks.
            replace(r"(?m)^exit status 1$", ""),
            replace(r"\b(docker|dhow) (\w+[^']*)' (requires|accepts)", "$2' $3"),
            replace(r"(?m)\s*$", ""),
            // The width of a column follows the longest id or time.
            replace(r" {2,}", "  "),
        ])
    }

    fn of(&self, text: &str) -> String {
        let text = self
            .0
            .iter()
            .fold(text.to_owned(), |text, (what, with)| what.replace_all(&text, *with).into_owned());
        text.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
    }
}

#[test]
fn docker_and_dhow_say_the_same() {
    // Most commands have nothing to do with networks, and are faster without.
    compare(COMMANDS, &["--network", "none"]);
}

#[test]
fn and_of_networks_and_volumes() {
    compare(NETWORKS_AND_VOLUMES, &[]);
}

/// Runs the commands on both sides, with these flags for each container.
fn compare(commands: &[&str], flags: &[&str]) {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let plain = Plain::new();
    let mut complaints = Vec::new();
    for command in commands {
        let on = |prefix: &str, run: &dyn Fn(Vec<String>) -> Ended| {
            let mut words: Vec<String> =
                words(command).iter().map(|word| word.replace('@', prefix)).collect();
            if matches!(words[0].as_str(), "run" | "create") && words.len() > 1 {
                words.splice(1..1, flags.iter().map(|flag| (*flag).to_owned()));
            }
            run(words)
        };
        let theirs = on("dk-", &|words| server.docker(words));
        let ours = on("dh-", &|words| sandbox.dhow(words));
        let shown = |ended: &Ended| {
            format!("{}exit code {}\n{}", plain.of(&ended.stdout), ended.code, plain.of(&ended.stderr))
        };
        let (theirs, ours) = (shown(&theirs), shown(&ours));
        if theirs != ours {
            complaints.push(format!("--- {command}\ndocker:\n{theirs}dhow:\n{ours}"));
        }
    }
    assert_none(&complaints);
}
