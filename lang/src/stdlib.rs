//! The standard library: texts in `lang/std`, carried inside the program.
//!
//! Expects: nothing.
//! Guarantees: the order of [`MODULES`] is fixed.
//! Leaves out: what the texts mean; they are loaded like any other module.

use crate::parser;
use crate::source::Sources;
use crate::tree::{Item, Rule};
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
    index().declarations.get(name).copied()
}

/// The module that declares a rule of this name for this target.
pub fn module_of_rule(target: &str, name: &str) -> Option<&'static str> {
    index().rules.get(&(target.to_string(), name.to_string())).copied()
}

/// The modules of all names.
#[derive(Default)]
struct Index {
    declarations: BTreeMap<String, &'static str>,
    /// By target and name.
    rules: BTreeMap<(String, String), &'static str>,
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = Index::default();
        for (path, text) in MODULES {
            let mut sources = Sources::default();
            let file = sources.add(*path, *text);
            for item in parser::parse(&sources, file).0.items {
                if let Some(name) = item.name() {
                    index.declarations.entry(name.text.clone()).or_insert(*path);
                }
                if let Item::Rule(Rule { name: Some(name), target, .. }) = item {
                    index.rules.entry((target.text, name.text)).or_insert(*path);
                }
            }
        }
        index
    })
}
