//! The width and the colours of the terminal, and tables that fit it.

use std::io::IsTerminal;

use comfy_table::{ColumnConstraint, ContentArrangement, Table};

/// The columns that a narrow terminal does without, the least important one first. All of them are
/// in JSON.
const OPTIONAL: [&str; 9] = [
    "fingerprint",
    "kid",
    "priority",
    "reclaims",
    "retries",
    "created",
    "attempts",
    "expires",
    "lane",
];

/// The columns that are never wrapped, so that their text can be copied.
const WHOLE: [&str; 6] = ["id", "state", "created", "started", "expires", "accepted until"];

/// The least width of a column that is wrapped.
const LEAST: u16 = 6;

/// The width of standard output, if it is a terminal. `COLUMNS` takes precedence.
pub fn width() -> Option<u16> {
    let set = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    set.filter(|width| *width > 0).or_else(|| {
        let stdout = std::io::stdout();
        let is_terminal = stdout.is_terminal();
        let size = terminal_size::terminal_size_of(&stdout).filter(|_| is_terminal);
        size.map(|(width, _)| width.0)
    })
}

/// Whether standard output is a terminal that shows colours, and the user wants them.
fn has_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("NO_COLOR") {
        return false;
    }
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    is_set("CLICOLOR_FORCE") || (std::io::stdout().is_terminal() && !is_dumb)
}

/// The table as text with a line end. On a terminal it has the terminal's width and colours.
pub fn fitted(table: Table) -> String {
    let names = header(&table);
    let state = names.iter().position(|name| name == "state");
    let text = fit(table, width());
    match state.filter(|_| has_colours()) {
        Some(column) => coloured(&text, column),
        None => text,
    }
}

fn header(table: &Table) -> Vec<String> {
    let header = table.header().into_iter().flat_map(|row| row.cell_iter());
    header.map(comfy_table::Cell::content).collect()
}

/// Hides optional columns until the others fit, and wraps the rest.
fn fit(mut table: Table, width: Option<u16>) -> String {
    let Some(width) = width else { return format!("{table}\n") };
    let names = header(&table);
    let widths = table.column_max_content_widths();
    let mut shown = vec![true; names.len()];
    // Each column has three characters around it, and the table one more.
    let needed = |shown: &[bool], least: &dyn Fn(usize) -> u16| -> u32 {
        let columns = (0..widths.len()).filter(|column| shown[*column]);
        columns.map(|column| u32::from(least(column)) + 3).sum::<u32>() + 1
    };
    // Columns that can be wrapped need not have their whole width.
    let least = |column: usize| match WHOLE.contains(&names[column].as_str()) {
        true => widths[column],
        false => widths[column].min(2 * LEAST),
    };
    for name in OPTIONAL {
        if needed(&shown, &least) <= u32::from(width) {
            break;
        }
        if let Some(column) = names.iter().position(|known| known == name) {
            shown[column] = false;
        }
    }
    if needed(&shown, &|column| widths[column]) > u32::from(width) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for (number, name) in names.iter().enumerate() {
        let constraint = match (shown[number], WHOLE.contains(&name.as_str())) {
            (false, _) => ColumnConstraint::Hidden,
            (true, true) => ColumnConstraint::ContentWidth,
            (true, false) => continue,
        };
        if let Some(column) = table.column_mut(number) {
            column.set_constraint(constraint);
        }
    }
    format!("{table}\n")
}

/// Colours the states in a column of a table.
fn coloured(text: &str, column: usize) -> String {
    let lines = text.lines().map(|line| {
        let mut cells: Vec<String> = line.split('┆').map(str::to_owned).collect();
        if let Some(cell) = cells.get_mut(column) {
            let word = cell.trim_matches([' ', '│']).to_owned();
            if let Some(code) = colour(&word) {
                *cell = cell.replace(&word, &format!("\x1b[{code}m{word}\x1b[0m"));
            }
        }
        cells.join("┆") + "\n"
    });
    lines.collect()
}

/// The colour of a state.
fn colour(state: &str) -> Option<u8> {
    Some(match state {
        "completed" => 32,
        "failed" | "expired" => 31,
        "active" | "resumable" => 36,
        "suspended" | "delayed" | "rate_limited" | "waiting_children" => 33,
        "cancelled" | "skipped" => 90,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table;

    fn listed(width: Option<u16>) -> String {
        let mut table = table(&["id", "kind", "lane", "state", "priority", "attempts", "created"]);
        let id = "{fp:194}:e65a2b4d-ad16-5318-819d-b3a067e6bd8c";
        let created = "2026-11-29T22:32:02.000Z";
        table.add_row(vec![id, "resize", "default", "completed", "5", "1", created]);
        table.add_row(vec![id, &"long-kind-".repeat(9), "default", "failed", "5", "1", created]);
        fit(table, width)
    }

    #[test]
    fn tables_fit_the_terminal_and_ids_stay_whole() {
        for width in [80, 100, 120, 160, 250] {
            let text = listed(Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= usize::from(width), "{width}: {widest}\n{text}");
            assert_eq!(text.matches("e65a2b4d-ad16-5318-819d-b3a067e6bd8c").count(), 2, "{text}");
            assert!(text.contains("completed"), "{text}");
        }
        let whole = listed(None);
        assert!(whole.contains("created") && whole.contains(&"long-kind-".repeat(9)), "{whole}");
        assert!(listed(Some(130)).contains("T22:32:02.000Z"), "{}", listed(Some(130)));
        assert!(!listed(Some(80)).contains("created"), "{}", listed(Some(80)));
    }

    #[test]
    fn states_are_coloured_in_their_column_only() {
        let text = coloured(&listed(None).replace("resize", "failed"), 3);
        assert!(text.contains("\x1b[32mcompleted\x1b[0m"), "{text}");
        assert_eq!(text.matches("\x1b[31mfailed\x1b[0m").count(), 1, "{text}");
    }
}
