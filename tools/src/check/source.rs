//! Source files as tokens, with what is only for tests left out.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One file.
pub struct SourceFile {
    /// Its path from the workspace's folder.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub tokens: TokenStream,
}

impl SourceFile {
    /// Makes one from a text.
    pub fn parse(path: &Path, text: String) -> Result<Self> {
        let tokens =
            TokenStream::from_str(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_path_buf(),
            text,
            tokens,
        })
    }

    /// The top-level module it belongs to: `src/tce/table.rs` is of `tce`,
    /// `src/main.rs` of `main`. `None` for `src/lib.rs`, which only lists them.
    pub fn module(&self) -> Option<String> {
        let relative = self.path.strip_prefix("src").ok()?;
        let first = relative.components().next()?.as_os_str().to_str()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (name != "lib").then(|| name.to_owned())
    }

    /// How many modules deep it lies: 1 for `src/tce/mod.rs`.
    pub fn depth(&self) -> usize {
        let relative = self.path.strip_prefix("src").unwrap_or(&self.path);
        let parts = relative.components().count();
        let is_index = relative
            .file_name()
            .is_some_and(|f| f == "mod.rs" || f == "main.rs" || f == "lib.rs");
        if is_index { parts - 1 } else { parts }
    }
}

/// Every `.rs` file below `folder`, sorted.
pub fn files(folder: &str) -> Result<Vec<SourceFile>> {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry
                .with_context(|| format!("cannot read {}", folder.display()))?
                .path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        SourceFile::parse(path, text)
    };
    paths.iter().map(read).collect()
}

/// `tokens` without the items that carry `#[cfg(test)]`.
pub fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut trees = tokens.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let is_attribute = matches!(&tree, TokenTree::Punct(p) if p.as_char() == '#');
        if is_attribute
            && let Some(TokenTree::Group(group)) = trees.peek()
            && group.delimiter() == Delimiter::Bracket
            && is_test_condition(&group.stream())
        {
            trees.next();
            // The item ends with its body or with a semicolon.
            for tree in trees.by_ref() {
                match tree {
                    TokenTree::Group(g) if g.delimiter() == Delimiter::Brace => break,
                    TokenTree::Punct(p) if p.as_char() == ';' => break,
                    _ => {}
                }
            }
            continue;
        }
        kept.push(tree);
    }
    kept
}

/// `cfg(test)` and `cfg(all(test, ...))`.
fn is_test_condition(attribute: &TokenStream) -> bool {
    let text: String = attribute.to_string().split_whitespace().collect();
    text.starts_with("cfg(test") || text.starts_with("cfg(all(test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_knows_its_module_and_depth() {
        let file = |path: &str| SourceFile::parse(Path::new(path), String::new()).unwrap();
        assert_eq!(file("src/addr.rs").module().as_deref(), Some("addr"));
        assert_eq!(
            file("src/tce/table/walk.rs").module().as_deref(),
            Some("tce")
        );
        assert_eq!(file("src/lib.rs").module(), None);
        let depths = [
            "src/lib.rs",
            "src/addr.rs",
            "src/tce/mod.rs",
            "src/tce/entry.rs",
        ]
        .map(|p| file(p).depth());
        assert_eq!(depths, [0, 1, 1, 2]);
    }

    #[test]
    fn test_code_is_left_out() {
        let text =
            "use a; #[cfg(test)] use b; #[cfg(test)] mod tests { use c; } #[cfg(loom)] use d;";
        let kept: TokenStream = without_tests(TokenStream::from_str(text).unwrap())
            .into_iter()
            .collect();
        let kept: String = kept.to_string().split_whitespace().collect();
        assert_eq!(kept, "usea;#[cfg(loom)]used;");
    }
}
