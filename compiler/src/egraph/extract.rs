//! Greedy extraction with the cost of a DAG: what is shared is paid once.
//!
//! Expects: an e-graph in which every class that the roots reach has a term of finite cost that rests on such classes.
//! Guarantees: the choice has no cycles: classes are settled one after the other, each on classes settled before it.
//! Ties go to the term that was interned first, so that the same e-graph gives the same choice.
//! Leaves out: the optimum. A class picks the term that is cheapest together with all it rests on, whatever else is
//! computed anyway. On small graphs that is close to the optimum; the cost of trees would overflow on graphs with much sharing.

use super::analysis::EGraph;
use super::cost::{INFINITE, cost};
use crate::ir::graph::{InputRole, NodeId, Region, RegionId};
use crate::ir::op::Op;
use crate::ir::types::Type;
use egg::Id;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

/// What was chosen for the classes that the roots need.
pub struct Extraction {
    /// The cost of all chosen terms.
    pub cost: u64,
    /// In an order in which operands stand before their users.
    chosen: Vec<Chosen>,
    /// The place in `chosen` of every root.
    roots: Vec<usize>,
}

struct Chosen {
    class: Id,
    term: usize,
    operands: Vec<usize>,
}

impl Extraction {
    /// Whether something of a class was chosen.
    pub fn uses(&self, egraph: &EGraph, class: Id) -> bool {
        let class = egraph.find(class);
        self.chosen.iter().any(|chosen| egraph.find(chosen.class) == class)
    }
}

/// Chooses a term for every class that the roots need; `bodies` holds the costs of scan bodies.
pub fn extract(egraph: &EGraph, roots: &[Id], bodies: &BTreeMap<RegionId, u64>) -> Extraction {
    let mut settling = Settling::new(egraph, roots, bodies);
    settling.settle();
    settling.collect(roots)
}

/// Builds the region of what was chosen. `inputs` are the classes of all its inputs, which stay even where nothing uses them.
pub fn build(egraph: &EGraph, extraction: &Extraction, source: &Region, inputs: &[Id]) -> Region {
    let mut region = Region::new(source.name.clone());
    let mut of_class: BTreeMap<Id, NodeId> = BTreeMap::new();
    for (id, class) in source.inputs.iter().zip(inputs) {
        let node = &source.nodes[*id];
        let (role, name) = match &node.op {
            Op::Input { role, name, .. } => (*role, name.clone()),
            _ => (InputRole::Argument, String::new()),
        };
        of_class.insert(egraph.find(*class), region.input(role, name, source.tensor(*id).clone(), node.provenance));
    }
    // The order of the source, as far as operands allow it.
    let mut waiting: Vec<usize> = extraction.chosen.iter().map(|chosen| chosen.operands.len()).collect();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); waiting.len()];
    let mut ready = BinaryHeap::new();
    let key = |place: usize| Reverse((egraph[extraction.chosen[place].class].data.origin.place, place));
    for (place, chosen) in extraction.chosen.iter().enumerate() {
        chosen.operands.iter().for_each(|operand| users[*operand].push(place));
        if chosen.operands.is_empty() {
            ready.push(key(place));
        }
    }
    let mut nodes: Vec<Option<NodeId>> = vec![None; waiting.len()];
    while let Some(Reverse((_, place))) = ready.pop() {
        let chosen = &extraction.chosen[place];
        let class = &egraph[chosen.class];
        let op = &egraph.analysis.ops[class.nodes[chosen.term].op];
        let node = if let Op::Input { .. } = op {
            of_class[&chosen.class]
        } else {
            let operands: Vec<NodeId> = chosen
                .operands
                .iter()
                .map(|operand| nodes[*operand].expect("bug in bpc: an operand is built after its user"))
                .collect();
            region
                .push(op.clone(), &operands, class.data.origin.provenance)
                .unwrap_or_else(|error| panic!("bug in bpc: an ill-typed extraction: {error}"))
        };
        nodes[place] = Some(node);
        for user in &users[place] {
            waiting[*user] -= 1;
            if waiting[*user] == 0 {
                ready.push(key(*user));
            }
        }
    }
    for (output, root) in source.results.iter().zip(&extraction.roots) {
        region.result(output.role, output.name.clone(), nodes[*root].expect("bug in bpc: a result without a node"));
    }
    region
}

/// A term of a class: its place among the terms of the class, its cost, and its operands as indices of classes.
struct Candidate {
    term: usize,
    cost: u64,
    operands: Vec<usize>,
}

