//! Manifests and bundles, good and bad.

#[allow(dead_code, reason = "shared with the tests of the tree's reader")]
#[path = "../device_tree/build.rs"]
mod build;
mod bundle;
mod manifest;
