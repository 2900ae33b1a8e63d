//! Drops what a scan computes and nothing reads: stacks, carries that only feed themselves, and operands that the body
//! does not use. A reverse sweep saves every state of a loop; many are not needed once the rules are expanded.
//!
//! Expects: an expanded graph.
//! Guarantees: a graph of the same inputs and results without dead nodes, parts of scans, or regions.
//! Leaves out: carries that never change, and values that every turn computes anew.

use crate::ir::graph::{Graph, NodeId, Region, RegionId};
use crate::ir::op::Op;
use cranelift_entity::{EntitySet, SecondaryMap};
use std::collections::{BTreeMap, BTreeSet};

/// The graph without dead parts of scans, and how many parts and operands were dropped.
pub fn drop_dead_parts(graph: &Graph) -> (Graph, u64) {
    let main = graph.main();
    let needs = Needs::of(graph, main, &vec![true; main.results.len()]);
    let mut rebuild = Rebuild { old: graph, new: Graph::default(), bodies: BTreeMap::new(), dropped: 0 };
    let main = rebuild.region(main, &vec![true; main.results.len()], &vec![true; main.inputs.len()], &needs);
    rebuild.new.add(main);
    (rebuild.new, rebuild.dropped)
}

/// What the wanted results of a region need.
struct Needs {
    live: EntitySet<NodeId>,
    scans: BTreeMap<NodeId, Kept>,
}

/// What stays of a scan: results of its body (carries, then stacks), and operands, which are inputs of its body.
struct Kept {
    results: Vec<bool>,
    operands: Vec<bool>,
}

impl Needs {
    fn of(graph: &Graph, region: &Region, wanted: &[bool]) -> Needs {
        let mut live = EntitySet::with_capacity(region.nodes.len());
        let mut scans = BTreeMap::new();
        let mut read: BTreeMap<NodeId, BTreeSet<u32>> = BTreeMap::new();
        for (output, _) in region.results.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
            live.insert(output.node);
        }
        for (id, node) in region.nodes.iter().rev() {
            if !live.contains(id) {
                continue;
            }
            let mut operands = vec![true; node.operands.len()];
            match &node.op {
                Op::Project { index } => {
                    read.entry(node.operands[0]).or_default().insert(*index);
                }
                Op::Scan { carries, body, .. } => {
                    let kept = Kept::of(graph, *carries as usize, *body, read.get(&id));
                    operands.clone_from(&kept.operands);
                    scans.insert(id, kept);
                }
                _ => {}
            }
            for (operand, _) in node.operands.iter().zip(operands).filter(|(_, needed)| *needed) {
                live.insert(*operand);
            }
        }
        Needs { live, scans }
    }
}

impl Kept {
    fn of(graph: &Graph, carries: usize, body: RegionId, read: Option<&BTreeSet<u32>>) -> Kept {
        let body = &graph.regions[body];
        let is_read = |index| read.is_some_and(|read| read.contains(&(index as u32)));
        let mut results: Vec<bool> = (0..body.results.len()).map(is_read).collect();
        loop {
            let live = Needs::of(graph, body, &results).live;
            let mut operands: Vec<bool> = body.inputs.iter().map(|input| live.contains(*input)).collect();
            // A carry that the body reads must go on being computed.
            let missing: Vec<usize> = (0..carries).filter(|carry| operands[*carry] && !results[*carry]).collect();
            if missing.is_empty() {
                operands[..carries].copy_from_slice(&results[..carries]);
                return Kept { results, operands };
            }
            missing.into_iter().for_each(|carry| results[carry] = true);
        }
    }
}

struct Rebuild<'a> {
    old: &'a Graph,
    new: Graph,
    /// By the old body and the results that stay.
    bodies: BTreeMap<(RegionId, Vec<bool>), RegionId>,
    dropped: u64,
}

impl Rebuild<'_> {
    fn region(&mut self, old: &Region, results: &[bool], inputs: &[bool], needs: &Needs) -> Region {
        let mut region = Region::new(old.name.clone());
        let mut map: SecondaryMap<NodeId, Option<NodeId>> = SecondaryMap::with_capacity(old.nodes.len());
        let stays: BTreeSet<NodeId> = only(&old.inputs, inputs).into_iter().collect();
        let moved =
            |map: &SecondaryMap<NodeId, Option<NodeId>>, id: NodeId| map[id].expect("bug in bpc: a live operand");
        for (id, node) in old.nodes.iter() {
            if !needs.live.contains(id) && !stays.contains(&id) {
                continue;
            }
            let (op, operands) = match &node.op {
                Op::Input { role, name, ty } => {
                    map[id] = Some(region.input(*role, name.clone(), ty.clone(), node.provenance));
                    continue;
                }
                Op::Scan { .. } => {
                    let kept = &needs.scans[&id];
                    (self.scan(&node.op, kept), only(&node.operands, &kept.operands))
                }
                Op::Project { index } => {
                    let results = &needs.scans[&node.operands[0]].results;
                    let index = results[..*index as usize].iter().filter(|kept| **kept).count() as u32;
                    (Op::Project { index }, node.operands.clone())
                }
                op => (op.clone(), node.operands.clone()),
            };
            let operands: Vec<NodeId> = operands.into_iter().map(|operand| moved(&map, operand)).collect();
            let copy = region.push(op, &operands, node.provenance);
            map[id] = Some(copy.unwrap_or_else(|error| panic!("bug in bpc: an ill-typed scan: {error}")));
        }
        for output in only(&old.results, results) {
            region.result(output.role, output.name, moved(&map, output.node));
        }
        region
    }

    fn scan(&mut self, op: &Op, kept: &Kept) -> Op {
        let Op::Scan { carries, sequences, length, reverse, stacks, body } = op else {
            panic!("bug in bpc: {} is no scan", op.name())
        };
        let (n_carries, n_sequences) = (*carries as usize, *sequences as usize);
        let count = |kept: &[bool]| kept.iter().filter(|kept| **kept).count() as u32;
        let all = kept.operands.len() + kept.results.len();
        self.dropped += all as u64 - u64::from(count(&kept.operands) + count(&kept.results));
        let key = (*body, kept.results.clone());
        let new_body = match self.bodies.get(&key) {
            Some(known) => *known,
            None => {
                let old = &self.old.regions[*body];
                let needs = Needs::of(self.old, old, &kept.results);
                let region = self.region(old, &kept.results, &kept.operands, &needs);
                let id = self.new.add(region);
                self.bodies.insert(key, id);
                id
            }
        };
        Op::Scan {
            carries: count(&kept.results[..n_carries]),
            sequences: count(&kept.operands[n_carries..n_carries + n_sequences]),
            length: *length,
            reverse: *reverse,
            stacks: only(stacks, &kept.results[n_carries..]),
            body: new_body,
        }
    }
}

/// The items that are kept.
fn only<T: Clone>(items: &[T], kept: &[bool]) -> Vec<T> {
    items.iter().zip(kept).filter(|(_, kept)| **kept).map(|(item, _)| item.clone()).collect()
}
