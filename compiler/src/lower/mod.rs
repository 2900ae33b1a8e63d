//! Lowering: a program becomes a graph with concrete sizes, and all of its types are checked on the way.
//!
//! Expects: a loaded program whose names are checked (`bpc_lang`), and sizes for the dims of its inputs.
//! Guarantees: a verified graph with `grad`, `ruled` and `stop` markers, or diagnostics, several in one run; the same
//! program and options give the same graph.
//! Leaves out: derivatives (`differentiate`), although the table of them is elaborated here ([`Derivatives`]).

mod bind;
mod builtin;
mod call;
mod check;
mod choose;
mod context;
mod derivatives;
mod expression;
mod index;
mod lanes;
mod loop_rule;
mod mentions;
mod minimize;
mod model;
mod operator;
mod optimizer;
mod residual;
mod rule;
mod rule_region;
mod scan;
mod setting;
mod signature;
mod sizes;
mod statement;
mod train;
mod types;
mod value;

pub use check::check;
pub use choose::LoopChoices;
pub use derivatives::Derivatives;
pub use model::{Input, Output, OutputKind, Parameter, Site, State, Warning};
pub use setting::Setting;
pub use signature::{Signature, SignatureDim, SignatureInput, signature, solve_dims};
pub use train::{BatchRows, Source, TrainBlock, train_block};

use crate::ir::graph::Graph;
use bind::Given;
use bpc_lang::builtins::BUILTINS;
use bpc_lang::diagnostics::{Diagnostic, Severity};
use bpc_lang::program::{ItemId, ModuleId, Program};
use bpc_lang::suggest::closest;
use bpc_lang::tree::{FileId, GradChoice, Item, Model, ParamKind, Span};
use context::{Frame, FrameKind, Lowering, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use value::Value;

/// What the user of a program chooses.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The model; may be left out where there is one.
    pub model: Option<String>,
    /// Sizes of dims, and values of settings.
    pub settings: BTreeMap<String, Setting>,
    /// Whether the graph is that of a training step.
    pub training: bool,
    /// Rules chosen from outside ([`bpc_lang::choice::read_choice`]).
    pub grad_overrides: Vec<GradChoice>,
    /// Random places whose numbers come from outside, by name.
    pub forced: BTreeSet<String>,
}

/// A lowered model.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// Its name.
    pub model: String,
    /// The step.
    pub graph: Graph,
    /// Its parameters in the order of elaboration.
    pub parameters: Vec<Parameter>,
    /// The states of its optimisers.
    pub states: Vec<State>,
    /// Its inputs in the order of the text.
    pub inputs: Vec<Input>,
    /// What it reports.
    pub outputs: Vec<Output>,
    /// Random places and calls under a rule.
    pub sites: Vec<Site>,
    /// What `bpc train` does without flags.
    pub train: Option<TrainBlock>,
    /// Warnings that a step may give.
    pub warnings: Vec<Warning>,
    /// The rules that its loops are under.
    pub loop_choices: LoopChoices,
}

/// Lowers a model.
///
/// # Errors
/// Everything that is wrong with it.
pub fn lower(program: &Program, options: &Options) -> Result<Lowered, Vec<Diagnostic>> {
    let (id, model) = find_model(program, options.model.as_deref())?;
    let mut lowering = Lowering::new(program, options);
    lowering.model.recording = true;
    let outcome = lowering.model_body(id, model).and_then(|()| lowering.unused_choices(model));
    let failed = lowering.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    if failed || outcome.is_err() {
        return Err(lowering.diagnostics);
    }
    let train = train_block(program, &model.name.text)?;
    let loop_choices = lowering.loop_choices;
    let mut graph = lowering.graph;
    for building in lowering.building {
        graph.add(building.region);
    }
    let state = lowering.model;
    Ok(Lowered {
        model: model.name.text.clone(),
        graph,
        parameters: state.parameters.into_iter().map(|(parameter, _)| parameter).collect(),
        states: state.states,
        inputs: state.inputs,
        outputs: state.outputs,
        sites: state.sites,
        train,
        warnings: state.warnings,
        loop_choices,
    })
}

/// How a choice says where it holds.
const PATTERNS: &str = "patterns are paths of bindings, as in `blocks.*.mlp`";

/// The model of that name in the root module; without a name, the only one.
fn find_model<'p>(program: &'p Program, name: Option<&str>) -> Result<(ItemId, &'p Model), Vec<Diagnostic>> {
    let items = program.modules[Program::ROOT.0 as usize].items.iter().enumerate();
    let models: Vec<(ItemId, &Model)> = items
        .filter_map(|(index, item)| match item {
            Item::Model(model) => Some((ItemId { module: ModuleId(0), index: index as u32 }, model)),
            _ => None,
        })
        .collect();
    let start = Span { file: FileId(0), start: 0, end: 0 };
    let names: Vec<&str> = models.iter().map(|(_, model)| model.name.text.as_str()).collect();
    let diagnostic = match (name, &models[..]) {
        (None, [model]) => return Ok(*model),
        (_, []) => Diagnostic::error("BP0308", "the program has no model", start, "no `model` in this file"),
        (None, _) => Diagnostic::error("BP0308", "the program has several models", models[1].1.name.span, "which one?")
            .with_help(format!("choose one: {}", names.join(", "))),
        (Some(name), _) => {
            if let Some(model) = models.iter().find(|(_, model)| model.name.text == name) {
                return Ok(*model);
            }
            let title = format!("there is no model `{name}`");
            let diagnostic = Diagnostic::error("BP0308", title, models[0].1.name.span, "a model");
            match closest(name, names.iter().copied()) {
                Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
                None => diagnostic.with_note(format!("the models are: {}", names.join(", "))),
            }
        }
    };
    Err(vec![diagnostic])
}

