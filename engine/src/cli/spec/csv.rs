//! Values between commas, as `--mount` and `--network` take them.

/// Fields between commas; a field in double quotes may hold commas, and a quote twice is a quote.
pub(super) fn split_csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next() {
                    None => {
                        return Err(format!(
                            "parse error on {text:?}: extraneous or missing \" in quoted-field"
                        ));
                    }
                    Some((_, '"')) if chars.next_if(|(_, c)| *c == '"').is_some() => field.push('"'),
                    Some((at, '"')) => break at + 1,
                    Some((_, c)) => field.push(c),
                }
            };
            fields.push(field);
            match quoted[end..].strip_prefix(',') {
                Some(after) => rest = after,
                None if quoted[end..].is_empty() => return Ok(fields),
                None => {
                    return Err(format!("parse error on {text:?}: extraneous or missing \" in quoted-field"));
                }
            }
            continue;
        }
        match rest.split_once(',') {
            Some((field, after)) => {
                fields.push(field.to_owned());
                rest = after;
            }
            None => {
                fields.push(rest.to_owned());
                return Ok(fields);
            }
        }
    }
}
