//! How costs grow: with pages, levels, regions, windows, partitions, threads.

use super::names;
use super::record::Record;

/// A change below this share of the least cost is none.
const FLAT: f64 = 0.02;

/// Costs of one operation for several sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The operation.
    pub what: String,
    /// What grows.
    pub by: &'static str,
    /// Sizes with their costs, smallest first; at least two.
    pub points: Vec<(f64, f64)>,
}

/// How a series goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not at all, or down.
    Flat,
    /// By the same for each doubling, or less and less.
    Logarithmic,
    /// By more and more for each doubling.
    Faster,
}

impl Verdict {
    /// For a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Logarithmic => "at most log n",
            Self::Faster => "FASTER than log n",
        }
    }
}

impl Series {
    /// Instructions more for each doubling, from each point to the next.
    pub fn slopes(&self) -> Vec<f64> {
        let pairs = self.points.windows(2);
        pairs
            .map(|pair| (pair[1].1 - pair[0].1) / (pair[1].0 / pair[0].0).log2())
            .collect()
    }

    /// Whether it may not grow faster than log n. A walk through a tree takes a
    /// step a level, and there are five at the most.
    pub fn is_guarded(&self) -> bool {
        self.by != "levels"
    }

    /// Two points tell flat from not; what is logarithmic takes three.
    pub fn verdict(&self) -> Verdict {
        let first = self.points.first().map_or(0.0, |point| point.1);
        let most = self.points.iter().map(|point| point.1).fold(0.0, f64::max);
        if most <= first * (1.0 + FLAT) {
            return Verdict::Flat;
        }
        let slopes = self.slopes();
        // A slope that is within what counts as flat does not count as less.
        let least = first * FLAT;
        let grows = slopes
            .windows(2)
            .any(|pair| pair[1] > 2.0 * pair[0].max(least));
        match grows {
            true => Verdict::Faster,
            false => Verdict::Logarithmic,
        }
    }

    /// The verdict in words.
    pub fn grows(&self) -> &'static str {
        match self.is_guarded() {
            true => self.verdict().name(),
            false => "by level",
        }
    }

    /// `1: 72, 16: 200, 256: 340`.
    pub fn costs(&self) -> String {
        let all = self.points.iter();
        let all = all.map(|(n, cost)| format!("{n}: {}", super::table::shown(*cost)));
        all.collect::<Vec<_>>().join(", ")
    }
}

/// All series of a record: rows that are measured for several sizes.
pub fn series(record: &Record) -> Vec<Series> {
    let mut found: Vec<Series> = Vec::new();
    let mut add = |what: String, by: &'static str, point: (f64, f64)| match found
        .iter_mut()
        .find(|it| it.what == what && it.by == by)
    {
        Some(series) => series.points.push(point),
        None => found.push(Series {
            what,
            by,
            points: vec![point],
        }),
    };
    for row in &record.rows {
        if let Some((base, dimension, number)) = names::split(&row.id) {
            if let Some(one) = record.row(base) {
                let what = names::in_words(base).0;
                add(what.clone(), dimension, (1.0, one.cost()));
                add(what, dimension, (number as f64, row.cost()));
            }
        } else if let Some((what @ ("map" | "unmap" | "remap"), pages)) = row.id.split_once('-')
            && let Ok(pages) = pages.parse::<u32>()
        {
            add(
                format!("{what}, a page of a call"),
                "pages",
                (pages.into(), row.cost()),
            );
        }
    }
    for series in &mut found {
        series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        series.points.dedup();
    }
    found.retain(|series| series.points.len() > 1);
    found.sort_by_key(|series| series.by);
    found
}

#[cfg(test)]
mod tests {
    use super::super::record::Row;
    use super::*;

    fn of(costs: &[(f64, f64)]) -> Verdict {
        let series = Series {
            what: String::new(),
            by: "regions",
            points: costs.to_vec(),
        };
        series.verdict()
    }

    #[test]
    fn a_series_is_flat_logarithmic_or_faster() {
        assert_eq!(of(&[(1.0, 100.0), (256.0, 101.0)]), Verdict::Flat);
        assert_eq!(of(&[(1.0, 100.0), (256.0, 40.0)]), Verdict::Flat);
        let logarithmic = [(1.0, 100.0), (16.0, 140.0), (256.0, 180.0)];
        assert_eq!(of(&logarithmic), Verdict::Logarithmic);
        let linear = [(1.0, 100.0), (16.0, 115.0), (256.0, 355.0)];
        assert_eq!(of(&linear), Verdict::Faster);
        let late = [(1.0, 100.0), (16.0, 100.0), (256.0, 355.0)];
        assert_eq!(of(&late), Verdict::Faster);
    }

    #[test]
    fn rows_of_several_sizes_are_one_series() {
        let row = |id: &str, median| Row {
            id: id.into(),
            units: 1,
            min: median,
            median,
            mmio: None,
            opal: None,
        };
        let record = Record {
            rows: vec![
                row("map-1", 100),
                row("map-16", 20),
                row("map-1-regions-256", 140),
                row("map-1-regions-16", 120),
                row("map-7-threads-2", 1),
            ],
            ..Record::default()
        };
        let found = series(&record);
        let costs: Vec<_> = found.iter().map(|it| (it.by, it.costs())).collect();
        assert_eq!(
            costs,
            [
                ("pages", "1: 100, 16: 20".to_owned()),
                ("regions", "1: 100, 16: 120, 256: 140".to_owned()),
            ]
        );
    }
}
