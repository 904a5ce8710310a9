//! Builds the tree of a template.

use super::lexer::{Lexed, Piece, Token};
use super::print::quote;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Literal text.
    Text(String),
    /// A pipeline whose value is printed, unless it only declares a variable.
    Print(Pipeline),
    /// `if` and `else`.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `range` and its `else`; with the names of index and element.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `with` and its `else`.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `break`
    Break,
    /// `continue`
    Continue,
    /// `{{template "name" pipeline}}`, and what `{{block}}` leaves in its place; with the place of the name.
    Template(String, Option<Pipeline>, usize),
}

/// A whole template.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    /// What `{{define}}` and `{{block}}` have named.
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

/// Commands joined by `|`, whose value may go to variables.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A function with its arguments, or a single value.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
    /// Where it begins.
    pub(super) at: usize,
}

/// What a command consists of.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// `.`, `.A.B`; with the place that Go names when it cannot be found.
    Field(Vec<String>, usize),
    /// `$x.A`
    Variable(String, Vec<String>, usize),
    /// `(pipeline).A`
    Group(Box<Pipeline>, Vec<String>),
    /// A function's name.
    Function(String),
    /// A constant.
    Constant(Value),
    /// `nil`
    Nil,
}

/// What ended a list of nodes.
enum Stop {
    End(usize),
    Else(Vec<Lexed>),
    Eof,
}

/// Why a template cannot be parsed, and where: the error names the line.
type Failed = (usize, String);

fn failed<T>(at: usize, why: impl Into<String>) -> Result<T, Failed> {
    Err((at, why.into()))
}

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Parsed, Failed> {
    let mut parser = Parser { pieces: pieces.into(), variables: Vec::new(), defined: BTreeMap::new() };
    match parser.list(true)? {
        (nodes, Stop::Eof) => Ok(Parsed { nodes, defined: parser.defined }),
        (_, Stop::End(at)) => failed(at, "unexpected {{end}}"),
        (_, Stop::Else(tokens)) => failed(place(&tokens), "unexpected {{else}}"),
    }
}

fn place(tokens: &[Lexed]) -> usize {
    tokens.first().map_or(0, |lexed| lexed.at)
}

struct Parser {
    pieces: VecDeque<Piece>,
    /// Those in sight: an unknown one is an error before anything is shown.
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
}

