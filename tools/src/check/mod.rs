//! `cargo xtask check`: what must hold whatever the tests say.

mod image_shape;
mod instructions;
mod layers;
mod source;
mod style;
mod unsafe_code;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::setup::{self, Wanted};
use crate::workspace::Workspace;

/// What a check found wrong: one line each.
pub type Findings = Vec<String>;

/// Runs every check, prints a line for each, fails if one found something.
pub fn command(workspace: &Workspace) -> Result<ExitCode> {
    setup::ensure(workspace, &Wanted::for_image())?;
    let mut good = true;
    let mut check = |name: &str, run: &mut dyn FnMut() -> Result<Findings>| {
        let start = Instant::now();
        let findings = run().unwrap_or_else(|error| vec![format!("{error:#}")]);
        let seconds = start.elapsed().as_secs_f64();
        if findings.is_empty() {
            println!("ok    {name:<44} {seconds:>6.1} s");
        } else {
            good = false;
            println!(
                "FAIL  {name:<44} {seconds:>6.1} s  {} found",
                findings.len()
            );
            for finding in findings {
                println!("      {finding}");
            }
        }
    };
    check("formatting", &mut style::formatting);
    check("layers: imports go downwards", &mut || {
        layers::check(&source::files("src")?)
    });
    check("unsafe code: where and why", &mut || {
        unsafe_code::check(&source::files("src")?, &source::files("tools/src")?)
    });
    check("test declarations", &mut crate::test::check_declarations);
    check("lints: this machine, all targets", &mut style::host_lints);
    check("lints: the image", &mut || style::image_lints(workspace));
    let mut built = false;
    check("the image builds", &mut || {
        crate::image::make(workspace)?;
        built = true;
        Ok(Findings::new())
    });
    if built {
        let linked = crate::image::read(workspace.debug_image())?;
        let stripped = crate::image::read(workspace.image())?;
        check("image: shape for every loader", &mut || {
            image_shape::check(&linked, &stripped)
        });
        check("image: no floating-point or vector code", &mut || {
            instructions::check(&linked)
        });
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
