//! Walks the tree of a template over a value.

use super::Data;
use super::functions::{call, truth};
use super::parser::{Node, Operand, Pipeline};
use super::print::show;
use serde_json::Value;

/// Where a template is: its data, the current dot, the variables in sight.
struct Scope<'a> {
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

pub(super) fn execute(nodes: &[Node], data: &dyn Data) -> Result<String, String> {
    let mut scope = Scope { data, variables: Vec::new(), text: String::new() };
    scope.run(nodes, &Dot::Data)?;
    Ok(scope.text)
}

impl Scope<'_> {
    fn run(&mut self, nodes: &[Node], dot: &Dot) -> Result<Flow, String> {
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

    fn step(&mut self, node: &Node, dot: &Dot) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    let text = if value.is_null() { show_null(pipeline) } else { show(&value) };
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

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Dot,
    ) -> Result<Flow, String> {
        let pairs: Vec<(Value, Value)> = match self.pipeline(pipeline, dot)? {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            Value::Null => Vec::new(),
            Value::Number(count) => {
                (0..count.as_u64().unwrap_or(0)).map(|at| (at.into(), at.into())).collect()
            }
            other => return Err(format!("range can't iterate over {}", show(&other))),
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

    fn pipeline(&self, pipeline: &Pipeline, dot: &Dot) -> Result<Value, String> {
        let mut value: Option<Value> = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value.take(), dot)?);
        }
        Ok(value.unwrap_or(Value::Null))
    }

    /// One command; the value of the command before it comes as its last argument.
    fn command(&self, operands: &[Operand], piped: Option<Value>, dot: &Dot) -> Result<Value, String> {
        let Some((first, rest)) = operands.split_first() else {
            return Err("missing value for command".to_owned());
        };
        let args = |scope: &Self| -> Result<Vec<Value>, String> {
            rest.iter().map(|o| scope.operand(o, dot)).chain(piped.clone().map(Ok)).collect()
        };
        match first {
            Operand::Function(name) => call(name, &args(self)?),
            Operand::Field(path) if path.len() == 1 && (!rest.is_empty() || piped.is_some()) => {
                let args = args(self)?;
                let method = if matches!(dot, Dot::Data) { self.data.method(&path[0], &args) } else { None };
                method.ok_or_else(|| format!("{} has arguments but cannot be invoked as function", path[0]))
            }
            other if rest.is_empty() && piped.is_none() => self.operand(other, dot),
            _ => Err("can't give argument to non-function".to_owned()),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Dot) -> Result<Value, String> {
        match operand {
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Nil => Ok(Value::Null),
            Operand::Function(name) => call(name, &[]),
            Operand::Group(pipeline, path) => walk(self.pipeline(pipeline, dot)?, path),
            Operand::Variable(name, path) => {
                if name.is_empty() {
                    return walk(self.data.value().clone(), path);
                }
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| format!("undefined variable \"${name}\""))?;
                walk(value.clone(), path)
            }
            Operand::Field(path) => match dot {
                // Without a copy of the whole: only the part that is asked for.
                Dot::Data => walk_ref(self.data.value(), path),
                Dot::Value(value) => walk_ref(value, path),
            },
        }
    }
}

/// What Go shows for a null depends on the field's type, which JSON does not tell: its name does.
fn show_null(pipeline: &Pipeline) -> String {
    let name = match pipeline.commands.as_slice() {
        [command] => match command.as_slice() {
            [Operand::Field(path)] => path.last(),
            _ => None,
        },
        _ => None,
    };
    let text = match name.map(String::as_str) {
        Some(
            "Annotations" | "Config" | "DriverOpts" | "ExposedPorts" | "Labels" | "Networks" | "Options"
            | "PortBindings" | "Ports" | "StorageOpt" | "Sysctls" | "Tmpfs" | "Volumes",
        ) => "map[]",
        Some(
            "Aliases"
            | "Args"
            | "Binds"
            | "BlkioDeviceReadBps"
            | "BlkioDeviceReadIOps"
            | "BlkioDeviceWriteBps"
            | "BlkioDeviceWriteIOps"
            | "BlkioWeightDevice"
            | "CapAdd"
            | "CapDrop"
            | "Cmd"
            | "DNSNames"
            | "DeviceCgroupRules"
            | "DeviceRequests"
            | "Devices"
            | "Dns"
            | "DnsOptions"
            | "DnsSearch"
            | "Entrypoint"
            | "Env"
            | "ExecIDs"
            | "ExtraHosts"
            | "GroupAdd"
            | "Layers"
            | "Links"
            | "MaskedPaths"
            | "Mounts"
            | "OnBuild"
            | "ReadonlyPaths"
            | "RepoDigests"
            | "RepoTags"
            | "SecurityOpt"
            | "Shell"
            | "Ulimits"
            | "VolumesFrom",
        ) => "[]",
        Some(
            "Health" | "Healthcheck" | "Init" | "MemorySwappiness" | "OomKillDisable" | "PidsLimit"
            | "StopTimeout",
        ) => "<nil>",
        _ => return show(&Value::Null),
    };
    text.to_owned()
}

fn walk(value: Value, path: &[String]) -> Result<Value, String> {
    if path.is_empty() { Ok(value) } else { walk_ref(&value, path) }
}

fn walk_ref(value: &Value, path: &[String]) -> Result<Value, String> {
    let mut at = value;
    for (depth, name) in path.iter().enumerate() {
        at = match at {
            Value::Object(fields) => match fields.get(name).or_else(|| fields.get(go_name(name))) {
                Some(value) => value,
                None => return Err(format!("map has no entry for key {name:?}")),
            },
            Value::Null => return Err(format!("nil pointer evaluating .{}", path[..=depth].join("."))),
            _ => return Err(format!("can't evaluate field {name} in .{}", path[..depth].join("."))),
        };
    }
    Ok(at.clone())
}

/// Go's field names that differ from their JSON names.
fn go_name(name: &str) -> &str {
    match name {
        "ID" => "Id",
        "Id" => "ID",
        "ImageID" => "ImageId",
        other => other,
    }
}
