//! Loads a region into an e-graph and expands what speaks about gradients: a `vjp` is made equal to the result of its
//! rule, a `ruled` call to its value, a `stop` to its operand, a part of a `tuple` to what it was made of.
//!
//! Expects: a differentiated graph: no `grad` is left, so that what the markers say has been used.
//! Guarantees: every class of a marker holds a term that is none; an expansion always completes, since a region names
//! only regions with smaller ids; vjps of two rules are different operations, so that nothing makes them equal but what
//! their rules compute.
//! Leaves out: algebra (`rules`).

use super::analysis::{Analysis, EGraph, Origin};
use super::language::Term;
use crate::ir::copy::live;
use crate::ir::graph::{Graph, NodeId, Provenance, RegionId};
use crate::ir::op::Op;
use cranelift_entity::{EntityRef, SecondaryMap};
use egg::Id;
use std::collections::{BTreeMap, BTreeSet};

/// A region as an e-graph.
pub struct Loaded {
    /// With all nodes and expansions.
    pub egraph: EGraph,
    /// The classes of the inputs of the region, in order.
    pub inputs: Vec<Id>,
    /// The classes of its results, in order.
    pub results: Vec<Id>,
    /// How many markers of each kind were expanded.
    pub expanded: BTreeMap<&'static str, u64>,
    /// Loops whose cotangents are there in several forms.
    pub forms: Vec<Forms>,
}

/// The forms of what one loop sends back.
pub struct Forms {
    /// The loop.
    pub of: Option<Id>,
    /// By name, the loops that each form consists of.
    pub forms: Vec<(String, Vec<Id>)>,
}

/// Loads a region of `graph`; the bodies of its scans are called by their new ids. All forms of what a loop sends back are equal, or
/// the one with the number `form` stands for them.
pub fn load(graph: &Graph, region: RegionId, bodies: &BTreeMap<RegionId, RegionId>, form: Option<usize>) -> Loaded {
    let mut loader = Loader {
        graph,
        bodies,
        form,
        egraph: EGraph::new(Analysis::default()),
        expanded: BTreeMap::new(),
        forms: Vec::new(),
    };
    let source = &graph.regions[region];
    let mut inputs = Vec::with_capacity(source.inputs.len());
    for id in &source.inputs {
        loader.set_origin(*id, source.nodes[*id].provenance);
        let op = loader.egraph.analysis.ops.fresh(source.nodes[*id].op.clone());
        inputs.push(loader.egraph.add(Term { op, children: Vec::new() }));
    }
    let wanted: Vec<NodeId> = source.results.iter().map(|output| output.node).collect();
    let results = loader.instantiate(region, &inputs, &wanted, true);
    let Loader { mut egraph, expanded, forms, .. } = loader;
    egraph.rebuild();
    Loaded { egraph, inputs, results, expanded, forms }
}

struct Loader<'a> {
    graph: &'a Graph,
    bodies: &'a BTreeMap<RegionId, RegionId>,
    form: Option<usize>,
    egraph: EGraph,
    expanded: BTreeMap<&'static str, u64>,
    forms: Vec<Forms>,
}

