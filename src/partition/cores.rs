//! Which threads a partition's vCPUs get. Whole cores are one partition's, with all
//! their threads, used or not, unless both it and its neighbours say `share`: what a
//! sibling does can be felt in the caches of a core.

use alloc::string::String;
use alloc::vec::Vec;

/// A thread that can run vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its PIR.
    pub pir: u64,
    /// vCPUs that it has already.
    pub vcpus: usize,
    /// It serves the console too, and is taken last.
    pub is_boot: bool,
}

/// A partition that has vCPUs on a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Whether it says `share`.
    pub shares: bool,
}

/// A core, with its threads that can run vCPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// Its chip, if that is known.
    pub chip: Option<u32>,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// Partitions that have vCPUs on it.
    pub users: Vec<User>,
}

/// What a partition wants.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// vCPUs.
    pub vcpus: usize,
    /// It says `share`.
    pub shares: bool,
    /// Several of its vCPUs may be on one thread where threads are scarce.
    pub crowds: bool,
    /// The chip of its memory.
    pub chip: Option<u32>,
}

/// Where its vCPUs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The PIR of each one's thread.
    pub threads: Vec<u64>,
    /// Partitions that it shares a core with.
    pub neighbours: Vec<String>,
}

/// It would get threads of a core that another partition has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cpus: {wanted} wanted, and {free} threads are left: a core is one partition's unless all on it say share"
)]
pub struct NoCores {
    /// vCPUs wanted.
    pub wanted: usize,
    /// Threads that it may have.
    pub free: usize,
}

/// Finds threads: of free cores first, of the wanted chip first, the boot thread's
/// core last; then, for one that shares, of cores of others that do, where the
/// fewest vCPUs are.
///
/// # Errors
/// There are too few threads.
pub fn place(cores: &[Core], want: &Want) -> Result<Placed, NoCores> {
    let may_have = |core: &&Core| {
        let mut users = core.users.iter();
        users.all(|user| want.shares && user.shares)
    };
    let mut open: Vec<&Core> = cores.iter().filter(may_have).collect();
    open.sort_by_key(|core| {
        let is_boot = core.threads.iter().any(|thread| thread.is_boot);
        (!core.users.is_empty(), is_boot, core.chip != want.chip)
    });
    // A core is filled before the next one is begun.
    let mut threads: Vec<(&Core, Thread)> = Vec::new();
    for core in &open {
        let mut own = core.threads.clone();
        own.sort_by_key(|thread| thread.is_boot);
        threads.extend(own.iter().map(|&thread| (*core, thread)));
    }
    let free = threads.len();
    let is_enough = free >= want.vcpus || free > 0 && (want.crowds || want.shares);
    if !is_enough {
        return Err(NoCores {
            wanted: want.vcpus,
            free,
        });
    }
    let mut placed = Placed {
        threads: Vec::with_capacity(want.vcpus),
        neighbours: Vec::new(),
    };
    for _ in 0..want.vcpus {
        // The first of those that have the fewest.
        let Some((core, thread)) = threads.iter_mut().min_by_key(|(_, thread)| thread.vcpus) else {
            break;
        };
        thread.vcpus += 1;
        placed.threads.push(thread.pir);
        for user in &core.users {
            if !placed.neighbours.contains(&user.name) {
                placed.neighbours.push(user.name.clone());
            }
        }
    }
    Ok(placed)
}
