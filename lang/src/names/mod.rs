//! Names and places: every name of a program is known, and every statement stands where it may.
//!
//! Expects: a loaded program without an error so far.
//! Guarantees: after an empty answer every name in an expression is a local binding, a dim, a declaration or a primitive;
//! every chosen rule exists for its target; functions and layers do not call themselves; every body that must have a
//! value ends in one. Errors come in the order of modules and text.
//! Leaves out: everything that needs shapes, dtypes or the paths of parameters (arguments of calls, `grad` lines that are
//! missing, selectors); the compiler's lowering finds those.

mod expressions;
mod recursion;
mod scope;
mod statements;

use crate::builtins;
use crate::diagnostics::Diagnostic;
use crate::program::{Definition, ItemId, ModuleId, Program, Target};
use crate::stdlib;
use crate::suggest::closest;
use crate::tree::*;
use scope::{Binding, Scopes};
use std::collections::BTreeSet;

/// The dtypes a type may begin with.
const DTYPES: &[&str] = &["f32", "f64", "i32", "i64", "u32", "bool"];

/// Names of dtypes elsewhere.
const ALIASES: &[(&str, &str)] = &[
    ("str", "string"),
    ("integer", "int"),
    ("float", "f32"),
    ("float32", "f32"),
    ("float64", "f64"),
    ("double", "f64"),
    ("int32", "i32"),
    ("int64", "i64"),
    ("long", "i64"),
    ("uint32", "u32"),
    ("boolean", "bool"),
];

/// The classes of dtypes.
const CLASSES: &[&str] = &["f", "t"];

/// What a static parameter takes.
const STATIC_TYPES: &[&str] = &["int", "real", "flag", "string", "list", "dims", "dtype", "fn"];

/// What an estimator may claim to be exact for.
const EXACT_FOR: &[&str] = &["linear", "quadratic", "nothing"];

/// Checks all modules of a program.
pub fn check(program: &Program) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut calls = recursion::Calls::new();
    for (index, module) in program.modules.iter().enumerate() {
        let module_id = ModuleId(index as u32);
        for (place, item) in module.items.iter().enumerate() {
            let mut checker = Checker::new(program, module_id);
            checker.item(item);
            calls.insert(ItemId { module: module_id, index: place as u32 }, checker.used);
            checker.diagnostics.sort_by_key(|diagnostic| diagnostic.primary.0.start);
            diagnostics.extend(checker.diagnostics);
        }
    }
    diagnostics.extend(recursion::cycles(program, &calls));
    diagnostics
}

/// Checks the arguments of a rule that is chosen outside of the program.
pub fn check_arguments(program: &Program, args: &[Arg]) -> Vec<Diagnostic> {
    let mut checker = Checker::new(program, Program::ROOT);
    checker.args(args);
    checker.diagnostics
}

/// What kind of body a statement stands in.
#[derive(Clone, Copy, PartialEq)]
enum Body {
    Function,
    Layer,
    Rule,
    Optimizer,
    Model,
}

/// The innermost loop around a statement.
#[derive(Clone, Copy, PartialEq)]
enum Loop {
    None,
    Repeat,
    Scan,
}

/// Walks one declaration.
struct Checker<'p> {
    program: &'p Program,
    module: ModuleId,
    scopes: Scopes,
    body: Body,
    innermost: Loop,
    /// How many scopes lie around the innermost one whose names `next` carries.
    carriers: usize,
    /// Declarations that this one speaks of.
    used: BTreeSet<ItemId>,
    /// For a rule: the names of its target's results.
    results: Vec<String>,
    /// For a rule: its target's arguments, and whether each is a tensor.
    arguments: Vec<(Name, bool)>,
    /// For a model: the names of what it reports.
    outputs: Vec<Name>,
    diagnostics: Vec<Diagnostic>,
}

