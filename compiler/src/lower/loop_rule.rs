//! Rules for loops: a rule for `scan`, elaborated for one loop of a differentiated graph.
//!
//! Expects: a loop that stacks its states, with what is trained and which cotangents arrive.
//! Guarantees: a region for each form of the rule. Its inputs are the operands of the loop, its parts (last carries,
//! stacks, states), the cotangents of the last float carries, and those of the stacks that get one; its results are the
//! cotangents of the float first values, the trained sequences, and the trained constants.
//! Leaves out: the derivative of one turn; `pullback` and `pushforward` are markers that differentiation replaces.

use super::bind::{Given, count};
use super::choose::{Chosen, Own};
use super::context::{Building, Frame, FrameKind, Lowering, Outcome};
use super::expression::cotangent_key;
use super::lanes::lanes;
use super::model::Site;
use super::rule::rule_name;
use super::value::{Callee, Tensor, Value};
use crate::differentiate::{Loop, LoopRule};
use crate::ir::copy::inline;
use crate::ir::graph::{InputRole, NodeId, OutputRole, Provenance, Region, RegionId};
use crate::ir::op::Op;
use crate::ir::types::TensorType;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::{ItemId, Target};
use bpc_lang::tree::{Expr, Rule, RuleKind, Span, Statement};

/// One turn of a loop, as a rule sees it: something that can be called, pulled back and pushed forward.
#[derive(Clone)]
pub(super) struct LoopStep {
    body: RegionId,
    carries: usize,
    sequences: usize,
    /// Results of the body: what is stacked, apart from the states.
    stacks: Vec<u32>,
    /// The size of the leading axis along which each place is computed alone, if the carries have such an axis.
    lanes: Option<u64>,
    /// Inputs and results of the body: the float carries.
    float_carries: Vec<u32>,
    /// Whether the first value of one of them is trained.
    trained_carries: bool,
    /// Inputs of the body: the trained sequences.
    trained_sequences: Vec<u32>,
    /// Inputs of the body: what is trained and the same in every turn.
    trained_constants: Vec<u32>,
    /// Results of the body whose stacks get a cotangent.
    given: Vec<u32>,
    /// Inputs of the body whose dependence on a trained value lies outside.
    discrete: Vec<u32>,
    /// All that is the same in every turn.
    constants: Vec<Tensor>,
}

/// Which form of a rule is elaborated.
struct FormChoice {
    wanted: usize,
    seen: usize,
    name: Option<String>,
}

/// The `grad` lines of a rule for loops: places among the operands, and types.
struct Wanted {
    name: String,
    places: Vec<u32>,
    types: Vec<TensorType>,
    given: Option<Vec<NodeId>>,
}

impl<'p> Lowering<'p> {
    /// The marker of a loop under a rule.
    pub fn via_rule(&mut self, chosen: Chosen<'p>, span: Span) -> Outcome<Op> {
        let own = self.rule_parameters(&chosen, span)?;
        let rule = chosen.rule;
        if rule.target_params.len() != 4 || rule.results.len() != 3 {
            let title = "a rule for loops is for `scan(step, carries, sequences, constants) -> (last, stacks, states)`";
            return Err(self.report(
                Diagnostic::error("BP0407", title, rule.target.span, "does not fit its target")
                    .with_label(span, "used here"),
            ));
        }
        let estimator = rule.kind == RuleKind::Estimator;
        let rule = self.rule_text(rule, &own);
        let choice = self.loop_choices.place(chosen.id, own);
        let path = self.frame().site().join(".");
        let site = if path.is_empty() { "scan".to_string() } else { path };
        if self.model.recording {
            self.model.sites.push(Site {
                path: site.clone(),
                function: "scan".to_string(),
                rule: Some(rule.clone()),
                exact_for: None,
                replaced: false,
                random: None,
                forced: false,
                span,
            });
        }
        Ok(Op::Via { choice, rule, site, estimator })
    }

