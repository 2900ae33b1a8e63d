//! Two loops over the same turns become one, if the second one reads the first one's stacks turn by turn: what stands between them
//! is computed inside the loop, sums over all turns become carries, and a carry that both compute is carried once. A rollout with
//! its forward sensitivities then keeps nothing that grows with the number of turns. A first or last value that is joined to a stack
//! is looked after outside of the loop.
//!
//! Expects: an expanded graph whose last region is main; costs of the bodies of its loops.
//! Guarantees: a graph of the same inputs and results. A sum over turns is taken in their order.
//! Leaves out: loops within loops, loops in opposite directions, and stacks that something else still needs (they stay).

mod places;

use super::rules::Rule;
use super::{Limits, Report, cost, expand, extract, saturate};
use crate::ir::copy::{NodeMap, copy};
use crate::ir::graph::{Graph, InputRole, NodeId, OutputRole, Provenance, Region, RegionId};
use crate::ir::op::Op;
use crate::ir::types::{Literal, TensorType};
use cranelift_entity::EntitySet;
use places::{Within, with_leading, within, without_leading};
use std::collections::BTreeMap;

/// Fuses loops of main as long as there are two that fit.
pub fn fuse_loops(
    graph: &mut Graph,
    costs: &mut BTreeMap<RegionId, u64>,
    limits: &Limits,
    rules: &[&Rule],
    report: &mut Report,
) {
    let mut main_id = graph.main_id();
    loop {
        let mut pairs = pairs(&graph.regions[main_id]);
        let fits = pairs.find(|pair| Fused::new(graph, main_id, *pair, &[]).is_some());
        drop(pairs);
        let Some((first, second)) = fits else { return };
        // Carries that begin alike are taken for one; what the e-graph cannot show to stay alike is separate after all.
        let mut same = candidates(&graph.regions[main_id], first, second);
        loop {
            let fused =
                Fused::new(graph, main_id, (first, second), &same).expect("bug in bpc: loops that fit fit no more");
            let body = graph.add(fused.body(graph));
            let bodies: BTreeMap<RegionId, RegionId> = graph.regions.keys().map(|region| (region, region)).collect();
            let mut loaded = expand::load(graph, body, &bodies, None);
            saturate(&mut loaded.egraph, limits, rules, "fused loops", report);
            let roots: Vec<_> = loaded.results.iter().map(|class| loaded.egraph.find(*class)).collect();
            let before = same.len();
            same.retain(|(one, other)| roots[*one] == roots[fused.next_of_second[*other]]);
            if same.len() < before {
                continue;
            }
            let best = extract::extract(&loaded.egraph, &roots, costs);
            let optimized = extract::build(&loaded.egraph, &best, &graph.regions[body], &loaded.inputs);
            let turn = cost::turn(&optimized, costs);
            let body = graph.add(optimized);
            costs.insert(body, turn);
            let main = fused.main(graph.regions[main_id].clone(), graph, body);
            main_id = graph.add(main);
            *report.fired.entry("loops-fused").or_default() += 1;
            break;
        }
    }
}

/// Loops that could be fused: the same number of turns, at least two, in the same direction.
fn pairs(main: &Region) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
    let turns = |id: NodeId| match main.nodes[id].op {
        Op::Scan { length, reverse, .. } if length > 1 => Some((length, reverse)),
        _ => None,
    };
    let seconds = main.nodes.keys().filter(move |id| turns(*id).is_some());
    seconds.flat_map(move |second| {
        let firsts = main.nodes.keys().take_while(move |first| *first < second);
        firsts.filter(move |first| turns(*first) == turns(second)).map(move |first| (first, second))
    })
}

/// Carries of the first and the second loop with the same first value.
fn candidates(main: &Region, first: NodeId, second: NodeId) -> Vec<(usize, usize)> {
    let (of_first, of_second) = (carries(main, first), carries(main, second));
    let partner = |(place, node): (usize, &NodeId)| Some((of_first.iter().position(|other| other == node)?, place));
    of_second.iter().enumerate().filter_map(partner).collect()
}

fn carries(main: &Region, scan: NodeId) -> &[NodeId] {
    let Op::Scan { carries, .. } = main.nodes[scan].op else { unreachable!("bug in bpc: a loop is wanted") };
    &main.nodes[scan].operands[..carries as usize]
}

