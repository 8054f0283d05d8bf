//! Tables for a person at a serial console: written piece by piece into
//! whatever prints, never collected into a string.

use super::address::Bdfn;
use super::group::{GroupIndex, GroupKind};
use super::phb::PhbInfo;
use super::steps::Setup;
use super::topology::{Function, FunctionIndex};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Formatter};

/// Bytes in the largest unit that divides them.
#[derive(Clone, Copy)]
pub struct Bytes(pub u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let units = [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")];
        let fits = |(shift, _): &&(u32, &str)| self.0 > 0 && self.0.trailing_zeros() >= *shift;
        match units.iter().find(fits) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl Display for PhbInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first_bus(), self.last_bus());
        write!(
            f,
            "PHB {} {}, {} PEs, buses {first:02x}..{last:02x}",
            self.id(),
            self.generation(),
            self.pes()
        )?;
        write!(f, ", M32 segments of {}", Bytes(self.m32_segment()))?;
        match self.m64() {
            Some(split) => write!(f, ", M64 segments of {}", Bytes(split.segment)),
            None => f.write_str(", no M64"),
        }
    }
}

/// The `pci` table: what is below one PHB, indented as it is connected.
pub struct PciTree<'a>(pub Setup<'a>);

impl Display for PciTree<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Setup {
            topology,
            phb,
            plan,
            ..
        } = self.0;
        writeln!(f, "{phb}")?;
        // Depth first, so that a bridge stands right above what it leads to.
        let on = |at: usize| topology.buses[at].functions.iter().rev().copied();
        let mut pending: Vec<FunctionIndex> = on(0).collect();
        while let Some(at) = pending.pop() {
            self.function(f, at, &topology[at])?;
            if let Some(below) = topology[at].bridge.and_then(|it| it.below) {
                pending.extend(on(below.0));
            }
        }
        for problem in topology.problems.iter().chain(&plan.problems) {
            writeln!(f, "! {problem}")?;
        }
        Ok(())
    }
}

impl PciTree<'_> {
    fn function(
        &self,
        f: &mut Formatter<'_>,
        at: FunctionIndex,
        function: &Function,
    ) -> fmt::Result {
        let Setup {
            topology,
            groups,
            plan,
            ..
        } = self.0;
        let depth = 2 * (topology.ancestors(at).count() + 1);
        let indent = "";
        write!(
            f,
            "{indent:depth$}{} {:04x}:{:04x} ",
            function.id.bdfn, function.vendor, function.device
        )?;
        match function.port().filter(|_| function.is_bridge()) {
            Some(port) => write!(f, "{port}")?,
            None => write!(f, "{}", function.class)?,
        }
        if let Some(below) = function.bridge.and_then(|it| it.below) {
            write!(
                f,
                ", buses {:02x}..{:02x}",
                topology[below].number, topology[below].last
            )?;
        }
        match plan.group(groups.of(at)).pe {
            Some(pe) if plan.is_active(topology, at) => write!(f, ", PE {pe}")?,
            _ => f.write_str(", left alone")?,
        }
        self.capabilities(f, function)?;
        writeln!(f)?;
        for bar in function.bars.iter().flatten().chain(&function.rom) {
            write!(
                f,
                "{indent:depth$}    BAR {} {} {}",
                bar.index,
                Bytes(bar.size),
                bar.kind
            )?;
            match plan.bars_of(at).find(|it| it.bar.index == bar.index) {
                Some(placed) => writeln!(f, " at {}, host {}", placed.address, placed.host)?,
                None => writeln!(f, ", not assigned")?,
            }
        }
        Ok(())
    }

    fn capabilities(&self, f: &mut Formatter<'_>, function: &Function) -> fmt::Result {
        let it = &function.capabilities;
        if let Some(msix) = it.msix {
            write!(f, ", MSI-X {}", msix.vectors)?;
        }
        if let Some(msi) = it.msi {
            write!(f, ", MSI {}", msi.vectors)?;
        }
        if function.pin > 0 {
            write!(f, ", INT{}", char::from(b'A' + function.pin - 1))?;
        }
        let flags = [
            (
                it.express.is_some_and(|it| it.flr) || it.advanced_flr.is_some(),
                "FLR",
            ),
            (it.aer.is_some(), "AER"),
            (it.acs.is_some(), "ACS"),
            (it.ari.is_some(), "ARI"),
        ];
        for (_, name) in flags.iter().filter(|(present, _)| *present) {
            write!(f, ", {name}")?;
        }
        match it.sriov {
            Some(sriov) => write!(f, ", SR-IOV {}", sriov.total),
            None => Ok(()),
        }
    }
}

