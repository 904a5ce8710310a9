//! The flags that say what a container is: those of `run` and `create`, checked one by one.

use super::{devices, env, health, limits, mounts, names};
use clap::Args;
use dhow_model::units;

/// Flags shared by `run` and `create`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpecArgs {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_parser = names::parse_extra_host)]
    pub(super) add_host: Vec<String>,
    /// Add an annotation to the container (passed through to the OCI runtime)
    #[arg(long, value_parser = names::parse_pair)]
    pub(super) annotation: Vec<(String, String)>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_parser = names::parse_stream)]
    pub(super) attach: Vec<String>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[arg(long)]
    pub(super) blkio_weight: Option<u16>,
    /// Block IO weight (relative device weight)
    #[arg(long, value_parser = limits::parse_weight_device)]
    pub(super) blkio_weight_device: Vec<(String, usize)>,
    /// Add Linux capabilities
    #[arg(long)]
    pub(super) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long)]
    pub(super) cap_drop: Vec<String>,
    /// Optional parent cgroup for the container
    #[arg(long)]
    pub(super) cgroup_parent: Option<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long)]
    pub(super) cgroupns: Option<String>,
    /// Write the container ID to the file
    #[arg(long)]
    pub(crate) cidfile: Option<String>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long)]
    pub(super) cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, allow_negative_numbers = true)]
    pub(super) cpu_quota: Option<i64>,
    /// Limit CPU real-time period in microseconds
    #[arg(long)]
    pub(super) cpu_rt_period: Option<i64>,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long)]
    pub(super) cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long)]
    pub(super) cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_parser = |t: &str| units::parse_cpus(t).map_err(|e| e.to_string()))]
    pub(super) cpus: Option<u64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    pub(super) cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    pub(super) cpuset_mems: Option<String>,
    /// Add a host device to the container
    #[arg(long, value_parser = devices::parse_device)]
    pub(super) device: Vec<bollard::models::DeviceMapping>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_parser = devices::parse_rule)]
    pub(super) device_cgroup_rule: Vec<String>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_parser = limits::parse_bytes_rate)]
    pub(super) device_read_bps: Vec<limits::Rate>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_parser = limits::parse_count_rate)]
    pub(super) device_read_iops: Vec<limits::Rate>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_parser = limits::parse_bytes_rate)]
    pub(super) device_write_bps: Vec<limits::Rate>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_parser = limits::parse_count_rate)]
    pub(super) device_write_iops: Vec<limits::Rate>,
    /// Set custom DNS servers
    #[arg(long, value_parser = names::parse_ip)]
    pub(super) dns: Vec<String>,
    /// Set DNS options
    #[arg(long, alias = "dns-opt")]
    pub(super) dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long)]
    pub(super) dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long)]
    pub(super) domainname: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long)]
    pub(super) entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_parser = env::parse_variable)]
    pub(super) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    pub(super) env_file: Vec<String>,
    /// Expose a port or a range of ports
    #[arg(long)]
    pub(super) expose: Vec<String>,
    /// Add additional groups to join
    #[arg(long)]
    pub(super) group_add: Vec<String>,
    /// Command to run to check health
    #[arg(long)]
    pub(super) health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h) (default 0s)
    #[arg(long, value_parser = health::parse_duration, allow_hyphen_values = true)]
    pub(super) health_interval: Option<i64>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, allow_negative_numbers = true)]
    pub(super) health_retries: Option<i64>,
    /// Time between running the check during the start period (ms|s|m|h) (default 0s)
    #[arg(long, value_parser = health::parse_duration, allow_hyphen_values = true)]
    pub(super) health_start_interval: Option<i64>,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)
    #[arg(long, value_parser = health::parse_duration, allow_hyphen_values = true)]
    pub(super) health_start_period: Option<i64>,
    /// Maximum time to allow one check to run (ms|s|m|h) (default 0s)
    #[arg(long, value_parser = health::parse_duration, allow_hyphen_values = true)]
    pub(super) health_timeout: Option<i64>,
    /// Container host name
    #[arg(short = 'h', long)]
    pub(super) hostname: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    pub(super) init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long)]
    pub(super) ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long)]
    pub(super) ip6: Option<std::net::Ipv6Addr>,
    /// IPC mode to use
    #[arg(long)]
    pub(super) ipc: Option<String>,
    /// Set meta data on a container
    #[arg(short, long, value_parser = env::parse_label)]
    pub(super) label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long)]
    pub(super) label_file: Vec<String>,
    /// Add link to another container
    #[arg(long)]
    pub(super) link: Vec<String>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long)]
    pub(super) link_local_ip: Vec<std::net::IpAddr>,
    /// Logging driver for the container
    #[arg(long)]
    pub(super) log_driver: Option<String>,
    /// Log driver options
    #[arg(long)]
    pub(super) log_opt: Vec<String>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long)]
    pub(super) mac_address: Option<String>,
    /// Memory limit
    #[arg(short, long, value_parser = limits::parse_bytes)]
    pub(super) memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_parser = limits::parse_bytes)]
    pub(super) memory_reservation: Option<i64>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_parser = limits::parse_swap_bytes, allow_negative_numbers = true)]
    pub(super) memory_swap: Option<i64>,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, allow_negative_numbers = true)]
    pub(super) memory_swappiness: Option<i64>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_parser = mounts::parse_mount)]
    pub(super) mount: Vec<bollard::models::Mount>,
    /// Assign a name to the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Connect a container to a network
    #[arg(long, alias = "net")]
    pub(super) network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, alias = "net-alias")]
    pub(super) network_alias: Vec<String>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub(super) no_healthcheck: bool,
    /// Disable OOM Killer
    #[arg(long)]
    pub(super) oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, allow_negative_numbers = true)]
    pub(super) oom_score_adj: Option<i64>,
    /// PID namespace to use
    #[arg(long)]
    pub(super) pid: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, allow_negative_numbers = true)]
    pub(super) pids_limit: Option<i64>,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    pub(super) privileged: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long)]
    pub(super) publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(super) publish_all: bool,
    /// Pull image before running ("always", "missing", "never")
    #[arg(long, default_value = "missing")]
    pub(crate) pull: String,
    /// Suppress the pull output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub(super) read_only: bool,
    /// Restart policy to apply when a container exits
    #[arg(long)]
    pub(super) restart: Option<String>,
    /// Let the restart policy start the container again when it is unhealthy
    #[arg(long)]
    pub(super) restart_unhealthy: bool,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Runtime to use for this container
    #[arg(long)]
    pub(super) runtime: Option<String>,
    /// Security Options
    #[arg(long)]
    pub(super) security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_parser = limits::parse_bytes)]
    pub(super) shm_size: Option<i64>,
    /// Signal to stop the container
    #[arg(long)]
    pub(super) stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, allow_negative_numbers = true)]
    pub(super) stop_timeout: Option<i64>,
    /// Storage driver options for the container
    #[arg(long)]
    pub(super) storage_opt: Vec<String>,
    /// Sysctl options
    #[arg(long, value_parser = names::parse_sysctl)]
    pub(super) sysctl: Vec<(String, String)>,
    /// Mount a tmpfs directory
    #[arg(long)]
    pub(super) tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Ulimit options
    #[arg(long, value_parser = limits::parse_ulimit)]
    pub(super) ulimit: Vec<bollard::models::ResourcesUlimits>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long)]
    pub(super) user: Option<String>,
    /// User namespace to use
    #[arg(long)]
    pub(super) userns: Option<String>,
    /// UTS namespace to use
    #[arg(long)]
    pub(super) uts: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_parser = mounts::parse_volume)]
    pub(super) volume: Vec<mounts::Volume>,
    /// Optional volume driver for the container
    #[arg(long)]
    pub(super) volume_driver: Option<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long)]
    pub(super) volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long)]
    pub(super) workdir: Option<String>,
    /// Print usage
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The image
    #[arg(required = true)]
    pub(crate) image: String,
    /// The command and its arguments
    #[arg(value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl SpecArgs {
    /// Whether `--attach` says which streams.
    pub(crate) fn attaches_explicitly(&self) -> bool {
        !self.attach.is_empty()
    }
}

const WINDOWS: &str = "it is for Windows";

/// Docker's flags that dhow has not, with the reason.
pub(crate) const REFUSED: &[(&str, &str)] = &[
    ("--cpu-count", WINDOWS),
    ("--cpu-percent", WINDOWS),
    ("--io-maxbandwidth", WINDOWS),
    ("--io-maxiops", WINDOWS),
    ("--isolation", WINDOWS),
    ("--kernel-memory", "Linux has no limit of kernel memory any more"),
    ("--gpus", "it needs a vendor's hook; give the devices with --device"),
    ("--use-api-socket", "mount the socket of dhow serve with -v"),
    ("--disable-content-trust", "images are not signed"),
];
