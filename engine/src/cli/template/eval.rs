//! Walks the tree of a template over a value.

use super::Data;
use super::functions::{call, truth};
use super::parser::{Command, Node, Operand, Parsed, Pipeline};
use super::print::{duration, is_duration, show};
use serde_json::Value;

/// How deep templates may use each other. Go's limit is that of its memory; ours is that of a stack.
const DEPTH_MAX: usize = 100;

/// Where a template is: its data, the current dot, the variables in sight.
struct Scope<'a> {
    whole: &'a Parsed,
    depth: usize,
    data: &'a dyn Data,
    variables: Vec<(String, Value)>,
    text: String,
}

/// Whether a list of nodes ran to its end.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// The dot: the data itself, which has methods, or a value within it.
#[derive(Clone)]
enum Dot {
    Data,
    Value(Value),
}

/// Why a template cannot be filled in: what Go would say, of which part, and where that stands.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) why: String,
    /// The part, as Go writes it; empty when there is none to blame.
    pub(super) part: String,
    pub(super) at: usize,
}

impl Fault {
    fn new(part: &impl ToString, at: usize, why: impl Into<String>) -> Self {
        Self { why: why.into(), part: part.to_string(), at }
    }
}

/// How a list of nodes ended, or why it could not.
type Step<T> = Result<T, Fault>;

/// Adds what the nodes say to `text`.
pub(super) fn execute(whole: &Parsed, data: &dyn Data, text: String) -> Step<String> {
    let mut scope = Scope { whole, depth: 0, data, variables: Vec::new(), text };
    scope.run(&whole.nodes, &Dot::Data)?;
    Ok(scope.text)
}