/// What a part of the fused loop is for main.
enum Part {
    /// Part of the first or of the second loop.
    Of(NodeId, u32),
    /// A sum over all turns; the turns begin at this place of the axis that is summed.
    Sum(NodeId, u64),
}

/// A value of main that the fused body sees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// One slice in each turn, the first one at this place of the leading axis.
    Slices(NodeId, u64),
    /// The same in every turn.
    Whole(NodeId),
    /// The same in every turn, without its leading axis of size 1.
    Squeezed(NodeId),
}

/// Two loops as one.
struct Fused {
    main_id: RegionId,
    first: NodeId,
    second: NodeId,
    length: u64,
    reverse: bool,
    /// Nodes of main that depend on the first loop.
    after: EntitySet<NodeId>,
    /// The body, with inputs in any order.
    region: Region,
    carries: Vec<(NodeId, FirstValue)>,
    sources: BTreeMap<Source, NodeId>,
    slices: BTreeMap<(NodeId, u64), NodeId>,
    /// The results of the body: next carries, then stacks; and what they are for main.
    results: Vec<NodeId>,
    parts: Vec<(Part, usize)>,
    stacks: Vec<TensorType>,
    /// For each carry of the second loop, the place of its next value among the results.
    next_of_second: Vec<usize>,
}

#[derive(Clone)]
enum FirstValue {
    Node(NodeId),
    Zeros(TensorType),
}

impl Fused {
    /// Puts the bodies together; `same` are carries of the first and the second loop that are taken for one. `None` where
    /// the second loop does not read the first one's stacks turn by turn.
    fn new(
        graph: &Graph,
        main_id: RegionId,
        (first, second): (NodeId, NodeId),
        same: &[(usize, usize)],
    ) -> Option<Fused> {
        let main = &graph.regions[main_id];
        let after = dependent(main, first);
        let Op::Scan { length, reverse, .. } = main.nodes[first].op else { return None };
        let mut fused = Fused {
            main_id,
            first,
            second,
            length,
            reverse,
            after,
            region: Region::new(""),
            carries: Vec::new(),
            sources: BTreeMap::new(),
            slices: BTreeMap::new(),
            results: Vec::new(),
            parts: Vec::new(),
            stacks: Vec::new(),
            next_of_second: Vec::new(),
        };
        let (first_next, first_stacks) = fused.loop_of(graph, first, &|_| None)?;
        for (index, node) in first_next.iter().enumerate() {
            fused.results.push(*node);
            fused.parts.push((Part::Of(first, index as u32), index));
        }
        let n_first = first_next.len();
        let Op::Scan { stacks, .. } = &main.nodes[first].op else { return None };
        let stack_nodes: Vec<NodeId> = first_stacks.clone();
        // Slices of the first loop's stacks are what its body gives.
        for (id, node) in main.nodes.iter() {
            if let Op::Project { index } = node.op
                && node.operands[0] == first
                && index as usize >= n_first
            {
                fused.slices.insert((id, 0), stack_nodes[index as usize - n_first]);
            }
        }
        let partner = |place: usize| same.iter().find(|(_, other)| *other == place).map(|(one, _)| *one);
        let (second_next, second_stacks) = fused.loop_of(graph, second, &partner)?;
        for (place, node) in second_next.iter().enumerate() {
            let result = match partner(place) {
                // The next value is a result of its own while the e-graph is asked, and dropped as a dead stack otherwise.
                Some(one) => {
                    fused.parts.push((Part::Of(second, place as u32), one));
                    usize::MAX
                }
                None => {
                    fused.results.push(*node);
                    fused.parts.push((Part::Of(second, place as u32), fused.results.len() - 1));
                    fused.results.len() - 1
                }
            };
            fused.next_of_second.push(result);
        }
        fused.sums(main);
        for (scan, nodes, types) in
            [(first, first_stacks, stacks.clone()), (second, second_stacks, stacks_of(main, second))]
        {
            let carried = carries(main, scan).len() as u32;
            for (index, (node, ty)) in nodes.into_iter().zip(types).enumerate() {
                fused.parts.push((Part::Of(scan, carried + index as u32), fused.results.len()));
                fused.results.push(node);
                fused.stacks.push(ty);
            }
        }
        // Behind the stacks: what should be equal to the next value of the first loop's carry.
        for (place, node) in second_next.iter().enumerate() {
            if partner(place).is_some() {
                fused.next_of_second[place] = fused.results.len();
                fused.results.push(*node);
                let ty = fused.region.tensor(*node);
                let shape = std::iter::once(length).chain(ty.shape.iter().copied()).collect::<Vec<_>>();
                fused.stacks.push(TensorType::new(ty.dtype, shape));
            }
        }
        Some(fused)
    }