impl Lowering<'_> {
    /// Elaborates a model: settings, body, training.
    fn model_body(&mut self, id: ItemId, model: &Model) -> Outcome<()> {
        self.frames.push(Frame::new(id.module, FrameKind::Model, Vec::new()));
        let result = self.model_in_frame(model);
        self.frames.pop();
        result
    }

    fn model_in_frame(&mut self, model: &Model) -> Outcome<()> {
        self.settings(model)?;
        let before = self.diagnostics.len();
        self.statements(&model.body.statements)?;
        // With an error in the body, what the losses reach means little.
        if self.diagnostics[before..].iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(context::Reported);
        }
        self.train()
    }

    /// Binds the settings of a model: from outside, or their defaults.
    fn settings(&mut self, model: &Model) -> Outcome<()> {
        let mut given = Vec::new();
        for param in &model.params {
            let span = param.name.span;
            let value = match (self.options.settings.get(&param.name.text), &param.kind) {
                (Some(value), _) => value.value(),
                (None, ParamKind::Dim(dim)) if param.default.is_none() && self.sizes.in_use() => {
                    Value::Integer(self.sizes.representative(&dim.text) as i64)
                }
                (None, ParamKind::Typed(ty)) if param.default.is_none() && self.sizes.in_use() => {
                    if ty.element.text == "int" { Value::Integer(3) } else { continue }
                }
                (None, _) if param.default.is_none() => {
                    let name = &param.name.text;
                    return Err(self.report(
                        Diagnostic::error("BP0305", format!("the setting `{name}` has no value"), span, "no default")
                            .with_help(format!("give it by `--set {name}=8`")),
                    ));
                }
                (None, _) => continue,
            };
            self.model.used_settings.insert(param.name.text.clone());
            given.push(Given { name: Some(param.name.clone()), value, span });
        }
        self.bind(&model.name.text, &model.params, given, model.name.span)
    }

    /// What the user chose and nothing took: sizes, overrides, forced places, scopes of rules.
    fn unused_choices(&mut self, model: &Model) -> Outcome<()> {
        let span = model.name.span;
        let mut outcome = Ok(());
        let mut wrong = Vec::new();
        for (name, value) in &self.options.settings {
            if self.model.used_settings.contains(name) {
                continue;
            }
            let title = format!("the model has no dim or setting `{name}`");
            let mut known: BTreeSet<&str> = self.model.used_settings.iter().map(String::as_str).collect();
            known.extend(model.params.iter().map(|param| param.name.text.as_str()));
            let help = match closest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let of_training = ["epochs", "steps", "batch", "seed"].contains(&name.as_str());
                    let flag = if of_training {
                        format!("for the `train` block, write `--{name} {value}`; ")
                    } else {
                        String::new()
                    };
                    let has = known.into_iter().collect::<Vec<_>>().join(", ");
                    let has =
                        if has.is_empty() { "the model has none".to_string() } else { format!("the model has: {has}") };
                    format!(
                        "{flag}{has}; a setting stands in parentheses behind the model's name, as in `model {}({name} = {value})`",
                        model.name.text
                    )
                }
            };
            wrong.push((Diagnostic::error("BP0311", title, span, "set from outside"), Some(help)));
        }
        for (index, choice) in self.options.grad_overrides.iter().enumerate() {
            if !self.model.used_overrides.contains(&index) {
                let items = self.program.modules.iter().flat_map(|module| &module.items).filter_map(Item::name);
                let known = items.map(|name| name.text.as_str()).chain(BUILTINS.iter().map(|builtin| builtin.name));
                let help = match closest(&choice.target.text, known) {
                    Some(near) if near != choice.target.text => format!("did you mean `{near}`?"),
                    _ => PATTERNS.to_string(),
                };
                let title = "this choice matches no call of the model";
                wrong.push((Diagnostic::error("BP0405", title, choice.span, "matches nothing"), Some(help)));
            }
        }
        for name in self.options.forced.iter().filter(|name| !self.model.random.contains(*name)) {
            let title = format!("the model has no random place `{name}`");
            let near = closest(name, self.model.random.iter().map(String::as_str));
            let near = near.map(|near| format!("did you mean `{near}`?"));
            wrong.push((Diagnostic::error("BP0405", title, span, "forced from outside"), near));
        }
        for scope in self.model.scopes.iter().filter(|scope| !scope.used) {
            let title = format!("no call of `{}` lies in this scope", scope.choice.target.text);
            wrong.push((
                Diagnostic::error("BP0405", title, scope.choice.span, "matches nothing"),
                Some(format!("the choice holds for the calls below this line; {PATTERNS}")),
            ));
        }
        for (diagnostic, help) in wrong {
            let diagnostic = match help {
                Some(help) => diagnostic.with_help(help),
                None => diagnostic,
            };
            outcome = Err(self.report(diagnostic));
        }
        outcome
    }
}
