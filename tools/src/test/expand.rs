//! Declarations spread over boards and variants: one case each.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::declaration::{Declaration, Declarations, Ends, Settings, Step, Variant};
use super::faults::Expected;
use super::{devices, disks, trace};

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
    /// What QEMU must and may call an error of the guest.
    pub faults: Expected,
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
        for board in &test.boards {
            if test.variants.is_empty() {
                cases.push(case(declarations, test, None, board)?);
            }
            for variant in &test.variants {
                if variant
                    .boards
                    .as_ref()
                    .is_none_or(|boards| boards.contains(board))
                {
                    cases.push(case(declarations, test, Some(variant), board)?);
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
) -> Result<Case> {
    let settings = variant.map_or_else(|| test.common.clone(), |v| v.settings.over(&test.common));
    let never = declarations
        .defaults
        .never
        .iter()
        .filter(|text| !test.allow.contains(text));
    let name = match variant {
        Some(variant) => format!("{}-{}-{board}", test.name, variant.name),
        None => format!("{}-{board}", test.name),
    };
    let steps = variant
        .and_then(|variant| variant.steps.as_ref())
        .unwrap_or(&test.steps);
    let has = |fits: &dyn Fn(&Step) -> bool| steps.iter().any(fits);
    ensure!(
        has(&|step| matches!(step, Step::Expect(_) | Step::Most(_, _))),
        "test {name} expects no line: it could not tell a silent machine from a good one"
    );
    ensure!(
        settings.trace.is_some() || !has(&|step| matches!(step, Step::Trace(_))),
        "test {name} switches a trace that it does not compare"
    );
    if let Some(registers) = &settings.trace {
        trace::check(registers).with_context(|| format!("test {name}"))?;
    }
    disks::check(settings.disks.as_deref().unwrap_or_default())
        .with_context(|| format!("test {name}"))?;
    devices::check(&settings, steps).with_context(|| format!("test {name}"))?;
    let faults = Expected::on(
        board,
        settings.faults.as_deref().unwrap_or_default(),
        &declarations.defaults.harmless,
    )
    .with_context(|| format!("test {name}"))?;
    Ok(Case {
        name,
        board: board.to_owned(),
        timeout: settings.timeout.unwrap_or(declarations.defaults.timeout),
        settings,
        steps: steps.clone(),
        never: never.chain(&test.never).cloned().collect(),
        faults,
        ends: test.ends,
    })
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
    fn a_variant_may_have_steps_disks_and_faults_of_its_own() {
        let text = TEXT
            .replace(
                "{ name = \"one\" }",
                r#"{ name = "one", steps = [{ expect = "gone" }, { unplug = "e0" }, { trace = true }],
                    disks = ["d0", { id = "d1", size = "2M" }], trace = [0x210],
                    devices = ["edu,id=e0", "nvme,drive=d0", "nvme,drive=d1"],
                    faults = [{ line = "TCE access fault", max = 2 }] }"#,
            )
            .replace(
                "never = [\"panicked\"]",
                "never = [\"panicked\"]\nharmless = [{ line = \"OPB\", why = \"firmware probes\" }]",
            );
        let cases = expand(&Declarations::parse(&text).unwrap()).unwrap();
        let (own, base) = (&cases[0], &cases[2]);
        assert_eq!(own.steps[1], Step::Unplug("e0".to_owned()));
        assert_eq!(own.steps[2], Step::Trace(true));
        assert_eq!(base.steps.len(), 4);
        let ids: Vec<&str> = own
            .settings
            .disks
            .iter()
            .flatten()
            .map(|d| d.id())
            .collect();
        assert_eq!(ids, ["d0", "d1"]);
        assert_eq!(own.settings.trace.as_deref(), Some([0x210].as_slice()));
        let fault = &own.faults.faults[0];
        assert_eq!((fault.min, fault.max), (1, Some(2)));
        assert!(base.faults.faults.is_empty());
        assert_eq!(base.faults.harmless, ["OPB"]);
    }

    #[test]
    fn a_mistake_in_the_file_is_an_error() {
        let refused = |from: &str, to: &str| {
            let text = TEXT.replacen(from, to, 1);
            assert_ne!(text, TEXT);
            Declarations::parse(&text)
                .and_then(|d| expand(&d))
                .map(|_| ())
                .map_err(|error| format!("{error:#}"))
                .unwrap_err()
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
        let settings = |line: &str| refused("append = \"selftest\"", line);
        assert!(settings("faults = [{ line = \"*\" }]").contains("test banner-one-powernv8"));
        settings("faults = [{ text = \"phb\" }]");
        settings("disks = [\"a\", \"a\"]");
        settings("disks = [{ id = \"a\", sise = \"1M\" }]");
        settings("trace = []");
        assert!(refused("{ wait = 0.5 }", "{ trace = true }").contains("does not compare"));
        assert!(
            refused(
                "{ name = \"one\" }",
                "{ name = \"one\", steps = [{ wait = 1 }] }"
            )
            .contains("expects no line")
        );
        refused("ends = \"crash\"", "ends = \"somehow\"");
        refused("smp = \"4,threads=4\"", "spm = \"4,threads=4\"");
        refused("append = \"selftest\"", "apend = \"selftest\"");
    }
}