/// Classes are numbered in a depth-first order, so that operands have smaller numbers unless there are cycles.
struct Settling {
    classes: Vec<Id>,
    candidates: Vec<Vec<Candidate>>,
    numbers: BTreeMap<Id, usize>,
    chosen: Vec<Option<usize>>,
    costs: Vec<u64>,
    /// The classes that the choice of each class rests on, itself included.
    needs: Vec<ClassSet>,
    /// The classes in the order in which they were settled.
    order: Vec<usize>,
}

impl Settling {
    fn new(egraph: &EGraph, roots: &[Id], bodies: &BTreeMap<RegionId, u64>) -> Settling {
        let mut classes = Vec::new();
        let mut found: BTreeMap<Id, Vec<(usize, u64)>> = BTreeMap::new();
        let mut numbers = BTreeMap::new();
        let mut stack: Vec<(Id, Vec<Id>)> = Vec::new();
        for root in roots {
            let mut visit = vec![egraph.find(*root)];
            loop {
                // Goes down to the first class that is new, else finishes the class on top.
                if let Some(class) = visit.pop() {
                    if found.contains_key(&class) {
                        continue;
                    }
                    let terms = finite_terms(egraph, class, bodies);
                    let nodes = &egraph[class].nodes;
                    let below = terms.iter().rev().flat_map(|(term, _)| nodes[*term].children.iter().rev());
                    let below = below.map(|child| egraph.find(*child)).collect();
                    found.insert(class, terms);
                    stack.push((class, std::mem::replace(&mut visit, below)));
                } else if let Some((class, siblings)) = stack.pop() {
                    numbers.insert(class, classes.len());
                    classes.push(class);
                    visit = siblings;
                } else {
                    break;
                }
            }
        }
        let candidates: Vec<Vec<Candidate>> = classes
            .iter()
            .map(|class| {
                let candidate = |(term, cost): &(usize, u64)| {
                    let mut operands: Vec<usize> = egraph[*class].nodes[*term]
                        .children
                        .iter()
                        .map(|child| numbers[&egraph.find(*child)])
                        .collect();
                    operands.shrink_to_fit();
                    Candidate { term: *term, cost: *cost, operands }
                };
                found[class].iter().map(candidate).collect()
            })
            .collect();
        let n = classes.len();
        let sets = ClassSet::empty(n);
        Settling {
            classes,
            candidates,
            numbers,
            chosen: vec![None; n],
            costs: vec![0; n],
            needs: vec![sets; n],
            order: Vec::with_capacity(n),
        }
    }

    /// Settles classes in order. One whose terms all rest on classes that are not settled yet waits for the next turn.
    fn settle(&mut self) {
        let mut waiting: Vec<usize> = (0..self.classes.len()).collect();
        loop {
            let before = waiting.len();
            waiting.retain(|class| !self.settle_class(*class));
            if waiting.is_empty() || waiting.len() == before {
                return;
            }
        }
    }

    fn settle_class(&mut self, class: usize) -> bool {
        let mut best: Option<(usize, ClassSet)> = None;
        for (index, candidate) in self.candidates[class].iter().enumerate() {
            if candidate.operands.iter().any(|operand| self.chosen[*operand].is_none()) {
                continue;
            }
            let mut needs = ClassSet::empty(0);
            for operand in &candidate.operands {
                needs = needs.union(&self.needs[*operand]);
            }
            let better = best.as_ref().is_none_or(|(other, known)| {
                let more = needs.cost_beyond(known, &self.costs).saturating_add(candidate.cost);
                let less = known.cost_beyond(&needs, &self.costs).saturating_add(self.candidates[class][*other].cost);
                more < less
            });
            if better {
                best = Some((index, needs));
            }
        }
        let Some((index, mut needs)) = best else { return false };
        needs.insert(class);
        self.chosen[class] = Some(index);
        self.costs[class] = self.candidates[class][index].cost;
        self.needs[class] = needs;
        self.order.push(class);
        true
    }

