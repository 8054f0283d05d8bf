//! PCI without hardware: enumeration, groups, resources, and the order in
//! which a PE is brought up.
//!
//! A PHB is taken in four steps, each a pure function of what the one before
//! returned and of answers through [`ConfigAccess`]:
//!
//! 1. [`scan()`] walks the buses and names whatever is wrong on the way;
//! 2. [`group()`] unites what cannot be kept apart;
//! 3. [`plan()`] gives each group a PE, MMIO segments and addresses;
//! 4. [`steps`] lists what a driver has to do, in order.
#![forbid(unsafe_code)]

pub mod acs;
pub mod address;
mod allot;
mod assign;
pub mod bar;
pub mod capability;
pub mod class;
pub mod config;
pub mod function;
mod group;
mod layout;
pub mod lsi;
pub mod msi;
pub mod phb;
mod plan;
mod planner;
pub mod problem;
pub mod quiesce;
pub mod registers;
mod rid;
mod scan;
pub mod show;
pub mod sriov;
mod step;
pub mod steps;
pub mod topology;
pub mod validate;

pub use address::{Bdfn, FunctionId, PeNumber, PhbId};
pub use assign::NotAssignable;
pub use config::{ConfigAccess, ConfigError, Registers};
pub use group::{
    Group, GroupIndex, GroupKind, Groups, Inseparable, Reason, VfSplit, VirtualIndex, group,
};
pub use phb::{Generation, PhbDescription, PhbInfo, Window};
pub use plan::{BarPlan, BridgePlan, GroupPlan, M64Plan, Plan, Space};
pub use planner::plan;
pub use problem::{Fault, Problem};
pub use rid::RidMatch;
pub use scan::{BusNumbers, ScanPolicy, scan};
pub use topology::{BusIndex, FunctionIndex, Topology};
