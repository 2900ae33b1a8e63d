//! The standard library: texts in `lang/std`, carried inside the program.
//!
//! Expects: nothing.
//! Guarantees: the order of [`MODULES`] is fixed.
//! Leaves out: what the texts mean; they are loaded like any other module.

/// Dotted path and text of each module.
pub static MODULES: &[(&str, &str)] = &[
    ("std.core", include_str!("../std/core.bp")),
    ("std.derivatives", include_str!("../std/derivatives.bp")),
    ("std.nn", include_str!("../std/nn.bp")),
    ("std.random", include_str!("../std/random.bp")),
    ("std.optim", include_str!("../std/optim.bp")),
    ("std.schedule", include_str!("../std/schedule.bp")),
    ("std.init", include_str!("../std/init.bp")),
];

/// The text of a module.
pub fn text(path: &str) -> Option<&'static str> {
    MODULES.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
}
