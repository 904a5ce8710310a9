//! On which line each key of a JSON text stands. The text is known to be JSON; this only counts.

use std::collections::BTreeMap;

/// Lines by path: `log-opts.max-size`.
#[derive(Debug, Default)]
pub(super) struct Lines {
    by_path: BTreeMap<String, usize>,
    doubled: Option<(String, usize)>,
}

/// What encloses a place in the text.
enum Level {
    /// An object, and the key whose value comes.
    Object(Option<String>),
    List,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        let mut levels: Vec<Level> = Vec::new();
        let mut line = 1;
        let mut characters = text.char_indices();
        while let Some((start, character)) = characters.next() {
            match character {
                '\n' => line += 1,
                '{' => levels.push(Level::Object(None)),
                '[' => levels.push(Level::List),
                '}' | ']' => {
                    levels.pop();
                }
                ',' => {
                    if let Some(Level::Object(key)) = levels.last_mut() {
                        *key = None;
                    }
                }
                '"' => {
                    let mut end = start;
                    let mut escaped = false;
                    for (at, inner) in characters.by_ref() {
                        if inner == '"' && !escaped {
                            end = at;
                            break;
                        }
                        escaped = inner == '\\' && !escaped;
                    }
                    let is_key = matches!(levels.last(), Some(Level::Object(None)));
                    let word = text.get(start..=end).and_then(|raw| serde_json::from_str::<String>(raw).ok());
                    if let (true, Some(word)) = (is_key, word) {
                        lines.add(&levels, &word, line);
                        if let Some(Level::Object(key)) = levels.last_mut() {
                            *key = Some(word);
                        }
                    }
                }
                _ => {}
            }
        }
        lines
    }

    fn add(&mut self, levels: &[Level], word: &str, line: usize) {
        let mut path: Vec<&str> = levels
            .iter()
            .filter_map(|level| match level {
                Level::Object(key) => key.as_deref(),
                Level::List => Some("[]"),
            })
            .collect();
        path.push(word);
        let in_list = path.contains(&"[]");
        let path = path.join(".");
        if self.by_path.insert(path.clone(), line).is_some() && !in_list && self.doubled.is_none() {
            self.doubled = Some((path, line));
        }
    }

    /// The line of a key.
    pub(super) fn line(&self, path: &str) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// A key that is there twice: of two values one would be ignored.
    pub(super) fn doubled(&self) -> Option<(&str, usize)> {
        self.doubled.as_ref().map(|(path, line)| (path.as_str(), *line))
    }
}
