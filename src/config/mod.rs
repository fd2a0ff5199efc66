//! Configuration files → Policy.
//!
//! ```text
//! text ─jsonc→ tree ─file, fields→ File ─validate, groups→ File ─merge (extends)→ File → Policy
//! ```
//! Only `load` (finding and reading files) and `init` (writing one) touch the file system.

pub mod fields;
pub mod file;
pub mod groups;
pub mod init;
pub mod jsonc;
pub mod lexical;
pub mod load;
pub mod merge;
pub mod notice;
pub mod policy;
pub mod show;
pub mod templates;
pub mod validate;

pub use load::{Env, Loaded, Source, load};
pub use policy::Policy;
