//! Charts as SVG.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::budget::{Budgets, Counts};
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
    let lines = by_pages(record);
    if !lines.is_empty() {
        let path = folder.join(format!("{}-pages.svg", record.board));
        over_pages(&lines, record, &path)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
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
            area.draw(&Text::new(label, (x(cost) + 5, top + offset + 8), style))?;
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

/// Rows `NAME-PAGES`, by name.
fn by_pages(record: &Record) -> Vec<(String, Vec<(f64, f64)>)> {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for row in &record.rows {
        let Some((name, pages)) = row.id.rsplit_once('-') else {
            continue;
        };
        let Ok(pages) = pages.parse::<u64>() else {
            continue;
        };
        if !["map", "unmap", "remap", "translate"].contains(&name) {
            continue;
        }
        let point = (pages as f64, row.cost());
        match lines.iter_mut().find(|(known, _)| known == name) {
            Some((_, points)) => points.push(point),
            None => lines.push((name.to_owned(), vec![point])),
        }
    }
    lines.retain(|(_, points)| points.len() > 1);
    for (_, points) in &mut lines {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

/// Cost of a page over pages of a call, both logarithmic.
fn over_pages(
    lines: &[(String, Vec<(f64, f64)>)],
    record: &Record,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (900, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let all = || lines.iter().flat_map(|(_, points)| points);
    let right = all().map(|point| point.0).fold(1.0, f64::max);
    let top = all().map(|point| point.1).fold(10.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!("Instructions a page over pages a call, {}", record.board),
            ("sans-serif", 20),
        )
        .margin(16)
        .x_label_area_size(46)
        .y_label_area_size(60)
        .build_cartesian_2d((1.0..right * 1.5).log_scale(), (1.0..top * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("pages a call")
        .y_desc("instructions a page")
        .label_style(("sans-serif", 13))
        .draw()?;
    for (number, (name, points)) in lines.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        chart
            .draw_series(LineSeries::new(points.clone(), color.stroke_width(2)).point_size(3))?
            .label(name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}
