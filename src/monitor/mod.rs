//! Seeing: what was denied, by which layer, and what would allow it. Events to lines.

pub mod advice;
pub mod call;
pub mod ebpf;
pub mod event;
pub mod learn;
pub mod report;