    /// The regions of the rule of a loop.
    pub fn loop_rule(&mut self, wanted: &Loop, span: Span) -> Outcome<LoopRule> {
        let mut rules = self.program.rules_for(Target::Primitive("scan"));
        let (id, rule, own) = match &wanted.rule {
            Some((choice, text)) => {
                let known = self.loop_choices.rule(*choice).cloned();
                let known = known.and_then(|(id, own)| Some((id, rules.find(|(known, _)| *known == id)?.1, own)));
                match known.filter(|(_, rule, own)| self.rule_text(rule, own) == *text) {
                    Some(known) => known,
                    None => {
                        let title = format!("the graph names `{text}` as choice {choice} for a loop");
                        return Err(self.report(
                            Diagnostic::error("BP0404", title, span, "the program has made no such choice")
                                .with_help("differentiate a graph with the program that it was lowered from"),
                        ));
                    }
                }
            }
            None => match rules.find(|(_, rule)| rule.name.is_none()) {
                Some((id, rule)) => (id, rule, self.rule_parameters(&Chosen { id, rule, given: Vec::new() }, span)?),
                None => return self.error("BP0411", "a loop has no derivative here", span, "on a trained path"),
            },
        };
        // What goes wrong in the rule is shown at the loop.
        self.calls.push((span, "scan".to_string(), id));
        let found = self.loop_forms((id, rule), &own, wanted, span);
        self.calls.pop();
        found
    }