    /// The nodes of one loop's body: next carries, and what is stacked. `partner` names a carry of the first loop that stands
    /// for one of this loop.
    fn loop_of(
        &mut self,
        graph: &Graph,
        scan: NodeId,
        partner: &dyn Fn(usize) -> Option<usize>,
    ) -> Option<(Vec<NodeId>, Vec<NodeId>)> {
        let main = &graph.regions[self.main_id];
        let node = &main.nodes[scan];
        let Op::Scan { carries, sequences, body, .. } = node.op else { return None };
        let (carries, sequences) = (carries as usize, sequences as usize);
        let body = &graph.regions[body];
        let mut map = NodeMap::new();
        let mut reads = false;
        for (place, (operand, input)) in node.operands.iter().zip(&body.inputs).enumerate() {
            let is_sequence = (carries..carries + sequences).contains(&place);
            let depends = self.after.contains(*operand);
            if depends && (scan == self.first || !is_sequence) {
                return None;
            }
            reads |= depends;
            map[*input] = Some(if place < carries {
                match partner(place) {
                    Some(one) => self.carries[one].0,
                    None => self.carry(body.tensor(*input).clone(), FirstValue::Node(*operand)),
                }
            } else if depends {
                self.slice(main, *operand, 0)?
            } else if is_sequence {
                self.source(main, Source::Slices(*operand, 0))
            } else {
                self.source(main, Source::Whole(*operand))
            });
        }
        if scan == self.second && !reads {
            return None;
        }
        let results: Vec<NodeId> = body.results.iter().map(|output| output.node).collect();
        let mut nodes = copy(&mut self.region, body, &results, &mut map);
        let stacked = nodes.split_off(carries);
        Some((nodes, stacked))
    }

    /// Sums over all turns of what depends on the first loop become carries.
    fn sums(&mut self, main: &Region) {
        for (id, node) in main.nodes.iter() {
            let Op::ReduceSum { axes } = &node.op else { continue };
            let operand = node.operands[0];
            if !axes.contains(&0) || !self.after.contains(operand) {
                continue;
            }
            // All turns, or all but a first or last place that is joined to them.
            let places = main.tensor(operand).shape[0];
            let starts = (0..=places.saturating_sub(self.length)).take(2);
            let Some((start, slice)) =
                starts.filter_map(|start| Some((start, self.slice(main, operand, start)?))).next()
            else {
                continue;
            };
            let rest_is_outside = [(0, start), (start + self.length, places)]
                .iter()
                .all(|(from, to)| from == to || self.is_outside(main, operand, *from, *to));
            if !rest_is_outside {
                continue;
            }
            let rest: Vec<u32> = axes.iter().filter(|axis| **axis != 0).map(|axis| axis - 1).collect();
            let term = if rest.is_empty() { slice } else { self.push(Op::ReduceSum { axes: rest }, &[slice]) };
            let ty = self.region.tensor(term).clone();
            let carry = self.carry(ty.clone(), FirstValue::Zeros(ty));
            let next = self.push(Op::Add {}, &[carry, term]);
            self.parts.push((Part::Sum(id, start), self.results.len()));
            self.results.push(next);
        }
    }