impl<'a> Scope<'a> {
    fn run(&mut self, nodes: &[Node], dot: &Dot) -> Step<Flow> {
        let depth = self.variables.len();
        let mut flow = Flow::Next;
        for node in nodes {
            flow = self.step(node, dot)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.variables.truncate(depth);
        Ok(flow)
    }

    fn step(&mut self, node: &Node, dot: &Dot) -> Step<Flow> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Template(name, given, at) => self.template(name, given.as_ref(), *at, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Print(pipeline) => {
                if let Some(field) = plain_field(pipeline, dot)
                    && self.data.append_text(field, &mut self.text)
                {
                    return Ok(Flow::Next);
                }
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    let text = self.shown(pipeline, &value, dot);
                    self.text.push_str(&text);
                } else {
                    self.assign(pipeline, value);
                }
            }
            Node::If(pipeline, then, otherwise) => {
                let value = self.pipeline(pipeline, dot)?;
                let depth = self.variables.len();
                let branch = if truth(&value) { then } else { otherwise };
                self.assign(pipeline, value);
                let flow = self.run(branch, dot)?;
                self.variables.truncate(depth);
                return Ok(flow);
            }
            Node::With(pipeline, then, otherwise) => {
                let value = self.pipeline(pipeline, dot)?;
                let depth = self.variables.len();
                self.assign(pipeline, value.clone());
                let flow = if truth(&value) {
                    self.run(then, &Dot::Value(value))?
                } else {
                    self.run(otherwise, dot)?
                };
                self.variables.truncate(depth);
                return Ok(flow);
            }
            Node::Range(pipeline, body, otherwise) => return self.range(pipeline, body, otherwise, dot),
        }
        Ok(Flow::Next)
    }

    /// A value that is printed, as Go shows one of its type.
    fn shown(&self, pipeline: &Pipeline, value: &Value, dot: &Dot) -> String {
        let command = match pipeline.commands.as_slice() {
            [command] => command,
            _ => return show(value),
        };
        match (value, command.operands.as_slice()) {
            (Value::Null, _) => show_null(pipeline),
            // An entry of a set.
            (Value::Object(fields), [Operand::Function(name), map, ..])
                if fields.is_empty()
                    && name == "index"
                    && last_name(map).and_then(map_named) == Some(Held::Nothing) =>
            {
                "{}".to_owned()
            }
            (Value::Object(fields), [Operand::Field(path, _)])
                if fields.is_empty() && path.is_empty() && matches!(dot, Dot::Value(_)) =>
            {
                "{}".to_owned()
            }
            (Value::Number(nanoseconds), [Operand::Field(path, _)]) => {
                let of_check = path.last().is_some_and(|name| is_duration(name))
                    && (path.iter().any(|name| name == "Healthcheck") || matches!(dot, Dot::Value(_)));
                match nanoseconds.as_i64().filter(|_| of_check) {
                    Some(nanoseconds) => duration(nanoseconds),
                    None => show(value),
                }
            }
            _ => show(value),
        }
    }

    /// Another template, which sees nothing but what it is given.
    fn template(&mut self, name: &str, given: Option<&Pipeline>, at: usize, dot: &Dot) -> Step<()> {
        let fault = |why: String| Fault::new(&format!("{{{{template {name:?}}}}}"), at, why);
        let whole = self.whole;
        let nodes = whole.defined.get(name).ok_or_else(|| fault(format!("template {name:?} not defined")))?;
        if self.depth >= DEPTH_MAX {
            return Err(fault(format!("exceeded maximum template depth ({DEPTH_MAX})")));
        }
        let value;
        let data = match (given, dot) {
            // Whole as it is, with its methods.
            (Some(given), Dot::Data) if is_dot(given) => self.data,
            (Some(given), _) => {
                value = self.pipeline(given, dot)?;
                &value
            }
            (None, _) => &Value::Null,
        };
        let text = std::mem::take(&mut self.text);
        let mut inner = Scope { whole, depth: self.depth + 1, data, variables: Vec::new(), text };
        inner.run(nodes, &Dot::Data)?;
        self.text = inner.text;
        Ok(())
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Dot) -> Step<Flow> {
        let pairs: Vec<(Value, Value)> = match self.pipeline(pipeline, dot)? {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            Value::Null => Vec::new(),
            Value::Number(count) => {
                (0..count.as_u64().unwrap_or(0)).map(|at| (at.into(), at.into())).collect()
            }
            other => {
                let (part, at) = whole(pipeline);
                return Err(Fault::new(&part, at, format!("range can't iterate over {}", show(&other))));
            }
        };
        if pairs.is_empty() {
            return self.run(otherwise, dot);
        }
        for (key, item) in pairs {
            let depth = self.variables.len();
            match pipeline.variables.as_slice() {
                [only] => self.variables.push((only.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                [] => {}
            }
            let flow = self.run(body, &Dot::Value(item))?;
            self.variables.truncate(depth);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn assign(&mut self, pipeline: &Pipeline, value: Value) {
        let Some(name) = pipeline.variables.first() else { return };
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, slot)) if !pipeline.declares => *slot = value,
            _ => self.variables.push((name.clone(), value)),
        }
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Dot) -> Step<Value> {
        let mut value: Option<Value> = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value.take(), dot)?);
        }
        Ok(value.unwrap_or(Value::Null))
    }

    /// One command; the value of the command before it comes as its last argument.
    fn command(&self, command: &Command, piped: Option<Value>, dot: &Dot) -> Step<Value> {
        let fault = |why: String| Fault::new(command, command.at, why);
        let Some((first, rest)) = command.operands.split_first() else {
            return Err(fault("missing value for command".to_owned()));
        };
        let args = || -> Step<Vec<Value>> {
            rest.iter().map(|o| self.operand(o, command.at, dot)).chain(piped.clone().map(Ok)).collect()
        };
        match first {
            // These two look no further than they need.
            Operand::Function(name) if matches!(name.as_str(), "and" | "or") => {
                let mut last = piped.clone();
                for operand in rest {
                    let value = self.operand(operand, command.at, dot)?;
                    if truth(&value) == (name == "or") {
                        return Ok(value);
                    }
                    last = piped.clone().or(Some(value));
                }
                last.ok_or_else(|| fault(format!("wrong number of args for {name}: want at least 1 got 0")))
            }
            Operand::Function(name) => match (name.as_str(), args()?.as_slice(), self.data.orders()) {
                ("index", [map, Value::String(key)], _) if let Some(missing) = missing(rest, map, key) => {
                    Ok(missing)
                }
                ("json", [value], Some(orders)) => Ok(orders.json(value).into()),
                // A row of a list makes its own JSON, which Go escapes. No part of one is an object.
                ("json", [value @ Value::Object(_)], None) if self.data.type_name().is_some() => {
                    Ok(super::html_safe(&value.to_string()).into())
                }
                (name, args, _) => call(name, args).map_err(fault),
            },
            Operand::Field(path, at) if path.len() == 1 && (!rest.is_empty() || piped.is_some()) => {
                let args = args()?;
                let method = if matches!(dot, Dot::Data) { self.data.method(&path[0], &args) } else { None };
                method.ok_or_else(|| {
                    if let Some(why) = self.data.wrong_arguments(&path[0], args.len()) {
                        return Fault::new(first, *at, why);
                    }
                    let why = format!("{} has arguments but cannot be invoked as function", path[0]);
                    Fault::new(first, *at, why)
                })
            }
            other if rest.is_empty() && piped.is_none() => self.operand(other, command.at, dot),
            _ => Err(Fault::new(first, command.at, format!("can't give argument to non-function {first}"))),
        }
    }

    /// The value of an operand; `at` is where to look for one that has no place of its own.
    fn operand(&self, operand: &Operand, at: usize, dot: &Dot) -> Step<Value> {
        let found = match operand {
            Operand::Constant(value) => return Ok(value.clone()),
            Operand::Nil => return Ok(Value::Null),
            Operand::Function(name) => call(name, &[]).map_err(|why| (at, why)),
            Operand::Group(pipeline, path) => {
                walk(&self.pipeline(pipeline, dot)?, path).map_err(|why| (at, why))
            }
            Operand::Variable(name, path, at) => {
                let variable = match name.as_str() {
                    "" => Some(self.data.value()),
                    name => {
                        self.variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
                    }
                };
                match variable {
                    Some(value) => walk(value, path),
                    None => Err(format!("undefined variable \"${name}\"")),
                }
                .map_err(|why| (*at, why))
            }
            Operand::Field(path, at) => match dot {
                Dot::Data => walk_data(self.data, path),
                Dot::Value(value) => walk(value, path),
            }
            .map_err(|why| (*at, why)),
        };
        found.map_err(|(at, why)| Fault::new(operand, at, why))
    }
}

