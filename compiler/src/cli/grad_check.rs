//! `bpc grad-check`: gradients against finite differences, estimators against the expectation, as tables.
//!
//! Expects: a program and sizes for all dims of the model.
//! Guarantees: fails if an exact rule or the gradient of a loss is wrong; the bias of an estimator is reported and no failure.
//! Leaves out: the mathematics (`bpc::gradcheck`).

use super::arguments::ProgramOptions;
use super::table::{row, table};
use super::{Failure, open};
use bpc::Model;
use bpc::gradcheck::{self, Bias, Estimator, Exact, Loss, TOLERANCE, Verdict};
use bpc_lang::tree::Item;
use std::collections::BTreeMap;

const FAILS: &str = "FAILS";

/// Checks and prints.
pub fn run(options: &ProgramOptions, seed: u64, samples: u32) -> Result<(), Failure> {
    let model = open(options)?;
    let compilation = model.compile(&BTreeMap::new(), true)?;
    let exact = gradcheck::exact_rules(&compilation.gradient, seed);
    println!("Exact rules against finite differences (f64, random points and cotangents)");
    println!("{}", exact_table(&exact));
    let losses = gradcheck::losses(model.program(), &compilation.lowered, seed);
    println!("Losses: derivative along a random direction of the parameters (f64, random data)");
    println!("{}", loss_table(&losses));
    let estimators = gradcheck::estimators(&compilation.gradient, seed, samples);
    if estimators.is_empty() {
        println!("No estimators");
    } else {
        println!(
            "Estimators: mean of (estimate - derivative of the mean) over {samples} samples, with its 95% interval"
        );
        print!("{}", estimator_table(&model, &estimators));
        if estimators.iter().any(|estimator| !estimator.random) {
            println!(
                "  (1) draws no random numbers: compared with its slope over a width of about 1 at random arguments"
            );
        }
    }
    let failed = exact.values().any(|exact| !exact.holds()) || losses.iter().any(fails);
    if failed { Err(Failure::Gradient) } else { Ok(()) }
}

fn exact_table(exact: &BTreeMap<(String, String), Exact>) -> String {
    let mut rows = vec![row(["operation", "rule", "types", "largest error", "verdict"])];
    for ((of, rule), found) in exact {
        let error = if found.checked == 0 || found.problem.is_some() {
            "-".to_string()
        } else if found.error.is_finite() {
            format!("{:.1e}", found.error)
        } else {
            "not finite".to_string()
        };
        let verdict = match (&found.problem, found.holds(), found.checked, found.too_large) {
            (Some(problem), ..) => format!("{FAILS}: {problem}"),
            (_, false, ..) => FAILS.to_string(),
            (_, _, 0, _) => "too large; give smaller sizes by --set".to_string(),
            (.., 0) => "holds".to_string(),
            (.., left) => format!("holds; {left} more are too large"),
        };
        rows.push(vec![of.clone(), rule.clone(), found.checked.to_string(), error, verdict]);
    }
    if rows.len() == 1 { "  none\n".to_string() } else { table("llrrl", &rows) }
}

fn relative_error(claimed: f64, measured: f64) -> f64 {
    let scale = claimed.abs().max(measured.abs());
    if scale == 0.0 { 0.0 } else { (claimed - measured).abs() / scale }
}

/// A difference of a whole model has more rounding in it than that of one rule.
fn fails(loss: &Loss) -> bool {
    loss.outcome.as_ref().is_ok_and(|(claimed, measured)| relative_error(*claimed, *measured) > 10.0 * TOLERANCE)
}

fn loss_table(losses: &[Loss]) -> String {
    let mut rows = vec![row(["loss", "parameters", "gradient", "differences", "error", "verdict"])];
    for loss in losses {
        let (name, count) = (loss.name.clone(), loss.parameters.to_string());
        rows.push(match &loss.outcome {
            Ok((claimed, measured)) => vec![
                name,
                count,
                format!("{claimed:.6}"),
                format!("{measured:.6}"),
                format!("{:.1e}", relative_error(*claimed, *measured)),
                if fails(loss) { FAILS.to_string() } else { "holds".to_string() },
            ],
            Err(reason) => vec![name, count, "-".to_string(), "-".to_string(), "-".to_string(), reason.clone()],
        });
    }
    if rows.len() == 1 { "  the model has none\n".to_string() } else { table("lrrrrl", &rows) }
}

fn estimator_table(model: &Model, estimators: &[Estimator]) -> String {
    let mut rows =
        vec![row(["site", "function", "rule", "claims", "of a function", "mean", "bias", "", "variance", "bias?"])];
    for estimator in estimators {
        let claim = claim(model, estimator).unwrap_or("-");
        let head = |kind: &str| {
            let function = format!("{}{}", estimator.function, if estimator.random { "" } else { " (1)" });
            vec![estimator.site.clone(), function, estimator.rule.clone(), claim.to_string(), kind.to_string()]
        };
        match &estimator.outcome {
            Err(reason) => {
                let mut cells = head("-");
                cells.extend(["-", "-", "", "-", reason].map(str::to_string));
                rows.push(cells);
            }
            Ok(found) => {
                for (kind, bias) in ["linear", "quadratic"].into_iter().zip(found) {
                    let mut cells = head(kind);
                    cells.extend([
                        format!("{:.4}", bias.mean),
                        format!("{:+.4}", bias.bias),
                        format!("+- {:.4}", bias.interval),
                        format!("{:.4}", bias.variance),
                        verdict(bias, covers(claim, kind)),
                    ]);
                    rows.push(cells);
                }
            }
        }
    }
    table("lllllrrlrl", &rows)
}

/// What `exact_for` says of the rule.
fn claim<'m>(model: &'m Model, estimator: &Estimator) -> Option<&'m str> {
    let name = estimator.rule.split('(').next().unwrap_or_default();
    let mut items = model.program().modules.iter().flat_map(|module| &module.items);
    items.find_map(|item| match item {
        Item::Rule(rule)
            if rule.target.text == estimator.function && rule.name.as_ref().is_some_and(|known| known.text == name) =>
        {
            rule.exact_for.as_ref().map(|claim| claim.text.as_str())
        }
        _ => None,
    })
}

/// Whether what is exact for `claim` must be exact for functions of this kind.
fn covers(claim: &str, kind: &str) -> bool {
    claim == "quadratic" || claim == kind
}

fn verdict(bias: &Bias, claimed: bool) -> String {
    let claim = if claimed { ", against its claim" } else { "" };
    match bias.verdict() {
        Verdict::NoneSeen => "none seen".to_string(),
        Verdict::Unclear => "unclear; more --samples".to_string(),
        Verdict::Biased => format!("biased{claim}"),
    }
}