    /// One turn of a tensor, as a node of the body: turn k is place `start` + k of its leading axis. `None` where that mixes turns
    /// of what the first loop gives.
    fn slice(&mut self, main: &Region, id: NodeId, start: u64) -> Option<NodeId> {
        if let Some(known) = self.slices.get(&(id, start)) {
            return Some(*known);
        }
        let node = &main.nodes[id];
        let ty = node.ty.tensor()?;
        if *ty.shape.first()? < start + self.length {
            return None;
        }
        let found = self
            .computed(main, &node.op, &node.operands, &ty.shape, start)
            .or_else(|| (!self.after.contains(id)).then(|| self.source(main, Source::Slices(id, start))))?;
        self.slices.insert((id, start), found);
        Some(found)
    }

    /// The same operation without the leading axis.
    fn computed(&mut self, main: &Region, op: &Op, operands: &[NodeId], shape: &[u64], start: u64) -> Option<NodeId> {
        let places = |operand: usize| main.tensor(operands[operand]).shape.first().copied();
        match within(op, shape, start, start + self.length, &places)? {
            Within::Operand(operand, start, _) => self.slice(main, operands[operand], start),
            Within::Same => {
                if operands.iter().any(|operand| self.after.contains(*operand)) {
                    return None;
                }
                let whole: Vec<NodeId> =
                    operands.iter().map(|operand| self.source(main, Source::Squeezed(*operand))).collect();
                Some(self.push(without_leading(op, shape), &whole))
            }
            Within::All(start, _) => {
                let slices: Option<Vec<NodeId>> =
                    operands.iter().map(|operand| self.slice(main, *operand, start)).collect();
                Some(self.push(without_leading(op, shape), &slices?))
            }
        }
    }

    /// Whether these places of a tensor need no stack of the first loop.
    fn is_outside(&self, main: &Region, id: NodeId, from: u64, to: u64) -> bool {
        if !self.after.contains(id) {
            return true;
        }
        let node = &main.nodes[id];
        let Some(ty) = node.ty.tensor() else { return false };
        let places = |operand: usize| main.tensor(node.operands[operand]).shape.first().copied();
        match within(&node.op, &ty.shape, from, to, &places) {
            Some(Within::Operand(operand, from, to)) => self.is_outside(main, node.operands[operand], from, to),
            Some(Within::Same) => node.operands.iter().all(|operand| !self.after.contains(*operand)),
            Some(Within::All(from, to)) => {
                node.operands.iter().all(|operand| self.is_outside(main, *operand, from, to))
            }
            // The whole of a last carry, seen as one place.
            None => from == 0 && places_of(main, id) == Some(to) && !self.reads_stacks(main, id),
        }
    }

