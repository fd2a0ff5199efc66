//! Verdicts on commands, programs and hosts: pure.
