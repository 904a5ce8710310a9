//! Docker's structs: which fields there are, in which order, and what one that JSON leaves out is.
//!
//! The generated wire types leave out what is not there, where Docker's answers say `null`: programs look fields up
//! without asking. So the API completes the objects that it inspects. And Docker's own client reads an answer into Go's
//! structs first: `{{.Config.Entrypoint}}` is an empty list, and `{{if .State.Health}}` is false, where JSON alone
//! would not know the name. So the command line completes what any engine sends.
//!
//! A field is written as `Name kind`, with `?` behind the name if Docker's JSON leaves it out while it is empty:
//!
//! | kind | what it is when it is left out |
//! |---|---|
//! | `s` `n` `b` | a text, a number, a truth: empty, 0, false |
//! | `-` | a list, a map or a pointer: null |
//! | `Struct` | that struct, with all its fields |
//! | `*Struct` `[]Struct` `map Struct` | null; else one, a list, a map of them |

mod order;

pub(crate) use order::{KeyOrders, struct_fields};
use serde_json::{Map, Value};

/// What an inspected object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Image,
    Network,
    Volume,
    /// `GET /volumes`
    Volumes,
    Info,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Container => "Container",
            Self::Image => "Image",
            Self::Network => "Network",
            Self::Volume => "Volume",
            Self::Volumes => "Volumes",
            Self::Info => "Info",
        }
    }
}

