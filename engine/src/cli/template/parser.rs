//! Builds the tree of a template.

use super::lexer::{Piece, Token};
use std::collections::VecDeque;

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
    pub(super) commands: Vec<Vec<Operand>>,
}

/// What a command consists of.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// `.`, `.A.B`
    Field(Vec<String>),
    /// `$x.A`
    Variable(String, Vec<String>),
    /// `(pipeline).A`
    Group(Box<Pipeline>, Vec<String>),
    /// A function's name.
    Function(String),
    /// A constant.
    Constant(serde_json::Value),
    /// `nil`
    Nil,
}

/// What ended a list of nodes.
enum Stop {
    End,
    Else(Vec<Token>),
    Eof,
}

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, String> {
    let mut pieces: VecDeque<Piece> = pieces.into();
    match parse_list(&mut pieces)? {
        (nodes, Stop::Eof) => Ok(nodes),
        (_, Stop::End) => Err("unexpected {{end}}".to_owned()),
        (_, Stop::Else(_)) => Err("unexpected {{else}}".to_owned()),
    }
}

fn parse_list(pieces: &mut VecDeque<Piece>) -> Result<(Vec<Node>, Stop), String> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.pop_front() {
        let tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => trim(tokens),
        };
        let keyword = match tokens.first() {
            Some(Token::Word(word)) => word.as_str(),
            Some(_) => "",
            None => return Err("missing value for command".to_owned()),
        };
        let rest = || trim(tokens[1..].to_vec());
        match keyword {
            "end" => return Ok((nodes, Stop::End)),
            "else" => return Ok((nodes, Stop::Else(rest()))),
            "break" => nodes.push(Node::Break),
            "continue" => nodes.push(Node::Continue),
            "if" | "range" | "with" => nodes.push(parse_block(keyword, rest(), pieces)?),
            "define" | "template" | "block" => {
                return Err(format!("{{{{{keyword}}}}} is not supported by dhow"));
            }
            _ => nodes.push(Node::Print(parse_pipeline(tokens)?)),
        }
    }
    Ok((nodes, Stop::Eof))
}

fn parse_block(keyword: &str, tokens: Vec<Token>, pieces: &mut VecDeque<Piece>) -> Result<Node, String> {
    if tokens.is_empty() {
        return Err(format!("missing value for {keyword}"));
    }
    let pipeline = parse_pipeline(tokens)?;
    let (body, stop) = parse_list(pieces)?;
    let otherwise = match stop {
        Stop::End => Vec::new(),
        Stop::Eof => return Err("unexpected EOF".to_owned()),
        Stop::Else(tokens) if tokens.is_empty() => match parse_list(pieces)? {
            (nodes, Stop::End) => nodes,
            (_, Stop::Else(_)) => return Err("expected end; found {{else}}".to_owned()),
            (_, Stop::Eof) => return Err("unexpected EOF".to_owned()),
        },
        // `{{else if x}}` shares the `{{end}}` of the outer block.
        Stop::Else(tokens) => match tokens.first() {
            Some(Token::Word(word)) if word == "if" || word == "with" => {
                let word = word.clone();
                vec![parse_block(&word, trim(tokens[1..].to_vec()), pieces)?]
            }
            _ => return Err("unexpected token in {{else}}".to_owned()),
        },
    };
    Ok(match keyword {
        "range" => Node::Range(pipeline, body, otherwise),
        "with" => Node::With(pipeline, body, otherwise),
        _ => Node::If(pipeline, body, otherwise),
    })
}

fn trim(mut tokens: Vec<Token>) -> Vec<Token> {
    while tokens.last() == Some(&Token::Space) {
        tokens.pop();
    }
    while tokens.first() == Some(&Token::Space) {
        tokens.remove(0);
    }
    tokens
}

fn parse_pipeline(tokens: Vec<Token>) -> Result<Pipeline, String> {
    let mut tokens: VecDeque<Token> = tokens.into();
    let (variables, declares) = parse_targets(&mut tokens);
    let pipeline = parse_commands(&mut tokens)?;
    match tokens.front() {
        None => Ok(Pipeline { variables, declares, ..pipeline }),
        Some(_) => Err("unexpected \")\" in operand".to_owned()),
    }
}

/// `$a, $b :=`, or nothing.
fn parse_targets(tokens: &mut VecDeque<Token>) -> (Vec<String>, bool) {
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Variable(name) => names.push(name.clone()),
            Token::Space | Token::Comma => {}
            Token::Declare | Token::Assign if !names.is_empty() => {
                let declares = *token == Token::Declare;
                tokens.drain(..=at);
                return (names, declares);
            }
            _ => break,
        }
    }
    (Vec::new(), false)
}

/// Commands up to the end or a closing parenthesis.
fn parse_commands(tokens: &mut VecDeque<Token>) -> Result<Pipeline, String> {
    let mut commands = Vec::new();
    let mut command = Vec::new();
    loop {
        match tokens.front() {
            None | Some(Token::Close) => {
                if command.is_empty() {
                    return Err("missing value for command".to_owned());
                }
                commands.push(command);
                return Ok(Pipeline { variables: Vec::new(), declares: false, commands });
            }
            Some(Token::Space) => {
                tokens.pop_front();
            }
            Some(Token::Pipe) => {
                tokens.pop_front();
                if command.is_empty() {
                    return Err("missing value for command".to_owned());
                }
                commands.push(std::mem::take(&mut command));
            }
            Some(_) => command.push(parse_operand(tokens)?),
        }
    }
}

fn parse_operand(tokens: &mut VecDeque<Token>) -> Result<Operand, String> {
    let Some(token) = tokens.pop_front() else { return Err("missing value for command".to_owned()) };
    Ok(match token {
        Token::Field(name) => {
            let mut path = if name.is_empty() { Vec::new() } else { vec![name] };
            path.extend(parse_path(tokens));
            Operand::Field(path)
        }
        Token::Variable(name) => Operand::Variable(name, parse_path(tokens)),
        Token::Open => {
            let inner = parse_commands(tokens)?;
            if tokens.pop_front() != Some(Token::Close) {
                return Err("unclosed left paren".to_owned());
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
            name => return Err(format!("function {name:?} not defined")),
        },
        other => return Err(format!("unexpected {other:?} in operand")),
    })
}

/// `.A.B` right behind an operand, without white space.
fn parse_path(tokens: &mut VecDeque<Token>) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(Token::Field(name)) = tokens.front() {
        path.push(name.clone());
        tokens.pop_front();
    }
    path
}
