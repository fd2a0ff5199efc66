//! Named groups of hosts: `"@npm"` in a list of domains stands for the hosts that package manager needs.
//!
//! Labels are written from the right, the order in which the matcher walks a name.

/// Group and its hosts, in the order in which they replace the name.
const GROUPS: [(&str, &[&str]); 6] = [
    ("@npm", &["org.npmjs.registry", "org.npmjs.*"]),
    ("@yarn", &["com.yarnpkg.registry"]),
    ("@pypi", &["org.pypi", "org.pythonhosted.files"]),
    ("@crates", &["io.crates", "io.crates.static", "io.crates.index"]),
    ("@golang", &["org.golang.proxy", "org.golang.sum"]),
    ("@homebrew", &["sh.brew.formulae"]),
];

/// The hosts of a group, when there is one of that name.
pub fn hosts(name: &str) -> Option<Vec<String>> {
    let (_, hosts) = GROUPS.iter().find(|(group, _)| *group == name)?;
    Some(hosts.iter().map(|host| reversed(host)).collect())
}

/// All names, for messages: `@npm, @yarn, …`.
pub fn names() -> String {
    GROUPS.map(|(name, _)| name).join(", ")
}

/// Puts the hosts of each group where its name stands.
pub fn expand(domains: &mut Vec<String>) {
    if domains.iter().any(|domain| domain.starts_with('@')) {
        let written = std::mem::take(domains);
        domains.extend(written.into_iter().flat_map(|domain| hosts(&domain).unwrap_or_else(|| vec![domain])));
    }
}

fn reversed(labels: &str) -> String {
    labels.rsplit('.').collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_stand_where_the_group_stood() {
        let mut domains = vec!["a.com".to_string(), "@npm".into(), "b.com".into()];
        expand(&mut domains);
        let npm = ["registry", "*"].map(|first| [first, "npmjs", "org"].join("."));
        assert_eq!(domains, ["a.com", &npm[0], &npm[1], "b.com"]);
    }

    #[test]
    fn every_group_has_hosts_that_pass_the_checks() {
        for (name, _) in GROUPS {
            for host in hosts(name).unwrap_or_default() {
                assert_eq!(super::super::validate::domain(&host), Ok(()), "{host}");
            }
        }
        assert_eq!(hosts("@nope"), None);
    }
}