impl Parser {
    fn list(&mut self, outermost: bool) -> Result<(Vec<Node>, Stop), Failed> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.pop_front() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => trim(tokens),
            };
            let at = place(&tokens);
            let keyword = match tokens.first().map(|lexed| &lexed.token) {
                Some(Token::Word(word)) => word.as_str(),
                Some(_) => "",
                None => return failed(at, "missing value for command"),
            };
            let rest = || trim(tokens[1..].to_vec());
            match keyword {
                "end" => return Ok((nodes, Stop::End(at))),
                "else" => return Ok((nodes, Stop::Else(rest()))),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "if" | "range" | "with" => {
                    let depth = self.variables.len();
                    nodes.push(self.block(keyword, at, rest())?);
                    self.variables.truncate(depth);
                }
                "define" if outermost => self.define(at, rest())?,
                "define" => return failed(at, "unexpected {{define}}"),
                "template" | "block" => nodes.push(self.template(keyword, at, rest())?),
                _ => nodes.push(Node::Print(self.pipeline(tokens)?)),
            }
        }
        Ok((nodes, Stop::Eof))
    }

    fn block(&mut self, keyword: &str, at: usize, tokens: Vec<Lexed>) -> Result<Node, Failed> {
        if tokens.is_empty() {
            return failed(at, format!("missing value for {keyword}"));
        }
        let pipeline = self.pipeline(tokens)?;
        let (body, stop) = self.list(false)?;
        let otherwise = match stop {
            Stop::End(_) => Vec::new(),
            Stop::Eof => return failed(usize::MAX, "unexpected EOF"),
            Stop::Else(tokens) if tokens.is_empty() => match self.list(false)? {
                (nodes, Stop::End(_)) => nodes,
                (_, Stop::Else(_)) => return failed(at, "expected end; found {{else}}"),
                (_, Stop::Eof) => return failed(usize::MAX, "unexpected EOF"),
            },
            // `{{else if x}}` shares the `{{end}}` of the outer block.
            Stop::Else(tokens) => match tokens.first().map(|lexed| &lexed.token) {
                Some(Token::Word(word)) if word == "if" || word == "with" => {
                    let word = word.clone();
                    vec![self.block(&word, place(&tokens), trim(tokens[1..].to_vec()))?]
                }
                _ => return failed(place(&tokens), "unexpected token in {{else}}"),
            },
        };
        Ok(match keyword {
            "range" => Node::Range(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::If(pipeline, body, otherwise),
        })
    }

    /// `{{define "name"}}…{{end}}`
    fn define(&mut self, at: usize, tokens: Vec<Lexed>) -> Result<(), Failed> {
        let (name, rest) = name(at, "define", tokens)?;
        if let Some(lexed) = rest.first() {
            return failed(lexed.at, "unexpected token in define clause");
        }
        self.body(name)
    }

    /// The nodes up to `{{end}}`, which see no variable from outside.
    fn body(&mut self, name: String) -> Result<(), Failed> {
        let outer = std::mem::take(&mut self.variables);
        let (nodes, Stop::End(_)) = self.list(false)? else {
            return failed(usize::MAX, "unexpected EOF");
        };
        self.variables = outer;
        self.defined.insert(name, nodes);
        Ok(())
    }

    /// `{{template "name" pipeline}}`, or `{{block "name" pipeline}}…{{end}}`, which defines it, too.
    fn template(&mut self, keyword: &str, at: usize, tokens: Vec<Lexed>) -> Result<Node, Failed> {
        let (name, rest) = name(at, keyword, tokens)?;
        let given = match rest.is_empty() {
            true if keyword == "block" => return failed(at, "missing value for block clause"),
            true => None,
            false => Some(self.pipeline(rest)?),
        };
        if keyword == "block" {
            self.body(name.clone())?;
        }
        Ok(Node::Template(name, given, at))
    }

    fn pipeline(&mut self, tokens: Vec<Lexed>) -> Result<Pipeline, Failed> {
        let mut tokens: VecDeque<Lexed> = tokens.into();
        let at = tokens.front().map_or(0, |lexed| lexed.at);
        let (variables, declares) = parse_targets(&mut tokens);
        let pipeline = parse_commands(&mut tokens, &self.variables)?;
        if declares {
            self.variables.extend_from_slice(&variables);
        } else {
            variables.iter().try_for_each(|name| known(name, &self.variables, at))?;
        }
        match tokens.front() {
            None => Ok(Pipeline { variables, declares, ..pipeline }),
            Some(lexed) => failed(lexed.at, "unexpected \")\" in operand"),
        }
    }
}

/// The name behind `define`, `template` or `block`, and what follows it.
fn name(at: usize, keyword: &str, mut tokens: Vec<Lexed>) -> Result<(String, Vec<Lexed>), Failed> {
    match tokens.first().map(|lexed| &lexed.token) {
        Some(Token::Text(name)) => {
            let name = name.clone();
            tokens.remove(0);
            Ok((name, trim(tokens)))
        }
        Some(_) => failed(at, format!("unexpected token in {keyword} clause")),
        None => failed(at, format!("missing value for {keyword} clause")),
    }
}

/// `$` itself is always there.
fn known(name: &str, variables: &[String], at: usize) -> Result<(), Failed> {
    if name.is_empty() || variables.iter().any(|variable| variable == name) {
        return Ok(());
    }
    failed(at, format!("undefined variable \"${name}\""))
}

fn trim(mut tokens: Vec<Lexed>) -> Vec<Lexed> {
    let is_space = |lexed: Option<&Lexed>| lexed.is_some_and(|lexed| lexed.token == Token::Space);
    while is_space(tokens.last()) {
        tokens.pop();
    }
    while is_space(tokens.first()) {
        tokens.remove(0);
    }
    tokens
}

/// `$a, $b :=`, or nothing.
fn parse_targets(tokens: &mut VecDeque<Lexed>) -> (Vec<String>, bool) {
    let mut names = Vec::new();
    for (index, lexed) in tokens.iter().enumerate() {
        match &lexed.token {
            Token::Variable(name) => names.push(name.clone()),
            Token::Space | Token::Comma => {}
            Token::Declare | Token::Assign if !names.is_empty() => {
                let declares = lexed.token == Token::Declare;
                tokens.drain(..=index);
                return (names, declares);
            }
            _ => break,
        }
    }
    (Vec::new(), false)
}

