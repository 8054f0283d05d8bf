//! What the image prints of a measurement: lines that begin with `bench:`.

use anyhow::{Context, Result, bail};

use super::record::{Record, Row};

/// Adds what a line says to `record`, with `suffix` behind a row's name; true
/// for the last one. A row that is there already stays as it is.
///
/// # Errors
/// The line is damaged, or the image says that something failed.
pub fn take(line: &str, suffix: &str, record: &mut Record) -> Result<bool> {
    let Some(at) = line.find("bench: ") else {
        return Ok(false);
    };
    let said = line[at + "bench: ".len()..].trim();
    let (kind, rest) = said.split_once(' ').unwrap_or((said, ""));
    match kind {
        "done" => return Ok(true),
        "calibration" => {
            record.calibration = (number(rest, "expected")?, number(rest, "counted")?);
        }
        "row" => record.add(Row {
            id: field(rest, "id").context("a row without id")?.to_owned() + suffix,
            units: number(rest, "units")?,
            min: number(rest, "min")?,
            median: number(rest, "median")?,
            mmio: field(rest, "mmio")
                .map(|_| number(rest, "mmio"))
                .transpose()?,
            opal: field(rest, "opal")
                .map(|_| number(rest, "opal"))
                .transpose()?,
        }),
        "skip" => println!("  not measured: {rest}"),
        _ => bail!("the image says: {said}"),
    }
    Ok(false)
}

fn field<'l>(rest: &'l str, name: &str) -> Option<&'l str> {
    let mut words = rest.split_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn number(rest: &str, name: &str) -> Result<u64> {
    let text = field(rest, name).with_context(|| format!("{name} is missing in {rest:?}"))?;
    text.parse()
        .with_context(|| format!("{name} is no number in {rest:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_calibration_and_end_are_read() {
        let mut record = Record::default();
        let lines = [
            "Pinion 0.1.0",
            "bench: calibration expected=2000 counted=2001",
            "bench: row id=map-1 units=1 min=150 median=151 mmio=5",
        ];
        for line in lines {
            assert!(!take(line, "", &mut record).unwrap());
        }
        assert!(take("bench: done", "", &mut record).unwrap());
        assert_eq!(record.calibration, (2000, 2001));
        assert_eq!(
            (record.rows[0].cost(), record.rows[0].mmio),
            (151.0, Some(5))
        );
        assert_eq!(record.rows[0].opal, None);
        let again = "bench: row id=map-1 units=1 min=1 median=1";
        take(again, "", &mut record).unwrap();
        take(again, "-threads-4", &mut record).unwrap();
        let ids: Vec<&str> = record.rows.iter().map(|row| &*row.id).collect();
        assert_eq!(ids, ["map-1", "map-1-threads-4"]);
        assert_eq!(record.rows[0].cost(), 151.0);
    }

    #[test]
    fn a_failure_and_damage_are_errors() {
        let mut record = Record::default();
        assert!(take("bench: failed map-1: frozen", "", &mut record).is_err());
        assert!(take("bench: row id=x units=1 min=1", "", &mut record).is_err());
        assert!(take("bench: row id=x units=1 min=1 median=many", "", &mut record).is_err());
    }
}
