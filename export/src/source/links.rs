//! Links in an archive to other entries of it.

use std::collections::BTreeMap;

/// Limit of links in a chain.
const MAX_STEPS: usize = 40;

/// Targets of the links of an archive, by path.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<String, String>);

impl Links {
    /// Adds a link. The last entry of a name counts.
    pub(super) fn insert(&mut self, path: String, target: String) {
        self.0.insert(path, target);
    }

    /// Removes a link that a file has replaced.
    pub(super) fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// Each link with the path at the end of its chain; `None` for a cycle.
    pub(super) fn resolved(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.keys().map(|path| (path.as_str(), self.resolve(path)))
    }

    fn resolve<'a>(&'a self, path: &'a str) -> Option<&'a str> {
        let mut at = path;
        for _ in 0..MAX_STEPS {
            match self.0.get(at) {
                Some(next) => at = next,
                None => return Some(at),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_end_and_circles_do_not() {
        let mut links = Links::default();
        for (path, target) in [("a", "b"), ("b", "c"), ("x", "y"), ("y", "x"), ("z", "z")] {
            links.insert(path.to_owned(), target.to_owned());
        }
        let found: Vec<_> = links.resolved().collect();
        assert_eq!(
            found,
            [("a", Some("c")), ("b", Some("c")), ("x", None), ("y", None), ("z", None)]
        );
        links.remove("b");
        assert_eq!(links.resolved().next(), Some(("a", Some("b"))));
    }
}
