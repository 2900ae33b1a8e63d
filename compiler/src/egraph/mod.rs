//! Equality saturation: gradient rules are expanded, then directed algebra finds cheaper forms of the whole.
//!
//! Expects: a differentiated, verified graph without `grad`.
//! Guarantees: a graph of the same inputs and results in which no operation speaks about gradients and every region is
//! `main` or the body of a scan; by the cost model never worse than the expanded graph; the same graph gives the same result. Limits
//! are counts and are reported; hitting one is safe.
//! Leaves out: fusion and memory (`kernel`); moving work out of the body of a scan.

mod analysis;
mod cost;
mod expand;
mod extract;
mod fuse_loops;
mod language;
pub mod report;
pub mod rules;
mod scan_dead;
#[cfg(test)]
mod tests;

use crate::ir::graph::{Graph, RegionId};
use crate::ir::op::Op;
use analysis::EGraph;
use cranelift_entity::EntityRef;
use egg::Id;
use language::Term;
use rules::{Expression, Match, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// How far the search goes, for each region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Times that all rules are tried.
    pub rounds: usize,
    /// Terms in the e-graph; no rule is applied beyond.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { rounds: 16, nodes: 200_000 }
    }
}

/// What happened, over all regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The most rounds that a region took.
    pub rounds: usize,
    /// Terms in all e-graphs at the end.
    pub e_nodes: usize,
    /// Classes in all e-graphs at the end.
    pub classes: usize,
    /// How often each rule made two classes one.
    pub fired: BTreeMap<&'static str, u64>,
    /// Loops whose cotangents were there in several exact forms.
    pub forms: Vec<FormChoice>,
    /// A sentence for each limit that a region hit.
    pub limits_hit: Vec<String>,
    /// Cost of main with its scans after expansion, in picoseconds by the cost model.
    pub cost_before: u64,
    /// The same at the end.
    pub cost_after: u64,
}

/// Which of several exact forms was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormChoice {
    /// The region that is the body of the loop.
    pub of: String,
    /// Rule and form with the cost of the step where all loops take it, in picoseconds by the cost model.
    pub forms: Vec<(String, u64)>,
    /// The forms that are computed; none where nothing needs them.
    pub taken: Vec<usize>,
}

fn form_choice(egraph: &EGraph, chosen: &extract::Extraction, forms: &expand::Forms, result: &Graph) -> FormChoice {
    let body = forms.of.and_then(|class| {
        let mut nodes = egraph[egraph.find(class)].nodes.iter();
        nodes.find_map(|term| egraph.analysis.ops[term.op].body())
    });
    let of = body.map_or_else(String::new, |body| result.regions[body].name.clone());
    let taken = |loops: &Vec<Id>| loops.iter().any(|class| chosen.uses(egraph, *class));
    FormChoice {
        of,
        forms: forms.forms.iter().map(|(name, _)| (name.clone(), 0)).collect(),
        taken: (0..forms.forms.len()).filter(|index| taken(&forms.forms[*index].1)).collect(),
    }
}

/// Expands all gradient rules of a graph and optimises it.
pub fn optimize(graph: &Graph, limits: &Limits) -> (Graph, Report) {
    optimize_with(graph, limits, &rules::all().collect::<Vec<_>>())
}

fn optimize_with(graph: &Graph, limits: &Limits, rules: &[&Rule]) -> (Graph, Report) {
    let mut bodies = Work::default();
    let main = graph.main_id();
    for region in executed_regions(graph).into_iter().filter(|region| *region != main) {
        bodies.add(graph, region, None, limits, rules);
    }
    let forms = |op: &Op, operands: usize| if matches!(op, Op::Forms {}) { operands } else { 0 };
    let forms: Vec<usize> = graph.main().nodes.values().map(|node| forms(&node.op, node.operands.len())).collect();
    // What the fusion of loops saves is known behind it: each form is tried to the end, and so is the choice that the e-graph makes
    // where there are several loops or none.
    let mut choices: Vec<Option<usize>> = (0..forms.iter().copied().max().unwrap_or(0)).map(Some).collect();
    if forms.iter().filter(|count| **count > 0).count() != 1 {
        choices.push(None);
    }
    let tried = choices.iter().map(|form| {
        let mut work = bodies.clone();
        work.add(graph, main, *form, limits, rules);
        fuse_loops::fuse_loops(&mut work.result, &mut work.costs, limits, rules, &mut work.report);
        let total = cost::total(work.result.main(), &work.costs);
        (total, work)
    });
    let tried: Vec<(u64, Work)> = tried.collect();
    let totals: Vec<u64> = tried.iter().map(|(total, _)| *total).collect();
    let best = tried.into_iter().min_by_key(|(total, _)| *total);
    let Some((_, Work { result, mut report, .. })) = best else { unreachable!("bug in bpc: nothing was tried") };
    for choice in &mut report.forms {
        choice.forms.iter_mut().zip(&totals).for_each(|((_, cost), total)| *cost = *total);
    }
    let (result, dropped) = scan_dead::drop_dead_parts(&result);
    if dropped > 0 {
        report.fired.insert("scan-dead", dropped);
    }
    (result, report)
}

/// A graph in the making: its regions so far, with the new ids of the old ones, and what a turn of each costs.
#[derive(Clone, Default)]
struct Work {
    result: Graph,
    report: Report,
    bodies: BTreeMap<RegionId, RegionId>,
    plain_costs: BTreeMap<RegionId, u64>,
    costs: BTreeMap<RegionId, u64>,
}

