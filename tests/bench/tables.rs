//! The figures as tables of Markdown, which can be read in a terminal as well.

use crate::figures::{Figures, Table};

pub(crate) fn all(figures: &Figures) -> String {
    let tables: String = figures.tables.iter().map(one).collect();
    format!("\n{}.\n{tables}\n", figures.machine)
}

fn one(table: &Table) -> String {
    let Some(first) = table.rows.first() else { return String::new() };
    let mut lines = vec![
        std::iter::once(table.size.to_owned())
            .chain(first.cells.iter().map(|(column, _)| column.heading.to_owned()))
            .collect(),
        std::iter::once("---:".to_owned()).chain(first.cells.iter().map(|_| "---:".to_owned())).collect::<Vec<_>>(),
    ];
    lines.extend(table.rows.iter().map(|row| {
        let cells = row.cells.iter().map(|(column, value)| format!("{value:.*}", column.digits));
        std::iter::once(row.size.to_string()).chain(cells).collect()
    }));
    let lines: Vec<_> = lines.iter().map(|cells| format!("| {} |", cells.join(" | "))).collect();
    format!("\n### {}\n\n{}\n", table.title, lines.join("\n"))
}
