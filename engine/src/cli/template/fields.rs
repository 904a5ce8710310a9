//! Which fields of its data a template looks at, so that a list need not make the others.

use super::eval::go_name;
use super::parser::{Command, Node, Operand, Parsed, Pipeline};
use std::collections::BTreeSet;

/// The names of the fields, each also as Go would spell it; `None` if the template may look at all of them.
pub(super) fn of(whole: &Parsed) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let lists = whole.defined.values().chain([&whole.nodes]);
    lists.into_iter().all(|nodes| list(nodes, &mut names)).then_some(names)
}

/// False when everything is looked at. The dot of a `range` or `with` is another one: its names do no harm.
fn list(nodes: &[Node], names: &mut BTreeSet<String>) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => true,
        Node::Print(shown) => pipeline(shown, names),
        Node::Template(_, given, _) => given.as_ref().is_none_or(|given| pipeline(given, names)),
        Node::If(of, then, otherwise)
        | Node::Range(of, then, otherwise)
        | Node::With(of, then, otherwise) => {
            pipeline(of, names) && list(then, names) && list(otherwise, names)
        }
    })
}

fn pipeline(pipeline: &Pipeline, names: &mut BTreeSet<String>) -> bool {
    pipeline.commands.iter().all(|Command { operands, .. }| operands.iter().all(|o| operand(o, names)))
}

fn operand(operand: &Operand, names: &mut BTreeSet<String>) -> bool {
    let path = match operand {
        Operand::Field(path, _) => path,
        Operand::Variable(name, path, _) if name.is_empty() => path,
        Operand::Group(inner, _) => return pipeline(inner, names),
        Operand::Variable(..) | Operand::Function(_) | Operand::Constant(_) | Operand::Nil => return true,
    };
    let Some(first) = path.first() else { return false };
    names.extend([first.clone(), go_name(first).to_owned()]);
    true
}
