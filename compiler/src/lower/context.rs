//! The state of one lowering: regions under construction, frames of names, diagnostics.
//!
//! Expects: a loaded program.
//! Guarantees: every failure has pushed a diagnostic before it returns [`Reported`], so that a poisoned value never
//! gives a second message; a tensor of an outer region becomes an input of the region that uses it.
//! Leaves out: what statements and expressions mean.

use super::Options;
use super::choose::{LoopChoices, Own};
use super::loop_rule::LoopStep;
use super::model::ModelState;
use super::rule_region::RuleRegions;
use super::sizes::SizeNames;
use super::value::{Origins, Tensor, Value};
use crate::ir::graph::{Graph, InputRole, NodeId, Provenance, Region};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal, TensorType, Type};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::{ItemId, ModuleId, Program};
use bpc_lang::tree::Span;
use std::collections::BTreeMap;

/// The mark of an error that has been reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// A result whose errors are reported already.
pub(super) type Outcome<T> = Result<T, Reported>;

/// A region under construction.
pub(super) struct Building {
    /// The region.
    pub region: Region,
    /// For the body of a scan, what it takes from outside; `None` for a region that sees only its inputs.
    pub scan: Option<ScanInputs>,
    /// Whether random numbers may be drawn here.
    pub random: bool,
}

/// What the body of a scan takes from the region around it.
#[derive(Default)]
pub(super) struct ScanInputs {
    /// Number of steps.
    pub length: u64,
    /// Tensors with a leading time axis, and the inputs that walk them.
    pub sequences: Vec<(NodeId, NodeId)>,
    /// Tensors seen unchanged, and the inputs they become.
    pub captures: Vec<(NodeId, NodeId)>,
}

/// What kind of declaration a frame elaborates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// A function.
    Function,
    /// A layer.
    Layer,
    /// A model.
    Model,
    /// A gradient rule.
    Rule,
    /// An optimizer.
    Optimizer,
}

/// How the statement at work names the layers and random places in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Binding {
    /// No name: a layer takes its own.
    None,
    /// By a `let` or `out`.
    Named(String),
    /// By a `next` in a `repeat`: the layer takes the prefix of the turn.
    Prefix,
}

/// What `next` and `yield` speak of.
pub(super) enum Turn {
    /// A turn of `repeat`: values for after it.
    Repeat(Vec<(String, Value)>),
    /// The body of a scan: a place for each carry, and the yields.
    Scan { carries: Vec<(String, Value, Option<Value>)>, yields: Vec<Value> },
    /// The body of an optimizer.
    Optimizer(Vec<(String, Value, Span)>),
}

/// The names of one declaration at work.
pub(super) struct Frame {
    /// Whose names are visible.
    pub module: ModuleId,
    /// What it elaborates.
    pub kind: FrameKind,
    /// Local names, innermost scope last.
    pub scopes: Vec<Vec<(String, Value)>>,
    /// Where each dim of the signature got its size.
    pub dims: BTreeMap<String, Span>,
    /// Names of layers and turns around it.
    pub path: Vec<String>,
    /// The name that the statement at work gives.
    pub binding: Binding,
    /// Loops around the statement at work.
    pub turns: Vec<Turn>,
}

impl Frame {
    /// A frame without names.
    pub fn new(module: ModuleId, kind: FrameKind, path: Vec<String>) -> Frame {
        Frame {
            module,
            kind,
            scopes: vec![Vec::new()],
            dims: BTreeMap::new(),
            path,
            binding: Binding::None,
            turns: Vec::new(),
        }
    }

    /// Adds a name to the innermost scope.
    pub fn define(&mut self, name: impl Into<String>, value: Value) {
        self.scopes.last_mut().expect("bug in bpc: a frame without scopes").push((name.into(), value));
    }

    /// Adds the parameters of a rule.
    pub fn define_all(&mut self, own: &Own) {
        own.iter().for_each(|(name, value)| self.define(name, value.value()));
    }

    /// The value of a local name.
    pub fn find(&self, name: &str) -> Option<&Value> {
        self.scopes.iter().rev().flat_map(|scope| scope.iter().rev()).find(|(known, _)| known == name).map(|(_, v)| v)
    }

