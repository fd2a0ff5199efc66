//! `fence features`, `fence --linux-features`: what this host lets fence do.

use crate::error::Result;
use crate::features::show;
use crate::probe::features;

/// Prints what was found.
///
/// # Errors
/// stdout can't be written to.
pub fn run(json: bool) -> Result<u8> {
    let found = features::look()?;
    super::print(&if json {
        show::json(&found, &executable()).pretty() + "\n"
    } else {
        show::text(&found, &executable())
    })
}

/// The profile that lets this very binary make user namespaces where AppArmor restricts them.
///
/// # Errors
/// stdout can't be written to.
pub fn profile() -> Result<u8> {
    super::print(&show::profile(&executable()))
}

fn executable() -> String {
    std::env::current_exe().map_or("/usr/local/bin/fence".into(), |path| path.display().to_string())
}
