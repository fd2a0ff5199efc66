//! Rules of `command.deny` and `command.allow`: word prefixes of a command.

use super::shell::tokens;

/// Whether a command, given as words, begins as the rule says.
///
/// The first words are compared by their last path component. A rule word that ends in `=` asks for some later word that
/// begins with it. In front of the rule's first sub-command word the command may have flags: `git -C /x push` is a
/// `git push`.
pub fn matches(rule: &str, words: &[&str]) -> bool {
    // Nearly every rule is for another program: that takes no reading of the whole rule.
    let first = rule.trim_start_matches([' ', '\t']).split([' ', '\t']).next().unwrap_or_default();
    if words.is_empty() || !first.contains(['\'', '"']) && basename(first) != basename(words[0]) {
        return false;
    }
    let rule = tokens(rule);
    let (Some((rule_name, rule)), Some((name, words))) = (rule.split_first(), words.split_first()) else {
        return false;
    };
    if basename(rule_name) != basename(name) {
        return false;
    }
    let mut rest = words;
    let mut sub_command_seen = false;
    for wanted in rule {
        if wanted.ends_with('=') {
            if !words.iter().any(|word| word.starts_with(wanted.as_str())) {
                return false;
            }
            continue;
        }
        if !sub_command_seen && !wanted.starts_with('-') {
            rest = skip_flags(rest, wanted);
            sub_command_seen = true;
        }
        match rest.split_first() {
            Some((word, after)) if *word == wanted => rest = after,
            _ => return false,
        }
    }
    true
}

/// Passes over flags that stand before the word `wanted`, with the values that they seem to take.
fn skip_flags<'a, 'w>(mut words: &'a [&'w str], wanted: &str) -> &'a [&'w str] {
    while let Some((flag, after)) = words.split_first() {
        if !flag.starts_with('-') || *flag == "--" {
            break;
        }
        let takes_value = (flag.starts_with("--") && !flag.contains('='))
            || (!flag.starts_with("--") && flag.chars().count() == 2);
        words = match after.split_first() {
            Some((value, rest)) if takes_value && !value.starts_with('-') && *value != wanted => rest,
            _ => after,
        };
    }
    words
}

/// The last component of a path, which is how programs are named in rules.
pub fn basename(word: &str) -> &str {
    let path = word.trim_end_matches('/');
    match path.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => word,
    }
}

/// The program that a rule of one word names: such a rule can be enforced on the file itself.
pub fn single_program(rule: &str) -> Option<String> {
    const SPECIAL: &str = "*?[]|&;()<>$`=";
    let mut words = tokens(rule);
    let word = words.pop()?;
    (words.is_empty() && !word.contains(|c| SPECIAL.contains(c))).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::{list, table};

    #[test]
    fn every_rule_match_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/command.tsv"));
        let rows: Vec<_> = rows.into_iter().filter(|row| row["mode"] == "prefix").collect();
        assert_eq!(rows.len(), 27);
        for row in rows {
            let words = tokens(&row["command"]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let matched = list(&row["deny"]).iter().any(|rule| matches(rule, &words));
            assert_eq!(matched, row["original"] == "blocked", "{}", row["id"]);
        }
    }

    #[test]
    fn programs_of_single_words() {
        let rows = table(include_str!("../../tests/data/compat/shell.tsv"));
        let rows: Vec<_> = rows.into_iter().filter(|row| row["kind"] == "runtimetoken").collect();
        assert_eq!(rows.len(), 12);
        for row in rows {
            let got = match single_program(&row["input"]) {
                Some(word) => format!("{{\"ok\":true,\"token\":\"{word}\"}}"),
                None => "{\"ok\":false,\"token\":\"\"}".into(),
            };
            assert_eq!(got, row["expected"], "{}", row["id"]);
        }
    }
}
