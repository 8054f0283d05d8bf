//! Manifests and bundles, good and bad, and what becomes of partitions.

mod assign;
#[allow(dead_code, reason = "shared with the tests of the tree's reader")]
#[path = "../device_tree/build.rs"]
mod build;
mod bundle;
mod cores;
mod life;
mod lives;
mod manifest;
mod memory;
mod rig;
