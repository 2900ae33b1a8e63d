//! `bpc explain`: what a training step is made of.
//!
//! Expects: a program, with data or `--set` for the dims of the model.
//! Guarantees: without `--timings` the same program gives the same page.
//! Leaves out: measuring the step itself.

use super::arguments::ProgramOptions;
use super::data::input_types;
use super::table::{bytes, difference, operations, row, steps as simple, table};
use super::{Failure, compare, open, print};
use bpc::codegen::Host;
use bpc::codegen::backend::Backend;
use bpc::differentiate::differentiate;
use bpc::egraph::{self, Limits, report};
use bpc::kernel::ir::{Buffer, BufferRole, Program, Step};
use bpc::kernel::{plan, schedule};
use bpc::lower::{Derivatives, Site};
use bpc::pipeline::Compilation;
use bpc::{Model, measure};
use bpc_lang::tree::Item;
use std::collections::BTreeMap;
use std::time::Instant;

/// How many of the largest buffers at the peak are shown.
const SHOWN: usize = 6;

/// Prints the page.
pub fn run(options: &ProgramOptions, timings: bool, side_by_side: bool) -> Result<(), Failure> {
    let mut clock = Instant::now();
    let mut times: Vec<(&str, f64)> = Vec::new();
    let mut lap = |pass| {
        times.push((pass, clock.elapsed().as_secs_f64()));
        clock = Instant::now();
    };
    let model = open(options)?;
    lap("load and check");
    let inputs = input_types(&model, options)?;
    lap("shapes of the data");
    let compilation = model.compile_observed(&inputs, true, &mut lap)?;
    if timings {
        Host.compile(&compilation.kernels)
            .map_err(|error| bpc::Error::Call(format!("no code for this machine: {error}")))?;
        lap("code");
    }
    print(page(&model, &compilation))?;
    if side_by_side {
        print(compare::page(options, &model, &inputs, &compilation)?)?;
    }
    if timings {
        let rows: Vec<Vec<String>> =
            times.iter().map(|(pass, seconds)| vec![pass.to_string(), format!("{:.1} ms", seconds * 1e3)]).collect();
        print(format!("\nTime of each pass\n{}", table("lr", &rows)))?;
    }
    Ok(())
}

