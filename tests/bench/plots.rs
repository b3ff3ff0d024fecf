//! The figures as plots. They have a background of their own, so that they can be read on a light page and on a dark one.

use std::fs;
use std::path::Path;

use plotters::prelude::*;

use crate::Error;
use crate::figures::{Column, Figures};
use crate::growth::{columns, instances, pool, rate, records, rooms, tokens};

const SIZE: (u32, u32) = (860, 400);
/// Width of the legend.
const LEGEND: i32 = 240;

const FONT: &str = "sans-serif";
const BACKGROUND: RGBColor = RGBColor(250, 250, 248);
const TEXT: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(220, 220, 216);

/// Colours that remain different without red or green (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const GREY: RGBColor = RGBColor(130, 130, 130);
const BLACK: RGBColor = RGBColor(70, 70, 70);

struct Plot {
    file: &'static str,
    title: &'static str,
    x: &'static str,
    y: &'static str,
    lines: &'static [Line],
}

struct Line {
    name: &'static str,
    colour: RGBColor,
    table: &'static str,
    column: Column,
}

const fn line(name: &'static str, colour: RGBColor, table: &'static str, column: Column) -> Line {
    Line { name, colour, table, column }
}

const PLOTS: [Plot; 5] = [
    Plot {
        file: "latency-by-rate.svg",
        title: "Latency of a create: Pexip takes 50 ms for a call, storage 4 ms",
        x: "creates a second, one instance",
        y: "ms",
        lines: &[
            line("p99", ORANGE, rate::POOL_ROOMS, columns::CREATE_P99),
            line("p50", BLUE, rate::POOL_ROOMS, columns::CREATE_P50),
            line("floor, p99", GREY, rate::POOL_ROOMS, columns::CREATE_FLOOR_P99),
            line("floor, p50", BLACK, rate::POOL_ROOMS, columns::CREATE_FLOOR_P50),
        ],
    },
    Plot {
        file: "cpu-by-rate.svg",
        title: "Processor time of one request, with all work behind it",
        x: "requests a second, one instance",
        y: "µs",
        lines: &[
            line("create", BLUE, rate::POOL_ROOMS, columns::CREATE_CPU),
            line("agent's read", ORANGE, rate::POOL_ROOMS, columns::READ_CPU),
            line("create of an instant room", GREEN, rate::INSTANT_ROOMS, columns::CREATE_CPU),
            line("look-up of an instant room", PURPLE, rate::INSTANT_ROOMS, columns::LOOK_UP_CPU),
        ],
    },
    Plot {
        file: "cpu-by-size.svg",
        title: "Processor time of one request, while something grows",
        x: "how many",
        y: "µs",
        lines: &[
            line("create, by rooms in the pool", BLUE, pool::KEY, columns::CREATE_CPU),
            line("create, by rooms handed out", ORANGE, rooms::KEY, columns::CREATE_CPU),
            line("read, by tokens seen", GREEN, tokens::KEY, columns::READ_CPU),
            line("look-up, by instant rooms stored", PURPLE, records::KEY, columns::LOOK_UP_CPU),
        ],
    },
    Plot {
        file: "latency-by-size.svg",
        title: "Latency (p50) of one request, while something grows",
        x: "how many",
        y: "ms",
        lines: &[
            line("create, by rooms in the pool", BLUE, pool::KEY, columns::CREATE_P50),
            line("create, by rooms handed out", ORANGE, rooms::KEY, columns::CREATE_P50),
            line("create, by instances", BLACK, instances::KEY, columns::CREATE_P50),
            line("read, by tokens seen", GREEN, tokens::KEY, columns::READ_P50),
            line("look-up, by instant rooms stored", PURPLE, records::KEY, columns::LOOK_UP_P50),
        ],
    },
    Plot {
        file: "cpu-by-instances.svg",
        title: "Processor time of one of 40 creates a second, in all instances",
        x: "instances",
        y: "µs",
        lines: &[line("create", BLUE, instances::KEY, columns::CREATE_CPU)],
    },
];

/// Draws every plot of which something was measured.
pub(crate) fn draw(figures: &Figures, folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder)?;
    for plot in &PLOTS {
        let lines: Vec<_> = plot.lines.iter().map(|line| (line, figures.points(line.table, line.column))).collect();
        let lines: Vec<_> = lines.into_iter().filter(|(_, points)| points.len() > 1).collect();
        if !lines.is_empty() {
            let drawn = draw_one(plot, &lines, &figures.machine.to_string(), &folder.join(plot.file));
            drawn.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn draw_one(
    plot: &Plot,
    lines: &[(&Line, Vec<(f64, f64)>)],
    machine: &str,
    file: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (least, most) = points().fold((f64::MAX, 0.0_f64), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
    let highest = points().fold(0.0_f64, |highest, (_, y)| highest.max(*y));
    let style = |size: i32| (FONT, size).into_font().color(&TEXT);
    // A few doublings, or powers of ten.
    let base = if most / least < 100.0 { 2.0 } else { 10.0 };

    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&BACKGROUND)?;
    root.draw(&Text::new(plot.title, (16, 12), style(21)))?;
    root.draw(&Text::new(machine.to_owned(), (16, 36), style(15)))?;
    let mut chart = ChartBuilder::on(&root)
        .margin_top(62)
        .margin_right(LEGEND)
        .margin_left(10)
        .x_label_area_size(46)
        .y_label_area_size(58)
        .build_cartesian_2d((least..most).log_scale().base(base), 0.0..highest * 1.1)?;
    chart
        .configure_mesh()
        .x_desc(plot.x)
        .y_desc(plot.y)
        .label_style(style(15))
        .axis_desc_style(style(16))
        .axis_style(GRID)
        .bold_line_style(GRID)
        .max_light_lines(0)
        .y_labels(8)
        .x_label_formatter(&|x| grouped(*x))
        .y_label_formatter(&|y| grouped(*y))
        .draw()?;
    for (number, (Line { name, colour, .. }, points)) in (0..).zip(lines) {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3))?;
        // Beside the plot, where no line is.
        let (x, y) = (SIZE.0.cast_signed() - LEGEND + 14, 84 + 24 * number);
        root.draw(&PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(4)))?;
        root.draw(&Text::new(*name, (x + 26, y - 6), style(15)))?;
    }
    root.present()?;
    Ok(())
}

/// A whole number with a comma between thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