    fn loop_forms(
        &mut self,
        (id, rule): (ItemId, &'p Rule),
        own: &Own,
        wanted: &Loop,
        span: Span,
    ) -> Outcome<LoopRule> {
        let mut forms = Vec::new();
        let mut choice = FormChoice { wanted: 0, seen: 0, name: None };
        let gives = loop {
            let region = Region::new(format!("scan.{}", rule_name(rule)));
            self.building.push(Building { region, scan: None, random: false });
            let mut frame = Frame::new(id.module, FrameKind::Rule, Vec::new());
            frame.define_all(own);
            self.frames.push(frame);
            let result = self.loop_form(rule, wanted, &mut choice, span);
            self.frames.pop();
            let building = self.building.pop().expect("bug in bpc: the region of a rule is gone");
            let gives = result?;
            let mut region = building.region;
            let name = choice.name.take().unwrap_or_else(|| rule_name(rule));
            region.name = format!("scan.{name}");
            forms.push((name, self.graph.add(region)));
            choice.wanted += 1;
            if choice.wanted >= choice.seen {
                break gives;
            }
            choice.seen = 0;
        };
        let estimator = rule.kind == RuleKind::Estimator;
        Ok(LoopRule { name: self.rule_text(rule, own), estimator, forms, gives })
    }

    /// Elaborates one form in the region and frame at work; gives the operands whose cotangents are its results.
    fn loop_form(&mut self, rule: &'p Rule, wanted: &Loop, choice: &mut FormChoice, span: Span) -> Outcome<Vec<u32>> {
        let Op::Scan { carries, sequences, reverse, body, .. } = wanted.scan else {
            unreachable!("bug in bpc: a rule for loops meets another operation")
        };
        let (carries, sequences) = (carries as usize, sequences as usize);
        let operand = |place: u32| wanted.operands[place as usize].clone();
        let is_trained = |place: &u32| wanted.trained.contains(place);
        let float_carries: Vec<u32> = (0..carries as u32).filter(|place| operand(*place).dtype.is_float()).collect();
        let first_constant = (carries + sequences) as u32;
        let trained_sequences: Vec<u32> = (carries as u32..first_constant).filter(is_trained).collect();
        let trained_constants: Vec<u32> = (first_constant..wanted.operands.len() as u32).filter(is_trained).collect();

        let inputs = |lowering: &mut Self, role: InputRole, what: &str, types: &[TensorType]| -> Vec<Tensor> {
            let input = |(index, ty): (usize, &TensorType)| {
                let name = format!("{what}{index}");
                let node = lowering.region().input(role, name, ty.clone(), Provenance::default());
                lowering.tensor_at(lowering.building.len() - 1, node)
            };
            types.iter().enumerate().map(input).collect()
        };
        let operands = inputs(self, InputRole::Argument, "operand", &wanted.operands);
        let parts = inputs(self, InputRole::Argument, "part", &wanted.parts);
        let last_types: Vec<TensorType> = float_carries.iter().map(|place| operand(*place)).collect();
        let to_last = inputs(self, InputRole::Cotangent, "grad.last", &last_types);
        let given_types: Vec<TensorType> =
            wanted.given.iter().map(|part| wanted.parts[*part as usize].clone()).collect();
        let arrived = inputs(self, InputRole::Cotangent, "grad.stack", &given_types);

        // A loop that runs backwards is, for its rule, one that runs forwards over what is turned around.
        let along = |lowering: &mut Self, tensors: &[Tensor]| -> Outcome<Value> {
            let turned =
                |tensor: &Tensor| if reverse { lowering.reversed(tensor, 0, span) } else { Ok(tensor.clone()) };
            tensors.iter().map(turned).map(|tensor| tensor.map(Value::Tensor)).collect::<Outcome<_>>().map(Value::List)
        };
        let list = |tensors: &[Tensor]| Value::List(tensors.iter().cloned().map(Value::Tensor).collect());
        let stacks: Vec<u32> =
            (carries as u32..parts.len() as u32).filter(|part| !wanted.states.contains(part)).collect();
        let stacks_given = wanted.given.iter().filter(|part| stacks.contains(part)).count();
        let tensors = |places: &[u32]| places.iter().map(|place| parts[*place as usize].clone()).collect::<Vec<_>>();
        let computed: Vec<u32> = float_carries.iter().chain(&wanted.given).copied().collect();
        let lanes = lanes(&self.graph, body, &float_carries, &computed);
        let step = LoopStep {
            body,
            carries,
            sequences,
            stacks: stacks.clone(),
            lanes,
            trained_carries: float_carries.iter().any(is_trained),
            float_carries: float_carries.clone(),
            trained_sequences: trained_sequences.clone(),
            trained_constants: trained_constants.clone(),
            given: wanted.given.clone(),
            discrete: wanted.discrete.clone(),
            constants: operands[carries + sequences..].to_vec(),
        };
        self.steps.push(step);
        let constants: Vec<Tensor> = trained_constants.iter().map(|place| operands[*place as usize].clone()).collect();
        let arguments = [
            Value::Function(Callee::Step(self.steps.len() - 1)),
            list(&operands[..carries]),
            along(self, &operands[carries..carries + sequences])?,
            list(&constants),
        ];
        for (param, value) in rule.target_params.iter().zip(arguments) {
            self.frame().define(&param.name.text, value);
        }
        let results = [
            (list(&parts[..carries]), list(&to_last)),
            (along(self, &tensors(&stacks))?, along(self, &arrived[..stacks_given])?),
            (along(self, &tensors(&wanted.states))?, along(self, &arrived[stacks_given..])?),
        ];
        for (name, (value, cotangent)) in rule.results.iter().zip(results) {
            self.frame().define(&name.text, value);
            self.frame().define(cotangent_key(&name.text), cotangent);
        }

        let groups = [float_carries, trained_sequences, trained_constants];
        let mut lines: Vec<Wanted> = Vec::new();
        for (param, places) in rule.target_params[1..].iter().zip(groups) {
            let types = places.iter().map(|place| operand(*place)).collect();
            lines.push(Wanted { name: param.name.text.clone(), places, types, given: None });
        }
        self.loop_statements(&rule.body.statements, choice, &mut lines)?;
        let mut gives = Vec::new();
        for (group, line) in lines.into_iter().enumerate() {
            let Some(nodes) = line.given.or_else(|| line.places.is_empty().then(Vec::new)) else {
                let title = format!("the rule `{}` gives no cotangent of `{}`", rule_name(rule), line.name);
                return Err(self.report(
                    Diagnostic::error("BP0401", title, rule.target.span, "a `grad` line is missing")
                        .with_help(format!("add `grad {} = ..`, a list of cotangents", line.name)),
                ));
            };
            for (place, node) in line.places.iter().zip(nodes) {
                let mut tensor = self.tensor_at(self.building.len() - 1, node);
                if reverse && group == 1 {
                    tensor = self.reversed(&tensor, 0, span)?;
                }
                self.region().result(OutputRole::Value, format!("cotangent{place}"), tensor.node);
                gives.push(*place);
            }
        }
        Ok(gives)
    }

    fn loop_statements(
        &mut self,
        statements: &[Statement],
        choice: &mut FormChoice,
        lines: &mut [Wanted],
    ) -> Outcome<()> {
        for statement in statements {
            match statement {
                Statement::Let { names, value, .. } => self.let_line(names, value)?,
                Statement::Grad { name, value, .. } => {
                    if let Some(line) = lines.iter_mut().find(|line| line.name == name.text) {
                        line.given = Some(self.loop_cotangents(line, value)?);
                    }
                }
                Statement::If { condition, then, otherwise, .. } => {
                    let taken = if self.flag(condition)? { Some(then) } else { otherwise.as_ref() };
                    if let Some(block) = taken {
                        self.frame().scopes.push(Vec::new());
                        let result = self.loop_statements(&block.statements, choice, lines);
                        self.frame().scopes.pop();
                        result?;
                    }
                }
                Statement::Form { name, body, .. } => {
                    choice.seen += 1;
                    if choice.seen == choice.wanted + 1 {
                        choice.name = Some(name.text.clone());
                        self.frame().scopes.push(Vec::new());
                        let result = self.loop_statements(&body.statements, choice, lines);
                        self.frame().scopes.pop();
                        result?;
                    }
                }
                Statement::Keep { span, .. } => {
                    let title = "a rule for loops keeps the states of the loop and nothing else";
                    return self.error("BP0407", title, *span, "take this line out");
                }
                Statement::Result { value, .. } => {
                    self.expression(value)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The nodes of a `grad` line.
    fn loop_cotangents(&mut self, line: &Wanted, value: &Expr) -> Outcome<Vec<NodeId>> {
        let given = self.expression(value)?;
        let tensors = self.list_of(&line.types, given, value.span, &format!("`grad {}`", line.name))?;
        Ok(tensors.iter().map(|tensor| self.node_here(tensor)).collect())
    }

    /// A list of tensors of these types; numbers become tensors.
    fn list_of(&mut self, types: &[TensorType], value: Value, span: Span, what: &str) -> Outcome<Vec<Tensor>> {
        let values = match value {
            Value::List(values) if values.len() == types.len() => values,
            other => {
                let got = match &other {
                    Value::List(values) => format!("a list of {}", values.len()),
                    other => other.kind(&self.sizes),
                };
                let title = format!("{what} is a list of {}, and this is {got}", count(types.len(), "tensor"));
                return self.error("BP0403", title, span, "does not fit the loop");
            }
        };
        let mut tensors = Vec::new();
        for (ty, value) in types.iter().zip(values) {
            let tensor = match value {
                value if value.is_scalar() => {
                    let literal = self.literal(&value, ty.dtype, span)?;
                    self.constant(literal, &ty.shape, span)?
                }
                value => self.as_tensor("grad", (value, span), ty.dtype)?,
            };
            if tensor.ty != *ty {
                let (wanted, got) = (self.type_text(ty), self.type_text(&tensor.ty));
                let title = format!("{what} holds a tensor {wanted}, and this one is {got}");
                return self.error("BP0403", title, span, "does not fit the loop");
            }
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    /// The step of the loop that a value stands for.
    fn step_of(&mut self, what: &str, value: &Value, span: Span) -> Outcome<LoopStep> {
        match value {
            Value::Function(Callee::Step(index)) => Ok(self.steps[*index].clone()),
            other => {
                let title = format!("`{what}` takes the step of a loop, and this is {}", other.kind(&self.sizes));
                self.error("BP0204", title, span, "only a rule for `scan` has one")
            }
        }
    }

    /// The inputs of the body for carries, sequences and trained constants.
    fn step_inputs(&mut self, step: &LoopStep, what: &str, given: &[Given]) -> Outcome<Vec<NodeId>> {
        let body = &self.graph.regions[step.body];
        let types: Vec<TensorType> = body.inputs.iter().map(|input| body.tensor(*input).clone()).collect();
        let first_constant = step.carries + step.sequences;
        let constants: Vec<TensorType> =
            step.trained_constants.iter().map(|place| types[*place as usize].clone()).collect();
        let groups = [&types[..step.carries], &types[step.carries..first_constant], &constants];
        let mut lists = Vec::new();
        for ((types, name), given) in groups.into_iter().zip(["carries", "sequences", "constants"]).zip(given) {
            let what = format!("`{name}` of `{what}`");
            lists.push(self.list_of(types, given.value.clone(), given.span, &what)?);
        }
        let mut tensors = lists[0].clone();
        tensors.extend(lists[1].iter().cloned());
        tensors.extend(step.constants.iter().cloned());
        for (place, tensor) in step.trained_constants.iter().zip(&lists[2]) {
            tensors[*place as usize] = tensor.clone();
        }
        Ok(tensors.iter().map(|tensor| self.node_here(tensor)).collect())
    }

    fn body_types(&self, step: &LoopStep, results: &[u32]) -> Vec<TensorType> {
        let body = &self.graph.regions[step.body];
        results.iter().map(|index| body.tensor(body.results[*index as usize].node).clone()).collect()
    }

    /// `step(carries, sequences, constants)`: the next carries and what is yielded.
    pub fn call_step(&mut self, index: usize, given: Vec<Given>, span: Span) -> Outcome<Value> {
        if given.len() != 3 {
            let title = "a step takes its carries, sequences and constants";
            return self.error("BP0207", title, span, "three lists are wanted");
        }
        let step = self.steps[index].clone();
        let inputs = self.step_inputs(&step, "step", &given)?;
        let body = self.graph.regions[step.body].clone();
        let results = inline(self.region(), &body, &inputs);
        let level = self.building.len() - 1;
        let list = |lowering: &Self, nodes: &[NodeId]| {
            Value::List(nodes.iter().map(|node| Value::Tensor(lowering.tensor_at(level, *node))).collect())
        };
        let yields: Vec<NodeId> = step.stacks.iter().map(|result| results[*result as usize]).collect();
        Ok(Value::Tuple(vec![list(self, &results[..step.carries]), list(self, &yields)]))
    }

    /// `pullback(step, carries, sequences, constants, last, stacks)`: cotangents of the float carries, the trained
    /// sequences and the trained constants, from those of the next float carries and of what is yielded.
    pub fn pullback(&mut self, given: &[Given], span: Span) -> Outcome<Value> {
        let step = self.step_of("pullback", &given[0].value, given[0].span)?;
        let mut operands = self.step_inputs(&step, "pullback", &given[1..4])?;
        for (results, name, given) in [(&step.float_carries, "last", &given[4]), (&step.given, "stacks", &given[5])] {
            let types = self.body_types(&step, results);
            let what = format!("`{name}` of `pullback`");
            let tensors = self.list_of(&types, given.value.clone(), given.span, &what)?;
            operands.extend(tensors.iter().map(|tensor| self.node_here(tensor)));
        }
        let groups = [&step.float_carries, &step.trained_sequences, &step.trained_constants];
        let op = Op::Pullback {
            by: groups.iter().flat_map(|group| group.iter().copied()).collect(),
            from: step.float_carries.iter().chain(&step.given).copied().collect(),
            discrete: step.discrete.clone(),
            body: step.body,
        };
        self.grouped(op, &operands, &groups.map(Vec::len), span)
    }

    /// `pushforward(step, carries, sequences, constants, carried, held)`: tangents of the next float carries and of what is
    /// yielded and gets a cotangent, from those of the float carries and of the trained constants.
    pub fn pushforward(&mut self, given: &[Given], span: Span) -> Outcome<Value> {
        let step = self.step_of("pushforward", &given[0].value, given[0].span)?;
        let mut operands = self.step_inputs(&step, "pushforward", &given[1..4])?;
        let body = &self.graph.regions[step.body];
        let input_types = |places: &[u32]| -> Vec<TensorType> {
            places.iter().map(|place| body.tensor(body.inputs[*place as usize]).clone()).collect()
        };
        let types = [input_types(&step.float_carries), input_types(&step.trained_constants)];
        for ((types, name), given) in types.iter().zip(["carried", "held"]).zip(&given[4..6]) {
            let what = format!("`{name}` of `pushforward`");
            let tensors = self.list_of(types, given.value.clone(), given.span, &what)?;
            operands.extend(tensors.iter().map(|tensor| self.node_here(tensor)));
        }
        let of: Vec<u32> = step.float_carries.iter().chain(&step.given).copied().collect();
        let op = Op::Pushforward {
            by: step.float_carries.iter().chain(&step.trained_constants).copied().collect(),
            types: self.body_types(&step, &of),
            of,
            discrete: step.discrete.clone(),
            body: step.body,
        };
        self.grouped(op, &operands, &[step.float_carries.len(), step.given.len()], span)
    }

    /// The parts of a tuple as a tuple of lists of these lengths.
    fn grouped(&mut self, op: Op, operands: &[NodeId], lengths: &[usize], span: Span) -> Outcome<Value> {
        let tuple = self.emit_tuple(op, operands, span)?;
        let level = self.building.len() - 1;
        let (mut lists, mut index) = (Vec::new(), 0);
        for length in lengths {
            let mut list = Vec::new();
            for _ in 0..*length {
                let part = self.emit_tuple(Op::Project { index }, &[tuple], span)?;
                list.push(Value::Tensor(self.tensor_at(level, part)));
                index += 1;
            }
            lists.push(Value::List(list));
        }
        Ok(Value::Tuple(lists))
    }

    /// `trained(step)`: how many first values and how many sequences are trained.
    pub fn trained(&mut self, given: &Given) -> Outcome<Value> {
        let step = self.step_of("trained", &given.value, given.span)?;
        let carries = if step.trained_carries { step.float_carries.len() } else { 0 };
        Ok(Value::dims(&[carries as u64, step.trained_sequences.len() as u64]))
    }

    /// `lanes(step)`: how many leading axes of the carries are lanes, each computed alone; 0 or 1.
    pub fn lanes(&mut self, given: &Given) -> Outcome<Value> {
        let step = self.step_of("lanes", &given.value, given.span)?;
        Ok(Value::Integer(i64::from(step.lanes.is_some())))
    }
}