/// What `index` gives for a key that is not in a map: the zero value of what the map holds, which the map's name tells.
fn missing(operands: &[Operand], map: &Value, key: &str) -> Option<Value> {
    let absent = match map {
        Value::Object(entries) => !entries.contains_key(key),
        other => other.is_null(),
    };
    match map_named(operands.first().and_then(last_name)?)? {
        Held::Text if absent => Some("".into()),
        Held::Nothing if absent => Some(Value::Object(serde_json::Map::new())),
        _ => None,
    }
}

/// The last name of a path of fields.
fn last_name(operand: &Operand) -> Option<&str> {
    match operand {
        Operand::Field(path, _) | Operand::Variable(_, path, _) => path.last().map(String::as_str),
        _ => None,
    }
}

/// Whether it is `.` alone.
fn is_dot(pipeline: &Pipeline) -> bool {
    match pipeline.commands.as_slice() {
        [command] => matches!(command.operands.as_slice(), [Operand::Field(path, _)] if path.is_empty()),
        _ => false,
    }
}

/// The name in `{{.Field}}` of the data itself.
fn plain_field<'a>(pipeline: &'a Pipeline, dot: &Dot) -> Option<&'a str> {
    let ([command], [], Dot::Data) = (pipeline.commands.as_slice(), pipeline.variables.as_slice(), dot)
    else {
        return None;
    };
    match command.operands.as_slice() {
        [Operand::Field(path, _)] if path.len() == 1 => Some(&path[0]),
        _ => None,
    }
}

/// A pipeline as Go writes it, and its place.
fn whole(pipeline: &Pipeline) -> (String, usize) {
    let commands: Vec<String> = pipeline.commands.iter().map(ToString::to_string).collect();
    (commands.join(" | "), pipeline.commands.first().map_or(0, |command| command.at))
}

/// From the data itself, which may be of a type with a name.
fn walk_data(data: &dyn Data, path: &[String]) -> Result<Value, String> {
    let known = |name: &String| {
        let fields = data.value().as_object();
        fields.is_none_or(|fields| fields.contains_key(name) || fields.contains_key(go_name(name)))
    };
    match (path.first(), data.type_name()) {
        (Some(name), Some(kind)) if !known(name) => Err(data
            .wrong_arguments(name, 0)
            .unwrap_or_else(|| format!("can't evaluate field {name} in type {kind}"))),
        // The fields of a row are texts, those of an object are whatever JSON says.
        (_, Some(_)) => walk(data.value(), path).map_err(|why| why.replace("interface {}", "string")),
        _ => walk(data.value(), path),
    }
}

