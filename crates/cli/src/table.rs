//! Tables of text: columns as wide as their widest cell, two blanks between.

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table with the heads of its columns.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// Writes the table; the last column is not padded.
    pub(crate) fn render(&self) -> String {
        let heads: Vec<_> = self.columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        let lines: Vec<_> = std::iter::once(&heads).chain(&self.rows).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
        };
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(&self.columns).enumerate().map(|(column, (cell, (_, align)))| {
                let width = width(column).unwrap_or_default();
                match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_text_left_and_numbers_right() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right), ("why", Align::Left)]);
        table.row(["a".to_owned(), "1,000".to_owned(), "é".to_owned()]);
        table.row(["longer".to_owned(), "2".to_owned(), String::new()]);
        assert_eq!(table.render(), "name        n  why\na       1,000  é\nlonger      2\n");
    }
}
