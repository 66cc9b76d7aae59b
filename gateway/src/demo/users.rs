//! Who is where: the version or variant that each user with a key got.

use super::record::Sample;
use std::collections::{BTreeMap, BTreeSet};

/// What each user got, over some requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Users(BTreeMap<u16, Seen>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    requests: usize,
    all: BTreeSet<String>,
    last: String,
}

impl Users {
    /// The versions that the users of `samples` got.
    pub(super) fn versions(samples: &[Sample]) -> Self {
        let mut users = Self::default();
        for sample in samples {
            users.see(sample.user, sample.version());
        }
        users
    }

    /// Notes an answer; none and those to unkeyed requests do not count.
    pub(super) fn see(&mut self, user: Option<u16>, by: Option<&str>) {
        let (Some(user), Some(by)) = (user, by) else { return };
        let seen = self.0.entry(user).or_insert_with(|| Seen {
            requests: 0,
            all: BTreeSet::new(),
            last: String::new(),
        });
        seen.requests += 1;
        by.clone_into(&mut seen.last);
        if !seen.all.contains(by) {
            seen.all.insert(by.to_owned());
        }
    }

    /// How many users were seen.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The fewest answers that any of them got.
    pub(super) fn fewest(&self) -> usize {
        self.0.values().map(|seen| seen.requests).min().unwrap_or(0)
    }

    /// Users who got more than one.
    pub(super) fn torn(&self) -> usize {
        self.0.values().filter(|seen| seen.all.len() > 1).count()
    }

    /// Users whose last answer came from `by`.
    pub(super) fn on(&self, by: &str) -> BTreeSet<u16> {
        let on = self.0.iter().filter(|(_, seen)| seen.last == by);
        on.map(|(user, _)| *user).collect()
    }

    /// How many users went from one to another since `before`: `(from, to, users)`.
    pub(super) fn moves(&self, before: &Self) -> Vec<(String, String, usize)> {
        let mut moves: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (user, now) in &self.0 {
            let Some(then) = before.0.get(user) else { continue };
            if then.last != now.last {
                *moves.entry((&then.last, &now.last)).or_default() += 1;
            }
        }
        let owned =
            |((from, to), users): ((&str, &str), usize)| (from.to_owned(), to.to_owned(), users);
        moves.into_iter().map(owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(seen: &[(u16, &str)]) -> Users {
        let mut users = Users::default();
        for (user, by) in seen {
            users.see(Some(*user), Some(by));
        }
        users
    }

    #[test]
    fn a_user_who_got_two_is_torn() {
        let users = users(&[(1, "v1"), (2, "v1"), (1, "v1"), (2, "v2"), (3, "v2")]);
        assert_eq!((users.len(), users.torn(), users.fewest()), (3, 1, 1));
        assert_eq!(users.on("v2"), BTreeSet::from([2, 3]));
    }

    #[test]
    fn requests_without_a_key_or_an_answer_say_nothing() {
        let mut users = Users::default();
        users.see(None, Some("v1"));
        users.see(Some(1), None);
        assert_eq!(users, Users::default());
        assert_eq!(users.fewest(), 0);
    }

    #[test]
    fn moves_are_counted_by_where_from_and_where_to() {
        let before = users(&[(1, "v1"), (2, "v1"), (3, "v2"), (4, "v1")]);
        let now = users(&[(1, "v2"), (2, "v2"), (3, "v2"), (4, "v1"), (5, "v2")]);
        assert_eq!(now.moves(&before), [("v1".to_owned(), "v2".to_owned(), 2)]);
        assert_eq!(now.moves(&now), []);
    }
}
