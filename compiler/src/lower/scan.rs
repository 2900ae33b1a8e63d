//! `scan`: a loop in time becomes one node with its body as a region.
//!
//! Expects: a frame on top of the stack of frames.
//! Guarantees: the inputs of the body are carries, sequences, then what it reads from outside, in the order of the node's
//! operands; random tensors drawn in the body stand outside with a leading time axis and come in as sequences. Carries,
//! sequences and yields may be lists of tensors. A loop whose sequences are all turned around runs backwards instead.
//! Leaves out: derivatives of scans (`loop_rule`).

use super::bind::count;
use super::context::{Binding, Building, Lowering, Outcome, Reported, ScanInputs, Turn};
use super::value::{Tensor, Value};
use crate::ir::copy::{NodeMap, copy};
use crate::ir::graph::{InputRole, NodeId, OutputRole, Provenance, Region};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::Target;
use bpc_lang::tree::{Expr, Name, RuleUse, Scan, Span};

/// A body that is built, before it becomes a region of the graph.
struct Body {
    region: Region,
    inputs: ScanInputs,
    /// The next carries, then what is yielded.
    results: Vec<NodeId>,
    stacks: Vec<TensorType>,
    /// Carries and yields as they are nested.
    structures: Vec<Value>,
}

impl Lowering<'_> {
    /// The value of a scan: its last carries and its stacks.
    pub fn scan(&mut self, scan: &Scan, via: Option<&RuleUse>, span: Span) -> Outcome<Value> {
        let mut carries: Vec<(String, Value)> = Vec::new();
        for (name, expr) in &scan.carries {
            let value = self.bound(Binding::Named(name.text.clone()), expr)?;
            carries.push((name.text.clone(), self.tensors("scan", value, expr.span)?));
        }
        let mut sequences: Vec<(String, Value)> = Vec::new();
        let mut first: Option<(u64, Span)> = None;
        for (name, expr) in &scan.sequences {
            let value = self.expression(expr)?;
            if !matches!(value, Value::Tensor(_) | Value::List(_)) {
                let title = format!("a scan walks over tensors, and this is {}", value.kind(&self.sizes));
                return self.error("BP0204", title, expr.span, "expected a tensor, or `range(count)`");
            }
            let value = self.tensors("scan", value, expr.span)?;
            for tensor in leaves(&value) {
                let Some(length) = tensor.ty.shape.first().copied() else {
                    let title = "a scan walks over the leading axis, and this is a scalar";
                    return self.error("BP0202", title, expr.span, "no axis");
                };
                match first {
                    Some((known, place)) if known != length => {
                        let (one, two) = (self.sizes.text(known), self.sizes.text(length));
                        let title = format!("the sequences of this scan have {one} and {two} steps");
                        return Err(self.report(
                            Diagnostic::error("BP0201", title, expr.span, format!("{two} steps"))
                                .with_label(place, format!("{one} steps")),
                        ));
                    }
                    Some(_) => {}
                    None => first = Some((length, expr.span)),
                }
            }
            sequences.push((name.text.clone(), value));
        }
        let Some((length, _)) = first else {
            return self.error("BP0307", "a scan walks over something", span, "no `over`");
        };
        let site = self.frame().site();
        let name = if site.is_empty() { "scan".to_string() } else { format!("scan.{}", site.join(".")) };
        let flat = |values: &[(String, Value)]| values.iter().flat_map(|(_, value)| leaves(value)).collect::<Vec<_>>();
        let first_values: Vec<NodeId> = flat(&carries).iter().map(|tensor| self.node_here(tensor)).collect();
        let mut walked: Vec<NodeId> = flat(&sequences).iter().map(|tensor| self.node_here(tensor)).collect();
        let body = self.scan_body(scan, &name, &carries, &sequences, length, span)?;

        let forward: Option<Vec<NodeId>> = walked.iter().map(|node| self.turned_around(*node)).collect();
        let reverse = forward.is_some() && body.inputs.sequences.is_empty();
        if let Some(forward) = forward.filter(|_| reverse) {
            walked = forward;
        }
        let n_carries = first_values.len();
        let n_sequences = (walked.len() + body.inputs.sequences.len()) as u32;
        let mut order: Vec<NodeId> = body.region.inputs[..n_carries + walked.len()].to_vec();
        let mut all: Vec<NodeId> = first_values.into_iter().chain(walked).collect();
        for (outer, inner) in body.inputs.sequences.iter().chain(&body.inputs.captures) {
            all.push(*outer);
            order.push(*inner);
        }
        let region = self.graph.add(ordered(&body.region, &order, &body.results, n_carries));
        let op = Op::Scan {
            carries: n_carries as u32,
            sequences: n_sequences,
            length,
            reverse,
            stacks: body.stacks,
            body: region,
        };
        let mut node = self.emit_tuple(op, &all, span)?;
        if let Some(chosen) = self.choose_rule(Target::Primitive("scan"), "scan", via)? {
            let op = self.via_rule(chosen, span)?;
            node = self.emit_tuple(op, &[node], span)?;
        }
        let level = self.building.len() - 1;
        let mut parts = Vec::new();
        for index in 0..body.results.len() {
            let part = self.emit_tuple(Op::Project { index: index as u32 }, &[node], span)?;
            let part = self.tensor_at(level, part);
            parts.push(if reverse && index >= n_carries { self.reversed(&part, 0, span)? } else { part });
        }
        let mut parts = parts.into_iter();
        let mut values: Vec<Value> = body.structures.iter().map(|structure| nested(structure, &mut parts)).collect();
        Ok(if values.len() == 1 { values.remove(0) } else { Value::Tuple(values) })
    }

    /// A tensor, or a list of them; numbers become scalars.
    fn tensors(&mut self, what: &str, value: Value, span: Span) -> Outcome<Value> {
        match value {
            Value::List(values) => {
                let values = values.into_iter().map(|value| self.tensors(what, value, span));
                values.collect::<Outcome<_>>().map(Value::List)
            }
            value => self.as_tensor(what, (value, span), Dtype::F32).map(Value::Tensor),
        }
    }

    /// What a node of the region at work turns around along its leading axis.
    fn turned_around(&mut self, node: NodeId) -> Option<NodeId> {
        let node = &self.region().nodes[node];
        matches!(node.op, Op::Reverse { axis: 0 }).then(|| node.operands[0])
    }

    /// A tensor with an axis turned around.
    pub fn reversed(&mut self, x: &Tensor, axis: u32, span: Span) -> Outcome<Tensor> {
        let node = &self.building[x.level].region.nodes[x.node];
        let result = match node.op {
            // Turned around twice.
            Op::Reverse { axis: known } if known == axis => self.tensor_at(x.level, node.operands[0]),
            _ => self.emit(Op::Reverse { axis }, &[x], span)?,
        };
        Ok(Lowering::with_origins(result, x.origins.clone()))
    }

    fn scan_body(
        &mut self,
        scan: &Scan,
        name: &str,
        carries: &[(String, Value)],
        sequences: &[(String, Value)],
        length: u64,
        span: Span,
    ) -> Outcome<Body> {
        let inputs = ScanInputs { length, ..ScanInputs::default() };
        self.building.push(Building { region: Region::new(name), scan: Some(inputs), random: true });
        let mut scope = Vec::new();
        for (name, value) in carries {
            scope.push((name.clone(), self.body_inputs(name, value, &|ty| ty.clone())));
        }
        let waiting = scope.iter().map(|(name, value)| (name.clone(), value.clone(), None)).collect();
        for (name, value) in sequences {
            let element = |ty: &TensorType| TensorType::new(ty.dtype, &ty.shape[1..]);
            scope.push((name.clone(), self.body_inputs(name, value, &element)));
        }
        let frame = self.frame();
        frame.scopes.push(scope);
        frame.turns.push(Turn::Scan { carries: waiting, yields: Vec::new() });
        let before = self.diagnostics.len();
        let binding = std::mem::replace(&mut self.frame().binding, Binding::None);
        let result = self.statements(&scan.body.statements);
        let frame = self.frame();
        frame.binding = binding;
        frame.scopes.pop();
        let turn = frame.turns.pop();
        let finished = result.and_then(|_| self.scan_results(turn, before, span));
        let building = self.building.pop().expect("bug in bpc: the body of a scan is gone");
        let (structures, n_carries) = finished?;
        let tensors: Vec<Tensor> = structures.iter().flat_map(leaves).collect();
        let stacks = tensors[n_carries..].iter().map(|tensor| {
            let shape = std::iter::once(length).chain(tensor.ty.shape.iter().copied());
            TensorType::new(tensor.ty.dtype, shape.collect::<Vec<_>>())
        });
        let stacks = stacks.collect();
        let results = tensors.iter().map(|tensor| tensor.node).collect();
        Ok(Body { region: building.region, inputs: building.scan.unwrap_or_default(), results, stacks, structures })
    }

    /// Inputs of the body for a value that is carried or walked over.
    fn body_inputs(&mut self, name: &str, value: &Value, element: &dyn Fn(&TensorType) -> TensorType) -> Value {
        match value {
            Value::List(values) => {
                let part = |(index, value)| self.body_inputs(&format!("{name}.{index}"), value, element);
                Value::List(values.iter().enumerate().map(part).collect())
            }
            Value::Tensor(tensor) => {
                let (level, ty) = (self.building.len() - 1, element(&tensor.ty));
                let node = self.region().input(InputRole::Argument, name, ty, Provenance::default());
                Value::Tensor(self.tensor_at(level, node))
            }
            _ => unreachable!("bug in bpc: a scan over something that is no tensor"),
        }
    }

    /// The next carries and the yields as nodes of the body, and how many tensors are carried.
    fn scan_results(&mut self, turn: Option<Turn>, before: usize, span: Span) -> Outcome<(Vec<Value>, usize)> {
        let Some(Turn::Scan { carries, yields }) = turn else { unreachable!("bug in bpc: the turn of a scan is gone") };
        let mut results = Vec::new();
        let failed = self.diagnostics.len() > before;
        for (name, _, next) in carries {
            match next {
                Some(value) => results.push(self.here(&value)),
                None if failed => return Err(Reported),
                None => {
                    let title = format!("the carried `{name}` has no `next` line");
                    return self.error("BP0307", title, span, format!("write `next {name} = ..` in the body"));
                }
            }
        }
        if failed {
            return Err(Reported);
        }
        let n_carries = results.iter().map(|value| leaves(value).len()).sum();
        for value in yields {
            results.push(self.here(&value));
        }
        Ok((results, n_carries))
    }

    /// The same tensors as nodes of the region at work.
    fn here(&mut self, value: &Value) -> Value {
        match value {
            Value::List(values) => Value::List(values.iter().map(|value| self.here(value)).collect()),
            Value::Tensor(tensor) => {
                let node = self.node_here(tensor);
                Value::Tensor(self.tensor_at(self.building.len() - 1, node))
            }
            other => other.clone(),
        }
    }

    /// `next s = e` in the body of a scan.
    pub fn next_in_scan(&mut self, name: &Name, value: Outcome<Value>, value_span: Span, span: Span) -> Outcome<()> {
        let Some(Turn::Scan { carries, .. }) = self.frame().turns.last() else { return Ok(()) };
        let Some((_, wanted, known)) = carries.iter().find(|(carry, ..)| *carry == name.text) else {
            let names: Vec<String> = carries.iter().map(|(carry, ..)| format!("`{carry}`")).collect();
            let title = format!("`{}` is not carried by this scan", name.text);
            return self.error("BP0307", title, name.span, format!("it carries {}", names.join(", ")));
        };
        if known.is_some() {
            let title = format!("the carried `{}` has two `next` lines", name.text);
            return self.error("BP0307", title, span, "the second one");
        }
        let wanted = wanted.clone();
        let next = self.next_value(&name.text, &wanted, value?, value_span)?;
        if let Some(Turn::Scan { carries, .. }) = self.frame().turns.last_mut()
            && let Some(entry) = carries.iter_mut().find(|(carry, ..)| *carry == name.text)
        {
            entry.2 = Some(next);
        }
        Ok(())
    }

    /// A next value, nested like the carry and of its types.
    fn next_value(&mut self, name: &str, wanted: &Value, value: Value, span: Span) -> Outcome<Value> {
        match (wanted, value) {
            (Value::List(wanted), Value::List(values)) if wanted.len() == values.len() => {
                let pairs = wanted.iter().zip(values);
                let values = pairs.map(|(wanted, value)| self.next_value(name, wanted, value, span));
                values.collect::<Outcome<_>>().map(Value::List)
            }
            (Value::List(wanted), value) => {
                let (tensors, got) = (count(wanted.len(), "tensor"), value.kind(&self.sizes));
                let title = format!("`{name}` is a list of {tensors} and its next value is {got}");
                self.error("BP0201", title, span, "a carried list keeps its length")
            }
            (Value::Tensor(wanted), value) => {
                let wanted = wanted.ty.clone();
                let tensor = match value {
                    value if value.is_scalar() => {
                        let literal = self.literal(&value, wanted.dtype, span)?;
                        self.constant(literal, &wanted.shape, span)?
                    }
                    value => self.as_tensor("next", (value, span), wanted.dtype)?,
                };
                if tensor.ty != wanted {
                    let (wanted, got) = (self.type_text(&wanted), self.type_text(&tensor.ty));
                    let title = format!("`{name}` is {wanted} and its next value is {got}");
                    return self.error("BP0201", title, span, "a carried value keeps its dtype and shape");
                }
                Ok(Value::Tensor(tensor))
            }
            _ => unreachable!("bug in bpc: a carry that is no tensor"),
        }
    }

    /// `yield e`.
    pub fn yield_line(&mut self, value: &Expr) -> Outcome<()> {
        let given = self.bound(Binding::Named("yield".to_string()), value)?;
        let given = self.tensors("yield", given, value.span)?;
        match self.frame().turns.last_mut() {
            Some(Turn::Scan { yields, .. }) => {
                yields.push(given);
                Ok(())
            }
            _ => self.error("BP0307", "`yield` stands in the body of a scan", value.span, "not in one"),
        }
    }
}

