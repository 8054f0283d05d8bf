//! The layer rule: which module imports which, held against `tools/layers.toml`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use serde::Deserialize;

use super::Findings;
use super::source::{SourceFile, without_tests};

/// Where the table is.
const FILE: &str = "tools/layers.toml";

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layers {
    /// Module to the modules it may import; `*` is all.
    imports: BTreeMap<String, BTreeSet<String>>,
    /// Where unsafe code may be.
    pub unsafe_code: UnsafeCode,
}

/// Where unsafe code may be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsafeCode {
    /// Modules.
    pub allowed: BTreeSet<String>,
}

impl Layers {
    /// Reads the table.
    pub fn load() -> Result<Self> {
        let text = std::fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text).with_context(|| format!("{FILE} is wrong"))
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    fn allows(&self, from: &str, to: &str) -> bool {
        from == to
            || self
                .imports
                .get(from)
                .is_some_and(|allowed| allowed.contains(to) || allowed.contains("*"))
    }

    /// Modules that import each other, over however many steps.
    fn cycles(&self) -> Findings {
        let mut findings = Findings::new();
        for start in self.imports.keys() {
            let mut seen = BTreeSet::new();
            let mut open: Vec<&String> = self.imports[start].iter().collect();
            while let Some(module) = open.pop() {
                if module == start {
                    findings.push(format!(
                        "{FILE}: {start} may import itself through other modules"
                    ));
                    break;
                }
                if seen.insert(module) {
                    open.extend(self.imports.get(module).into_iter().flatten());
                }
            }
        }
        findings
    }
}

/// Checks every import of `files`.
pub fn check(files: &[SourceFile]) -> Result<Findings> {
    Ok(against(&Layers::load()?, files))
}

fn against(layers: &Layers, files: &[SourceFile]) -> Findings {
    let mut findings = layers.cycles();
    let modules: BTreeSet<String> = files.iter().filter_map(SourceFile::module).collect();
    for module in &modules {
        if !layers.imports.contains_key(module) {
            findings.push(format!("module {module} is not in {FILE}"));
        }
    }
    for file in files {
        let Some(from) = file.module() else { continue };
        let mut imports = Vec::new();
        collect(file.tokens.clone(), file.depth(), &mut imports);
        for Import { target, line } in imports {
            let place = format!("{}:{line}", file.path.display());
            if target == "*" {
                findings.push(format!(
                    "{place}: imports everything there is: name the modules"
                ));
            } else if modules.contains(&target) && !layers.allows(&from, &target) {
                findings.push(format!("{place}: {from} may not import {target}"));
            }
        }
    }
    findings
}

struct Import {
    target: String,
    line: usize,
}

/// Finds `crate::x`, `pinion::x` and `super::…::x` that reach the crate's root.
/// `depth` counts the modules around the tokens.
fn collect(tokens: TokenStream, depth: usize, out: &mut Vec<Import>) {
    let trees = without_tests(tokens);
    let mut at = 0;
    while at < trees.len() {
        match &trees[at] {
            TokenTree::Ident(word) if word == "crate" || word == "pinion" => {
                // `pub(crate)` has no path behind it; `x::crate` does not exist.
                if is_path_start(&trees, at)
                    && let Some(next) = after_colons(&trees, at + 1)
                {
                    first_words(&trees[next..], out);
                }
            }
            TokenTree::Ident(word) if word == "super" => {
                let mut climbs = 1;
                let mut next = after_colons(&trees, at + 1);
                while let Some(position) = next
                    && matches!(trees.get(position), Some(TokenTree::Ident(word)) if word == "super")
                {
                    climbs += 1;
                    at = position;
                    next = after_colons(&trees, position + 1);
                }
                if climbs >= depth
                    && let Some(position) = next
                {
                    first_words(&trees[position..], out);
                }
            }
            TokenTree::Group(group) => {
                let is_module = group.delimiter() == Delimiter::Brace
                    && at >= 2
                    && matches!(&trees[at - 2], TokenTree::Ident(word) if word == "mod");
                collect(group.stream(), depth + usize::from(is_module), out);
            }
            _ => {}
        }
        at += 1;
    }
}

