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
    Cells::of(rows.iter().map(|row| row.iter().map(String::as_str))).align(least)
}

/// The same for a text: tabs between cells, a newline after each row.
pub(crate) fn align_text(text: &str) -> String {
    Cells::of(text.split_terminator('\n').map(|line| line.split('\t'))).align(MIN_WIDTH)
}

/// All cells, row by row.
struct Cells<'a> {
    texts: Vec<&'a str>,
    /// Where in them each row begins, and where the last one ends.
    starts: Vec<usize>,
}

impl<'a> Cells<'a> {
    fn of(rows: impl Iterator<Item = impl Iterator<Item = &'a str>>) -> Self {
        let mut cells = Self { texts: Vec::new(), starts: vec![0] };
        for row in rows {
            cells.texts.extend(row);
            cells.starts.push(cells.texts.len());
        }
        cells
    }

    /// The cell at a place, unless it is the last of its row or past it.
    fn padded(&self, row: usize, column: usize) -> Option<usize> {
        let at = self.starts[row] + column;
        (at + 1 < self.starts[row + 1]).then_some(at)
    }

    fn align(&self, least: usize) -> String {
        let rows = self.starts.len() - 1;
        let lengths: Vec<usize> = self.texts.iter().map(|text| text.chars().count()).collect();
        let mut widths = vec![0; self.texts.len()];
        let columns = self.starts.windows(2).map(|row| row[1] - row[0]).max().unwrap_or(0);
        // As in tabwriter, a column ends where a row has no more cells: each block of neighbouring rows that
        // have the column is aligned by itself.
        for column in 0..columns {
            let mut start = 0;
            while start < rows {
                let block = || (start..rows).map_while(|row| self.padded(row, column));
                let widest = block().map(|at| lengths[at]).max();
                let mut end = start;
                for at in block() {
                    widths[at] = (widest.unwrap_or(0) + PADDING).max(least);
                    end += 1;
                }
                start = end.max(start + 1);
            }
        }
        let mut text = String::with_capacity(widths.iter().sum::<usize>() + self.texts.len() * least);
        for row in self.starts.windows(2) {
            for at in row[0]..row[1] {
                text.push_str(self.texts[at]);
                text.extend(std::iter::repeat_n(' ', widths[at].saturating_sub(lengths[at])));
            }
            text.push('\n');
        }
        text
    }
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
    fn a_column_ends_where_a_row_has_no_more_cells() {
        let text = "a\tb\tc\n\nlonger-than-ten\tx\n1\t2\t3\n";
        assert_eq!(
            align_text(text),
            "a         b         c\n\nlonger-than-ten   x\n1                 2         3\n"
        );
        assert_eq!(align_text(""), "");
    }

    #[test]
    fn cuts() {
        assert_eq!(ellipsis("sleep 100", 20), "sleep 100");
        assert_eq!(ellipsis("/bin/sh -c 'while true; do", 20), "/bin/sh -c 'while t…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
