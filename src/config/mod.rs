//! Configuration files → Policy.

pub mod policy;
pub use policy::Policy;
