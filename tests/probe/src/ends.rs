//! What the partition does instead of its checks, if its arguments say so.

use crate::call;
use crate::println;
use crate::words;

/// RTAS: the partition's last words.
const OS_TERM: u32 = 5;

/// `probe=crash` gives up, `probe=wait` waits for ever.
pub fn if_told(tree: u64) {
    if words::told(tree, "probe=crash") {
        println!("probe: gives up");
        let text = c"told to crash";
        call::rtas(OS_TERM, &[text.as_ptr() as u32], &mut [0]);
    }
    if words::told(tree, "probe=wait") {
        println!("probe: waits");
        loop {
            call::hypervisor(call::CEDE, &[]);
        }
    }
}
