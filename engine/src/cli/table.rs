//! Tables as Docker prints them: Go's `tabwriter` with minimum width 10 (the padding of 3 included) and padding 3.

/// The least width of a column, its padding included.
const MIN_WIDTH: usize = 10;
/// Blanks between columns.
const PADDING: usize = 3;

/// Aligns rows of cells; the last cell of a row is not padded.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    align_at_least(MIN_WIDTH, rows)
}

/// Aligns rows in columns that are at least so wide, their padding included.
pub(crate) fn align_at_least(least: usize, rows: &[Vec<String>]) -> String {
    // As in tabwriter, a column ends where a row has no more cells: each block of neighbouring rows that
    // have the column is aligned by itself.
    let mut widths: Vec<Vec<usize>> = rows.iter().map(|row| vec![0; row.len().saturating_sub(1)]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < rows.len() {
            if widths[start].len() <= column {
                start += 1;
                continue;
            }
            let end = (start..rows.len()).find(|r| widths[*r].len() <= column).unwrap_or(rows.len());
            let widest = rows[start..end].iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let width = (widest + PADDING).max(least);
            for row in &mut widths[start..end] {
                row[column] = width;
            }
            start = end;
        }
    }
    let mut text = String::new();
    for (row, widths) in rows.iter().zip(&widths) {
        for (index, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if let Some(width) = widths.get(index) {
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        text.push('\n');
    }
    text
}

/// Cuts a text to so many characters, the last being `…`.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The twelve characters of an id that people read.
pub(crate) fn short_id(id: &str) -> String {
    short(id).to_owned()
}

/// The same, where the id is.
pub(crate) fn short(id: &str) -> &str {
    let bare = id.split_once(':').map_or(id, |(_, bare)| bare);
    bare.char_indices().nth(12).map_or(bare, |(end, _)| &bare[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let text = align(&[
            row(&["CONTAINER ID", "IMAGE", "PORTS", "NAMES"]),
            row(&["2fe2dfed3b5f", "bb:1", "", "a1"]),
        ]);
        assert_eq!(text, "CONTAINER ID   IMAGE     PORTS     NAMES\n2fe2dfed3b5f   bb:1                a1\n");
    }

    #[test]
    fn cuts() {
        assert_eq!(ellipsis("sleep 100", 20), "sleep 100");
        assert_eq!(ellipsis("/bin/sh -c 'while true; do", 20), "/bin/sh -c 'while t…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