/// The `groups` table: one line a group, and below it why it is not smaller,
/// why it has no line, and who has it.
pub struct GroupTable<'a>(pub Setup<'a>, pub &'a dyn Fn(GroupIndex) -> Option<String>);

impl Display for GroupTable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "PHB   PE   kind    M32 M64 pin   functions")?;
        for (at, group) in self.0.groups.iter() {
            self.line(f, at, group.kind)?;
            for reason in &group.reasons {
                writeln!(f, "      because {reason}")?;
            }
            self.refused_lines(f, at)?;
        }
        Ok(())
    }
}

impl GroupTable<'_> {
    fn line(&self, f: &mut Formatter<'_>, at: GroupIndex, kind: GroupKind) -> fmt::Result {
        let Setup {
            topology,
            phb,
            groups,
            plan,
        } = self.0;
        let group = plan.group(at);
        write!(f, "{}  ", topology.phb)?;
        match group.pe {
            Some(pe) => write!(f, "{pe}  ")?,
            // Whatever has no PE of its own is in the reserved one.
            None => write!(f, "{}* ", phb.reserved())?,
        }
        let kind = match kind {
            GroupKind::Endpoint => "device",
            GroupKind::Fabric => "bridge",
            GroupKind::LeftAlone => "faulty",
        };
        write!(
            f,
            "{kind}  {:>3} {:>3} ",
            group.m32.len(),
            self.m64_segments(at)
        )?;
        self.pins(f, at)?;
        let members = groups.get(at);
        for function in &members.functions {
            let mark = if plan.is_active(topology, *function) {
                ""
            } else {
                "!"
            };
            write!(f, " {mark}{}", topology[*function].id.bdfn)?;
        }
        for function in &members.virtuals {
            let mark = if plan.is_active_virtual(topology, *function) {
                "v"
            } else {
                "!"
            };
            write!(f, " {mark}{}", topology.virtuals[function.get()].bdfn)?;
        }
        match (self.1)(at) {
            Some(owner) => writeln!(f, "  of {owner}"),
            None => writeln!(f),
        }
    }

    fn m64_segments(&self, at: GroupIndex) -> usize {
        let Setup {
            phb, groups, plan, ..
        } = self.0;
        let Some(split) = phb.m64() else { return 0 };
        let start = split.window.bus.get();
        let own = |number: u16| {
            let range = start + u64::from(number) * split.segment
                ..start + (u64::from(number) + 1) * split.segment;
            plan.bars.iter().any(|bar| {
                let (first, end) = (bar.address.get(), bar.address.get() + bar.bytes());
                bar.virtuals == 0
                    && groups.of(bar.function) == at
                    && first < range.end
                    && end > range.start
            })
        };
        let group = plan.group(at);
        group
            .pe
            .iter()
            .chain(&group.companions)
            .filter(|pe| own(pe.get()))
            .count()
    }

    /// The lines that the group does not get, and whose they are too.
    fn refused_lines(&self, f: &mut Formatter<'_>, at: GroupIndex) -> fmt::Result {
        let Setup {
            topology,
            groups,
            plan,
            ..
        } = self.0;
        for (line, name) in (0..4).zip('A'..) {
            let users = plan.lines.users(line);
            let mut others = users.iter().filter(|user| **user != at);
            if !users.contains(&at) {
                continue;
            }
            let Some(other) = others.next() else { continue };
            let first = groups.get(*other).functions.first();
            let first = first.map_or(Bdfn::ROOT, |first| topology[*first].id.bdfn);
            write!(f, "      line {name} is refused: {first}")?;
            match others.count() {
                0 => writeln!(f, " is wired to it too")?,
                more => writeln!(f, " and {more} more groups are wired to it too")?,
            }
        }
        Ok(())
    }

    /// The group's lines; `shared` if another group is wired to one of them.
    fn pins(&self, f: &mut Formatter<'_>, at: GroupIndex) -> fmt::Result {
        let lines = &self.0.plan.lines;
        let mine = |line: &u8| lines.users(*line).contains(&at);
        if (0..4).filter(mine).any(|line| lines.users(line).len() > 1) {
            return write!(f, "{:6}", "shared");
        }
        for line in 0..4u8 {
            let name = if mine(&line) {
                char::from(b'A' + line)
            } else {
                '-'
            };
            write!(f, "{name}")?;
        }
        write!(f, "  ")
    }
}
