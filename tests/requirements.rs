//! The table row -> test in `docs/requirements.md` names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

/// The sources under `folder`, at any depth.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The test functions of `text`: each `fn` whose attributes hold `#[test]`.
fn tests(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if marked {
                found.push(rest.split(['(', '<']).next().unwrap());
            }
            marked = false;
        }
    }
    found
}

/// Whether `file` is the module, or the test program, called `name`.
fn is_called(file: &Path, name: &str) -> bool {
    file.file_stem().is_some_and(|stem| stem == name)
        || file.components().any(|part| part.as_os_str() == name)
}

/// What is wrong with `document`; `files` are paths and their texts.
fn wrong_names(document: &str, files: &[(PathBuf, String)]) -> Vec<String> {
    let known = |name: &str| {
        if name.contains(' ') {
            // A command.
            return true;
        }
        if name.contains('/') {
            return [".", "src", "tests"]
                .iter()
                .any(|base| Path::new(base).join(name).exists());
        }
        let (module, test) = name.rsplit_once("::").unwrap_or(("", name));
        let mut modules = module.split("::").filter(|part| !part.is_empty());
        files.iter().any(|(path, text)| {
            modules.clone().all(|part| is_called(path, part)) && tests(text).contains(&test)
        }) || (modules.next().is_none() && files.iter().any(|(path, _)| is_called(path, name)))
    };
    document
        .lines()
        .filter(|line| !line.starts_with("|---"))
        .flat_map(|line| {
            line.split('`')
                .skip(1)
                .step_by(2)
                .filter(|name| !known(name))
                .map(move |name| format!("{name}, in: {line}"))
        })
        .collect()
}

fn files() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    sources(Path::new("tests"), &mut paths);
    sources(Path::new("src"), &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

#[test]
fn each_test_that_the_requirements_name_exists() {
    let document = fs::read_to_string("docs/requirements.md").unwrap();
    assert!(document.contains("| A33 |") && document.contains("| F30 |"));
    assert_eq!(wrong_names(&document, &files()), Vec::<String>::new());
}

#[test]
fn a_name_without_a_test_is_found() {
    let files = files();
    for wrong in [
        "a34_no_such_test",
        "pci_scan::a2_native_and_papr_operations_work_on_one_table",
        "simple",
        "tests/none.rs",
    ] {
        let row = format!("| A34 | something | `{wrong}` |");
        assert_eq!(wrong_names(&row, &files).len(), 1, "{wrong}");
    }
}
