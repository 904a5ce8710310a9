//! Builds the tree of a template.

use super::lexer::{Lexed, Piece, Token};
use super::print::quote;
use serde_json::Value;
use std::collections::VecDeque;
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

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, Failed> {
    let mut pieces: VecDeque<Piece> = pieces.into();
    match parse_list(&mut pieces)? {
        (nodes, Stop::Eof) => Ok(nodes),
        (_, Stop::End(at)) => failed(at, "unexpected {{end}}"),
        (_, Stop::Else(tokens)) => failed(place(&tokens), "unexpected {{else}}"),
    }
}

fn place(tokens: &[Lexed]) -> usize {
    tokens.first().map_or(0, |lexed| lexed.at)
}

fn parse_list(pieces: &mut VecDeque<Piece>) -> Result<(Vec<Node>, Stop), Failed> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.pop_front() {
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
            "if" | "range" | "with" => nodes.push(parse_block(keyword, at, rest(), pieces)?),
            "define" | "template" | "block" => {
                return failed(at, format!("{{{{{keyword}}}}} is not supported by dhow"));
            }
            _ => nodes.push(Node::Print(parse_pipeline(tokens)?)),
        }
    }
    Ok((nodes, Stop::Eof))
}

fn parse_block(
    keyword: &str,
    at: usize,
    tokens: Vec<Lexed>,
    pieces: &mut VecDeque<Piece>,
) -> Result<Node, Failed> {
    if tokens.is_empty() {
        return failed(at, format!("missing value for {keyword}"));
    }
    let pipeline = parse_pipeline(tokens)?;
    let (body, stop) = parse_list(pieces)?;
    let otherwise = match stop {
        Stop::End(_) => Vec::new(),
        Stop::Eof => return failed(usize::MAX, "unexpected EOF"),
        Stop::Else(tokens) if tokens.is_empty() => match parse_list(pieces)? {
            (nodes, Stop::End(_)) => nodes,
            (_, Stop::Else(_)) => return failed(at, "expected end; found {{else}}"),
            (_, Stop::Eof) => return failed(usize::MAX, "unexpected EOF"),
        },
        // `{{else if x}}` shares the `{{end}}` of the outer block.
        Stop::Else(tokens) => match tokens.first().map(|lexed| &lexed.token) {
            Some(Token::Word(word)) if word == "if" || word == "with" => {
                let word = word.clone();
                vec![parse_block(&word, place(&tokens), trim(tokens[1..].to_vec()), pieces)?]
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

fn parse_pipeline(tokens: Vec<Lexed>) -> Result<Pipeline, Failed> {
    let mut tokens: VecDeque<Lexed> = tokens.into();
    let (variables, declares) = parse_targets(&mut tokens);
    let pipeline = parse_commands(&mut tokens)?;
    match tokens.front() {
        None => Ok(Pipeline { variables, declares, ..pipeline }),
        Some(lexed) => failed(lexed.at, "unexpected \")\" in operand"),
    }
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
fn parse_commands(tokens: &mut VecDeque<Lexed>) -> Result<Pipeline, Failed> {
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
                command.operands.push(parse_operand(tokens)?);
            }
        }
    }
}

fn parse_operand(tokens: &mut VecDeque<Lexed>) -> Result<Operand, Failed> {
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
            let at = place(tokens);
            Operand::Variable(name, parse_path(tokens), at)
        }
        Token::Open => {
            let inner = parse_commands(tokens)?;
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
