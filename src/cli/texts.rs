//! What `--version` prints.

/// The text of `--version`, with the newline at its end.
pub fn version() -> String {
    format!(
        "fence - lightweight, container-free sandbox for running untrusted commands\n  \
         Version: {}\n  Built:   {}\n  Commit:  {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("FENCE_BUILT").unwrap_or("unknown"),
        option_env!("FENCE_COMMIT").unwrap_or("unknown"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_names_three_things() {
        let text = version();
        assert!(text.starts_with(
            "fence - lightweight, container-free sandbox for running untrusted commands\n  Version: 0.1.0\n  Built:   "
        ));
        assert_eq!(text.lines().count(), 4);
    }
}
