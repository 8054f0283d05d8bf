//! From the first Rust instruction to the prompt.

use super::runtime::{self, OPAL};
use super::{
    banner, crash, interrupts, monitor, partitions, pci, power, provoke, secondaries, selftest,
    terminals, trace,
};
use crate::addr::HostAddr;
use crate::console::log::{self, Level};
use crate::fdt::{HEADER_SIZE, MAX_SIZE, Tree};
use crate::machine::{FirmwareEntry, Machine, MachineError, MemoryMap, Outline};
use crate::memory::ranges::Range;
use crate::opal::{Entry, Token};
use crate::{cpu, error, warning};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Once;

/// What the loader left in registers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct LoaderRegisters {
    /// r3: the device tree.
    pub tree: u64,
    /// r6: "ePAP" from skiboot.
    pub epapr_magic: u64,
    /// r8: OPAL's base, from skiboot.
    pub opal_base: u64,
    /// r9: OPAL's entry, from skiboot.
    pub opal_entry: u64,
}

/// r6 as skiboot leaves it (skiboot core/init.c). Only then are r8 and r9
/// believed, and only when the tree cannot be read: kexec-lite leaves garbage
/// in all three.
const EPAPR_MAGIC: u64 = 0x6550_4150;

/// First 64 KiB: vectors, and what kexec leaves there.
const LOW_MEMORY: u64 = 0x1_0000;

/// First Rust code of the image.
#[unsafe(no_mangle)]
extern "C" fn pinion_start(registers: &LoaderRegisters) -> ! {
    runtime::start_clock();
    // SAFETY: the boot thread's first Rust code.
    unsafe { cpu::init_boot_thread(runtime::generation()) };
    log::set_ring(&crash::PINION_LOG);
    // Before the tree is touched, so that a bad pointer to it can be told.
    if let Some(entry) = entry_by_registers(registers) {
        // SAFETY: skiboot's own registers.
        unsafe { use_firmware(entry) };
    }
    let tree = match read_tree(registers.tree) {
        Ok(tree) => tree,
        Err(error) => {
            salvage_console(registers);
            give_up(format_args!("{error}"));
        }
    };
    let Some(entry) = FirmwareEntry::read(&tree) else {
        if !terminals::use_any_uart(&tree) {
            salvage_console(registers);
        }
        give_up(format_args!(
            "device tree: no usable /ibm,opal: Pinion needs OPAL firmware"
        ));
    };
    // SAFETY: from a checked tree of this machine.
    unsafe { use_firmware(entry) };
    let told = (registers.opal_base, registers.opal_entry) == (entry.base, entry.address);
    let by_firmware = told && registers.epapr_magic == EPAPR_MAGIC;
    BY_FIRMWARE.store(by_firmware, Ordering::Relaxed);
    let map = own_ranges().and_then(|own| MemoryMap::read(&tree, registers.tree, &own));
    let map = match map {
        Ok(map) => map,
        Err(error) => give_up(format_args!("{error}")),
    };
    let bad_initrd = map.bad_initrd;
    // SAFETY: the map has all that the tree and Pinion itself take.
    match unsafe { runtime::init_memory(map) } {
        Ok(0) => {}
        Ok(bytes) => warning!(
            "memory: {bytes:#x} bytes in the smallest of too many separate ranges are not used"
        ),
        Err(error) => give_up(format_args!("{error}")),
    }
    go_on_with_memory((registers.tree, tree), bad_initrd)
}

/// What Pinion itself needs: the image, and low memory with the vectors.
fn own_ranges() -> Result<[Range; 2], MachineError> {
    let (start, end) = cpu::image_range();
    let range = |start, size| {
        Range::new(start, size).map_err(|error| MachineError::Range {
            node: "image",
            error,
        })
    };
    Ok([range(start, end - start)?, range(0, LOW_MEMORY)?])
}

/// Makes firmware known, and its first terminal the console.
///
/// # Safety
/// `entry` is this machine's firmware, as far as can be known.
unsafe fn use_firmware(entry: FirmwareEntry) {
    let FirmwareEntry { base, address } = entry;
    // SAFETY: handed on to the caller.
    unsafe { runtime::firmware().set(Entry { base, address }) };
    terminals::use_opal(0);
}

/// Bytes of the boot thread's stack once there is memory (base-2 logarithm).
const STACK_SHIFT: u32 = 18;

/// What the second half of the start needs from the first.
static TREE_AT: AtomicU64 = AtomicU64::new(0);
static TREE: Once<Tree<'static>> = Once::new();
/// Whether firmware itself started the image: only it leaves all three of r6, r8
/// and r9 as `EPAPR_MAGIC` says. A kexec does not.
static BY_FIRMWARE: AtomicBool = AtomicBool::new(false);
static BAD_INITRD: Once<(u64, u64)> = Once::new();

/// The machine's device tree, once there is a heap.
pub fn tree() -> Option<&'static Tree<'static>> {
    TREE.get()
}

/// Where the device tree lies.
pub fn tree_address() -> u64 {
    TREE_AT.load(Ordering::Relaxed)
}