/// Commands up to the end or a closing parenthesis.
fn parse_commands(tokens: &mut VecDeque<Lexed>, variables: &[String]) -> Result<Pipeline, Failed> {
    let mut commands = Vec::new();
    let mut command = Command { operands: Vec::new(), at: 0 };
    loop {
        let at = tokens.front().map_or(usize::MAX, |lexed| lexed.at);
        match tokens.front().map(|lexed| &lexed.token) {
            None | Some(Token::Close) => {
                if command.operands.is_empty() {
                    return failed(at, "missing value for command");
                }
                commands.push(command);
                return Ok(Pipeline { variables: Vec::new(), declares: false, commands });
            }
            Some(Token::Space) => {
                tokens.pop_front();
            }
            Some(Token::Pipe) => {
                tokens.pop_front();
                if command.operands.is_empty() {
                    return failed(at, "missing value for command");
                }
                commands.push(std::mem::replace(&mut command, Command { operands: Vec::new(), at: 0 }));
            }
            Some(_) => {
                if command.operands.is_empty() {
                    command.at = at;
                }
                command.operands.push(parse_operand(tokens, variables)?);
            }
        }
    }
}

fn parse_operand(tokens: &mut VecDeque<Lexed>, variables: &[String]) -> Result<Operand, Failed> {
    let Some(Lexed { token, at }) = tokens.pop_front() else {
        return failed(usize::MAX, "missing value for command");
    };
    // Go tells the place of the second name of a chain, where there is one.
    let place = |tokens: &VecDeque<Lexed>| match tokens.front() {
        Some(Lexed { token: Token::Field(_), at }) => *at,
        _ => at,
    };
    Ok(match token {
        Token::Field(name) => {
            let at = place(tokens);
            let mut path = if name.is_empty() { Vec::new() } else { vec![name] };
            path.extend(parse_path(tokens));
            Operand::Field(path, at)
        }
        Token::Variable(name) => {
            known(&name, variables, at)?;
            let at = place(tokens);
            Operand::Variable(name, parse_path(tokens), at)
        }
        Token::Open => {
            let inner = parse_commands(tokens, variables)?;
            if tokens.pop_front().is_none_or(|lexed| lexed.token != Token::Close) {
                return failed(at, "unclosed left paren");
            }
            Operand::Group(Box::new(inner), parse_path(tokens))
        }
        Token::Text(text) => Operand::Constant(text.into()),
        Token::Integer(number) => Operand::Constant(number.into()),
        Token::Float(number) => Operand::Constant(number.into()),
        Token::Word(word) => match word.as_str() {
            "true" => Operand::Constant(true.into()),
            "false" => Operand::Constant(false.into()),
            "nil" => Operand::Nil,
            name if super::functions::is_known(name) => Operand::Function(word),
            name => return failed(at, format!("function {name:?} not defined")),
        },
        other => return failed(at, format!("unexpected {other:?} in operand")),
    })
}

/// `.A.B` right behind an operand, without white space.
fn parse_path(tokens: &mut VecDeque<Lexed>) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(Lexed { token: Token::Field(name), .. }) = tokens.front() {
        path.push(name.clone());
        tokens.pop_front();
    }
    path
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = |path: &[String]| path.iter().map(|name| format!(".{name}")).collect::<String>();
        match self {
            Self::Field(path, _) if path.is_empty() => f.write_str("."),
            Self::Field(path, _) => f.write_str(&chain(path)),
            Self::Variable(name, path, _) => write!(f, "${name}{}", chain(path)),
            Self::Group(pipeline, path) => {
                let commands: Vec<String> = pipeline.commands.iter().map(ToString::to_string).collect();
                write!(f, "({}){}", commands.join(" | "), chain(path))
            }
            Self::Function(name) => f.write_str(name),
            Self::Constant(Value::String(text)) => f.write_str(&quote(text)),
            Self::Constant(value) => write!(f, "{value}"),
            Self::Nil => f.write_str("nil"),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operands: Vec<String> = self.operands.iter().map(ToString::to_string).collect();
        f.write_str(&operands.join(" "))
    }
}