/// What Go shows for a null depends on the field's type, which JSON does not tell: its name does.
fn show_null(pipeline: &Pipeline) -> String {
    let name = match pipeline.commands.as_slice() {
        [command] => match command.operands.as_slice() {
            [Operand::Field(path, _)] => path.last(),
            _ => None,
        },
        _ => None,
    };
    let text = match name.map(String::as_str) {
        Some(
            "Annotations" | "Config" | "DriverOpts" | "ExposedPorts" | "Labels" | "Networks" | "Options"
            | "AuxiliaryAddresses" | "PortBindings" | "Ports" | "Services" | "Status" | "StorageOpt"
            | "Sysctls" | "Tmpfs" | "Volumes",
        ) => "map[]",
        Some(
            "Aliases"
            | "Args"
            | "Authorization"
            | "Binds"
            | "BlkioDeviceReadBps"
            | "BlkioDeviceReadIOps"
            | "BlkioDeviceWriteBps"
            | "BlkioDeviceWriteIOps"
            | "BlkioWeightDevice"
            | "CDISpecDirs"
            | "CapAdd"
            | "CapDrop"
            | "Cmd"
            | "DNSNames"
            | "DefaultAddressPools"
            | "DeviceCgroupRules"
            | "DeviceRequests"
            | "Devices"
            | "DiscoveredDevices"
            | "Dns"
            | "DnsOptions"
            | "DnsSearch"
            | "Entrypoint"
            | "Env"
            | "ExecIDs"
            | "ExtraHosts"
            | "GenericResources"
            | "GroupAdd"
            | "Layers"
            | "LinkLocalIPs"
            | "Links"
            | "Manifests"
            | "MaskedPaths"
            | "Mounts"
            | "OnBuild"
            | "Peers"
            | "ReadonlyPaths"
            | "RepoDigests"
            | "RepoTags"
            | "RemoteManagers"
            | "SecondaryIPAddresses"
            | "SecondaryIPv6Addresses"
            | "SecurityOpt"
            | "Shell"
            | "SystemStatus"
            | "Ulimits"
            | "VolumesFrom"
            | "Warnings",
        ) => "[]",
        Some(
            "Cluster"
            | "ClusterVolume"
            | "Containerd"
            | "Descriptor"
            | "FirewallBackend"
            | "Health"
            | "Healthcheck"
            | "IPAMConfig"
            | "ImageManifestDescriptor"
            | "Init"
            | "MemorySwappiness"
            | "OomKillDisable"
            | "PidsLimit"
            | "RegistryConfig"
            | "SizeRootFs"
            | "SizeRw"
            | "StopTimeout"
            | "UsageData",
        ) => "<nil>",
        _ => return show(&Value::Null),
    };
    text.to_owned()
}

/// What a map holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Text,
    /// Empty structs: the map is a set.
    Nothing,
    /// Structs, pointers or lists.
    Other,
}

/// Docker's maps with somebody's own keys, by the name of the field that has them.
fn map_named(name: &str) -> Option<Held> {
    Some(match name {
        "Annotations" | "Attributes" | "AuxiliaryAddresses" | "DriverOpts" | "Labels" | "Options"
        | "StorageOpt" | "Sysctls" | "Tmpfs" => Held::Text,
        "ExposedPorts" | "Volumes" => Held::Nothing,
        "Containers" | "Networks" | "PortBindings" | "Ports" | "Runtimes" | "Services" => Held::Other,
        _ => return None,
    })
}

/// Without a copy of the whole: only of the part that is asked for. A map's missing entry is no fault, and neither is
/// any field of it (`missingkey=default`, Go's `text/template`); a struct's missing field is one.
fn walk(value: &Value, path: &[String]) -> Result<Value, String> {
    let mut at = value;
    for (depth, name) in path.iter().enumerate() {
        let in_map = depth.checked_sub(1).and_then(|above| map_named(&path[above])).is_some();
        at = match at {
            Value::Object(fields) => match fields.get(name).or_else(|| fields.get(go_name(name))) {
                Some(value) => value,
                None if in_map => return Ok(Value::Null),
                None => return Err(format!("map has no entry for key {name:?}")),
            },
            Value::Null if in_map => return Ok(Value::Null),
            Value::Null => return Err(format!("nil pointer evaluating .{}", path[..=depth].join("."))),
            _ => return Err(format!("can't evaluate field {name} in type interface {{}}")),
        };
    }
    Ok(at.clone())
}

/// Go's field names that differ from their JSON names.
pub(super) fn go_name(name: &str) -> &str {
    match name {
        "ID" => "Id",
        "Id" => "ID",
        "ImageID" => "ImageId",
        "APIVersion" => "ApiVersion",
        other => other,
    }
}
