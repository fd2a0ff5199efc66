//! Does one named act and says how it went: exit status 0, or the errno's name on stdout and exit status 1. A denial test
//! runs it inside the sandbox and outside. Static, so that it works in an empty root too.
//!
//! `victim ACT [ARGUMENTS]`; without arguments it lists the acts. An act that it does not know, or one with too few
//! arguments, ends with 2: that is never mistaken for a denial.

// Every system call here is made as an attacker would: by number, with arguments that no library would pass on.
#![allow(clippy::unwrap_used)]

#[cfg(target_arch = "x86_64")]
mod apparmor;
mod calls;
mod errno;
mod exec;
mod files;
mod filter;
#[cfg(target_arch = "x86_64")]
mod hosts;
mod ipc;
#[cfg(target_arch = "x86_64")]
mod landlock;
mod processes;
mod races;

use errno::Errno;
use std::process::ExitCode;

/// Other hosts than this one are made of calls by their numbers.
#[cfg(target_arch = "x86_64")]
const HOSTS: [&[Act]; 3] = [hosts::ACTS, landlock::ACTS, apparmor::ACTS];
#[cfg(not(target_arch = "x86_64"))]
const HOSTS: [&[Act]; 0] = [];

/// How an act went.
type Outcome = Result<(), Errno>;
/// One act: name, what it wants, what it does.
type Act = (&'static str, &'static str, fn(&[String]) -> Outcome);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    let Some((name, args)) = words.split_first() else {
        acts().for_each(|(name, usage, _)| println!("{name} {usage}"));
        return ExitCode::from(2);
    };
    // Several acts, apart by commas: a line for each, how it went. Ends with 0.
    if name == "acts" {
        for words in args.split(|word| word == ",") {
            match words.split_first().map(|(name, args)| perform(name, args)) {
                Some(Some(Ok(()))) => println!("ok"),
                Some(Some(Err(errno))) => println!("{errno}"),
                _ => return ExitCode::from(2),
            }
        }
        return ExitCode::SUCCESS;
    }
    match perform(name, args) {
        None => ExitCode::from(2),
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(errno)) => {
            println!("{errno}");
            ExitCode::FAILURE
        }
    }
}

/// Does an act; nothing when there is none of that name, or it wants more arguments.
fn perform(name: &str, args: &[String]) -> Option<Outcome> {
    let Some((_, usage, act)) = acts().find(|(n, _, _)| *n == name) else {
        eprintln!("victim: there is no act {name}");
        return None;
    };
    let wanted = usage.split_whitespace().filter(|w| !w.starts_with('[')).count();
    if args.len() < wanted {
        eprintln!("victim: usage: victim {name} {usage}");
        return None;
    }
    Some(act(args))
}

fn acts() -> impl Iterator<Item = &'static Act> {
    let tables =
        [files::ACTS, calls::ACTS, processes::ACTS, ipc::ACTS, filter::ACTS, exec::ACTS, races::ACTS];
    tables.into_iter().chain(HOSTS).flatten()
}

/// An argument as a number, decimal or hexadecimal.
fn number(word: &str) -> i64 {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.unwrap_or_else(|_| {
        eprintln!("victim: {word} is no number");
        std::process::exit(2)
    })
}
