//! The local bindings that are seen from a place.
//!
//! Expects: scopes to be opened and closed in pairs.
//! Guarantees: an inner binding hides an outer one, a later one an earlier one.
//! Leaves out: declarations and primitives.

use crate::tree::{Name, Span};

/// What a local name is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binding {
    /// A value or a dim.
    Value,
    /// A dtype class.
    Class,
    /// A `param` line.
    Parameter,
    /// What `next` may rebind: a carry of a scan, a state or the weight of an optimizer.
    Carried,
    /// An argument of a rule's target that a `keep` line has replaced.
    Gone(Span),
}

/// One local binding.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub binding: Binding,
    /// Whether anything spoke of it.
    pub used: bool,
}

/// Local bindings, innermost scope last.
#[derive(Debug, Default)]
pub struct Scopes {
    entries: Vec<Vec<Entry>>,
}

impl Scopes {
    /// Begins a scope.
    pub fn open(&mut self) {
        self.entries.push(Vec::new());
    }

    /// Ends the innermost scope and answers its bindings.
    pub fn close(&mut self) -> Vec<Entry> {
        self.entries.pop().unwrap_or_default()
    }

    /// Binds a name in the innermost scope.
    pub fn bind(&mut self, name: &Name, binding: Binding) {
        if let Some(scope) = self.entries.last_mut() {
            scope.push(Entry { name: name.clone(), binding, used: false });
        }
    }

    /// What a name is; counts as a use.
    pub fn find(&mut self, name: &str) -> Option<Binding> {
        let entry = self
            .entries
            .iter_mut()
            .rev()
            .flat_map(|scope| scope.iter_mut().rev())
            .find(|entry| entry.name.text == name)?;
        entry.used = true;
        Some(entry.binding)
    }

    /// Whether a name is bound.
    pub fn knows(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// All bound names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().flatten().map(|entry| entry.name.text.as_str())
    }

    /// How many scopes are open.
    pub fn depth(&self) -> usize {
        self.entries.len()
    }

    /// Names that `next` may rebind, of the scopes from `depth` inwards.
    pub fn carried(&self, depth: usize) -> impl Iterator<Item = &str> {
        let carried = self.entries.iter().skip(depth).flatten().filter(|entry| entry.binding == Binding::Carried);
        carried.map(|entry| entry.name.text.as_str())
    }
}