/// Whether the word at `at` begins a path: no `::` stands before it, unless
/// that `::` begins the path (`::pinion::x`).
fn is_path_start(trees: &[TokenTree], at: usize) -> bool {
    let colon =
        |index: usize| matches!(trees.get(index), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    let preceded = at >= 2 && colon(at - 1) && colon(at - 2);
    !preceded
        || !matches!(at.checked_sub(3).and_then(|i| trees.get(i)), Some(TokenTree::Ident(w)) if w != "use")
}

/// The position behind `::`, if it stands at `at`.
fn after_colons(trees: &[TokenTree], at: usize) -> Option<usize> {
    let colon =
        |index: usize| matches!(trees.get(index), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    (colon(at) && colon(at + 1)).then_some(at + 2)
}

/// The first word of a path, or of each path in braces.
fn first_words(trees: &[TokenTree], out: &mut Vec<Import>) {
    match trees.first() {
        Some(TokenTree::Ident(word)) => {
            out.push(Import {
                target: word.to_string(),
                line: word.span().start().line,
            });
        }
        Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
            out.push(Import {
                target: "*".to_owned(),
                line: star.span().start().line,
            });
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            for path in
                inner.split(|tree| matches!(tree, TokenTree::Punct(p) if p.as_char() == ','))
            {
                first_words(path, out);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TABLE: &str = "[imports]\naddr = []\ntce = [\"addr\"]\nphb = [\"addr\", \"tce\"]\nboot = [\"*\"]\nmain = [\"*\"]\n\
                         [unsafe-code]\nallowed = []\n";

    fn findings(path: &str, text: &str) -> Findings {
        let layers = Layers::parse(TABLE).unwrap();
        let empty = [
            "src/addr.rs",
            "src/tce/mod.rs",
            "src/phb/mod.rs",
            "src/boot/mod.rs",
        ];
        let mut files: Vec<SourceFile> = empty
            .iter()
            .filter(|other| **other != path)
            .map(|path| SourceFile::parse(Path::new(path), String::new()).unwrap())
            .collect();
        files.push(SourceFile::parse(Path::new(path), text.to_owned()).unwrap());
        against(&layers, &files)
    }

    #[test]
    fn upward_imports_are_found_in_every_form() {
        for text in [
            "use crate::phb::Kill;",
            "use crate::{addr::HostAddr, phb};",
            "fn f() { crate::phb::kill(); }",
            "fn f(x: &crate::phb::Kill) {}",
            "pub(crate) use crate::phb;",
            "use super::phb;",
            "mod inner { use super::super::phb; }",
            "fn f() { pinion::phb::kill(); }",
            "use ::pinion::phb;",
        ] {
            let found = findings("src/tce/mod.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(
                found[0].contains("src/tce/mod.rs:1: tce may not import phb"),
                "{found:?}"
            );
        }
        assert_eq!(findings("src/tce/mod.rs", "\n\nuse crate::*;").len(), 1);
    }

    #[test]
    fn downward_imports_pass() {
        for text in [
            "use crate::addr::HostAddr;",
            "use crate::tce::entry;",
            "use super::addr;",
            "mod inner { use super::phb; }",
            "#[cfg(test)] mod tests { use crate::phb; }",
            "pub(crate) fn phb() {}",
            "use other::phb;",
            "// crate::phb\nconst S: &str = \"crate::phb\";",
        ] {
            assert_eq!(findings("src/tce/mod.rs", text), Findings::new(), "{text}");
        }
        assert_eq!(
            findings("src/boot/mod.rs", "use pinion::{phb, tce};"),
            Findings::new()
        );
        assert_eq!(
            findings("src/tce/walk.rs", "use super::entry;"),
            Findings::new()
        );
    }

    #[test]
    fn a_module_must_be_in_the_table() {
        assert_eq!(
            findings("src/new.rs", ""),
            ["module new is not in tools/layers.toml"]
        );
    }

    #[test]
    fn a_table_that_goes_round_is_refused() {
        let layers = Layers::parse(&TABLE.replace("addr = []", "addr = [\"phb\"]")).unwrap();
        assert!(!layers.cycles().is_empty());
    }
}