impl Work {
    /// Expands and optimises one more region.
    fn add(&mut self, graph: &Graph, region: RegionId, form: Option<usize>, limits: &Limits, rules: &[&Rule]) {
        let source = &graph.regions[region];
        let mut loaded = expand::load(graph, region, &self.bodies, form);
        for (name, count) in &loaded.expanded {
            *self.report.fired.entry(name).or_default() += count;
        }
        let roots = |egraph: &EGraph| -> Vec<Id> { loaded.results.iter().map(|class| egraph.find(*class)).collect() };
        let plain_cost = extract::extract(&loaded.egraph, &roots(&loaded.egraph), &self.plain_costs).cost;
        let plain = extract::extract(&loaded.egraph, &roots(&loaded.egraph), &self.costs);
        let plain_region = extract::build(&loaded.egraph, &plain, source, &loaded.inputs);
        saturate(&mut loaded.egraph, limits, rules, &source.name, &mut self.report);
        let roots = roots(&loaded.egraph);
        let best = extract::extract(&loaded.egraph, &roots, &self.costs);
        let better = best.cost < plain.cost;
        let chosen = if better { &best } else { &plain };
        for forms in &loaded.forms {
            self.report.forms.push(form_choice(&loaded.egraph, chosen, forms, &self.result));
        }
        let (region_cost, optimized) = if better {
            (best.cost, extract::build(&loaded.egraph, &best, source, &loaded.inputs))
        } else {
            (plain.cost, plain_region.clone())
        };
        self.report.e_nodes += loaded.egraph.total_number_of_nodes();
        self.report.classes += loaded.egraph.number_of_classes();
        (self.report.cost_before, self.report.cost_after) = (plain_cost, region_cost);
        let (plain_turn, turn) = (cost::turn(&plain_region, &self.plain_costs), cost::turn(&optimized, &self.costs));
        let id = self.result.add(optimized);
        self.bodies.insert(region, id);
        self.plain_costs.insert(id, plain_turn);
        self.costs.insert(id, turn);
    }
}

/// Main and the bodies of all scans that run when main runs, also those in rules; in the order of their ids.
fn executed_regions(graph: &Graph) -> BTreeSet<RegionId> {
    let mut executed = BTreeSet::from([graph.main_id()]);
    let mut seen = executed.clone();
    let mut stack = vec![graph.main_id()];
    while let Some(region) = stack.pop() {
        for node in graph.regions[region].nodes.values() {
            let named = match &node.op {
                Op::Scan { body, .. } => {
                    executed.insert(*body);
                    *body
                }
                Op::Vjp { body, .. } | Op::Vjps { body, .. } => *body,
                _ => continue,
            };
            if seen.insert(named) {
                stack.push(named);
            }
        }
    }
    executed
}

/// Tries all rules on all terms until nothing new is found.
fn saturate(egraph: &mut EGraph, limits: &Limits, rules: &[&Rule], region: &str, report: &mut Report) {
    for round in 1..=limits.rounds {
        let found = search(egraph, rules);
        let mut changed = false;
        for (class, rule, expression) in found {
            if egraph.total_size() >= limits.nodes {
                report.limits_hit.push(format!("{region}: {} terms in round {round}", limits.nodes));
                egraph.rebuild();
                report.rounds = report.rounds.max(round);
                return;
            }
            egraph.analysis.origin = egraph[class].data.origin;
            let equal = add(egraph, &expression);
            if egraph.union(class, equal) {
                changed = true;
                *report.fired.entry(rules[rule].name).or_default() += 1;
            }
        }
        egraph.rebuild();
        report.rounds = report.rounds.max(round);
        if !changed {
            return;
        }
    }
    report.limits_hit.push(format!("{region}: {} rounds", limits.rounds));
}

/// What the rules find, in the order of classes, terms and rules.
fn search(egraph: &EGraph, rules: &[&Rule]) -> Vec<(Id, usize, Expression)> {
    let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
    classes.sort_unstable();
    let mut rules_at: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        rule.at.iter().for_each(|name| rules_at.entry(name).or_default().push(index));
    }
    let mut by_op: Vec<Option<&[usize]>> = Vec::new();
    let mut found = Vec::new();
    for class in classes {
        for term in &egraph[class].nodes {
            let index = term.op.index();
            if by_op.len() <= index {
                by_op.resize(index + 1, None);
            }
            let applicable = by_op[index].get_or_insert_with(|| {
                rules_at.get(egraph.analysis.ops[term.op].name()).map_or(&[][..], Vec::as_slice)
            });
            for rule in applicable.iter() {
                let equal = Match::run(rules[*rule], egraph, class, term);
                found.extend(equal.into_iter().map(|expression| (class, *rule, expression)));
            }
        }
    }
    found
}

/// Adds an expression; a constant needs no term where the class is a number already.
fn add(egraph: &mut EGraph, expression: &Expression) -> Id {
    match expression {
        Expression::Class(class) => *class,
        Expression::Apply(op, operands) => {
            let children = operands.iter().map(|operand| add(egraph, operand)).collect();
            let op = egraph.analysis.ops.intern(op.clone());
            egraph.add(Term { op, children })
        }
    }
}
