//! Declarations spread over boards and variants: one case each.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::declaration::{Declaration, Declarations, Ends, Settings, Step, Variant};

/// One test on one board.
#[derive(Debug, Clone)]
pub struct Case {
    /// `test-board` or `test-variant-board`: the name to type and of its folder.
    pub name: String,
    /// The board's name.
    pub board: String,
    /// How the machine is started.
    pub settings: Settings,
    /// Seconds of the host's time.
    pub timeout: u64,
    /// What happens.
    pub steps: Vec<Step>,
    /// What must not be printed.
    pub never: Vec<String>,
    /// How the machine must end.
    pub ends: Ends,
}

/// All cases, in the order of the file.
///
/// # Errors
/// Two cases have one name, a variant names a board that its test does not
/// have, or a test cannot fail.
pub fn expand(declarations: &Declarations) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for test in &declarations.tests {
        ensure!(!test.boards.is_empty(), "test {} has no board", test.name);
        ensure!(
            !test.about.trim().is_empty(),
            "test {} does not say what it shows",
            test.name
        );
        ensure!(
            test.steps
                .iter()
                .any(|step| matches!(step, Step::Expect(_))),
            "test {} expects no line: it could not tell a silent machine from a good one",
            test.name
        );
        for board in &test.boards {
            if test.variants.is_empty() {
                cases.push(case(declarations, test, None, board));
            }
            for variant in &test.variants {
                if variant
                    .boards
                    .as_ref()
                    .is_none_or(|boards| boards.contains(board))
                {
                    cases.push(case(declarations, test, Some(variant), board));
                }
            }
        }
        for variant in &test.variants {
            for board in variant.boards.iter().flatten() {
                ensure!(
                    test.boards.contains(board),
                    "variant {} of test {} is for {board}, which the test is not for",
                    variant.name,
                    test.name
                );
            }
        }
    }
    let mut names = BTreeSet::new();
    for case in &cases {
        ensure!(
            names.insert(&case.name),
            "two tests are named {}",
            case.name
        );
    }
    Ok(cases)
}

fn case(
    declarations: &Declarations,
    test: &Declaration,
    variant: Option<&Variant>,
    board: &str,
) -> Case {
    let settings = variant.map_or_else(|| test.common.clone(), |v| v.settings.over(&test.common));
    let never = declarations
        .defaults
        .never
        .iter()
        .filter(|text| !test.allow.contains(text));
    Case {
        name: match variant {
            Some(variant) => format!("{}-{}-{board}", test.name, variant.name),
            None => format!("{}-{board}", test.name),
        },
        board: board.to_owned(),
        timeout: settings.timeout.unwrap_or(declarations.defaults.timeout),
        settings,
        steps: test.steps.clone(),
        never: never.chain(&test.never).cloned().collect(),
        ends: test.ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::declaration::{Kernel, Qmp};
    use crate::trampoline::Change;

    const TEXT: &str = r#"
        [defaults]
        timeout = 60
        never = ["panicked"]

        [[test]]
        name = "banner"
        about = "The banner comes"
        boards = ["powernv8", "powernv9"]
        ends = "poweroff"
        append = "selftest"
        steps = [{ expect = "Pinion *" }, { send = "help\r" }, { qmp = "system_powerdown" }, { wait = 0.5 }]
        variants = [
            { name = "one" },
            { name = "smt4", smp = "4,threads=4", boards = ["powernv9"], timeout = 90 },
        ]

        [[test]]
        name = "entry"
        about = "A bad tree is refused"
        boards = ["powernv9"]
        ends = "crash"
        kernel = "hostile-entry"
        allow = ["panicked"]
        never = ["ready"]
        tree = [{ remove-node = "/ibm,opal" }, { set-cells = ["/chosen", "linux,initrd-start", [0, 1]] }, { cut = 100 }]
        steps = [{ expect = "no firmware" }, { qmp = { execute = "system_reset", arguments = {} } }]
    "#;

    #[test]
    fn tests_spread_over_boards_and_variants() {
        let cases = expand(&Declarations::parse(TEXT).unwrap()).unwrap();
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "banner-one-powernv8",
                "banner-one-powernv9",
                "banner-smt4-powernv9",
                "entry-powernv9"
            ]
        );
        assert_eq!(cases[2].settings.smp.as_deref(), Some("4,threads=4"));
        assert_eq!(cases[2].settings.append.as_deref(), Some("selftest"));
        assert_eq!((cases[1].timeout, cases[2].timeout), (60, 90));
        assert_eq!(cases[0].never, ["panicked"]);
        assert_eq!(cases[3].never, ["ready"]);
        assert_eq!(cases[3].settings.kernel, Some(Kernel::HostileEntry));
        assert_eq!(
            cases[0].steps[2],
            Step::Qmp(Qmp::Plain("system_powerdown".to_owned()))
        );
        let tree = cases[3].settings.tree.as_ref().unwrap();
        assert_eq!(tree[0], Change::RemoveNode("/ibm,opal".to_owned()));
        assert_eq!(tree[2], Change::Cut(100));
    }

    #[test]
    fn a_mistake_in_the_file_is_an_error() {
        let refused = |from: &str, to: &str| {
            let text = TEXT.replacen(from, to, 1);
            assert_ne!(text, TEXT);
            Declarations::parse(&text)
                .and_then(|d| expand(&d))
                .unwrap_err()
                .to_string()
        };
        assert!(refused("{ expect = \"Pinion *\" }, ", "").contains("expects no line"));
        assert!(
            refused(
                "boards = [\"powernv9\"], timeout",
                "boards = [\"powernv10\"], timeout"
            )
            .contains("which the test is not for")
        );
        assert!(refused("name = \"smt4\"", "name = \"one\"").contains("two tests are named"));
        refused("ends = \"crash\"", "ends = \"somehow\"");
        refused("smp = \"4,threads=4\"", "spm = \"4,threads=4\"");
        refused("append = \"selftest\"", "apend = \"selftest\"");
    }
}
