//! The tables in the project's documents, between two marks.

use std::fs;
use std::path::Path;

use crate::figures::Figures;
use crate::{Error, tables};

const BEGIN: &str = "<!-- figures:begin -->\n";
const END: &str = "<!-- figures:end -->";

pub(crate) fn write(figures: &Figures, page: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(page)?;
    let (before, rest) = text.split_once(BEGIN).ok_or("the page has no mark where the figures begin")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no mark where the figures end")?;
    fs::write(page, format!("{before}{BEGIN}{}{END}{after}", tables::all(figures)))?;
    Ok(())
}
