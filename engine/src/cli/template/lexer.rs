//! Cuts a template into literal text and the tokens between `{{` and `}}`.

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Copied as it is.
    Text(String),
    /// The inside of `{{ }}`.
    Action(Vec<Lexed>),
}

/// A token and where it begins: bytes from the template's start.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lexed {
    pub(super) token: Token,
    pub(super) at: usize,
}

/// A word or sign within an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.Name`; a lone dot has an empty name.
    Field(String),
    /// `$`, `$name`.
    Variable(String),
    /// A function or keyword.
    Word(String),
    /// A quoted string, unescaped.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A number with decimals.
    Float(f64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
    /// White space, which separates `.A .B` from `.A.B`.
    Space,
}

/// Cuts a template up; an error carries the line that it is in.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>, (usize, String)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let Some(start) = rest.find("{{") else {
            push_text(&mut pieces, rest, trim_next, false);
            return Ok(pieces);
        };
        let (before, after) = rest.split_at(start);
        let mut inside = &after[2..];
        // `{{- ` eats the white space before it, ` -}}` after it.
        let trim_before = inside.starts_with('-') && inside[1..].starts_with(char::is_whitespace);
        if trim_before {
            inside = &inside[1..];
        }
        push_text(&mut pieces, before, trim_next, trim_before);
        if let Some(comment) = inside.trim_start().strip_prefix("/*") {
            let fail = |why: &str| (text.len(), why.to_owned());
            let end = comment.find("*/").ok_or_else(|| fail("unclosed comment"))?;
            let tail = comment[end + 2..].trim_start();
            trim_next = tail.starts_with("-}}");
            let tail = tail.strip_prefix('-').unwrap_or(tail);
            rest = tail.strip_prefix("}}").ok_or_else(|| fail("comment ends before closing delimiter"))?;
            continue;
        }
        let (tokens, tail, trim_after) = lex_action(text.len(), inside)?;
        pieces.push(Piece::Action(tokens));
        trim_next = trim_after;
        rest = tail;
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The tokens up to `}}`, what follows it, and whether its white space is eaten. `whole` is the template's length.
fn lex_action(whole: usize, text: &str) -> Result<(Vec<Lexed>, &str, bool), (usize, String)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after, false));
        }
        let at = whole - rest.len();
        let Some(first) = rest.chars().next() else { return Err((at, "unclosed action".to_owned())) };
        if first.is_whitespace() {
            let after = rest.trim_start();
            if let Some(after) = after.strip_prefix("-}}") {
                return Ok((tokens, after, true));
            }
            tokens.push(Lexed { token: Token::Space, at });
            rest = after;
            continue;
        }
        let (token, after) = lex_token(first, rest).map_err(|why| (at, why))?;
        tokens.push(Lexed { token, at });
        rest = after;
    }
}

fn lex_token(first: char, rest: &str) -> Result<(Token, &str), String> {
    let sign = |token: Token, length: usize| Ok((token, &rest[length..]));
    match first {
        '|' => sign(Token::Pipe, 1),
        '(' => sign(Token::Open, 1),
        ')' => sign(Token::Close, 1),
        ',' => sign(Token::Comma, 1),
        ':' if rest.starts_with(":=") => sign(Token::Declare, 2),
        '=' => sign(Token::Assign, 1),
        '"' => lex_quoted(rest),
        '`' => {
            let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
            Ok((Token::Text(rest[1..=end].to_owned()), &rest[end + 2..]))
        }
        '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => lex_number(rest),
        '.' => {
            let length = word_length(&rest[1..]);
            Ok((Token::Field(rest[1..=length].to_owned()), &rest[length + 1..]))
        }
        '$' => {
            let length = word_length(&rest[1..]);
            Ok((Token::Variable(rest[1..=length].to_owned()), &rest[length + 1..]))
        }
        '+' | '-' | '0'..='9' => lex_number(rest),
        c if c.is_alphabetic() || c == '_' => {
            let length = word_length(rest);
            Ok((Token::Word(rest[..length].to_owned()), &rest[length..]))
        }
        c => Err(format!("unexpected {c:?} in command")),
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn lex_number(text: &str) -> Result<(Token, &str), String> {
    let signed = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = text.len() - signed.len();
    let length = sign + signed.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(signed.len());
    let (number, rest) = text.split_at(length);
    let plain = number.trim_start_matches('+');
    if let Ok(integer) = plain.parse() {
        return Ok((Token::Integer(integer), rest));
    }
    plain
        .parse()
        .map(|float| (Token::Float(float), rest))
        .map_err(|_| format!("bad number syntax: {number:?}"))
}

fn lex_quoted(text: &str) -> Result<(Token, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(value), &text[at + 1..])),
            '\\' => {
                let (_, escaped) = chars.next().ok_or("unterminated quoted string")?;
                value.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '"' | '\'' => escaped,
                    'x' | 'u' => {
                        let digits = if escaped == 'x' { 2 } else { 4 };
                        let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        u32::from_str_radix(&hex, 16)
                            .ok()
                            .and_then(char::from_u32)
                            .ok_or("invalid escape in string")?
                    }
                    other => return Err(format!("unknown escape \\{other} in string")),
                });
            }
            '\n' => break,
            other => value.push(other),
        }
    }
    Err("unterminated quoted string".to_owned())
}