    /// Whether a node depends on a stack of one of the loops.
    fn reads_stacks(&self, main: &Region, id: NodeId) -> bool {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let node = &main.nodes[id];
            match node.op {
                Op::Project { index } => {
                    let scan = node.operands[0];
                    if matches!(main.nodes[scan].op, Op::Scan { .. }) && index as usize >= carries(main, scan).len() {
                        return true;
                    }
                }
                _ => pending.extend(node.operands.iter().filter(|operand| self.after.contains(**operand))),
            }
        }
        false
    }

    /// These places of a tensor as a node of the new main, computed from what `map` has; see `is_outside`.
    fn outside(&self, old: &Region, new: &mut Region, map: &NodeMap, id: NodeId, from: u64, to: u64) -> NodeId {
        let node = &old.nodes[id];
        let ty = old.tensor(id);
        let places = |operand: usize| old.tensor(node.operands[operand]).shape.first().copied();
        let here = |id: NodeId| map[id].expect("bug in bpc: an operand of a fused loop comes later");
        let shape: Vec<u64> = std::iter::once(to - from).chain(ty.shape[1..].iter().copied()).collect();
        let inside = if self.after.contains(id) { within(&node.op, &ty.shape, from, to, &places) } else { None };
        let (op, operands) = match inside {
            Some(Within::Operand(operand, from, to)) => {
                return self.outside(old, new, map, node.operands[operand], from, to);
            }
            Some(Within::Same) => {
                (with_leading(&node.op, &shape), node.operands.iter().map(|operand| here(*operand)).collect())
            }
            Some(Within::All(from, to)) => {
                let operands: Vec<NodeId> =
                    node.operands.iter().map(|operand| self.outside(old, new, map, *operand, from, to)).collect();
                (with_leading(&node.op, &shape), operands)
            }
            None if from == 0 && to == ty.shape[0] => return here(id),
            None => {
                let mut starts = vec![0; ty.rank()];
                let mut stops = ty.shape.clone();
                (starts[0], stops[0]) = (from, to);
                (Op::Slice { starts, stops }, vec![here(id)])
            }
        };
        new.push(op, &operands, node.provenance).unwrap_or_else(|error| panic!("bug in bpc: a fused loop: {error}"))
    }

    fn push(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let name = op.name();
        let node = self.region.push(op, operands, Provenance::default());
        node.unwrap_or_else(|error| panic!("bug in bpc: {name} in a fused loop: {error}"))
    }

    fn input(&mut self, ty: TensorType) -> NodeId {
        let name = format!("input{}", self.region.inputs.len());
        self.region.input(InputRole::Argument, name, ty, Provenance::default())
    }

    fn carry(&mut self, ty: TensorType, first: FirstValue) -> NodeId {
        let input = self.input(ty);
        self.carries.push((input, first));
        input
    }

    fn source(&mut self, main: &Region, source: Source) -> NodeId {
        if let Some(known) = self.sources.get(&source) {
            return *known;
        }
        let (Source::Slices(node, _) | Source::Whole(node) | Source::Squeezed(node)) = source;
        let ty = main.tensor(node);
        let shape = if matches!(source, Source::Whole(_)) { &ty.shape[..] } else { &ty.shape[1..] };
        let input = self.input(TensorType::new(ty.dtype, shape));
        self.sources.insert(source, input);
        input
    }

    /// The body with its inputs in order: carries, sequences, what is the same in every turn.
    fn body(&self, graph: &Graph) -> Region {
        let Op::Scan { body, .. } = graph.regions[self.main_id].nodes[self.first].op else {
            unreachable!("bug in bpc: a loop is wanted")
        };
        let mut region = Region::new(graph.regions[body].name.clone());
        let mut map = NodeMap::new();
        let inputs = self.carries.iter().map(|(input, _)| *input).chain(self.sources.values().copied());
        for (index, input) in inputs.enumerate() {
            let ty = self.region.tensor(input).clone();
            map[input] = Some(region.input(InputRole::Argument, format!("input{index}"), ty, Provenance::default()));
        }
        let copies = copy(&mut region, &self.region, &self.results, &mut map);
        for (index, node) in copies.into_iter().enumerate() {
            region.result(OutputRole::Value, format!("result{index}"), node);
        }
        region
    }

    /// Main with the fused loop in the place of the two.
    fn main(&self, old: Region, graph: &Graph, body: RegionId) -> Region {
        let mut new = Region::new(old.name.clone());
        let mut map = NodeMap::new();
        let behind = dependent(&old, self.second);
        let waits = |id: NodeId| self.after.contains(id) || behind.contains(id);
        let push = |new: &mut Region, op: Op, operands: &[NodeId]| -> NodeId {
            new.push(op, operands, Provenance::default())
                .unwrap_or_else(|error| panic!("bug in bpc: a fused loop: {error}"))
        };
        let copy_node = |new: &mut Region, map: &mut NodeMap, id: NodeId| {
            let node = &old.nodes[id];
            map[id] = Some(match &node.op {
                Op::Input { role, name, ty } => new.input(*role, name.clone(), ty.clone(), node.provenance),
                op => {
                    let operands: Vec<NodeId> =
                        node.operands.iter().map(|operand| map[*operand].expect("bug in bpc: order")).collect();
                    new.push(op.clone(), &operands, node.provenance)
                        .unwrap_or_else(|error| panic!("bug in bpc: a fused loop: {error}"))
                }
            });
        };
        old.nodes.keys().filter(|id| !waits(*id)).for_each(|id| copy_node(&mut new, &mut map, id));

        let at = |map: &NodeMap, id: NodeId| map[id].expect("bug in bpc: an operand of a fused loop comes later");
        let mut operands = Vec::new();
        for (_, first) in &self.carries {
            operands.push(match first {
                FirstValue::Node(node) => at(&map, *node),
                FirstValue::Zeros(ty) => {
                    let zero = Op::Constant { value: Literal::new(ty.dtype, 0.0), shape: ty.shape.clone() };
                    push(&mut new, zero, &[])
                }
            });
        }
        for source in self.sources.keys() {
            operands.push(match source {
                Source::Whole(node) => at(&map, *node),
                Source::Slices(node, start) => self.outside(&old, &mut new, &map, *node, *start, start + self.length),
                Source::Squeezed(node) => {
                    let shape = old.tensor(*node).shape[1..].to_vec();
                    push(&mut new, Op::Reshape { shape }, &[at(&map, *node)])
                }
            });
        }
        let is_sequence = |source: &&Source| matches!(source, Source::Slices(..));
        let scan = Op::Scan {
            carries: self.carries.len() as u32,
            sequences: self.sources.keys().filter(is_sequence).count() as u32,
            length: self.length,
            reverse: self.reverse,
            stacks: self.stacks.clone(),
            body,
        };
        debug_assert_eq!(graph.regions[body].inputs.len(), operands.len());
        let scan = new
            .push(scan, &operands, old.nodes[self.first].provenance)
            .unwrap_or_else(|error| panic!("bug in bpc: a fused loop: {error}"));
        let mut sums: BTreeMap<NodeId, (NodeId, u64)> = BTreeMap::new();
        let mut parts: BTreeMap<(NodeId, u32), NodeId> = BTreeMap::new();
        for (part, result) in &self.parts {
            let node = push(&mut new, Op::Project { index: *result as u32 }, &[scan]);
            match part {
                Part::Of(id, index) => {
                    parts.insert((*id, *index), node);
                }
                Part::Sum(id, start) => {
                    let shape = old.tensor(*id).shape.clone();
                    sums.insert(*id, (push(&mut new, Op::Reshape { shape }, &[node]), *start));
                }
            }
        }
        for (id, node) in old.nodes.iter().filter(|(id, _)| waits(*id)) {
            if id == self.first || id == self.second {
                continue;
            }
            let part = match &node.op {
                Op::Project { index } => parts.get(&(node.operands[0], *index)).copied(),
                // Places in front of the turns or behind them need no stack.
                Op::Slice { starts, stops }
                    if !starts.is_empty() && self.is_outside(&old, node.operands[0], starts[0], stops[0]) =>
                {
                    let whole = &old.tensor(node.operands[0]).shape;
                    let rows = self.outside(&old, &mut new, &map, node.operands[0], starts[0], stops[0]);
                    let (mut starts, mut stops) = (starts.clone(), stops.clone());
                    (starts[0], stops[0]) = (0, stops[0] - starts[0]);
                    let all = starts.iter().all(|start| *start == 0) && stops[1..] == whole[1..];
                    Some(if all { rows } else { push(&mut new, Op::Slice { starts, stops }, &[rows]) })
                }
                op => sums.get(&id).map(|(turns, start)| {
                    let places = old.tensor(node.operands[0]).shape[0];
                    let rest = [(0, *start), (start + self.length, places)];
                    rest.iter().filter(|(from, to)| from < to).fold(*turns, |sum, (from, to)| {
                        let rows = self.outside(&old, &mut new, &map, node.operands[0], *from, *to);
                        let own = push(&mut new, op.clone(), &[rows]);
                        push(&mut new, Op::Add {}, &[sum, own])
                    })
                }),
            };
            match part {
                Some(part) => map[id] = Some(part),
                None => copy_node(&mut new, &mut map, id),
            }
        }
        for output in &old.results {
            new.result(output.role, output.name.clone(), at(&map, output.node));
        }
        new
    }
}

/// A node and everything that depends on it.
fn dependent(region: &Region, node: NodeId) -> EntitySet<NodeId> {
    let mut found = EntitySet::with_capacity(region.nodes.len());
    found.insert(node);
    for (id, other) in region.nodes.iter() {
        if other.operands.iter().any(|operand| found.contains(*operand)) {
            found.insert(id);
        }
    }
    found
}

fn stacks_of(main: &Region, scan: NodeId) -> Vec<TensorType> {
    match &main.nodes[scan].op {
        Op::Scan { stacks, .. } => stacks.clone(),
        _ => Vec::new(),
    }
}

fn places_of(region: &Region, id: NodeId) -> Option<u64> {
    region.nodes[id].ty.tensor()?.shape.first().copied()
}
