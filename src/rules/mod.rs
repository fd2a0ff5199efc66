//! Verdicts: pure.

pub mod glob;
