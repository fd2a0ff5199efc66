//! `fence features`, `fence --linux-features`: what this build's prober knows, each line from asking the kernel.

use crate::cli::{Command, Run};
use crate::config::Policy;
use crate::error::Result;
use crate::json::Json;
use crate::probe::{engines, host};
use std::path::Path;

/// Prints the features that a run depends on.
///
/// # Errors
/// stdout can't be written to.
pub fn run(json: bool) -> Result<u8> {
    let facts = host::kernel();
    let yes = |there: bool| if there { "true" } else { "false" };
    let rows = [
        ("Kernel", host::release()),
        ("Seccomp", yes(facts.seccomp).to_string()),
        ("Landlock", format!("{} (ABI v{})", yes(facts.landlock_abi > 0), facts.landlock_abi)),
        ("Mount API (mount_setattr)", yes(facts.mount_setattr).to_string()),
        ("Native namespaces", namespaces().map_or_else(|why| format!("false ({why})"), |()| "true".into())),
    ];
    if json {
        let fields = rows.iter().map(|(name, value)| (name.to_string(), Json::str(value)));
        return super::print(&(Json::Object(fields.collect()).pretty() + "\n"));
    }
    let lines: String = rows.iter().map(|(name, value)| format!("  {name}: {value}\n")).collect();
    super::print(&format!(
        "Linux Sandbox Features:\n{lines}\nThis build's prober is a small one: other engines, bubblewrap, eBPF and user \
         notification are not looked at yet.\n"
    ))
}

/// The whole sandbox of the default policy. A probe that only called unshare would be wrong where AppArmor takes the new
/// namespace's rights away.
fn namespaces() -> Result<()> {
    let policy = Policy::default();
    let run = Run { command: Command::Argv(vec!["/".into()]), ..Run::default() };
    let facts = host::look(&policy, &run, Path::new("/"), None, &[])?;
    engines::try_out(&crate::plan::plan(&policy, &run, &facts)?)
}