/// The tensors of a nested list, in order.
pub(super) fn leaves(value: &Value) -> Vec<Tensor> {
    match value {
        Value::List(values) => values.iter().flat_map(leaves).collect(),
        Value::Tensor(tensor) => vec![tensor.clone()],
        _ => Vec::new(),
    }
}

/// Tensors, nested as another value is.
fn nested(structure: &Value, tensors: &mut impl Iterator<Item = Tensor>) -> Value {
    match structure {
        Value::List(values) => Value::List(values.iter().map(|value| nested(value, tensors)).collect()),
        _ => Value::Tensor(tensors.next().expect("bug in bpc: a part of a scan is missing")),
    }
}

/// The body with its inputs in the order of the operands, and without what no result depends on.
fn ordered(region: &Region, order: &[NodeId], results: &[NodeId], carries: usize) -> Region {
    let mut body = Region::new(region.name.clone());
    let mut map = NodeMap::new();
    for input in order {
        let Op::Input { name, ty, .. } = &region.nodes[*input].op else {
            unreachable!("bug in bpc: an input of a scan is none")
        };
        let node = body.input(InputRole::Argument, name.clone(), ty.clone(), Provenance::default());
        map[*input] = Some(node);
    }
    let copies = copy(&mut body, region, results, &mut map);
    for (index, node) in copies.into_iter().enumerate() {
        let name = if index < carries { format!("carry{index}") } else { format!("stack{}", index - carries) };
        body.result(OutputRole::Value, name, node);
    }
    body
}