impl<'p> Checker<'p> {
    fn new(program: &'p Program, module: ModuleId) -> Self {
        Checker {
            program,
            module,
            scopes: Scopes::default(),
            body: Body::Function,
            innermost: Loop::None,
            carriers: 0,
            used: BTreeSet::new(),
            results: Vec::new(),
            arguments: Vec::new(),
            outputs: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn item(&mut self, item: &Item) {
        self.scopes.open();
        match item {
            Item::Function(function) => self.function(function, Body::Function),
            Item::Layer(function) => self.function(function, Body::Layer),
            Item::Rule(rule) => self.rule(rule),
            Item::Optimizer(optimizer) => {
                self.body = Body::Optimizer;
                self.params(&optimizer.params);
                self.params(std::slice::from_ref(&optimizer.weight));
                self.scopes.bind(&optimizer.weight.name, Binding::Carried);
                self.scopes.bind(&optimizer.gradient, Binding::Value);
                // The dtype of the gradient, also where the weight is a bool.
                let gradient = Name { text: "f".to_string(), span: optimizer.gradient.span };
                self.scopes.bind(&gradient, Binding::Class);
                if let Some(jacobian) = &optimizer.jacobian {
                    self.scopes.bind(jacobian, Binding::Value);
                }
                self.block(&optimizer.body);
            }
            Item::Model(model) => {
                self.body = Body::Model;
                self.params(&model.params);
                self.outputs = outputs(&model.body).cloned().collect();
                self.block(&model.body);
                self.declared_twice(&model.body);
            }
            Item::Train(train) => self.train(train),
        }
        self.close_scope();
    }

    fn function(&mut self, function: &Function, body: Body) {
        self.body = body;
        self.params(&function.params);
        for ty in &function.result {
            self.used_type(ty);
        }
        self.value_block(&function.body, &format!("`{}`", function.name.text));
    }

    fn rule(&mut self, rule: &Rule) {
        self.body = Body::Rule;
        self.params(&rule.params);
        self.params(&rule.target_params);
        let name = &rule.target.text;
        let target = self.program.resolve_target(self.module, name);
        match target {
            Some(Target::Item(id)) => match self.program.item(id) {
                Item::Function(function) => self.same_arguments(rule, function),
                Item::Layer(_) => self.report(
                    Diagnostic::error("BP0116", format!("`{name}` is a layer"), rule.target.span, "takes no rule")
                        .with_help("rules are for functions and primitives; write what the layer computes as a function that it calls"),
                ),
                _ => self.report(
                    Diagnostic::error(
                        "BP0116",
                        format!("`{name}` is no function"),
                        rule.target.span,
                        "has no derivative",
                    )
                    .with_help("rules are for functions and primitives"),
                ),
            },
            Some(Target::Primitive(_)) => {}
            None => {
                let mut candidates = self.program.visible_names(self.module);
                candidates.extend(builtins::OPERATIONS);
                let close = closest(name, candidates).map(str::to_string);
                self.unknown(name, rule.target.span, close);
            }
        }
        if rule.kind == RuleKind::Estimator && rule.name.is_none() {
            let title = "an estimator needs a name";
            let diagnostic = Diagnostic::error("BP0120", title, rule.target.span, "would be taken for the derivative");
            let help = format!("name it, `estimator mine for {name}(..)`, and choose it by `via mine`");
            self.report(diagnostic.with_help(help));
        }
        if let Some(claim) = &rule.exact_for {
            self.one_of(&claim.class, EXACT_FOR, "what an estimator is exact for");
            if let Some(condition) = &claim.condition {
                self.expr(condition);
            }
        }
        if rule.replaces() {
            if rule.kind == RuleKind::Exact || !matches!(target, Some(Target::Item(_))) {
                let title = "a rule with a value is an estimator for a function";
                let diagnostic = Diagnostic::error("BP0120", title, rule.target.span, "would change what is computed");
                let help =
                    "give cotangents (`grad x = ..`), or choose the value: `estimator mine for f(..) -> y { .. }`";
                self.report(diagnostic.with_help(help));
            }
            self.body = Body::Function;
            return self.block_with_value(&rule.body);
        }
        self.arguments = rule.target_params.iter().map(|param| (param.name.clone(), !is_static(param))).collect();
        for result in &rule.results {
            self.scopes.bind(result, Binding::Value);
            self.results.push(result.text.clone());
        }
        self.block(&rule.body);
    }

    /// A rule names every argument and result of its target.
    fn same_arguments(&mut self, rule: &Rule, target: &Function) {
        let counts = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut differ = |own: usize, wanted: usize, what: &str| {
            if own != wanted {
                let title = format!("the rule names {}, and `{}` has {wanted}", counts(own, what), target.name.text);
                let diagnostic =
                    Diagnostic::error("BP0119", title, rule.target.span, format!("{} wanted", counts(wanted, what)));
                let help = "a rule sees every argument and result of its target, in their order";
                self.report(diagnostic.with_label(target.name.span, "declared here").with_help(help));
            }
        };
        differ(rule.target_params.len(), target.params.len(), "argument");
        if !target.result.is_empty() {
            differ(rule.results.len(), target.result.len(), "result");
        }
    }

    fn train(&mut self, train: &Train) {
        match self.program.resolve(self.module, &train.model.text) {
            Some(Definition::Item(id)) if matches!(self.program.item(id), Item::Model(_)) => {}
            Some(_) => self.report(Diagnostic::error(
                "BP0116",
                format!("`{}` is no model", train.model.text),
                train.model.span,
                "cannot be trained",
            )),
            None => {
                let items = &self.program.modules[self.module.0 as usize].items;
                let models: Vec<&str> = items
                    .iter()
                    .filter_map(|item| match item {
                        Item::Model(model) => Some(model.name.text.as_str()),
                        _ => None,
                    })
                    .collect();
                let name = &train.model.text;
                let help = match closest(name, models.iter().copied()) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None if models.is_empty() => format!("declare it: `model {name} {{ .. }}`"),
                    None => format!("the models are: {}", models.join(", ")),
                };
                let title = format!("there is no model `{name}`");
                let diagnostic = Diagnostic::error("BP0101", title, train.model.span, "nothing to train");
                self.report(diagnostic.with_help(help));
            }
        }
        let mut seen: Vec<&Name> = Vec::new();
        for (key, value) in &train.entries {
            self.one_of(key, builtins::TRAIN_ENTRIES, "what a `train` block states");
            if let Some(first) = seen.iter().find(|first| first.text == key.text) {
                let title = format!("`{}` is stated twice", key.text);
                let diagnostic = Diagnostic::error("BP0103", title, key.span, "stated again here");
                self.report(diagnostic.with_label(first.span, "stated here first").with_help("take one of them out"));
            }
            seen.push(key);
            if key.text == "data"
                && let ExprKind::Call(callee, _) = &value.kind
                && let ExprKind::Name(source) = &callee.kind
            {
                let source = Name { text: source.clone(), span: callee.span };
                self.one_of(&source, builtins::DATA_SOURCES, "where data comes from");
            }
        }
    }

    /// Binds the parameters of a declaration and the dims and dtype classes of their types.
    fn params(&mut self, params: &[Param]) {
        for (index, param) in params.iter().enumerate() {
            if let Some(first) = params[..index].iter().find(|first| first.name.text == param.name.text) {
                self.report(twice(&param.name, &first.name));
            }
            if let Some(default) = &param.default {
                self.expr(default);
            }
            match &param.kind {
                ParamKind::Typed(ty) => {
                    self.bind_type(ty, true);
                    self.scopes.bind(&param.name, Binding::Value);
                }
                // Callers say `units`, the body says `O`.
                ParamKind::Dim(dim) => self.scopes.bind(dim, Binding::Value),
                ParamKind::Untyped => self.scopes.bind(&param.name, Binding::Value),
            }
        }
        // Sums and products may use names that a later parameter binds.
        for param in params {
            if let ParamKind::Typed(ty) = &param.kind {
                self.used_type(ty);
            }
        }
    }

    /// Binds what a type introduces: names that stand alone as a dim, and the dtype class.
    fn bind_type(&mut self, ty: &Type, classes: bool) {
        if classes && CLASSES.contains(&ty.element.text.as_str()) {
            self.scopes.bind(&ty.element, Binding::Class);
        }
        for dim in ty.shape.iter().flatten() {
            match dim {
                Dim::Rest(Some(name), _) => self.bind_dim(name),
                Dim::Size(Expr { kind: ExprKind::Name(text), span }) => {
                    self.bind_dim(&Name { text: text.clone(), span: *span });
                }
                Dim::Rest(None, _) | Dim::Size(_) => {}
            }
        }
    }

    fn bind_dim(&mut self, name: &Name) {
        if !self.scopes.knows(&name.text) {
            self.scopes.bind(name, Binding::Value);
        }
    }

    /// Checks the names of a type whose names are bound already.
    fn used_type(&mut self, ty: &Type) {
        let element = ty.element.text.as_str();
        if CLASSES.contains(&element) {
            if !self.scopes.knows(element) {
                let title = format!("`{element}` stands for no dtype here");
                self.report(
                    Diagnostic::error("BP0108", title, ty.element.span, "no parameter's type binds it")
                        .with_help("write the dtype, for example `f32`"),
                );
            }
        } else if !DTYPES.contains(&element) && !STATIC_TYPES.contains(&element) {
            let candidates = DTYPES.iter().chain(STATIC_TYPES).copied();
            let alias = ALIASES.iter().find(|(alias, _)| *alias == element).map(|(_, dtype)| *dtype);
            let help = match alias.or_else(|| closest(element, candidates)) {
                Some("f32") if ty.shape.is_none() => {
                    "write `real` for a number that is known when the program is compiled, `f32` for a tensor"
                        .to_string()
                }
                Some(close) => format!("did you mean `{close}`?"),
                None => {
                    "there are `f32`, `f64`, `i32`, `i64`, `u32`, `bool`; `f` for any float dtype and `t` for any; and \
                         `int`, `real`, `flag`, `string`, `list`, `dims`, `dtype`, `fn`"
                        .to_string()
                }
            };
            let title = format!("unknown type `{element}`");
            self.report(Diagnostic::error("BP0108", title, ty.element.span, "no such type").with_help(help));
        }
        for dim in ty.shape.iter().flatten() {
            match dim {
                Dim::Rest(Some(name), _) => self.name(&name.text, name.span),
                Dim::Rest(None, _) => {}
                Dim::Size(size) => self.expr(size),
            }
        }
    }

    /// Two inputs, parameters or outputs of a model with one name.
    fn declared_twice(&mut self, body: &Block) {
        let mut seen: Vec<(&str, &Name)> = Vec::new();
        for statement in &body.statements {
            let (kind, name) = match statement {
                Statement::Input { name, .. } => ("in", name),
                Statement::Param { name, .. } => ("param", name),
                Statement::Output { name, .. } => ("out", name),
                _ => continue,
            };
            if let Some((_, first)) = seen.iter().find(|(known, first)| *known == kind && first.text == name.text) {
                self.report(twice(name, first));
            }
            seen.push((kind, name));
        }
    }

    /// A word out of a fixed set.
    fn one_of(&mut self, word: &Name, known: &[&str], role: &str) {
        if known.contains(&word.text.as_str()) {
            return;
        }
        let help = match closest(&word.text, known.iter().copied()) {
            Some(close) => format!("did you mean `{close}`?"),
            None => {
                let all: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
                format!("there are {}", all.join(", "))
            }
        };
        let title = format!("`{}` is not {role}", word.text);
        self.report(Diagnostic::error("BP0118", title, word.span, "unknown word").with_help(help));
    }

    /// Reports an unknown name, with the closest known one or the module of the standard library that has it.
    fn unknown(&mut self, name: &str, span: Span, close: Option<String>) {
        let diagnostic =
            Diagnostic::error("BP0101", format!("unknown name `{name}`"), span, "nothing of this name is known here");
        if let Some(output) = self.outputs.iter().find(|output| output.text == name) {
            let help =
                format!("`out` reports a value and names none: write `let {name} = ..`, then `out {name} = {name}`");
            return self.report(diagnostic.with_label(output.span, "only reported here").with_help(help));
        }
        let habit = match name {
            "True" => Some("it is written `true`"),
            "False" => Some("it is written `false`"),
            "iota" | "arange" | "linspace" => {
                Some("`range(count)` gives 0, 1, .. as i32, and `f32(range(count))` the same as f32")
            }
            "None" | "null" => Some("there is no empty value; leave the argument out"),
            "torch" | "nn" | "F" | "np" | "jnp" | "tf" => {
                Some("functions are called by their names alone: `relu(x)`, after `use std.nn { relu }`")
            }
            _ => None,
        };
        let help = match (stdlib::module_of(name), close) {
            _ if habit.is_some() => habit.map(str::to_string),
            (Some(module), _) => Some(format!("`use {module} {{ {name} }}` brings it in")),
            (None, Some(close)) if name != "std" => Some(format!("did you mean `{close}`?")),
            _ if name == "std" => Some("bring the name in by `use std.module { name }` and write it alone".to_string()),
            _ => None,
        };
        self.report(Diagnostic { help, ..diagnostic });
    }

    /// Ends a scope and reports each `param` of it that nothing uses.
    fn close_scope(&mut self) {
        for entry in self.scopes.close() {
            if entry.binding != Binding::Parameter || entry.used {
                continue;
            }
            let title = format!("the parameter `{}` is never used", entry.name.text);
            self.report(
                Diagnostic::error("BP0115", title, entry.name.span, "would be stored and never trained")
                    .with_help("use it below, or take the line out"),
            );
        }
    }
}

/// The names of the `out` lines of a model.
fn outputs(body: &Block) -> impl Iterator<Item = &Name> {
    body.statements.iter().filter_map(|statement| match statement {
        Statement::Output { name, .. } => Some(name),
        _ => None,
    })
}

fn is_static(param: &Param) -> bool {
    match &param.kind {
        ParamKind::Typed(ty) => STATIC_TYPES.contains(&ty.element.text.as_str()),
        ParamKind::Dim(_) => true,
        ParamKind::Untyped => false,
    }
}

fn twice(again: &Name, first: &Name) -> Diagnostic {
    Diagnostic::error("BP0103", format!("`{}` is declared twice", again.text), again.span, "declared again here")
        .with_label(first.span, "declared here first")
        .with_help("rename one of them")
}
