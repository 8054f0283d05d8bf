//! The TCE engine against models: property tests, rows of the requirements,
//! defects that must be impossible, bad input, failures, threads.

mod support;

mod bad_input;
mod defects;
mod faults;
mod features;
mod guarantees;
mod inspect;
mod leaving;
mod levels;
mod mutants_gates;
mod mutants_kills;
mod mutants_ledger;
mod mutants_levels;
mod mutants_owners;
mod mutants_questions;
mod mutants_tables;
mod one_page;
mod operations;
mod property;
mod quickly;
mod quiet;
mod random_faults;
mod recovery;
mod remap_lists;
mod threads;
mod trace;
mod waiting;
