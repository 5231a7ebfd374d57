//! Tables.

use std::fmt::Display;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::figures::Distribution;

/// A table; columns whose headings end with `#` hold numbers and are right-aligned.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let headings: Vec<&str> = header.iter().map(|name| name.trim_end_matches('#')).collect();
    table.load_style(UTF8_FULL_CONDENSED).set_header(headings);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for (number, name) in header.iter().enumerate() {
        if name.ends_with('#')
            && let Some(column) = table.column_mut(number)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A table of names and numbers.
pub fn figures(rows: &[(&str, &dyn Display)]) -> Table {
    let mut table = table(&["figure", "value#"]);
    for (name, value) in rows {
        table.add_row(vec![(*name).to_owned(), value.to_string()]);
    }
    table
}

/// A table of distributions.
pub fn distributions(rows: &[(&str, Distribution)]) -> Table {
    let mut table = table(&["by seed", "min#", "p5#", "p25#", "p50#", "p75#", "p95#", "max#"]);
    for (name, of) in rows {
        let mut cells = vec![(*name).to_owned()];
        cells
            .extend([of.min, of.p5, of.p25, of.p50, of.p75, of.p95, of.max].map(|n| n.to_string()));
        table.add_row(cells);
    }
    table
}

/// A number with a space between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