/// As in moby's `api/types` at API 1.50.
const STRUCTS: &[(&str, &str)] = &[
    (
        "Container",
        "Id s, Created s, Path s, Args -, State State, Image s, ResolvConfPath s, HostnamePath s, HostsPath s, LogPath s, \
         Name s, RestartCount n, Driver s, Platform s, MountLabel s, ProcessLabel s, AppArmorProfile s, ExecIDs -, \
         HostConfig HostConfig, GraphDriver GraphDriver, SizeRw? -, SizeRootFs? -, Mounts -, Config Config, \
         NetworkSettings NetworkSettings, ImageManifestDescriptor? -",
    ),
    (
        "State",
        "Status s, Running b, Paused b, Restarting b, OOMKilled b, Dead b, Pid n, ExitCode n, Error s, StartedAt s, \
         FinishedAt s, Health? -",
    ),
    (
        "HostConfig",
        "Binds -, ContainerIDFile s, LogConfig LogConfig, NetworkMode s, PortBindings -, RestartPolicy RestartPolicy, \
         AutoRemove b, VolumeDriver s, VolumesFrom -, ConsoleSize -, Annotations? -, CapAdd -, CapDrop -, CgroupnsMode s, \
         Dns -, DnsOptions -, DnsSearch -, ExtraHosts -, GroupAdd -, IpcMode s, Cgroup s, Links -, OomScoreAdj n, \
         PidMode s, Privileged b, PublishAllPorts b, ReadonlyRootfs b, SecurityOpt -, StorageOpt? -, Tmpfs? -, UTSMode s, \
         UsernsMode s, ShmSize n, Sysctls? -, Runtime? s, Isolation s, CpuShares n, Memory n, NanoCpus n, CgroupParent s, \
         BlkioWeight n, BlkioWeightDevice -, BlkioDeviceReadBps -, BlkioDeviceWriteBps -, BlkioDeviceReadIOps -, \
         BlkioDeviceWriteIOps -, CpuPeriod n, CpuQuota n, CpuRealtimePeriod n, CpuRealtimeRuntime n, CpusetCpus s, \
         CpusetMems s, Devices -, DeviceCgroupRules -, DeviceRequests -, KernelMemory? n, KernelMemoryTCP? n, \
         MemoryReservation n, MemorySwap n, MemorySwappiness -, OomKillDisable -, PidsLimit -, Ulimits -, CpuCount n, \
         CpuPercent n, IOMaximumIOps n, IOMaximumBandwidth n, Mounts? -, MaskedPaths -, ReadonlyPaths -, Init? -",
    ),
    ("LogConfig", "Type s, Config -"),
    ("RestartPolicy", "Name s, MaximumRetryCount n"),
    ("GraphDriver", "Data -, Name s"),
    (
        "Config",
        "Hostname s, Domainname s, User s, AttachStdin b, AttachStdout b, AttachStderr b, ExposedPorts? -, Tty b, \
         OpenStdin b, StdinOnce b, Env -, Cmd -, Healthcheck? *Healthcheck, ArgsEscaped? b, Image s, Volumes -, WorkingDir s, \
         Entrypoint -, NetworkDisabled? b, MacAddress? s, OnBuild -, Labels -, StopSignal? s, StopTimeout? -, Shell? -",
    ),
    (
        "NetworkSettings",
        "Bridge s, SandboxID s, SandboxKey s, Ports -, HairpinMode b, LinkLocalIPv6Address s, LinkLocalIPv6PrefixLen n, \
         SecondaryIPAddresses -, SecondaryIPv6Addresses -, EndpointID s, Gateway s, GlobalIPv6Address s, \
         GlobalIPv6PrefixLen n, IPAddress s, IPPrefixLen n, IPv6Gateway s, MacAddress s, Networks map Endpoint",
    ),
    (
        "Endpoint",
        "IPAMConfig *EndpointIPAM, Links -, Aliases -, MacAddress s, DriverOpts -, GwPriority n, NetworkID s, EndpointID s, \
         Gateway s, IPAddress s, IPPrefixLen n, IPv6Gateway s, GlobalIPv6Address s, GlobalIPv6PrefixLen n, DNSNames -",
    ),
    ("EndpointIPAM", "IPv4Address? s, IPv6Address? s, LinkLocalIPs? -"),
    (
        "Image",
        "Id s, RepoTags -, RepoDigests -, Parent s, Comment s, Created? s, DockerVersion s, Author s, Config ImageConfig, \
         Architecture s, Variant? s, Os s, OsVersion? s, Size n, VirtualSize? n, GraphDriver GraphDriver, RootFS RootFS, \
         Metadata Metadata, Descriptor? -, Manifests? -",
    ),
    (
        "ImageConfig",
        "User? s, ExposedPorts? -, Env? -, Entrypoint? -, Cmd? -, Volumes? -, WorkingDir? s, Labels? -, StopSignal? s, \
         ArgsEscaped? b, Healthcheck? *Healthcheck, OnBuild? -, Shell? -",
    ),
    ("Healthcheck", "Test? -, Interval? n, Timeout? n, StartPeriod? n, StartInterval? n, Retries? n"),
    ("RootFS", "Type? s, Layers? -"),
    ("Metadata", "LastTagTime? s"),
    (
        "Network",
        "Name s, Id s, Created s, Scope s, Driver s, EnableIPv4 b, EnableIPv6 b, IPAM IPAM, Internal b, Attachable b, \
         Ingress b, ConfigFrom ConfigFrom, ConfigOnly b, Containers -, Options -, Labels -, Peers? -, Services? -",
    ),
    ("IPAM", "Driver s, Options -, Config []Pool"),
    ("Pool", "Subnet? s, IPRange? s, Gateway? s, AuxiliaryAddresses? -"),
    ("ConfigFrom", "Network s"),
    (
        "Volume",
        "ClusterVolume? -, CreatedAt? s, Driver s, Labels -, Mountpoint s, Name s, Options -, Scope s, Status? -, UsageData? -",
    ),
    ("Volumes", "Volumes []Volume, Warnings -"),
    (
        "Info",
        "ID s, Containers n, ContainersRunning n, ContainersPaused n, ContainersStopped n, Images n, Driver s, \
         DriverStatus -, SystemStatus? -, Plugins Plugins, MemoryLimit b, SwapLimit b, KernelMemory? b, \
         KernelMemoryTCP? b, CpuCfsPeriod b, CpuCfsQuota b, CPUShares b, CPUSet b, PidsLimit b, IPv4Forwarding b, Debug b, \
         NFd n, OomKillDisable b, NGoroutines n, SystemTime s, LoggingDriver s, CgroupDriver s, CgroupVersion? s, \
         NEventsListener n, KernelVersion s, OperatingSystem s, OSVersion s, OSType s, Architecture s, \
         IndexServerAddress s, RegistryConfig -, NCPU n, MemTotal n, GenericResources -, DockerRootDir s, HttpProxy s, \
         HttpsProxy s, NoProxy s, Name s, Labels -, ExperimentalBuild b, ServerVersion s, Runtimes -, DefaultRuntime s, \
         Swarm Swarm, LiveRestoreEnabled b, Isolation s, InitBinary s, ContainerdCommit Commit, RuncCommit Commit, \
         InitCommit Commit, SecurityOptions -, ProductLicense? s, DefaultAddressPools? -, FirewallBackend? -, \
         CDISpecDirs -, DiscoveredDevices? -, Containerd? -, Warnings -, ServerErrors? -, ClientErrors? -",
    ),
    ("Plugins", "Volume -, Network -, Authorization -, Log -"),
    (
        "Swarm",
        "NodeID s, NodeAddr s, LocalNodeState s, ControlAvailable b, Error s, RemoteManagers -, Nodes? n, Managers? n, \
         Cluster? -, Warnings? -",
    ),
    ("Commit", "ID s"),
];

/// The fields of a struct: name, whether JSON leaves it out while it is empty, kind.
fn fields(name: &str) -> impl Iterator<Item = (&'static str, bool, &'static str)> {
    let found = STRUCTS.iter().find(|(struct_name, _)| *struct_name == name).map_or("", |(_, fields)| fields);
    found.split(',').filter_map(|field| {
        let (name, kind) = field.trim().split_once(' ')?;
        Some(match name.strip_suffix('?') {
            Some(name) => (name, true, kind),
            None => (name, false, kind),
        })
    })
}

/// A JSON text whose fields keep their order.
pub(crate) struct Ordered {
    value: Value,
    orders: KeyOrders,
    kind: Option<&'static str>,
}

