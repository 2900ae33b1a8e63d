//! The rules of a function side by side: what a training step keeps and computes under each, and how the estimate behaves.
//!
//! Expects: a program that compiles as it stands.
//! Guarantees: every named rule of each function that is called under one has a line, with its own defaults; a rule that cannot be
//! taken says why.
//! Leaves out: rules for which the program would have to be written in another way.

use super::arguments::ProgramOptions;
use super::table::{bytes, operations, row, table};
use super::{Failure, configured};
use bpc::gradcheck::{self, Estimator};
use bpc::ir::types::TensorType;
use bpc::pipeline::Compilation;
use bpc::{Model, measure};
use bpc_lang::tree::Item;
use std::collections::BTreeMap;

/// Samples of an estimator that is too large to enumerate.
const SAMPLES: u32 = 2000;

/// Types of inputs by name.
type Types = BTreeMap<String, TensorType>;

/// The tables, one for each function.
pub fn page(
    options: &ProgramOptions,
    model: &Model,
    inputs: &Types,
    compilation: &Compilation,
) -> Result<String, Failure> {
    let mut used: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for site in &compilation.lowered.sites {
        if let Some(rule) = site.rule.as_deref().filter(|rule| *rule != "exact") {
            let rules = used.entry(&site.function).or_default();
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    let mut out = String::new();
    for (function, rules) in used {
        let mut rows =
            vec![row(["rule", "", "reads", "residuals", "work", "bias, linear", "bias, quadratic", "variance"])];
        for rule in &rules {
            rows.push(line(options, inputs, function, rule, "used")?);
        }
        let head = |rule: &str| rule.split('(').next().unwrap_or_default().to_string();
        for name in named(model, function).into_iter().filter(|name| rules.iter().all(|rule| head(rule) != *name)) {
            rows.push(line(options, inputs, function, &name, "")?);
        }
        out += &format!("\nRules of {function} side by side: a step in which every call of it takes the rule\n");
        out += &table("llrrrrrr", &rows);
    }
    if !out.is_empty() {
        out += "  (what the rule reads of the forward pass; what the backward pass of the step reads; operations of the step;\n";
        out += "  bias and variance along a random direction, of the first such call, for a random function of its value)\n";
    }
    Ok(out)
}

/// The names of the rules for a function.
fn named(model: &Model, function: &str) -> Vec<String> {
    let items = model.program().modules.iter().flat_map(|module| &module.items);
    let rules = items.filter_map(|item| match item {
        Item::Rule(rule) if rule.target.text == function => Some(rule.name.as_ref()?.text.clone()),
        _ => None,
    });
    rules.collect()
}

fn line(
    options: &ProgramOptions,
    inputs: &Types,
    function: &str,
    rule: &str,
    mark: &str,
) -> Result<Vec<String>, Failure> {
    let mut own = options.clone();
    own.grad.retain(|choice| choice.split(['=', ' ']).next() != Some(function));
    own.grad.insert(0, format!("{function}={rule}"));
    let model = configured(bpc::compile_file(&own.program)?, &own)?;
    let compilation = match model.compile(inputs, true) {
        Ok(compilation) => compilation,
        Err(bpc::Error::Program { diagnostics, .. }) => {
            let why = diagnostics.first().map_or(String::new(), |first| first.title.clone());
            return Ok(row([rule, mark, "", &why, "", "", "", ""]));
        }
        Err(error) => return Err(error.into()),
    };
    let sites = &compilation.lowered.sites;
    let is_replaced = sites.iter().any(|site| site.function == function && site.replaced);
    let text = sites.iter().filter(|site| site.function == function).find_map(|site| site.rule.as_deref());
    let read = measure::kept_bytes(&compilation.gradient, function, text.unwrap_or(rule));
    let mut cells = vec![
        rule.to_string(),
        mark.to_string(),
        if is_replaced { "-".to_string() } else { bytes(read) },
        bytes(measure::residual_bytes(&compilation.optimized)),
        operations(measure::operations(&compilation.optimized)),
    ];
    let estimators = gradcheck::estimators(&compilation.lowered, &compilation.gradient, 0, SAMPLES);
    match estimators.into_iter().find(|estimator| estimator.function == function) {
        Some(Estimator { outcome: Ok([linear, quadratic]), .. }) => {
            cells.extend([linear.bias, quadratic.bias].map(|bias| format!("{bias:+.4}")));
            cells.push(format!("{:.4}", quadratic.variance));
        }
        _ if is_replaced => {
            cells.extend(["-", "-", "another value"].map(str::to_string));
        }
        _ => cells.extend(["-", "-", "-"].map(str::to_string)),
    }
    Ok(cells)
}
