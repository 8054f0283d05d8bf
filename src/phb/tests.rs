//! The PHB module against a register file that pretends.
