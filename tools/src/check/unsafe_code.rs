//! Unsafe code: only where the table allows it, and each piece says why it is sound.

use anyhow::Result;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::Findings;
use super::layers::Layers;
use super::source::SourceFile;

/// The attribute that modules without unsafe code carry.
const FORBID: &str = "#![forbid(unsafe_code)]";

/// Checks the image's sources against the table, and all sources for reasons.
pub fn check(image: &[SourceFile], tools: &[SourceFile]) -> Result<Findings> {
    let layers = Layers::load()?;
    let mut findings = Findings::new();
    for file in image {
        findings.extend(misplaced(&layers, file));
    }
    for file in image.iter().chain(tools) {
        findings.extend(unexplained(file));
    }
    Ok(findings)
}

/// Unsafe code in a module that may have none, or a module that does not forbid it.
fn misplaced(layers: &Layers, file: &SourceFile) -> Findings {
    let Some(module) = file.module() else {
        return Findings::new();
    };
    if layers.unsafe_code.allowed.contains(&module) {
        return Findings::new();
    }
    let mut findings: Findings = pieces(&file.tokens)
        .into_iter()
        .map(|piece| {
            format!(
                "{}:{}: module {module} may hold no unsafe code",
                file.path.display(),
                piece.line
            )
        })
        .collect();
    if file.depth() == 1 && !file.text.lines().any(|line| line.trim() == FORBID) {
        findings.push(format!("{}: has no {FORBID}", file.path.display()));
    }
    findings
}

/// Pieces of unsafe code without their reason.
fn unexplained(file: &SourceFile) -> Findings {
    let lines: Vec<&str> = file.text.lines().collect();
    let missing = |piece: &Piece| {
        let (wanted, found) = match piece.kind {
            Kind::Code => ("SAFETY:", comment_above(&lines, piece.line, "SAFETY:")),
            Kind::Function => ("# Safety", comment_above(&lines, piece.line, "# Safety")),
        };
        (!found).then(|| {
            format!(
                "{}:{}: no {wanted} above it",
                file.path.display(),
                piece.line
            )
        })
    };
    pieces(&file.tokens).iter().filter_map(missing).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A block, an implementation, a foreign block: someone vouches here.
    Code,
    /// A function or a trait: someone else must vouch.
    Function,
}

struct Piece {
    kind: Kind,
    line: usize,
}

fn pieces(tokens: &TokenStream) -> Vec<Piece> {
    let mut out = Vec::new();
    walk(tokens.clone(), &mut out);
    out
}

fn walk(tokens: TokenStream, out: &mut Vec<Piece>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) => walk(group.stream(), out),
            TokenTree::Ident(word) if word == "unsafe" => {
                if let Some(kind) = kind(&trees[at + 1..]) {
                    out.push(Piece {
                        kind,
                        line: word.span().start().line,
                    });
                }
            }
            _ => {}
        }
    }
}

/// What `unsafe` introduces, by what follows it. `None` for a type
/// (`unsafe extern "C" fn(u64)`) and for an attribute (`#[unsafe(no_mangle)]`).
fn kind(rest: &[TokenTree]) -> Option<Kind> {
    for (at, tree) in rest.iter().enumerate() {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                return Some(Kind::Code);
            }
            TokenTree::Ident(word) if word == "impl" => return Some(Kind::Code),
            TokenTree::Ident(word) if word == "trait" => return Some(Kind::Function),
            TokenTree::Ident(word) if word == "fn" => {
                return matches!(rest.get(at + 1), Some(TokenTree::Ident(_)))
                    .then_some(Kind::Function);
            }
            TokenTree::Ident(word) if word == "extern" => {}
            TokenTree::Literal(_) => {}
            _ => return None,
        }
    }
    None
}

/// Whether a comment with `text` stands on the line, or above it before the
/// statement or item before.
fn comment_above(lines: &[&str], line: usize, text: &str) -> bool {
    let Some(own) = lines.get(line - 1) else {
        return false;
    };
    if own.contains(text) {
        return true;
    }
    for above in lines[..line - 1].iter().rev() {
        let above = above.trim();
        if above.starts_with("//") || above.starts_with("/*") || above.starts_with('*') {
            if above.contains(text) {
                return true;
            }
            continue;
        }
        let is_attribute = above.starts_with("#[") || above.starts_with("#![");
        if !is_attribute && (above.is_empty() || above.ends_with([';', '{', '}', ','])) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::parse(Path::new("src/tce/mod.rs"), text.to_owned()).unwrap()
    }

    #[test]
    fn each_piece_needs_its_reason() {
        for text in [
            "fn f() {\n    g();\n    unsafe { h() };\n}",
            "// SAFETY: of another\nfn g() {}\nunsafe impl Send for X {}",
            "/// Does.\npub unsafe fn f() {}",
            "unsafe extern \"C\" { fn f(); }",
            "fn f() {\n    // SAFETY: of this one only\n    unsafe { g() };\n    unsafe { h() };\n}",
        ] {
            assert_eq!(unexplained(&file(text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_reason_above_counts() {
        for text in [
            "fn f() {\n    // SAFETY: why\n    unsafe { h() };\n}",
            "fn f() {\n    // SAFETY: why,\n    // at length\n    let x =\n        unsafe { h() };\n}",
            "// SAFETY: why\n#[allow(dead_code)]\nunsafe impl Send for X {}",
            "/// Does.\n///\n/// # Safety\n/// When.\n#[inline]\npub unsafe fn f() {}",
            "#[unsafe(no_mangle)]\nfn f() {}",
            "type Entry = unsafe extern \"C\" fn(u64);",
            "const S: &str = \"unsafe { }\"; // unsafe { }",
        ] {
            assert_eq!(unexplained(&file(text)), Findings::new(), "{text}");
        }
    }

    #[test]
    fn pure_modules_hold_none_and_say_so() {
        let layers: Layers =
            toml::from_str("[imports]\ntce = []\n[unsafe-code]\nallowed = [\"cpu\"]\n").unwrap();
        let found = misplaced(&layers, &file("// SAFETY: why\nunsafe impl Send for X {}"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            misplaced(&layers, &file("#![forbid(unsafe_code)]\nfn f() {}")),
            Findings::new()
        );
        let hardware = SourceFile::parse(
            Path::new("src/cpu/mod.rs"),
            "fn f() { unsafe { g() } }".to_owned(),
        )
        .unwrap();
        assert_eq!(misplaced(&layers, &hardware), Findings::new());
    }
}
