//! Charts as SVG.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::budget::{Budgets, Counts};
use super::growth::{self, Series};
use super::record::Record;

const PINION: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const LINUX: RGBColor = RGBColor(0xc9, 0x5d, 0x38);
const BUDGET: RGBColor = RGBColor(0x44, 0x44, 0x44);

/// A row that has something to stand beside.
struct Bar {
    name: String,
    cost: f64,
    budget: Option<f64>,
    linux: f64,
}

/// Draws what `record` has figures for; returns the files.
pub fn draw(budgets: &Budgets, record: &Record, folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let bars: Vec<Bar> = budgets
        .rows
        .iter()
        .filter(|row| row.counts == Counts::Instructions)
        .filter_map(|row| {
            Some(Bar {
                name: format!("{} ({})", row.what, row.unit),
                cost: record.row(&row.id)?.cost(),
                budget: row.on(&record.board),
                linux: row.linux?,
            })
        })
        .collect();
    let mut drawn = Vec::new();
    if !bars.is_empty() {
        let path = folder.join(format!("{}-linux.svg", record.board));
        beside_linux(&bars, record, &path)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        drawn.push(path);
    }
    let all = growth::series(record);
    for (by, name) in [
        ("pages", "a page over pages a call"),
        ("regions", "over regions"),
    ] {
        let lines: Vec<&Series> = all.iter().filter(|series| series.by == by).collect();
        if lines.is_empty() {
            continue;
        }
        let path = folder.join(format!("{}-{by}.svg", record.board));
        let title = format!("Instructions {name}, {}", record.board);
        over(&lines, &title, &path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        drawn.push(path);
    }
    Ok(drawn)
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// Horizontal bars on a logarithmic scale, Linux's below Pinion's.
fn beside_linux(
    bars: &[Bar],
    record: &Record,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    const ROW: u32 = 58;
    const TOP: u32 = 70;
    const LEFT: i32 = 430;
    const WIDTH: u32 = 1000;
    let height = TOP + ROW * bars.len() as u32 + 50;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = bars
        .iter()
        .map(|bar| bar.linux.max(bar.cost))
        .fold(10.0, f64::max);
    let decades = most.log10().ceil().max(1.0);
    let scale = f64::from(WIDTH as i32 - LEFT - 70) / decades;
    let x = |cost: f64| LEFT + (cost.max(1.0).log10() * scale) as i32;
    area.draw(&Text::new(
        format!(
            "Instructions on {}, beside Linux (logarithmic)",
            record.board
        ),
        (20, 14),
        text(20),
    ))?;
    let bottom = (height - 40) as i32;
    for decade in 0..=decades as i32 {
        let at = x(10f64.powi(decade));
        area.draw(&PathElement::new(
            vec![(at, TOP as i32 - 8), (at, bottom)],
            RGBColor(0xdd, 0xdd, 0xdd),
        ))?;
        let style = text(13).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new(
            format!("{}", 10i64.pow(decade as u32)),
            (at, bottom + 6),
            style,
        ))?;
    }
    for (number, bar) in bars.iter().enumerate() {
        let top = (TOP + ROW * number as u32) as i32;
        let style = text(14).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(bar.name.clone(), (LEFT - 12, top + 22), style))?;
        for (cost, color, offset, name) in [
            (bar.cost, PINION, 4, "Pinion"),
            (bar.linux, LINUX, 24, "Linux"),
        ] {
            let corners = [(LEFT, top + offset), (x(cost), top + offset + 16)];
            area.draw(&Rectangle::new(corners, color.filled()))?;
            let label = format!(
                "{name} {}",
                if cost < 100.0 {
                    format!("{cost:.1}")
                } else {
                    format!("{cost:.0}")
                }
            );
            let style = text(12).pos(Pos::new(HPos::Left, VPos::Center));
            // Behind the budget's line, where that is just behind the bar.
            let line = bar.budget.filter(|_| offset == 4).map_or(0, x);
            let end = match line {
                line if line >= x(cost) && line < x(cost) + 90 => line,
                _ => x(cost),
            };
            area.draw(&Text::new(label, (end + 5, top + offset + 8), style))?;
        }
        if let Some(budget) = bar.budget {
            let line = vec![(x(budget), top), (x(budget), top + 22)];
            area.draw(&PathElement::new(line, BUDGET.stroke_width(2)))?;
        }
    }
    area.draw(&Text::new("| budget", (WIDTH as i32 - 110, 20), text(13)))?;
    area.present()?;
    Ok(())
}

/// Colors of lines.
const LINES: [RGBColor; 12] = [
    PINION,
    LINUX,
    RGBColor(0x2a, 0x9d, 0x4a),
    RGBColor(0x8a, 0x4f, 0xbf),
    RGBColor(0x44, 0x44, 0x44),
    RGBColor(0xb8, 0x86, 0x0b),
    RGBColor(0x12, 0x9c, 0xab),
    RGBColor(0xd8, 0x4a, 0x9b),
    RGBColor(0x80, 0x80, 0x80),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0x00, 0x2f, 0x6c),
    RGBColor(0x8f, 0xb0, 0x32),
];

/// Costs over what grows, both logarithmic; what each line is stands beside.
fn over(lines: &[&Series], title: &str, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const SIZE: (u32, u32) = (1080, 520);
    const CHART: u32 = 780;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(CHART);
    let all = || lines.iter().flat_map(|series| &series.points);
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(10.0, f64::max);
    let by = lines.first().map_or("", |series| series.by);
    let (x, y) = (1.0..most(|it| it.0) * 1.3, 1.0..most(|it| it.1) * 2.0);
    let mut chart = ChartBuilder::on(&left)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(x.log_scale(), y.log_scale())?;
    chart
        .configure_mesh()
        .x_desc(by)
        .y_desc("instructions a unit")
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y}"))
        .label_style(("sans-serif", 13))
        .draw()?;
    // The highest line first, as they come on the right side of the chart.
    let mut order: Vec<&&Series> = lines.iter().collect();
    let last = |series: &Series| series.points.last().map_or(0.0, |point| point.1);
    order.sort_by(|a, b| last(b).total_cmp(&last(a)));
    for (number, series) in order.into_iter().enumerate() {
        let color = LINES[number % LINES.len()];
        let points = series.points.clone();
        chart.draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(3))?;
        let at = 70 + 26 * number as i32;
        right.draw(&PathElement::new(
            vec![(6, at), (30, at)],
            color.stroke_width(3),
        ))?;
        let style = text(13).pos(Pos::new(HPos::Left, VPos::Center));
        let label = format!("{}: {}", series.what, super::table::shown(last(series)));
        right.draw(&Text::new(label, (38, at), style))?;
    }
    area.present()?;
    Ok(())
}
