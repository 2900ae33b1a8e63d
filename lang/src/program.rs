//! A loaded program: every module that is reachable from the root file, and what each name in them means.
//!
//! Expects: modules that parsed without error.
//! Guarantees: every `use` line leads to a module of the program; lookups depend on nothing but the texts.
//! Leaves out: types and shapes (the compiler's lowering finds them).

use crate::builtins::{self, Builtin};
use crate::source::Sources;
use crate::tree::{Item, Module, Rule};
use std::collections::BTreeMap;

/// A module of a program; an index into [`Program::modules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub u32);

/// A declaration of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId {
    /// The module that declares it.
    pub module: ModuleId,
    /// Its place among the module's items.
    pub index: u32,
}

/// What a name stands for, apart from local bindings.
#[derive(Clone, Copy, Debug)]
pub enum Definition {
    /// A function, layer, optimizer or model.
    Item(ItemId),
    /// A primitive of the language.
    Builtin(&'static Builtin),
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A function.
    Item(ItemId),
    /// A primitive or an operation of the graph.
    Primitive(&'static str),
}

/// Modules with resolved imports.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// All texts.
    pub sources: Sources,
    /// The modules; the root comes first.
    pub modules: Vec<Module>,
    /// Dotted path of each module (`std.nn`); the root's is empty.
    pub paths: Vec<String>,
    /// What each module sees by name: its own items, what it imports, and the prelude `std.core`.
    pub(crate) scopes: Vec<BTreeMap<String, ItemId>>,
    /// Rules by their target, in the order of loading.
    pub(crate) rules: BTreeMap<Target, Vec<ItemId>>,
}

impl Program {
    /// The root module: the file the user named.
    pub const ROOT: ModuleId = ModuleId(0);

    /// What `name` means in `module`; own items hide imports, imports hide the prelude and builtins.
    pub fn resolve(&self, module: ModuleId, name: &str) -> Option<Definition> {
        match self.scopes[module.0 as usize].get(name) {
            Some(item) => Some(Definition::Item(*item)),
            None => builtins::find(name).map(Definition::Builtin),
        }
    }

    /// What the name after `~` means in `module`: whatever the module sees, else what `std.init` sees.
    pub fn resolve_initializer(&self, module: ModuleId, name: &str) -> Option<Definition> {
        self.resolve(module, name).or_else(|| {
            let init = self.module_named("std.init")?;
            self.scopes[init.0 as usize].get(name).map(|item| Definition::Item(*item))
        })
    }

    /// The names of the functions in `std.init`.
    pub fn initializers(&self) -> impl Iterator<Item = &str> {
        let init = self.module_named("std.init").map(|init| &self.modules[init.0 as usize]);
        init.into_iter().flat_map(|module| module.items.iter().filter_map(Item::name)).map(|name| name.text.as_str())
    }

    /// The module with this dotted path.
    pub fn module_named(&self, path: &str) -> Option<ModuleId> {
        self.paths.iter().position(|known| known == path).map(|index| ModuleId(index as u32))
    }

    /// A declaration.
    pub fn item(&self, id: ItemId) -> &Item {
        &self.modules[id.module.0 as usize].items[id.index as usize]
    }

    /// What a rule in `module` means by the name of its target.
    pub fn resolve_target(&self, module: ModuleId, name: &str) -> Option<Target> {
        match self.scopes[module.0 as usize].get(name) {
            Some(item) => Some(Target::Item(*item)),
            None => builtins::primitive(name).map(Target::Primitive),
        }
    }

    /// The rules for a function or primitive, named or not.
    pub fn rules_for(&self, target: Target) -> impl Iterator<Item = (ItemId, &Rule)> {
        self.rules.get(&target).into_iter().flatten().map(|id| match self.item(*id) {
            Item::Rule(rule) => (*id, rule),
            _ => unreachable!("bug in bpc: the rule index holds rules only"),
        })
    }

    /// Every name that `module` sees, for "did you mean".
    pub fn visible_names(&self, module: ModuleId) -> Vec<&str> {
        let mut names: Vec<&str> = self.scopes[module.0 as usize].keys().map(String::as_str).collect();
        for builtin in builtins::BUILTINS {
            names.push(builtin.name);
        }
        names
    }
}
