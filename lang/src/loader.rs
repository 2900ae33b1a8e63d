//! Root file to program: reads what `use` lines lead to and settles what each module sees.
//!
//! Expects: the text of the root file and a way to read the files beside it; modules of the standard library come from
//! [`crate::stdlib`].
//! Guarantees: the order of modules depends on the texts alone: root, `std.core`, `std.derivatives`, `std.rules.one_shot`, `std.init`, then what `use`
//! lines name, in the order of the text. Without an error every
//! name of the program is known (see [`crate::names`]).
//! Leaves out: types and shapes.

use crate::diagnostics::Diagnostic;
use crate::parser;
use crate::program::{ItemId, ModuleId, Program};
use crate::stdlib;
use crate::suggest::closest;
use crate::tree::{Item, Name, Rule, Span, Use};
use std::collections::BTreeMap;

/// Seen by every module.
const PRELUDE: &str = "std.core";

/// The derivatives of the primitives.
const DERIVATIVES: &str = "std.derivatives";

/// The derivative of the loop.
const LOOPS: &str = "std.rules.one_shot";

/// Where names after `~` are looked up last.
const INITIALIZERS: &str = "std.init";

/// Loads a program. `path` and `text` are those of the root file; `read` is asked for the text of `shapes.bp` where
/// `use shapes` stands, and for `a/b.bp` where `use a.b` stands.
pub fn load(path: &str, text: &str, read: &mut dyn FnMut(&str) -> Option<String>) -> (Program, Vec<Diagnostic>) {
    let mut loader = Loader { program: Program::default(), diagnostics: Vec::new(), read };
    loader.add(String::new(), path, text);
    loader.add_std(PRELUDE);
    loader.add_std(DERIVATIVES);
    loader.add_std(LOOPS);
    loader.add_std(INITIALIZERS);
    let mut next = 0;
    while next < loader.program.modules.len() {
        loader.add_used(next);
        next += 1;
    }
    loader.report_cycles();
    loader.fill_scopes();
    loader.index_rules();
    let Loader { program, mut diagnostics, .. } = loader;
    if diagnostics.is_empty() {
        diagnostics = crate::names::check(&program);
    }
    (program, diagnostics)
}

struct Loader<'r> {
    program: Program,
    diagnostics: Vec<Diagnostic>,
    read: &'r mut dyn FnMut(&str) -> Option<String>,
}

