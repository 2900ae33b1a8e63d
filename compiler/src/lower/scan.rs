//! `scan`: a loop in time becomes one node with its body as a region.
//!
//! Expects: a frame on top of the stack of frames.
//! Guarantees: the inputs of the body are carries, sequences, then what it reads from outside, in the order of the node's
//! operands; random tensors drawn in the body stand outside with a leading time axis and come in as sequences.
//! Leaves out: derivatives of scans.

use super::context::{Binding, Building, Lowering, Outcome, Reported, ScanInputs, Turn};
use super::value::{Tensor, Value};
use crate::ir::copy::{NodeMap, copy};
use crate::ir::graph::{InputRole, NodeId, OutputRole, Provenance, Region};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::{Expr, Name, Scan, Span};

impl Lowering<'_> {
    /// The value of a scan: its last carries and its stacks.
    pub fn scan(&mut self, scan: &Scan, span: Span) -> Outcome<Value> {
        let mut carries: Vec<(String, Tensor)> = Vec::new();
        for (name, expr) in &scan.carries {
            let value = self.bound(Binding::Named(name.text.clone()), expr)?;
            carries.push((name.text.clone(), self.as_tensor("scan", (value, expr.span), Dtype::F32)?));
        }
        let mut sequences: Vec<(String, Tensor)> = Vec::new();
        for (name, expr) in &scan.sequences {
            let value = self.expression(expr)?;
            let Value::Tensor(tensor) = value else {
                let title = format!("a scan walks over tensors, and this is {}", value.kind(&self.sizes));
                return self.error("BP0204", title, expr.span, "expected a tensor, or `range(count)`");
            };
            let Some(length) = tensor.ty.shape.first() else {
                return self.error(
                    "BP0202",
                    "a scan walks over the leading axis, and this is a scalar",
                    expr.span,
                    "no axis",
                );
            };
            if let Some((_, first)) = sequences.first()
                && first.ty.shape[0] != *length
            {
                let (one, two) = (self.sizes.text(first.ty.shape[0]), self.sizes.text(*length));
                let title = format!("the sequences of this scan have {one} and {two} steps");
                return Err(self.report(
                    Diagnostic::error("BP0201", title, expr.span, format!("{two} steps"))
                        .with_label(scan.sequences[0].1.span, format!("{one} steps")),
                ));
            }
            sequences.push((name.text.clone(), tensor));
        }
        let Some(length) = sequences.first().map(|(_, tensor)| tensor.ty.shape[0]) else {
            return self.error("BP0307", "a scan walks over something", span, "no `over`");
        };
        let site = self.frame().site();
        let name = if site.is_empty() { "scan".to_string() } else { format!("scan.{}", site.join(".")) };
        let operands: Vec<NodeId> =
            carries.iter().chain(&sequences).map(|(_, tensor)| self.node_here(tensor)).collect();
        let (region, inputs, results, stacks) = self.scan_body(scan, &name, &carries, &sequences, length, span)?;

        let n_carries = carries.len();
        let mut order: Vec<NodeId> = region.inputs[..n_carries + sequences.len()].to_vec();
        let mut all = operands;
        for (outer, inner) in inputs.sequences.iter().chain(&inputs.captures) {
            all.push(*outer);
            order.push(*inner);
        }
        let body = self.graph.add(ordered(&region, &order, &results, n_carries));
        let op = Op::Scan {
            carries: n_carries as u32,
            sequences: (sequences.len() + inputs.sequences.len()) as u32,
            length,
            reverse: false,
            stacks,
            body,
        };
        let node = self.emit_tuple(op, &all, span)?;
        let level = self.building.len() - 1;
        let mut parts = Vec::new();
        for index in 0..results.len() {
            let part = self.emit_tuple(Op::Project { index: index as u32 }, &[node], span)?;
            parts.push(Value::Tensor(self.tensor_at(level, part)));
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Value::Tuple(parts) })
    }

    #[allow(clippy::type_complexity, reason = "the four parts of an unfinished body, used once")]
    fn scan_body(
        &mut self,
        scan: &Scan,
        name: &str,
        carries: &[(String, Tensor)],
        sequences: &[(String, Tensor)],
        length: u64,
        span: Span,
    ) -> Outcome<(Region, ScanInputs, Vec<NodeId>, Vec<TensorType>)> {
        let inputs = ScanInputs { length, ..ScanInputs::default() };
        self.building.push(Building { region: Region::new(name), scan: Some(inputs), random: true });
        let level = self.building.len() - 1;
        let mut scope = Vec::new();
        for (name, tensor) in carries {
            let node = self.region().input(InputRole::Argument, name, tensor.ty.clone(), Provenance::default());
            scope.push((name.clone(), Value::Tensor(self.tensor_at(level, node))));
        }
        for (name, tensor) in sequences {
            let ty = TensorType::new(tensor.ty.dtype, &tensor.ty.shape[1..]);
            let node = self.region().input(InputRole::Argument, name, ty, Provenance::default());
            scope.push((name.clone(), Value::Tensor(self.tensor_at(level, node))));
        }
        let waiting = carries.iter().map(|(name, tensor)| (name.clone(), tensor.ty.clone(), None)).collect();
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
        let finished = result.and_then(|_| self.scan_results(turn, before, span, length));
        let building = self.building.pop().expect("bug in bpc: the body of a scan is gone");
        let (results, stacks) = finished?;
        Ok((building.region, building.scan.unwrap_or_default(), results, stacks))
    }

    fn scan_results(
        &mut self,
        turn: Option<Turn>,
        before: usize,
        span: Span,
        length: u64,
    ) -> Outcome<(Vec<NodeId>, Vec<TensorType>)> {
        let Some(Turn::Scan { carries, yields }) = turn else { unreachable!("bug in bpc: the turn of a scan is gone") };
        let mut results = Vec::new();
        let failed = self.diagnostics.len() > before;
        for (name, _, next) in carries {
            match next {
                Some(tensor) => results.push(self.node_here(&tensor)),
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
        let mut stacks = Vec::new();
        for tensor in yields {
            results.push(self.node_here(&tensor));
            let mut shape = vec![length];
            shape.extend(&tensor.ty.shape);
            stacks.push(TensorType::new(tensor.ty.dtype, shape));
        }
        Ok((results, stacks))
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
        let tensor = match value? {
            value if value.is_scalar() => {
                let literal = self.literal(&value, wanted.dtype, value_span)?;
                self.constant(literal, &wanted.shape, value_span)?
            }
            value => self.as_tensor("next", (value, value_span), wanted.dtype)?,
        };
        if tensor.ty != wanted {
            let (wanted, got) = (self.type_text(&wanted), self.type_text(&tensor.ty));
            let title = format!("`{}` is {wanted} and its next value is {got}", name.text);
            return self.error("BP0201", title, value_span, "a carried value keeps its dtype and shape");
        }
        if let Some(Turn::Scan { carries, .. }) = self.frame().turns.last_mut()
            && let Some(entry) = carries.iter_mut().find(|(carry, ..)| *carry == name.text)
        {
            entry.2 = Some(tensor);
        }
        Ok(())
    }

    /// `yield e`.
    pub fn yield_line(&mut self, value: &Expr) -> Outcome<()> {
        let given = self.bound(Binding::Named("yield".to_string()), value)?;
        let tensor = self.as_tensor("yield", (given, value.span), Dtype::F32)?;
        match self.frame().turns.last_mut() {
            Some(Turn::Scan { yields, .. }) => {
                yields.push(tensor);
                Ok(())
            }
            _ => self.error("BP0307", "`yield` stands in the body of a scan", value.span, "not in one"),
        }
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
