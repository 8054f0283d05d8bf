//! Names of rows, as the image prints them, in words.

/// Dimensions by which a row is measured again: what its name ends in, with a
/// number, and what that is called.
pub const DIMENSIONS: [(&str, &str); 5] = [
    ("levels", "levels"),
    ("regions", "regions"),
    ("windows", "windows"),
    ("partitions", "partitions"),
    ("threads", "threads"),
];

/// A row's name without `-DIMENSION-NUMBER` at its end, and that.
pub fn split(id: &str) -> Option<(&str, &'static str, u64)> {
    let (rest, number) = id.rsplit_once('-')?;
    let number = number.parse().ok()?;
    let (base, dimension) = rest.rsplit_once('-')?;
    let known = DIMENSIONS.iter().find(|(name, _)| *name == dimension)?;
    Some((base, known.1, number))
}

/// What a row measures, and what one unit of it is.
pub fn in_words(id: &str) -> (String, &'static str) {
    if let Some((base, dimension, number)) = split(id) {
        let (what, unit) = in_words(base);
        return (format!("{what}, {number} {dimension}"), unit);
    }
    for (end, size) in [("-64k", "64K"), ("-2m", "2M"), ("-1g", "1G")] {
        if let Some(base) = id.strip_suffix(end) {
            let (what, unit) = in_words(base);
            return (format!("{what} of {size}"), unit);
        }
    }
    if let Some(rest) = id.strip_prefix("list-") {
        return (list(rest), "TCE");
    }
    if let Some(rest) = id.strip_prefix("window-") {
        return window(rest);
    }
    let plural = |pages: &str| match pages {
        "1" => "1 page".to_owned(),
        pages => format!("{pages} pages"),
    };
    match id.split_once('-') {
        Some((what @ ("map" | "unmap" | "remap"), pages)) => {
            (format!("{what} {}", plural(pages)), "page")
        }
        _ => match id {
            "translate" => ("translate the address of 1 page".to_owned(), "page"),
            "null-hcall" => ("null hcall".to_owned(), "call"),
            "full-exit" => ("full exit and entry".to_owned(), "exit"),
            "world-switch" => (
                "world switch to another partition, flushes included".to_owned(),
                "switch",
            ),
            "h-put-tce-unmap" => ("H_PUT_TCE that unmaps, kill included".to_owned(), "call"),
            "h-get-tce" => ("H_GET_TCE".to_owned(), "call"),
            "kill" => ("kill alone".to_owned(), "kill"),
            "interrupt-latency" => ("interrupt, trigger to handler".to_owned(), "interrupt"),
            "interrupt" => ("interrupt, trigger to end".to_owned(), "interrupt"),
            other => (other.to_owned(), "unit"),
        },
    }
}

fn list(rest: &str) -> String {
    match rest.split_once("-512") {
        Some((what, "-empty")) => format!("list: {what} 512 empty entries"),
        Some((what, _)) => format!("list: {what} 512 scattered pages"),
        None => rest.to_owned(),
    }
}

fn window(rest: &str) -> (String, &'static str) {
    let (step, filling) = rest.split_once('-').unwrap_or((rest, ""));
    let filling = match filling {
        "" => "empty",
        "dense" => "16384 pages side by side",
        "sparse" => "512 pages in leaves of their own",
        other => other,
    };
    let unit = match (step, filling) {
        ("fill" | "empty" | "memory", _) => "page",
        ("remove", "empty") => "window",
        ("remove", _) => "page",
        _ => "window",
    };
    let step = match step {
        "memory" => "table memory",
        "fill" => "map all",
        "empty" => "unmap all",
        step => step,
    };
    (format!("window, {filling}: {step}"), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_in_words() {
        for (id, words, unit) in [
            ("map-1", "map 1 page", "page"),
            (
                "unmap-16384-levels-3",
                "unmap 16384 pages, 3 levels",
                "page",
            ),
            ("remap-16-2m", "remap 16 pages of 2M", "page"),
            (
                "list-map-512-regions-256",
                "list: map 512 scattered pages, 256 regions",
                "TCE",
            ),
            (
                "list-unmap-512-empty",
                "list: unmap 512 empty entries",
                "TCE",
            ),
            (
                "window-memory-sparse-levels-3",
                "window, 512 pages in leaves of their own: table memory, 3 levels",
                "page",
            ),
            ("window-remove", "window, empty: remove", "window"),
            ("something", "something", "unit"),
        ] {
            assert_eq!(in_words(id), (words.to_owned(), unit), "{id}");
        }
        assert_eq!(split("map-1-threads-4"), Some(("map-1", "threads", 4)));
        assert_eq!(split("map-16384"), None);
        assert_eq!(split("list-map-512"), None);
    }
}
