//! What firmware wants done against leaks by speculation, made known to the switch
//! between partitions.

use crate::boot::runtime;
use crate::cpu::guest::{COUNT_CACHE, Cache, DISPLACEMENT, Flushes, set_flushes};
use crate::machine::{BranchFlush, CacheFlush};
use crate::memory::frames::FrameError;
use spin::Once;

static DONE: Once<()> = Once::new();

/// Before any partition runs.
///
/// # Errors
/// No memory for what displaces a cache.
pub(super) fn apply() -> Result<(), FrameError> {
    let Some(machine) = runtime::machine() else {
        return Ok(());
    };
    DONE.try_call_once(|| {
        let wanted = machine.speculation.mitigations();
        let cache = wanted.cache.map(|how| match how {
            CacheFlush::Trigger => Cache::Trigger,
            CacheFlush::Instruction => Cache::Instruction,
            CacheFlush::Displacement => Cache::Displacement,
        });
        let displacement = match cache {
            Some(Cache::Displacement) => {
                runtime::allocate(DISPLACEMENT.ilog2(), None)?.leak().get()
            }
            _ => 0,
        };
        set_flushes(&Flushes {
            cache,
            at_entry: wanted.at_entry,
            branches: wanted.branches.map(|how| match how {
                BranchFlush::Assisted => 1,
                BranchFlush::Software => COUNT_CACHE,
            }),
            displacement,
        });
        Ok(())
    })
    .copied()
}
