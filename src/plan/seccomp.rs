//! stub
pub struct Options {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub guard_group_kill: bool,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule;
impl std::fmt::Display for Rule {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
pub fn plan(_o: &Options) -> crate::error::Result<Vec<Rule>> {
    Ok(vec![])
}
