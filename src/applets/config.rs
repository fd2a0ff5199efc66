//! `fence config show` and `fence config init`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::cli::ConfigCommand;
use crate::config::load::{Env, load};
use crate::config::{init, lexical, show, templates};
use crate::error::{Failure, Result};

/// Runs the sub-command; the exit status is 0.
///
/// # Errors
/// The configuration can't be loaded, or the new file can't be written.
pub fn run(command: &ConfigCommand) -> Result<u8> {
    let env = Env::of_process()?;
    match command {
        ConfigCommand::Show { settings, template } => {
            run_show(settings.as_deref(), template.as_deref(), &env)?
        }
        ConfigCommand::Init { template, minimal, output, force, print, scaffold } => {
            let template = if *minimal { None } else { Some(extended(template.as_deref())?) };
            let json = init::document(template, *scaffold);
            if *print {
                say(&json)?;
            } else {
                run_init(template, &json, target(output.as_deref(), &env)?, *force)?;
            }
        }
    }
    Ok(0)
}

fn run_show(settings: Option<&OsStr>, template: Option<&str>, env: &Env) -> Result<()> {
    let loaded = load(settings, template, env, false)?;
    let told = io::stderr().write_all(show::chain(&loaded.chain).as_bytes());
    told.map_err(|e| failed("cannot write to standard error", &e))?;
    say(&(show::document(&loaded.merged).pretty() + "\n"))
}

fn run_init(template: Option<&str>, json: &str, path: PathBuf, force: bool) -> Result<()> {
    let exists = path.symlink_metadata().is_ok();
    if exists && !force && !confirmed(&format!("File {path:?} already exists. Overwrite? [y/N] "))? {
        return say("Aborted.\n");
    }
    let text = init::header(template).to_string() + json;
    init::write(&path, &text).map_err(|e| failed(format!("cannot write {}", path.display()), &e))?;
    let created = match template {
        Some(name) => format!("config extending {name:?}"),
        None => "minimal config".to_string(),
    };
    say(&format!("Created {created}\nWritten to {path:?}\n"))
}

/// What a new file that is not minimal extends: `code` unless told otherwise.
fn extended(template: Option<&str>) -> Result<&'static str> {
    let found = templates::find(template.unwrap_or("code")).map_err(|e| e.hint(templates::SEE_LIST))?;
    Ok(found.name)
}

fn target(output: Option<&OsStr>, env: &Env) -> Result<PathBuf> {
    let unknown = || {
        Failure::new("cannot tell where your configuration is: HOME is not set").hint("name a file with -o")
    };
    match output {
        Some(path) => Ok(lexical::clean(&env.cwd.join(path))),
        None => env.user_file().ok_or_else(unknown),
    }
}

fn confirmed(question: &str) -> Result<bool> {
    say(question)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|e| failed("cannot read the answer", &e))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn say(text: &str) -> Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| failed("cannot write to standard output", &e))
}

fn failed(what: impl Into<String>, error: &io::Error) -> Failure {
    let failure = Failure::new(what);
    error.raw_os_error().map_or(failure.clone(), |errno| failure.errno(errno))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_extends_a_template_that_exists() {
        assert_eq!(extended(None), Ok("code"));
        assert_eq!(extended(Some("hermes.json")), Ok("hermes"));
        assert_eq!(
            extended(Some("nope")).unwrap_err().to_string(),
            "template \"nope\" not found; Use --list-templates to see available templates"
        );
    }

    #[test]
    fn the_new_file_goes_to_the_user_unless_named() {
        let env = Env { cwd: "/w".into(), home: Some("/h".into()), xdg_config_home: None };
        assert_eq!(target(None, &env), Ok("/h/.config/fence/fence.json".into()));
        assert_eq!(target(Some(OsStr::new("./x")), &env), Ok("/w/x".into()));
        assert!(target(None, &Env { home: None, ..env }).is_err());
    }
}
