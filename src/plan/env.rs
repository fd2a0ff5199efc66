//! stub
use std::ffi::OsString; use std::path::PathBuf;
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment { pub variables: Vec<(OsString,OsString)>, pub changes: Vec<(OsString, Option<OsString>)>, pub runtime_dir: Option<PathBuf> }
