//! The integration tests of dhow: the built binary, a real kernel, real images. One binary, run as root by
//! `cargo xtask test`.
//!
//! | module | what it shows |
//! |---|---|
//! | `hello` | the first command of a new user |
//! | `debian` | a real distribution, by batch and by terminal |
//! | `apps` | nginx, PostgreSQL and Python from Debian's packages, on networks and volumes |
//! | `image_mounts` | an image's files in another one's container |
//! | `images` | archives that other tools made, saved archives, tags, history, corrupt input |
//! | `layers` | layers in both forms: the same to every verb, mounted once, gone with the last image |
//! | `run` | the flags of `run`, seen from inside the container |
//! | `lifecycle` | create to rm, names, `ps`, `logs`, `wait`, `events`, restart policies |
//! | `sdk` | PyPI's docker and npm's dockerode, as they come |
//! | `streams` | attach and exec on a bare connection, and over a WebSocket |
//! | `server` | a real server: logs, exec, graceful stop, restart, and the docker command line |
//! | `files` | diff, export, commit: a container's files from outside |
//! | `cp` | copies both ways by Docker's rules, every file type, and a swapper of names |
//! | `scale` | hundreds of attaches and execs, millions of lines |
//! | `swapper` | a container that swaps names while its files are copied; hostile archives |
//! | `limits` | memory, pids and CPU, as the kernel accounts them |
//! | `causes` | who ended a run, and when it first said something |
//! | `events` | what is told, in Docker's words, and resuming without loss |
//! | `health` | a server that breaks and recovers, probes that hang |
//! | `logging` | log drivers and their options, daemons that are stuck or gone |
//! | `runtimes` | runc in place of our own runtime |
//! | `settings` | the configuration file: what it does, how it is refused |
//! | `pause` | frozen and thawed, and what may be done meanwhile |
//! | `crash` | `kill -9` of whatever is not the container |
//! | `crowd` | 200 containers, 8 processes at once |
//! | `bad_input` | one clear line, the right code, nothing left |
//! | `resources` | every limit: its value in the cgroup, and what it does |
//! | `update` | other limits for what runs, and after a restart |
//! | `devices` | what may be opened, and nothing else |
//! | `volumes_from` | the mounts of other containers |
//! | `ports` | published: from where, by whom, once |
//! | `firewall` | what other machines reach, the host's own rules, and who mends ours |
//! | `advertisement` | a container that says it is a router has no followers |
//! | `connections` | what open connections live through, and what containers may not pretend to be |
//! | `network_crowd` | many containers with ports on one bridge, and nothing of them left |
//! | `endpoints` | what a container is on a network: `none`, link-local addresses, its interface |
//! | `networks` | addresses, names, routes, joining and leaving |
//! | `own_files` | what the engine puts into a root, over whatever the image has there |
//! | `parents` | macvlan and ipvlan, with one subnet or several |
//! | `nfs` | a volume of another machine's |
//! | `namespaces` | the host's, and those of other containers |
//! | `stats` | what containers use: rows, rates, Docker's body |
//! | `ps` | every filter, counts, columns |
//! | `completion` | shells complete verbs and flags; every verb has a manual page |
//! | `transcript` | the commands of Docker's documentation, by `docker` and by `dhow` |
//! | `rename` | the new name everywhere, the old one free |
//! | `top` | processes as `ps` shows them |
//! | `prune` | what nothing uses: containers, images, volumes |
//! | `refused` | every flag and verb that is refused says so |
//! | `registry` | pull, push, login: a real registry, and one that fails in every way |
//! | `flags` | of exec and start; kernel settings, annotations |
//! | `userns` | ids inside and out |
//! | `volumes` | filesystems of their own, parts, labels, sources of every nasty kind |
//! | `volume_content` | what they hold: from images, archives, other volumes, within their limits |
//! | `tty` | terminals: size, resize, keys, job control, detaching |
//! | `unread` | clients that do not read or send: whom they hold up, what they leave; memory after a load |
//! | `trace` | exactly the events of the containers that were asked for, losses, privileges |
//! | `inherited` | what a caller has and no container gets: limits, niceness, umask, cgroups and all else that fork and exec keep |
//! | `security` | the rows of known attacks that apply |
//!
//! `sandbox` is the fixture that all use: it checks after every test that nothing is left. `fixtures` makes
//! images, `live` follows running commands, `neighbour` is another machine on a wire.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a panic in a test is its report")]

mod advertisement;
mod apps;
mod bad_input;
mod causes;
mod check;
mod completion;
mod connections;
mod conntrack;
mod cp;
mod crash;
mod crowd;
mod debian;
mod devices;
mod df;
mod endpoints;
mod events;
mod files;
mod firewall;
mod fixtures;
mod flags;
mod health;
mod hello;
mod http;
mod image_mounts;
mod images;
mod inherited;
mod lan;
mod layers;
mod leaks;
mod lifecycle;
mod limits;
mod live;
mod logging;
mod namespaces;
mod neighbour;
mod network_crowd;
mod networks;
mod nfs;
mod own_files;
mod parents;
mod pause;
mod ports;
mod prune;
mod ps;
mod refused;
mod registry;
mod rename;
mod resources;
mod run;
mod runtimes;
mod sandbox;
mod scale;
mod sdk;
mod security;
mod server;
mod settings;
mod stats;
mod streams;
mod swapper;
mod top;
mod trace;
mod transcript;
mod tty;
mod unread;
mod update;
mod userns;
mod volume_content;
mod volumes;
mod volumes_from;
