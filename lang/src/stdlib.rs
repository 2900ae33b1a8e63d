//! The standard library: texts in `lang/std`, carried inside the program.
//!
//! Expects: nothing.
//! Guarantees: the order of [`MODULES`] is fixed.
//! Leaves out: what the texts mean; they are loaded like any other module.

use crate::parser;
use crate::source::Sources;
use crate::tree::Item;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Dotted path and text of each module.
pub static MODULES: &[(&str, &str)] = &[
    ("std.core", include_str!("../std/core.bp")),
    ("std.derivatives", include_str!("../std/derivatives.bp")),
    ("std.rules.one_shot", include_str!("../std/rules/one_shot.bp")),
    ("std.nn", include_str!("../std/nn.bp")),
    ("std.moe", include_str!("../std/moe.bp")),
    ("std.rules.sparsemixer", include_str!("../std/rules/sparsemixer.bp")),
    ("std.rules.wht", include_str!("../std/rules/wht.bp")),
    ("std.random", include_str!("../std/random.bp")),
    ("std.optim", include_str!("../std/optim.bp")),
    ("std.schedule", include_str!("../std/schedule.bp")),
    ("std.linear_algebra", include_str!("../std/linear_algebra.bp")),
    ("std.constraints", include_str!("../std/constraints.bp")),
    ("std.physics", include_str!("../std/physics.bp")),
    ("std.logic", include_str!("../std/logic.bp")),
    ("std.boolean", include_str!("../std/boolean.bp")),
    ("std.rules.boolean", include_str!("../std/rules/boolean.bp")),
    ("std.init", include_str!("../std/init.bp")),
    ("std.rules.discrete", include_str!("../std/rules/discrete.bp")),
];

/// The text of a module.
pub fn text(path: &str) -> Option<&'static str> {
    MODULES.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
}

/// The module that declares a function, layer or optimizer of this name.
pub fn module_of(name: &str) -> Option<&'static str> {
    static INDEX: OnceLock<BTreeMap<String, &'static str>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut index = BTreeMap::new();
        for (path, text) in MODULES {
            let mut sources = Sources::default();
            let file = sources.add(*path, *text);
            for name in parser::parse(&sources, file).0.items.iter().filter_map(Item::name) {
                index.entry(name.text.clone()).or_insert(*path);
            }
        }
        index
    });
    index.get(name).copied()
}