    /// Replaces the value of a local name where it is defined.
    pub fn replace(&mut self, name: &str, value: Value) {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(entry) = scope.iter_mut().rev().find(|(known, _)| known == name) {
                entry.1 = value;
                return;
            }
        }
    }

    /// The path of layers and bindings at the statement at work.
    pub fn site(&self) -> Vec<String> {
        let mut path = self.path.clone();
        if let Binding::Named(name) = &self.binding {
            path.push(name.clone());
        }
        path
    }
}

/// A number that every program keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The seed of all random numbers.
    Seed,
    /// The number of the step.
    Step,
}

impl Clock {
    /// Both.
    pub const ALL: [Clock; 2] = [Clock::Seed, Clock::Step];

    /// What it is called among the inputs of a graph.
    pub fn name(self) -> &'static str {
        match self {
            Clock::Seed => "seed",
            Clock::Step => "step",
        }
    }

    fn input(self) -> (InputRole, TensorType) {
        match self {
            Clock::Seed => (InputRole::Seed, TensorType::new(Dtype::U32, [2])),
            Clock::Step => (InputRole::Step, TensorType::scalar(Dtype::I32)),
        }
    }
}

/// Codes of what only sizes can be blamed for.
const ABOUT_SIZES: [&str; 4] = ["BP0201", "BP0208", "BP0209", "BP0212"];

/// The elaborator.
pub(super) struct Lowering<'p> {
    /// The program.
    pub program: &'p Program,
    /// What its user chose.
    pub options: &'p Options,
    /// Finished regions.
    pub graph: Graph,
    /// Regions under construction, innermost last.
    pub building: Vec<Building>,
    /// Declarations at work, innermost last.
    pub frames: Vec<Frame>,
    /// Calls at work: where, what, and the declaration.
    pub calls: Vec<(Span, String, ItemId)>,
    /// Everything found so far.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether an assertion has refused the representative sizes: what they give from there on says nothing.
    pub sizes_doubted: bool,
    /// What was divided by `//` and leaves a rest, and by what, as it is written, in the order of the divisions.
    pub rounded: Vec<(Span, Span)>,
    /// Names of representative sizes; empty when sizes are real.
    pub sizes: SizeNames,
    /// The regions of rules so far.
    pub rules: RuleRegions,
    /// The rules that loops are under.
    pub loop_choices: LoopChoices,
    /// Rules whose bodies are being elaborated, outermost first.
    pub active_rules: Vec<ItemId>,
    /// The steps of the loops whose rules are elaborated.
    pub steps: Vec<LoopStep>,
    /// What the model has declared so far.
    pub model: ModelState,
}

impl<'p> Lowering<'p> {
    /// A lowering with an empty main region.
    pub fn new(program: &'p Program, options: &'p Options) -> Self {
        Lowering {
            program,
            options,
            graph: Graph::default(),
            building: vec![Building { region: Region::new("main"), scan: None, random: true }],
            frames: Vec::new(),
            calls: Vec::new(),
            diagnostics: Vec::new(),
            sizes_doubted: false,
            rounded: Vec::new(),
            sizes: SizeNames::default(),
            rules: RuleRegions::new(),
            loop_choices: LoopChoices::default(),
            active_rules: Vec::new(),
            steps: Vec::new(),
            model: ModelState::default(),
        }
    }