    fn collect(self, roots: &[Id]) -> Extraction {
        let mut needed = ClassSet::empty(self.classes.len());
        for root in roots {
            // The roots are canonical ids or were merged since; `numbers` knows both through `new`.
            needed = needed.union(&self.needs[self.number(*root)]);
        }
        let mut places = vec![usize::MAX; self.classes.len()];
        let mut chosen = Vec::new();
        let mut cost = 0u64;
        for class in self.order.iter().copied().filter(|class| needed.contains(*class)) {
            let candidate = &self.candidates[class]
                [self.chosen[class].expect("bug in bpc: a class is in the order and not settled")];
            let operands = candidate.operands.iter().map(|operand| places[*operand]).collect();
            places[class] = chosen.len();
            cost = cost.saturating_add(candidate.cost);
            chosen.push(Chosen { class: self.classes[class], term: candidate.term, operands });
        }
        let roots = roots.iter().map(|root| places[self.number(*root)]).collect();
        Extraction { cost, chosen, roots }
    }

    fn number(&self, root: Id) -> usize {
        let number = self.numbers.get(&root).copied().expect("bug in bpc: a root that was not visited");
        assert!(self.chosen[number].is_some(), "bug in bpc: a result that only a marker or a cycle gives");
        number
    }
}

/// The terms of a class that may be chosen, with their costs.
fn finite_terms(egraph: &EGraph, class: Id, bodies: &BTreeMap<RegionId, u64>) -> Vec<(usize, u64)> {
    let class = &egraph[class];
    let price = |(index, term): (usize, &super::language::Term)| {
        let operands: Vec<&Type> = term.children.iter().map(|child| &egraph[*child].data.ty).collect();
        (index, cost(&egraph.analysis.ops[term.op], &operands, &class.data.ty, bodies))
    };
    class.nodes.iter().enumerate().map(price).filter(|(_, cost)| *cost != INFINITE).collect()
}

const CHUNK_WORDS: usize = 8;
const CHUNK_BITS: usize = CHUNK_WORDS * 64;

/// A set of classes as bits in chunks that sets share: a set differs little from those it was made of.
#[derive(Clone)]
struct ClassSet {
    chunks: Vec<Option<Rc<[u64; CHUNK_WORDS]>>>,
}

impl ClassSet {
    fn empty(n_classes: usize) -> ClassSet {
        ClassSet { chunks: vec![None; n_classes.div_ceil(CHUNK_BITS)] }
    }

    fn contains(&self, class: usize) -> bool {
        let chunk = self.chunks.get(class / CHUNK_BITS).and_then(Option::as_ref);
        chunk.is_some_and(|chunk| chunk[class % CHUNK_BITS / 64] >> (class % 64) & 1 == 1)
    }

    fn insert(&mut self, class: usize) {
        if self.chunks.len() <= class / CHUNK_BITS {
            self.chunks.resize(class / CHUNK_BITS + 1, None);
        }
        let chunk = self.chunks[class / CHUNK_BITS].get_or_insert_with(|| Rc::new([0; CHUNK_WORDS]));
        Rc::make_mut(chunk)[class % CHUNK_BITS / 64] |= 1 << (class % 64);
    }

    fn union(&self, other: &ClassSet) -> ClassSet {
        let n_chunks = self.chunks.len().max(other.chunks.len());
        let at = |set: &ClassSet, index: usize| set.chunks.get(index).cloned().flatten();
        let union_of = |index: usize| match (at(self, index), at(other, index)) {
            (Some(one), Some(two)) if Rc::ptr_eq(&one, &two) => Some(one),
            (Some(one), Some(two)) => {
                let both: [u64; CHUNK_WORDS] = std::array::from_fn(|word| one[word] | two[word]);
                Some(if both == *one {
                    one
                } else if both == *two {
                    two
                } else {
                    Rc::new(both)
                })
            }
            (one, two) => one.or(two),
        };
        ClassSet { chunks: (0..n_chunks).map(union_of).collect() }
    }

    /// The cost of what is in this set and not in the other.
    fn cost_beyond(&self, other: &ClassSet, costs: &[u64]) -> u64 {
        let mut sum = 0u64;
        for (index, chunk) in self.chunks.iter().enumerate() {
            let Some(chunk) = chunk else { continue };
            let same = other.chunks.get(index).and_then(Option::as_ref);
            if same.is_some_and(|same| Rc::ptr_eq(same, chunk)) {
                continue;
            }
            for word in 0..CHUNK_WORDS {
                let mut bits = chunk[word] & !same.map_or(0, |same| same[word]);
                while bits != 0 {
                    let class = index * CHUNK_BITS + word * 64 + bits.trailing_zeros() as usize;
                    sum = sum.saturating_add(costs[class]);
                    bits &= bits - 1;
                }
            }
        }
        sum
    }
}