/// Leaves the small stack in .bss for one that is large enough for anything.
fn go_on_with_memory(tree: (u64, Tree<'static>), bad_initrd: Option<(u64, u64)>) -> ! {
    TREE_AT.store(tree.0, Ordering::Relaxed);
    TREE.call_once(|| tree.1);
    if let Some(cells) = bad_initrd {
        BAD_INITRD.call_once(|| cells);
    }
    assert!(cpu::stack_is_sound(), "the boot stack was used up");
    let stack = match runtime::allocate(STACK_SHIFT, None) {
        Ok(stack) => stack,
        Err(error) => give_up(format_args!("{error} for the boot thread's stack")),
    };
    let (size, low) = (stack.size(), stack.leak().get());
    // SAFETY: the block is never freed; nothing on the old stack is used.
    unsafe { cpu::continue_on_stack(low, size, start_with_memory) }
}

/// The second half of the start: with a heap, and on a large stack.
extern "C" fn start_with_memory() -> ! {
    let Some(&tree) = TREE.get() else {
        give_up(format_args!("the device tree was not kept"));
    };
    let outline = Outline::read(&tree, cpu::pir());
    cpu::set_timebase_hz(outline.timebase_hz);
    if let Some(level) = outline.bootargs.log_level.and_then(Level::from_number) {
        log::set_level(level);
    }
    terminals::choose(&outline);
    banner::print_first(&outline);
    let machine = runtime::set_machine(Machine::complete(outline, &tree));
    for told in &machine.warnings {
        warning!("{told}");
    }
    if let Some(&(start, end)) = BAD_INITRD.get() {
        warning!("{}", crate::machine::Warning::Initrd { start, end });
    }
    if runtime::generation().is_none() {
        warning!(
            "processor version {:#010x} is unknown; it is treated like POWER10",
            cpu::pvr()
        );
    }
    check_tokens();
    trace::begin();
    pci::take(machine);
    interrupts::init(machine, BY_FIRMWARE.load(Ordering::Relaxed));
    secondaries::start(machine);
    trace::begin_others();
    banner::print_summary(machine);
    pci::print_summary();
    go_on(machine)
}

/// What bootargs ask for, then the prompt.
fn go_on(machine: &'static Machine) -> ! {
    if let Some(what) = &machine.bootargs.provoke {
        provoke::provoke(what);
    }
    if let Some(part) = &machine.bootargs.selftest {
        match selftest::run(part) {
            0 => power::off("self-test passed"),
            failed => crash::stop(format_args!("self-test: {failed} failed")),
        }
    }
    partitions::define_all();
    monitor::run(&machine.bootargs.run)
}

/// Why there is no tree.
enum NoTree {
    Pointer(u64),
    Bad(crate::fdt::FdtError),
}

impl fmt::Display for NoTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(at) => {
                write!(
                    f,
                    "device tree: r3 = {at:#x} is no address of one (it must be a multiple of 8, not 0)"
                )
            }
            Self::Bad(error) => write!(f, "{error}"),
        }
    }
}

fn read_tree(at: u64) -> Result<Tree<'static>, NoTree> {
    // Real addresses have at most 56 bits; beyond, an access is a different one.
    if at == 0 || !at.is_multiple_of(8) || at >> 56 != 0 {
        return Err(NoTree::Pointer(at));
    }
    let at = HostAddr::new(at);
    // SAFETY: the loader's tree is not changed by anyone; it is reserved from
    // the allocator before that exists. An address without memory ends in a
    // machine check that says so.
    let header = unsafe { runtime::bytes_at(at, HEADER_SIZE) };
    let size = Tree::claimed_size(header).map_err(NoTree::Bad)?;
    // SAFETY: as above.
    let blob = unsafe { runtime::bytes_at(at, size) };
    Tree::check(blob).map_err(NoTree::Bad)
}

/// What skiboot says in registers.
fn entry_by_registers(registers: &LoaderRegisters) -> Option<FirmwareEntry> {
    match registers.epapr_magic {
        EPAPR_MAGIC => FirmwareEntry::plausible(registers.opal_base, registers.opal_entry),
        _ => None,
    }
}

/// The tree cannot be read, or names no firmware: looks for a way to say so.
fn salvage_console(registers: &LoaderRegisters) {
    let by_register = entry_by_registers(registers);
    if let Some(entry) = by_register.or_else(|| salvage_from_tree(registers.tree)) {
        // SAFETY: skiboot's own registers, or what the undamaged part of this
        // machine's tree says; both checked for plausibility.
        unsafe { use_firmware(entry) };
    }
}

fn salvage_from_tree(at: u64) -> Option<FirmwareEntry> {
    if at == 0 || !at.is_multiple_of(8) || at >> 56 != 0 {
        return None;
    }
    let at = HostAddr::new(at);
    // SAFETY: as in `read_tree`.
    let header = unsafe { runtime::bytes_at(at, HEADER_SIZE) };
    let size = Tree::claimed_size(header).ok()?.min(MAX_SIZE);
    // SAFETY: as in `read_tree`.
    let blob = unsafe { runtime::bytes_at(at, size) };
    let [base, address] = Tree::salvage(blob, ["opal-base-address", "opal-entry-address"])?;
    FirmwareEntry::plausible(base, address)
}

/// Asks firmware which of the calls that Pinion knows it has.
fn check_tokens() {
    let present = Token::ALL
        .iter()
        .copied()
        .filter(|&token| OPAL.has(token).unwrap_or(false));
    runtime::firmware().set_present(present);
    for &token in Token::ALL {
        if runtime::firmware().is_absent(token) {
            crate::debug!(
                "firmware does not have the call {token:?} ({})",
                token as u64
            );
        }
    }
}

/// The orderly end of a start that cannot go on.
fn give_up(why: fmt::Arguments<'_>) -> ! {
    error!("{why}");
    crash::stop(why)
}