fn page(model: &Model, compilation: &Compilation) -> String {
    let parts = [
        overview(compilation),
        rules(model, compilation),
        forms(&compilation.report),
        random(compilation),
        format!("Rewrites (bpc compile --emit egraph says what they mean)\n{}", rewrites(&compilation.report)),
        format!("Kernels of a training step, in order\n{}", kernels(&compilation.kernels)),
        memory(&compilation.kernels),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn overview(compilation: &Compilation) -> String {
    let lowered = &compilation.lowered;
    let mut out = format!("Model {}\n", lowered.model);
    let mut rows: Vec<Vec<String>> = lowered
        .inputs
        .iter()
        .map(|input| vec!["input".to_string(), input.name.clone(), input.ty.to_string()])
        .collect();
    for parameter in &lowered.parameters {
        let kind = if parameter.trained { "parameter" } else { "parameter (not trained)" };
        rows.push(vec![kind.to_string(), parameter.name.clone(), parameter.ty.to_string()]);
    }
    out += &table("lll", &rows);
    let count: u64 = lowered.parameters.iter().map(|parameter| parameter.ty.elements()).sum();
    let buffers = compilation.kernels.buffers.values();
    let size: u64 = buffers.filter(|buffer| buffer.role == BufferRole::Parameter).map(Buffer::bytes).sum();
    out += &format!("  {count} parameters, {}\n", bytes(size));
    out += &format!("  {} a step\n", operations(measure::operations(&compilation.optimized)));
    out += &format!(
        "  residuals of the backward pass, before fusion: {}\n",
        bytes(measure::residual_bytes(&compilation.optimized))
    );
    out
}

/// Calls under a rule, grouped by function and rule; named rules with their places.
fn rules(model: &Model, compilation: &Compilation) -> String {
    let mut groups: BTreeMap<(&str, &str), Vec<&Site>> = BTreeMap::new();
    for site in &compilation.lowered.sites {
        if let Some(rule) = &site.rule {
            groups.entry((&site.function, rule)).or_default().push(site);
        }
    }
    if groups.is_empty() {
        return "Gradient rules: every call is differentiated through its body\n".to_string();
    }
    let mut rows = vec![row(["function", "rule", "calls", "saves residuals", "saves work", "places"])];
    for ((function, rule), sites) in &groups {
        let (residuals, work) = if sites.iter().any(|site| site.replaced) {
            ("(another value)".to_string(), String::new())
        } else {
            saved(model, compilation, function, rule)
        };
        let places: Vec<&str> = sites.iter().map(|site| site.path.as_str()).collect();
        let places = if *rule == "exact" && places.len() > 3 {
            format!("{}, .. {}", places[..2].join(", "), places[places.len() - 1])
        } else {
            places.join(", ")
        };
        rows.push(vec![function.to_string(), rule.to_string(), sites.len().to_string(), residuals, work, places]);
    }
    format!(
        "Gradient rules, and what they save against the derivative of the body\n{}{}",
        table("llrrrl", &rows),
        kept(model, compilation, groups.keys().filter(|(_, rule)| *rule != "exact"))
    )
}

/// What each of these functions keeps under its rule, in numbers without rounding, and what the rules' own pages say.
fn kept<'g>(model: &Model, compilation: &Compilation, groups: impl Iterator<Item = &'g (&'g str, &'g str)>) -> String {
    let mut rows = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    for (function, rule) in groups {
        let Some(costs) = measure::rule_costs(&compilation.lowered.graph, function, rule) else { continue };
        rows.push(vec![
            function.to_string(),
            rule.to_string(),
            format!("{} B", costs.kept_bytes),
            format!("{} B", costs.spared_bytes),
            format!("{} FLOP", costs.backward_products),
        ]);
        let name = rule.split('(').next().unwrap_or(rule);
        let items = model.program().modules.iter().flat_map(|module| &module.items);
        let declared = items.filter_map(|item| match item {
            Item::Rule(rule) if rule.target.text == *function => Some(rule),
            _ => None,
        });
        for declared in declared.filter(|rule| rule.name.as_ref().is_some_and(|known| known.text == name)) {
            notes.extend(declared.docs.iter().map(|line| format!("    {}\n", line.trim())));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    rows.insert(0, row(["function", "rule", "keeps", "in the place of", "products backward"]));
    format!("What rules keep of their arguments\n{}{}", table("llrrr", &rows), notes.concat())
}

/// Compiles the model without the rule and compares.
fn saved(model: &Model, compilation: &Compilation, function: &str, rule: &str) -> (String, String) {
    let nothing = |why: &str| (why.to_string(), why.to_string());
    let Some(plain) = measure::without_rule(&compilation.lowered.graph, function, rule) else {
        return nothing("unused");
    };
    let Ok(gradient) = differentiate(&plain, &mut Derivatives::new(model.program(), &compilation.lowered.loop_choices))
    else {
        return nothing("(body has no derivative)");
    };
    let (plain, _) = egraph::optimize(&gradient, &Limits::default());
    let compare =
        |of: fn(&bpc::ir::graph::Graph) -> u64, unit| difference(of(&plain), of(&compilation.optimized), unit);
    (compare(measure::residual_bytes, bytes), compare(measure::operations, operations))
}

/// Loops with several exact forms of their derivative, and which one was taken.
fn forms(what: &egraph::Report) -> String {
    let mut rows = Vec::new();
    for choice in &what.forms {
        for (index, (form, cost)) in choice.forms.iter().enumerate() {
            let taken = if choice.taken.contains(&index) { "taken" } else { "" };
            rows.push(vec![choice.of.clone(), form.clone(), report::duration(*cost), taken.to_string()]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut all = vec![row(["loop", "form", "cost", ""])];
    all.append(&mut rows);
    format!("Exact forms of the derivatives of loops, with the cost of the step by the model\n{}", table("llrl", &all))
}

fn random(compilation: &Compilation) -> String {
    let mut rows = Vec::new();
    for site in &compilation.lowered.sites {
        if let Some(ty) = &site.random {
            let from = if site.forced { "given from outside" } else { site.function.as_str() };
            rows.push(vec![site.path.clone(), from.to_string(), ty.to_string()]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("Random sites (bpc run --force NAME=FILE gives one its values)\n{}", table("lll", &rows))
}

fn rewrites(what: &egraph::Report) -> String {
    let rows: Vec<Vec<String>> =
        report::fired(what).into_iter().map(|(name, count, _)| vec![count.to_string(), name.to_string()]).collect();
    let mut out = format!(
        "  cost by the model for one core: {} before, {} after; {} rounds\n",
        report::duration(what.cost_before),
        report::duration(what.cost_after),
        what.rounds
    );
    what.limits_hit.iter().for_each(|limit| out += &format!("  stopped at a limit: {limit}\n"));
    out + &table("rl", &rows)
}

fn kernels(program: &Program) -> String {
    let mut rows = Vec::new();
    collect(&program.steps, 0, &mut rows);
    table("rllrl", &rows)
}

fn collect(steps: &[Step], depth: usize, rows: &mut Vec<Vec<String>>) {
    for (index, step) in steps.iter().enumerate() {
        let number = if depth == 0 { (index + 1).to_string() } else { String::new() };
        let (name, loops, work, workers) = describe(step);
        rows.push(vec![number, format!("{}{name}", "  ".repeat(depth)), loops, work, workers.to_string()]);
        if let Step::Repeat(repeat) = step {
            collect(&repeat.steps, depth + 1, rows);
        }
    }
}

/// Name, loops, work and who does it.
fn describe(step: &Step) -> (String, String, String, &'static str) {
    let sizes = |sizes: &[u64]| sizes.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
    match step {
        Step::Nest(nest) => {
            let mut loops: Vec<String> = Vec::new();
            if !nest.outer.is_empty() {
                loops.push(format!("each of {}", sizes(&nest.outer)));
            }
            for stage in &nest.stages {
                let mut text = if stage.inner.is_empty() { String::new() } else { sizes(&stage.inner) };
                if !stage.reduced.is_empty() {
                    text += if text.is_empty() { "reduce " } else { " reduce " };
                    text += &sizes(&stage.reduced);
                }
                loops.push(if text.is_empty() { "once".to_string() } else { text });
            }
            let workers = if Host.is_shared(step) { "shared by workers" } else { "one worker" };
            (nest.name.clone(), loops.join("; "), simple(schedule::work(nest)), workers)
        }
        Step::Product(product) => {
            let batch: u64 = product.batch.iter().product();
            let times =
                if product.batch.is_empty() { String::new() } else { format!("{} times ", sizes(&product.batch)) };
            let loops = format!("{times}m {} n {} k {}", product.m, product.n, product.k);
            let work = operations([2, product.m, product.n, product.k, batch].into_iter().fold(1, u64::saturating_mul));
            ("product".to_string(), loops, work, "library")
        }
        Step::Call(call) => {
            let operands: Vec<String> = call.operands.iter().map(|(_, ty)| sizes(&ty.shape)).collect();
            let elements = call.operands.iter().map(|(_, ty)| ty.elements()).fold(0, u64::saturating_add);
            (call.op.name().to_string(), operands.join("; "), simple(elements), "library")
        }
        Step::Repeat(repeat) => {
            let direction = if repeat.reverse { "turns, backward" } else { "turns" };
            (repeat.name.clone(), format!("{} {direction}", repeat.length), String::new(), "")
        }
        Step::March(march) => {
            let direction = if march.reverse { "turns, backward" } else { "turns" };
            let (length, places) = (march.stage.inner[0], march.stage.inner[1]);
            let each = if places > 1 { format!("each of {places}; ") } else { String::new() };
            let workers = if Host.is_shared(step) { "shared by workers" } else { "one worker" };
            let work = simple(schedule::stage_work(&march.stage));
            (march.name.clone(), format!("{each}{length} {direction} in registers"), work, workers)
        }
    }
}

fn memory(program: &Program) -> String {
    let peak = plan::peak(program);
    let tensors = program.arguments().iter().map(|id| program.buffers[*id].ty.bytes()).sum::<u64>();
    let mut rows = vec![
        vec!["state".to_string(), bytes(program.state_bytes), "parameters, optimiser state, seed, step".to_string()],
        vec![
            "workspace".to_string(),
            bytes(program.workspace_bytes),
            "memory of routines, and everything between data and outputs".to_string(),
        ],
        vec![
            "each worker".to_string(),
            bytes(Host.scratch_bytes(program)),
            "scratch of kernels and routines".to_string(),
        ],
        vec!["tensors".to_string(), bytes(tensors), "data and outputs, where the caller has them".to_string()],
    ];
    let Some(step) = program.steps.get(peak.step) else {
        return format!("Memory\n{}", table("lrl", &rows));
    };
    let mut place = format!("at step {}, {}", peak.step + 1, describe(step).0);
    if peak.bytes > program.workspace_bytes + tensors {
        place += "; a value and the one it overwrites in place both count";
    }
    rows.push(vec!["peak".to_string(), bytes(peak.bytes), place]);
    let mut alive: Vec<&Buffer> = plan::lives(program)
        .iter()
        .filter(|life| life.first <= peak.moment && peak.moment <= life.last)
        .map(|life| &program.buffers[life.buffer])
        .collect();
    alive.sort_by_key(|buffer| std::cmp::Reverse(buffer.bytes()));
    let what = |buffer: &Buffer| match buffer.role {
        BufferRole::Data => format!("input {}", buffer.name),
        BufferRole::Output => format!("output {}", buffer.name),
        BufferRole::Warning => format!("warning {}", buffer.name),
        _ if buffer.packed.is_some() => "in between, packed".to_string(),
        _ => "in between".to_string(),
    };
    let shown: Vec<Vec<String>> = alive
        .iter()
        .take(SHOWN)
        .map(|buffer| vec![bytes(buffer.bytes()), buffer.ty.to_string(), what(buffer)])
        .collect();
    let mut out =
        format!("Memory\n{}Alive at the peak, the largest first\n{}", table("lrl", &rows), table("rll", &shown));
    if alive.len() > SHOWN {
        let rest: u64 = alive[SHOWN..].iter().map(|buffer| buffer.bytes()).sum();
        out += &format!("  and {} more with {}\n", alive.len() - SHOWN, bytes(rest));
    }
    out
}