impl Ordered {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self { value: serde_json::from_slice(json)?, orders: KeyOrders::of_text(json)?, kind: None })
    }

    /// One of Docker's structs, or a list of them, with the fields that the text leaves out.
    pub(crate) fn parse_struct(json: &[u8], kind: Kind) -> Result<Self, serde_json::Error> {
        let mut this = Self::parse(json)?;
        complete(&mut this.value, kind, &mut this.orders);
        Ok(this)
    }

    /// The name that Docker's Go type of it has.
    #[must_use]
    pub(crate) fn of_type(self, kind: &'static str) -> Self {
        Self { kind: Some(kind), ..self }
    }

    pub(crate) fn type_name(&self) -> Option<&'static str> {
        self.kind
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn orders(&self) -> &KeyOrders {
        &self.orders
    }

    /// As JSON text on one line.
    pub(crate) fn json(&self) -> String {
        self.orders.json(&self.value)
    }
}

/// Adds what the JSON of an object leaves out, and notes the order in which Docker writes its fields.
fn complete(value: &mut Value, kind: Kind, orders: &mut KeyOrders) {
    match value {
        Value::Object(object) => complete_struct(object, kind.name(), orders),
        Value::Array(items) => items.iter_mut().for_each(|item| complete(item, kind, orders)),
        _ => {}
    }
}

fn complete_struct(object: &mut Map<String, Value>, name: &str, orders: &mut KeyOrders) {
    let mut shown = Vec::with_capacity(object.len());
    for (field, omitted, kind) in fields(name) {
        let value = object.entry(field).or_insert_with(|| zero(kind));
        complete_field(value, kind, orders);
        if !(omitted && is_empty(value)) {
            shown.push(field.to_owned());
        }
    }
    // What Docker does not have: our own, and what is newer than the list.
    let more = object.keys().filter(|key| !fields(name).any(|(field, ..)| field == **key));
    shown.extend(more.cloned());
    orders.note(object, shown);
}

fn complete_field(value: &mut Value, kind: &str, orders: &mut KeyOrders) {
    match (value, kind) {
        (Value::Array(items), kind) if let Some(name) = kind.strip_prefix("[]") => {
            items
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|item| complete_struct(item, name, orders));
        }
        (Value::Object(items), kind) if let Some(name) = kind.strip_prefix("map ") => {
            items
                .values_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|item| complete_struct(item, name, orders));
        }
        (Value::Object(object), kind) => {
            let name = kind.trim_start_matches('*');
            if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                complete_struct(object, name, orders);
            }
        }
        _ => {}
    }
}

fn zero(kind: &str) -> Value {
    match kind {
        "s" => Value::from(""),
        "n" => Value::from(0),
        "b" => Value::from(false),
        kind if kind.starts_with(|c: char| c.is_ascii_uppercase()) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

/// What Go's encoder leaves out if it is told to.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_struct_that_is_named_is_there() {
        for (name, _) in STRUCTS {
            for (field, _, kind) in fields(name) {
                let inner = kind.trim_start_matches('*').trim_start_matches("[]").trim_start_matches("map ");
                let known =
                    ["s", "n", "b", "-"].contains(&inner) || STRUCTS.iter().any(|(other, _)| *other == inner);
                assert!(known, "{name}.{field} is of kind {kind:?}");
            }
        }
    }

    #[test]
    fn what_is_left_out_is_empty_and_in_its_place() {
        let mut orders = KeyOrders::default();
        let mut value: Value = serde_json::json!({
            "Id": "x", "Own": 1,
            "State": {"Status": "created"},
            "NetworkSettings": {"Networks": {"n": {"IPAMConfig": {"IPv4Address": "10.0.0.1"}}, "m": {}}},
        });
        complete(&mut value, Kind::Container, &mut orders);
        assert_eq!(value["State"]["Health"], Value::Null);
        assert_eq!(value["Config"]["Entrypoint"], Value::Null);
        assert_eq!(value["Config"]["Tty"], false);
        assert_eq!(value["HostConfig"]["LogConfig"]["Type"], "");
        assert_eq!(value["NetworkSettings"]["Networks"]["m"]["IPAMConfig"], Value::Null);
        assert_eq!(
            orders.json(&value["State"]),
            "{\"Status\":\"created\",\"Running\":false,\"Paused\":false,\"Restarting\":false,\"OOMKilled\":false,\
             \"Dead\":false,\"Pid\":0,\"ExitCode\":0,\"Error\":\"\",\"StartedAt\":\"\",\"FinishedAt\":\"\"}"
        );
        assert_eq!(
            orders.json(&value["HostConfig"]["RestartPolicy"]),
            "{\"Name\":\"\",\"MaximumRetryCount\":0}"
        );
        assert_eq!(
            orders.json(&value["NetworkSettings"]["Networks"]["n"]["IPAMConfig"]),
            "{\"IPv4Address\":\"10.0.0.1\"}"
        );
        assert!(orders.json(&value).ends_with(",\"Own\":1}"), "what is our own comes last");
    }
}