impl Loader<'_> {
    fn add(&mut self, module_path: String, file_path: &str, text: &str) {
        let file = self.program.sources.add(file_path, text);
        let (module, diagnostics) = parser::parse(&self.program.sources, file);
        self.program.modules.push(module);
        self.program.paths.push(module_path);
        self.diagnostics.extend(diagnostics);
    }

    fn add_std(&mut self, path: &str) -> bool {
        let Some(text) = stdlib::text(path) else { return false };
        self.add(path.to_string(), &format!("{}.bp", path.replace('.', "/")), text);
        true
    }

    /// Adds the modules that the `use` lines of one module name.
    fn add_used(&mut self, index: usize) {
        for line in self.program.modules[index].uses.clone() {
            let path = dotted(&line.path);
            if self.program.module_named(&path).is_some() || path.is_empty() {
                continue;
            }
            if line.path[0].text == "std" {
                if !self.add_std(&path) {
                    let known = stdlib::MODULES.iter().map(|(path, _)| *path);
                    let diagnostic = unknown_module(&line, &path, "the standard library has no such module");
                    self.diagnostics.push(did_you_mean(diagnostic, closest(&path, known.clone()), || {
                        format!("there are {}", known.map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", "))
                    }));
                }
                continue;
            }
            let file_path = format!("{}.bp", path.replace('.', "/"));
            match (self.read)(&file_path) {
                Some(text) => self.add(path, &file_path, &text),
                None => {
                    let label = format!("there is no file `{file_path}` beside the program");
                    let known = stdlib::MODULES.iter().filter_map(|(path, _)| path.strip_prefix("std."));
                    let close = closest(&path, known).map(|close| format!("std.{close}"));
                    self.diagnostics.push(did_you_mean(unknown_module(&line, &path, &label), close.as_deref(), || {
                        format!("write the module as `{file_path}`, or take the line out")
                    }));
                }
            }
        }
    }

    /// Reports `use` lines that lead back to their own module.
    fn report_cycles(&mut self) {
        let mut state = vec![Visit::New; self.program.modules.len()];
        let mut trail = Vec::new();
        for index in 0..state.len() {
            self.visit(index, &mut state, &mut trail);
        }
    }

    fn visit(&mut self, index: usize, state: &mut [Visit], trail: &mut Vec<(usize, Span)>) {
        state[index] = match state[index] {
            Visit::New => Visit::Open,
            _ => return,
        };
        for line in self.program.modules[index].uses.clone() {
            let Some(ModuleId(target)) = self.program.module_named(&dotted(&line.path)) else { continue };
            let target = target as usize;
            trail.push((index, line.span));
            if state[target] == Visit::Open {
                let from = trail.iter().position(|(module, _)| *module == target).unwrap_or(0);
                let names: Vec<&str> = trail[from..].iter().map(|(module, _)| self.module_label(*module)).collect();
                let title = format!("modules use each other in a circle: {} and back", names.join(", then "));
                let mut diagnostic = Diagnostic::error("BP0105", title, line.span, "leads back");
                for (_, span) in &trail[from..trail.len() - 1] {
                    diagnostic = diagnostic.with_label(*span, "by way of this line");
                }
                self.diagnostics.push(diagnostic.with_help("move what both need into a module of its own"));
            } else {
                self.visit(target, state, trail);
            }
            trail.pop();
        }
        state[index] = Visit::Done;
    }

    fn module_label(&self, index: usize) -> &str {
        match self.program.paths[index].as_str() {
            "" => self.program.sources.path(self.program.modules[index].file),
            path => path,
        }
    }

    /// Settles what each module sees.
    fn fill_scopes(&mut self) {
        let own: Vec<BTreeMap<String, ItemId>> =
            (0..self.program.modules.len()).map(|index| self.own_names(index)).collect();
        let prelude = self.program.module_named(PRELUDE);
        for index in 0..own.len() {
            let mut scope = match prelude {
                Some(prelude) => own[prelude.0 as usize].clone(),
                None => BTreeMap::new(),
            };
            scope.extend(self.imports(index, &own));
            scope.extend(own[index].clone());
            self.program.scopes.push(scope);
        }
    }

    /// The declarations of one module by name; reports names given twice.
    fn own_names(&mut self, index: usize) -> BTreeMap<String, ItemId> {
        let mut names: BTreeMap<String, ItemId> = BTreeMap::new();
        let module = ModuleId(index as u32);
        for (place, item) in self.program.modules[index].items.iter().enumerate() {
            let Some(name) = item.name() else { continue };
            let id = ItemId { module, index: place as u32 };
            if let Some(first) = names.get(&name.text) {
                self.diagnostics.extend(self.program.item(*first).name().map(|first| given_twice(name, first)));
            } else {
                names.insert(name.text.clone(), id);
            }
        }
        names
    }

    /// What the `use` lines of one module bring; a name that a line lists hides what a whole module brings.
    fn imports(&mut self, index: usize, own: &[BTreeMap<String, ItemId>]) -> BTreeMap<String, ItemId> {
        let mut listed = BTreeMap::new();
        let mut whole = BTreeMap::new();
        for line in self.program.modules[index].uses.clone() {
            let path = dotted(&line.path);
            let Some(ModuleId(target)) = self.program.module_named(&path) else { continue };
            let known = &own[target as usize];
            match &line.names {
                None => {
                    for (name, id) in known {
                        whole.entry(name.clone()).or_insert_with(Vec::new).push((*id, line.span));
                    }
                }
                Some(names) => {
                    self.report_unknown_imports(names, &path, target as usize, known);
                    for name in names {
                        if let Some(id) = known.get(&name.text) {
                            listed.entry(name.text.clone()).or_insert_with(Vec::new).push((*id, name.span));
                        }
                    }
                }
            }
        }
        whole.extend(listed);
        for (name, origins) in &whole {
            let (first, first_span) = origins[0];
            let other = origins.iter().find(|(id, _)| *id != first);
            if let Some((_, span)) = other
                && !own[index].contains_key(name)
            {
                let title = format!("`{name}` is imported from two modules");
                self.diagnostics.push(
                    Diagnostic::error("BP0104", title, *span, "imported again here")
                        .with_label(first_span, "imported here first")
                        .with_help("name what you want of each module: `use module { name }`"),
                );
            }
        }
        whole.into_iter().map(|(name, origins)| (name, origins[0].0)).collect()
    }

    fn report_unknown_imports(&mut self, names: &[Name], path: &str, target: usize, known: &BTreeMap<String, ItemId>) {
        let module = &self.program.modules[target];
        let rules: Vec<&str> =
            module.items.iter().filter_map(rule).filter_map(|rule| Some(rule.name.as_ref()?.text.as_str())).collect();
        for name in names {
            // The rules of a module that is loaded can always be chosen; naming one in a `use` line says where it comes from.
            if known.contains_key(&name.text) || rules.contains(&name.text.as_str()) {
                continue;
            }
            let title = format!("`{path}` has no `{}`", name.text);
            let candidates = known.keys().map(String::as_str).chain(rules.iter().copied());
            let diagnostic = Diagnostic::error("BP0107", title, name.span, "not declared there");
            let all = || {
                format!("it declares {}", known.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
            };
            self.diagnostics.push(match stdlib::module_of(&name.text) {
                Some("std.core") => {
                    diagnostic.with_help(format!("`{}` is always there; take it out of this line", name.text))
                }
                Some(module) => diagnostic.with_help(format!("`use {module} {{ {} }}` brings it in", name.text)),
                None => did_you_mean(diagnostic, closest(&name.text, candidates), all),
            });
        }
    }

    /// Finds for each rule the function or primitive that it is for.
    fn index_rules(&mut self) {
        let mut index: BTreeMap<_, Vec<ItemId>> = BTreeMap::new();
        for module in 0..self.program.modules.len() {
            let id = ModuleId(module as u32);
            for (place, item) in self.program.modules[module].items.iter().enumerate() {
                let Some(rule) = rule(item) else { continue };
                let Some(target) = self.program.resolve_target(id, &rule.target.text) else { continue };
                let entry = index.entry(target).or_default();
                for earlier in entry.iter().filter_map(|id| self::rule(self.program.item(*id))) {
                    let same =
                        earlier.name.as_ref().map(|name| &name.text) == rule.name.as_ref().map(|name| &name.text);
                    if same {
                        // The program is at fault, not the library.
                        let in_library = self.program.paths[module].starts_with("std.");
                        let (again, first) = if in_library { (earlier, rule) } else { (rule, earlier) };
                        self.diagnostics.push(rule_given_twice(again, first));
                        break;
                    }
                }
                entry.push(ItemId { module: id, index: place as u32 });
            }
        }
        self.program.rules = index;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    Open,
    Done,
}

fn rule(item: &Item) -> Option<&Rule> {
    match item {
        Item::Rule(rule) => Some(rule),
        _ => None,
    }
}

fn dotted(path: &[Name]) -> String {
    path.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(".")
}

fn unknown_module(line: &Use, path: &str, label: &str) -> Diagnostic {
    let span = line.path.iter().fold(line.path[0].span, |span, name| span.to(name.span));
    Diagnostic::error("BP0106", format!("no module `{path}`"), span, label)
}

fn did_you_mean(diagnostic: Diagnostic, close: Option<&str>, otherwise: impl FnOnce() -> String) -> Diagnostic {
    match close {
        Some(close) => diagnostic.with_help(format!("did you mean `{close}`?")),
        None => diagnostic.with_help(otherwise()),
    }
}

fn given_twice(again: &Name, first: &Name) -> Diagnostic {
    Diagnostic::error("BP0103", format!("`{}` is declared twice", again.text), again.span, "declared again here")
        .with_label(first.span, "declared here first")
        .with_help("rename one of them")
}

fn rule_given_twice(again: &Rule, first: &Rule) -> Diagnostic {
    let target = &again.target.text;
    let (title, help) = match &again.name {
        Some(name) => (format!("the rule `{}` for `{target}` is declared twice", name.text), "rename one of them"),
        None => (
            format!("`{target}` has two derivatives"),
            "give one of them a name and choose it by `via`: `exact other for ..`",
        ),
    };
    Diagnostic::error("BP0103", title, again.target.span, "declared again here")
        .with_label(first.target.span, "declared here first")
        .with_help(help)
}
