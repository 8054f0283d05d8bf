//! Errors of PEs.
