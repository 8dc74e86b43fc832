//! Text tables in the layout that people script against.

use std::iter;

/// Between two columns.
const GAP: &str = "  ";

/// A table: every cell is as wide as the widest of its column.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table; one without rows has a blank one.
    pub(crate) fn new(columns: Vec<String>, rows: Vec<Vec<String>>) -> Self {
        let rows = if rows.is_empty() { vec![vec![String::new(); columns.len()]] } else { rows };
        Self { columns, rows }
    }

    /// Writes it, with a header or without.
    pub(crate) fn render(&self, has_headers: bool) -> String {
        let header = has_headers.then_some(&self.columns);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = header.into_iter().chain(&self.rows).filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
            })
            .collect();
        let mut out = String::new();
        if let Some(header) = header {
            line(&mut out, header.iter().map(String::as_str), &widths);
            let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            line(&mut out, dashes.iter().map(String::as_str), &widths);
        }
        for row in &self.rows {
            line(&mut out, row.iter().map(String::as_str), &widths);
        }
        out
    }
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize]) {
    let cells = cells.chain(iter::repeat("")).zip(widths);
    for (column, (cell, width)) in cells.enumerate() {
        if column > 0 {
            out.push_str(GAP);
        }
        out.push_str(cell);
        out.extend(iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn pads_each_column_to_its_widest_cell() {
        let table = Table::new(texts(&["name", "id"]), vec![texts(&["a", "12345"]), texts(&["longer", "1"])]);
        let expected = "name    id   \n------  -----\na       12345\nlonger  1    \n";
        assert_eq!(table.render(true), expected);
    }

    #[test]
    fn leaves_the_header_out_on_demand() {
        let table = Table::new(texts(&["name", "id"]), vec![texts(&["a", "1"])]);
        assert_eq!(table.render(false), "a  1\n");
    }

    #[test]
    fn shows_an_empty_list_as_a_blank_row() {
        let table = Table::new(texts(&["name", "id"]), Vec::new());
        assert_eq!(table.render(true), "name  id\n----  --\n        \n");
    }
}
