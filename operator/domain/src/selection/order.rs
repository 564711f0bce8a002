//! From the order in which an API server lists to the order in which a point is written.
//!
//! A list is in the order of names; files are `<name>.json`, so `a-b.json` comes before `a.json` though `a` comes before
//! `a-b`. The two differ only among names of which one begins with another, so it is enough to hold a name back for as
//! long as those that begin with it are coming.

use std::cmp::Ordering;

/// Puts what comes in the order of names into that of paths. What it holds at a time is as long as the longest chain of
/// names that begin with one another.
#[derive(Debug)]
pub struct Reorder<T> {
    held: Vec<(String, T)>,
    last: Option<String>,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { held: Vec::new(), last: None }
    }
}

/// A list that is in no order that this can use, or that has a path twice. The paths are those that met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfOrder {
    pub before: String,
    pub after: String,
}

impl<T> Reorder<T> {
    /// Takes the next of the list, and gives what can be written now.
    ///
    /// # Errors
    /// When something was written already that should come after this.
    pub fn next(&mut self, path: String, item: T) -> Result<Vec<(String, T)>, OutOfOrder> {
        let mut ready = Vec::new();
        while let Some((top, _)) = self.held.last() {
            match top.as_str().cmp(path.as_str()) {
                Ordering::Less => ready.extend(self.held.pop()),
                Ordering::Greater => break,
                Ordering::Equal => return Err(OutOfOrder { before: top.clone(), after: path }),
            }
        }
        self.held.push((path, item));
        self.given(ready)
    }

    /// The list is at its end: gives the rest.
    ///
    /// # Errors
    /// As [`Reorder::next`].
    pub fn rest(&mut self) -> Result<Vec<(String, T)>, OutOfOrder> {
        let mut ready = std::mem::take(&mut self.held);
        ready.reverse();
        self.given(ready)
    }

    fn given(&mut self, ready: Vec<(String, T)>) -> Result<Vec<(String, T)>, OutOfOrder> {
        for (path, _) in &ready {
            if let Some(last) = self.last.as_ref().filter(|last| *last >= path) {
                return Err(OutOfOrder { before: last.clone(), after: path.clone() });
            }
            self.last = Some(path.clone());
        }
        Ok(ready)
    }
}