impl Loader<'_> {
    fn set_origin(&mut self, node: NodeId, provenance: Provenance) {
        let place = u32::try_from(node.index()).expect("bug in bpc: a region with 2^32 nodes");
        self.egraph.analysis.origin = Origin { place, provenance };
    }

    /// Adds what `wanted` needs of a region whose inputs are these classes. The nodes of a rule region come from the
    /// node that uses the rule, so only the region that is loaded itself sets origins.
    fn instantiate(&mut self, region: RegionId, inputs: &[Id], wanted: &[NodeId], own: bool) -> Vec<Id> {
        let source = &self.graph.regions[region];
        assert_eq!(source.inputs.len(), inputs.len(), "bug in bpc: {} has another number of inputs", source.name);
        let live = live(source, wanted.iter().copied());
        let mut classes: SecondaryMap<NodeId, Option<Id>> = SecondaryMap::with_capacity(source.nodes.len());
        for (id, class) in source.inputs.iter().zip(inputs) {
            classes[*id] = Some(*class);
        }
        let class_of = |classes: &SecondaryMap<NodeId, Option<Id>>, id: NodeId| {
            classes[id].expect("bug in bpc: an operand stands after its use")
        };
        for (id, node) in &source.nodes {
            if !live.contains(id) || classes[id].is_some() {
                continue;
            }
            if own {
                self.set_origin(id, node.provenance);
            }
            let children: Vec<Id> = node.operands.iter().map(|operand| class_of(&classes, *operand)).collect();
            classes[id] = Some(self.add(&node.op, children));
        }
        wanted.iter().map(|node| class_of(&classes, *node)).collect()
    }

    fn add(&mut self, op: &Op, children: Vec<Id>) -> Id {
        let mut op = op.clone();
        if let Op::Scan { body, .. } = &mut op {
            *body = *self.bodies.get(body).expect("bug in bpc: a scan whose body is not optimised yet");
        }
        let before = matches!(op, Op::Grad { .. } | Op::Pullback { .. } | Op::Pushforward { .. });
        assert!(!before, "bug in bpc: {} is left after differentiation", op.name());
        if let Op::Project { index } = op
            && let Some(part) = self.part(children[0], index)
        {
            return part;
        }
        let interned = self.egraph.analysis.ops.intern(op.clone());
        let term = Term { op: interned, children };
        if let Some(known) = self.egraph.lookup(term.clone()) {
            return known;
        }
        let class = self.egraph.add(term.clone());
        let (name, meaning) = match &op {
            Op::Stop { .. } => ("expand-stop", term.children[0]),
            Op::Opaque { .. } => ("expand-opaque", term.children[0]),
            Op::Ruled { .. } => ("expand-ruled", term.children[0]),
            Op::Vjp { body, index, .. } => {
                let result = self.graph.regions[*body].results[*index as usize].node;
                ("expand-vjp", self.instantiate(*body, &term.children, &[result], false)[0])
            }
            Op::Vjps { body, .. } => {
                let results: Vec<NodeId> = self.graph.regions[*body].results.iter().map(|output| output.node).collect();
                let parts = self.instantiate(*body, &term.children, &results, false);
                let op = self.egraph.analysis.ops.intern(Op::Tuple {});
                ("expand-vjps", self.egraph.add(Term { op, children: parts }))
            }
            Op::Via { .. } => ("expand-via", term.children[0]),
            Op::Forms {} => {
                self.note_forms(&term.children);
                let forms = match self.form {
                    Some(form) => std::slice::from_ref(&term.children[form.min(term.children.len() - 1)]),
                    None => &term.children[..],
                };
                ("expand-forms", forms[1..].iter().fold(forms[0], |one, other| self.equal(one, *other)))
            }
            _ => return class,
        };
        *self.expanded.entry(name).or_default() += 1;
        // The meaning first: it has users already and stays the representative, so that later lookups still find it.
        self.egraph.union(meaning, class);
        self.egraph.find(class)
    }

    /// The part of a value that was put together by `tuple`; in several forms, what is equal in all of them.
    fn part(&mut self, class: Id, index: u32) -> Option<Id> {
        let is_tuple = |term: &&Term| matches!(self.egraph.analysis.ops[term.op], Op::Tuple {});
        let parts: Vec<Id> =
            self.egraph[class].nodes.iter().filter(is_tuple).map(|tuple| tuple.children[index as usize]).collect();
        parts.into_iter().reduce(|one, other| self.equal(one, other))
    }

    /// Remembers of which loops the forms consist, before they become one class.
    fn note_forms(&mut self, classes: &[Id]) {
        let op_of = |term: &Term| &self.egraph.analysis.ops[term.op];
        let mut found = Forms { of: None, forms: Vec::new() };
        for class in classes {
            let vjps = self.egraph[*class].nodes.iter().find_map(|term| match op_of(term) {
                Op::Vjps { rule, .. } => Some((rule.clone(), &term.children)),
                _ => None,
            });
            let tuple = self.egraph[*class].nodes.iter().find(|term| matches!(op_of(term), Op::Tuple {}));
            let (Some((rule, operands)), Some(tuple)) = (vjps, tuple) else { return };
            let mut seen: BTreeSet<Id> = operands.iter().map(|operand| self.egraph.find(*operand)).collect();
            // The loop is the one whose operands stand first among those of the `vjps`.
            let is_the_loop = |term: &Term| {
                let same = |(one, other): (&Id, &Id)| self.egraph.find(*one) == self.egraph.find(*other);
                matches!(op_of(term), Op::Scan { .. }) && term.children.iter().zip(operands).all(same)
            };
            let parts = operands.iter().flat_map(|operand| &self.egraph[*operand].nodes);
            let mut tuples =
                parts.filter(|term| matches!(op_of(term), Op::Project { .. })).map(|term| term.children[0]);
            found.of = tuples.find(|tuple| self.egraph[*tuple].nodes.iter().any(is_the_loop));
            let mut loops = Vec::new();
            let mut pending: Vec<Id> = tuple.children.clone();
            while let Some(class) = pending.pop().map(|class| self.egraph.find(class)) {
                if !seen.insert(class) {
                    continue;
                }
                let nodes = &self.egraph[class].nodes;
                if nodes.iter().any(|term| matches!(op_of(term), Op::Scan { .. })) {
                    loops.push(class);
                } else {
                    pending.extend(nodes.iter().flat_map(|term| term.children.iter().copied()));
                }
            }
            found.forms.push((rule, loops));
        }
        self.forms.push(found);
    }

    fn equal(&mut self, one: Id, other: Id) -> Id {
        self.egraph.union(one, other);
        self.egraph.find(one)
    }
}
