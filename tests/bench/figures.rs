//! Everything measured.

use serde_json::{Map, Value, json};

use crate::machine::Machine;

pub(crate) struct Figures {
    pub(crate) machine: Machine,
    pub(crate) tables: Vec<Table>,
}

/// How costs grow with one thing.
pub(crate) struct Table {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    /// What grows.
    pub(crate) size: &'static str,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) size: u32,
    pub(crate) cells: Vec<(Column, f64)>,
}

/// A figure of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) heading: &'static str,
    pub(crate) digits: usize,
}

impl Figures {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, tables: Vec::new() }
    }

    pub(crate) fn add(&mut self, tables: Vec<Table>) {
        self.tables.extend(tables);
    }

    /// A column of a table as points of a plot; empty if it was not measured.
    pub(crate) fn points(&self, table: &str, column: Column) -> Vec<(f64, f64)> {
        let table = self.tables.iter().filter(|measured| measured.key == table);
        table.flat_map(|table| &table.rows).filter_map(|row| Some((f64::from(row.size), row.cell(column)?))).collect()
    }

    pub(crate) fn json(&self) -> Value {
        let Machine { processor, cores, gibibytes, commit } = &self.machine;
        let tables: Map<_, _> = self.tables.iter().map(|table| (table.key.to_owned(), table.json())).collect();
        json!({
            "machine": { "processor": processor, "cores": cores, "memory_gib": gibibytes },
            "commit": commit,
            "tables": tables,
        })
    }
}

impl Table {
    fn json(&self) -> Value {
        let row = |row: &Row| {
            let cells = row.cells.iter().map(|(column, value)| (column.key.to_owned(), json!(value)));
            Value::Object(std::iter::once(("size".to_owned(), json!(row.size))).chain(cells).collect())
        };
        json!({ "size": self.size, "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

impl Row {
    pub(crate) fn cell(&self, column: Column) -> Option<f64> {
        self.cells.iter().find(|(of, _)| *of == column).map(|(_, value)| *value)
    }
}

impl Column {
    pub(crate) const fn new(key: &'static str, heading: &'static str, digits: usize) -> Self {
        Self { key, heading, digits }
    }
}
