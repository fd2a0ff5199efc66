//! Shell lines: none makes the reader stop or run away, and what is read says the same when it is written out again.
#![no_main]

use fence::cli::Command;
use fence::config::policy::Policy;
use fence::rules::shell::{quote, read, read_words};
use fence::rules::{command, ssh};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let reading = read(line);
    for piece in &reading.pieces {
        // What is known of a command is the same for the words as they are and for the line that they make.
        if !piece.words.is_empty() && piece.words.iter().all(|word| word.known) {
            let typed: Vec<String> = piece.words.iter().map(|word| quote(&word.text)).collect();
            let again = read(&format!("nohup -- {}", typed.join(" ")));
            let inner = again.pieces.get(1).expect("a command");
            assert!(inner.words == piece.words, "{piece:?} {again:?}");
        }
    }
    let mut policy = Policy::default();
    // One rule more says nothing about the reader, and each costs as much as the reading.
    policy.command.use_defaults = Some(false);
    policy.command.deny = vec!["git push".into(), "a b=".into()];
    policy.ssh.allowed_hosts = vec!["h*".into()];
    policy.ssh.allowed_commands = vec!["ls".into()];
    let script = Command::Line { script: line.into(), params: Vec::new() };
    _ = command::check(&policy, &script);
    let words: Vec<&str> = line.split('\0').collect();
    _ = command::verdict(&policy, &words);
    _ = ssh::read(&words);
    let words: Vec<_> = words.into_iter().map(Into::into).collect();
    _ = read_words(&words);
    // A denied command in front of a line stays denied, whatever follows on other lines.
    let script = Command::Line { script: format!("git push\n{line}").into(), params: Vec::new() };
    assert!(command::check(&policy, &script).is_err());
});