    /// The declaration at work.
    pub fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("bug in bpc: no declaration at work")
    }

    /// Reports a diagnostic, once, with the calls that led to it. What goes wrong in the text of the library is shown first
    /// at the call that the user wrote.
    pub fn report(&mut self, mut diagnostic: Diagnostic) -> Reported {
        if self.sizes_doubted && ABOUT_SIZES.contains(&diagnostic.code) {
            return Reported;
        }
        if let Some((span, name)) = self.users_call(diagnostic.primary.0) {
            let place = std::mem::replace(&mut diagnostic.primary, (span, format!("in this call of `{name}`")));
            diagnostic.secondary.insert(0, place);
        }
        let primary = diagnostic.primary.0;
        for (span, name, _) in self.calls.iter().rev().take(3) {
            if *span != primary && !diagnostic.secondary.iter().any(|(known, _)| known == span) {
                diagnostic.secondary.push((*span, format!("in this call of `{name}`")));
            }
        }
        let known = |other: &Diagnostic| other.primary.0 == primary && other.title == diagnostic.title;
        if !self.diagnostics.iter().any(known) {
            self.diagnostics.push(diagnostic);
        }
        Reported
    }

    /// For a place in the text of the library, the call in the user's text that led there.
    fn users_call(&self, span: Span) -> Option<(Span, &str)> {
        if !self.in_library(span) {
            return None;
        }
        let (span, name, _) = self.calls.iter().rev().find(|(span, ..)| !self.in_library(*span))?;
        Some((*span, name))
    }

    /// Where a node comes from that an expression asks for.
    pub fn provenance(&self, span: Span) -> Provenance {
        Provenance { span: Some(span), call: self.users_call(span).map(|(call, _)| call), backward: false }
    }

    /// Whether a place lies in the text of the standard library.
    pub fn in_library(&self, span: Span) -> bool {
        self.program.sources.path(span.file).starts_with("std/")
    }

    /// Reports an error at one place.
    pub fn error<T>(
        &mut self,
        code: &'static str,
        title: impl Into<String>,
        span: Span,
        label: impl Into<String>,
    ) -> Outcome<T> {
        Err(self.report(Diagnostic::error(code, title, span, label)))
    }

    /// Adds a node to the region at work.
    pub fn emit(&mut self, op: Op, operands: &[&Tensor], span: Span) -> Outcome<Tensor> {
        let nodes: Vec<NodeId> = operands.iter().map(|operand| self.node_here(operand)).collect();
        let level = self.building.len() - 1;
        let provenance = self.provenance(span);
        let too_large_for_a_name = self.goes_beyond_a_name(&op, operands);
        let divides = matches!(op, Op::Reshape { .. });
        match self.building[level].region.push(op, &nodes, provenance) {
            Ok(node) => Ok(self.tensor_at(level, node)),
            Err(sentence) => {
                self.sizes_doubted |= too_large_for_a_name;
                let title = self.sizes.rename(&sentence);
                let diagnostic = Diagnostic::error("BP0208", title, span, "here");
                Err(self.report(match self.missing_assertion() {
                    Some(help) if divides => diagnostic.with_help(help),
                    _ => diagnostic,
                }))
            }
        }
    }

    /// The line that says that a dim can be divided, where one was and leaves a rest.
    fn missing_assertion(&self) -> Option<String> {
        let (size, divisor) = self.rounded.last()?;
        // An operator in it is looser than the `%` beside it, or as loose.
        let written = |span: &Span| Some(self.text_of(*span)).filter(|text| !text.contains(' '));
        let (size, divisor) = (written(size)?, written(divisor)?);
        let message = format!("{size} is a multiple of {divisor}");
        Some(format!(
            "`{size} // {divisor}` rounds down; if nothing is left over, say so before: `assert({size} % {divisor} == 0, \"{message}\")`"
        ))
    }

    /// Whether a box or window does not fit its operand, and one of the two sizes stands for a dim.
    fn goes_beyond_a_name(&self, op: &Op, operands: &[&Tensor]) -> bool {
        let shape = operands.first().map_or(&[][..], |x| &x.ty.shape);
        let beyond = |part: u64, whole: u64| part > whole && (self.sizes.is_named(part) || self.sizes.is_named(whole));
        match op {
            Op::Windows { axis, size, .. } => shape.get(*axis as usize).is_some_and(|length| beyond(*size, *length)),
            Op::Slice { starts, stops } => {
                starts.iter().zip(stops).any(|(start, stop)| beyond(*start, *stop))
                    || stops.iter().zip(shape).any(|(stop, length)| beyond(*stop, *length))
            }
            _ => false,
        }
    }

    /// Adds a node that gives a tuple.
    pub fn emit_tuple(&mut self, op: Op, operands: &[NodeId], span: Span) -> Outcome<NodeId> {
        let provenance = self.provenance(span);
        match self.region().push(op, operands, provenance) {
            Ok(node) => Ok(node),
            Err(sentence) => self.error("BP0208", sentence, span, "here"),
        }
    }

    /// The region at work.
    pub fn region(&mut self) -> &mut Region {
        &mut self.building.last_mut().expect("bug in bpc: no region at work").region
    }

    /// A node of a level as a value.
    pub fn tensor_at(&self, level: usize, node: NodeId) -> Tensor {
        let Type::Tensor(ty) = &self.building[level].region.nodes[node].ty else {
            unreachable!("bug in bpc: a tuple where a tensor is wanted")
        };
        Tensor { level, node, ty: ty.clone(), origins: vec![None; ty.rank()] }
    }

    /// The node in the region at work that stands for a tensor; scans on the way take it as an input.
    pub fn node_here(&mut self, tensor: &Tensor) -> NodeId {
        let mut node = tensor.node;
        for level in tensor.level + 1..self.building.len() {
            let ty = self.building[level - 1].region.tensor(node).clone();
            let inner = &mut self.building[level];
            let scan = inner.scan.as_mut().expect("bug in bpc: a rule reads a tensor around it");
            node = match scan.captures.iter().find(|(outer, _)| *outer == node) {
                Some((_, known)) => *known,
                None => {
                    let name = format!("capture{}", scan.captures.len());
                    let input = inner.region.input(InputRole::Argument, name, ty, Provenance::default());
                    scan.captures.push((node, input));
                    input
                }
            };
        }
        node
    }

    /// The same number in every place.
    pub fn constant(&mut self, value: Literal, shape: &[u64], span: Span) -> Outcome<Tensor> {
        self.emit(Op::Constant { value, shape: shape.to_vec() }, &[], span)
    }

    /// A static number as a literal of a dtype.
    pub fn literal(&mut self, value: &Value, dtype: Dtype, span: Span) -> Outcome<Literal> {
        match value {
            Value::Integer(number) if dtype.is_float() => Ok(Literal::integer(dtype, *number)),
            Value::Integer(number) if dtype.is_integer() => {
                let literal = Literal::integer(dtype, *number);
                if literal.as_i64() != *number {
                    return self.error("BP0205", format!("{number} does not fit in {dtype}"), span, "this number");
                }
                Ok(literal)
            }
            Value::Real(number) if dtype.is_float() => Ok(Literal::new(dtype, *number)),
            Value::Flag(flag) if dtype == Dtype::Bool => Ok(Literal::new(dtype, f64::from(u8::from(*flag)))),
            Value::Real(number) if dtype.is_integer() => Err(self.report(
                Diagnostic::error(
                    "BP0205",
                    format!("the real number {number} meets a tensor of dtype {dtype}"),
                    span,
                    "this is a real number",
                )
                .with_help("cast the tensor, as in `f32(x)`, or write a whole number"),
            )),
            other => {
                let title = format!("{} is no value of dtype {dtype}", other.kind(&self.sizes));
                self.error("BP0205", title, span, "here")
            }
        }
    }

    /// The seed or the step: an input of the outermost region at work.
    pub fn clock(&mut self, clock: Clock) -> Tensor {
        let region = &mut self.building[0].region;
        let node = match region.input_named(clock.name()) {
            Some(node) => node,
            None => {
                let (role, ty) = clock.input();
                region.input(role, clock.name(), ty, Provenance::default())
            }
        };
        self.tensor_at(0, node)
    }

    /// Runs `work` with another graph in place of this one's, and gives that graph back with the region it built.
    pub fn apart<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<(T, Graph)> {
        let graph = std::mem::take(&mut self.graph);
        let rules = std::mem::take(&mut self.rules);
        let fresh = vec![Building { region: Region::new(name), scan: None, random: true }];
        let building = std::mem::replace(&mut self.building, fresh);
        let result = work(self);
        let built = std::mem::replace(&mut self.building, building);
        let mut inner = std::mem::replace(&mut self.graph, graph);
        self.rules = rules;
        let value = result?;
        for part in built {
            inner.add(part.region);
        }
        Ok((value, inner))
    }

    /// A tensor whose axes come from the dims of a written type.
    pub fn with_origins(mut tensor: Tensor, origins: Origins) -> Tensor {
        if origins.len() == tensor.ty.rank() {
            tensor.origins = origins;
        }
        tensor
    }

    /// A type as messages print it.
    pub fn type_text(&self, ty: &TensorType) -> String {
        self.sizes.type_text(ty)
    }
}
