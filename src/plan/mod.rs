//! Policy and facts → what a run will do: pure.

pub mod env;
