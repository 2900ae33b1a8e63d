//! `bpc grad-check`: gradients against finite differences, estimators against the expectation, as tables.
//!
//! Expects: a program, with data or `--set` for the dims of the model.
//! Guarantees: fails if an exact rule or the gradient of a loss is wrong, or if an enumerated estimator is biased where it says
//! that it is exact; other biases are reported and no failure.
//! Leaves out: the mathematics (`bpc::gradcheck`).

use super::arguments::ProgramOptions;
use super::data::input_types;
use super::table::{row, table};
use super::{Failure, open, print};
use bpc::gradcheck::{self, Bias, Comparison, Estimator, Exact, KINDS, Loss, Method, TOLERANCE, Verdict};
use std::collections::BTreeMap;

const FAILS: &str = "FAILS";

/// Checks and prints.
pub fn run(options: &ProgramOptions, seed: u64, samples: u32) -> Result<(), Failure> {
    let model = open(options)?;
    let compilation = model.compile(&input_types(&model, options)?, true)?;
    let exact = gradcheck::exact_rules(&compilation.gradient, seed);
    let table = exact_table(&exact);
    print(format!("Exact rules against finite differences (f64, random points and cotangents)\n{table}\n"))?;
    let losses = gradcheck::losses(model.program(), &compilation.lowered, seed);
    let table = loss_table(&losses);
    print(format!("Losses: derivative along a random direction of the parameters (f64, random data)\n{table}\n"))?;
    let estimators = gradcheck::estimators(&compilation.lowered, &compilation.gradient, seed, samples);
    print(estimators_text(&estimators, samples))?;
    let mut failed = exact.values().any(|exact| !exact.holds()) || losses.iter().any(fails);
    for estimator in &estimators {
        let Some(kind) = estimator.false_claim() else { continue };
        failed = true;
        print(format!(
            "{FAILS}: `{}` of `{}` says `exact_for {}`, and over all outcomes at `{}` its mean is not the derivative for a {kind} function\n",
            estimator.rule,
            estimator.function,
            estimator.claim.as_deref().unwrap_or_default(),
            estimator.site
        ))?;
    }
    if failed { Err(Failure::Gradient) } else { Ok(()) }
}

fn estimators_text(estimators: &[Estimator], samples: u32) -> String {
    if estimators.is_empty() {
        return "No estimators\n".to_string();
    }
    let table = estimator_table(estimators);
    let mut text = format!(
        "Estimators: mean of (estimate - derivative of the mean), over all outcomes where they are few, else over\n\
         {samples} samples with its 95% interval\n{table}"
    );
    if estimators.iter().any(|estimator| estimator.method == Method::OverArguments) {
        text += "  (1) draws no random numbers: compared with its slope over a width of about 1 at random arguments\n";
    }
    text
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
    match &loss.outcome {
        Ok(Comparison::Derivative(claimed, measured)) => relative_error(*claimed, *measured) > 10.0 * TOLERANCE,
        _ => false,
    }
}

fn loss_table(losses: &[Loss]) -> String {
    let mut rows = vec![row(["loss", "parameters", "gradient", "differences", "error", "verdict"])];
    for loss in losses {
        let (name, count) = (loss.name.clone(), loss.parameters.to_string());
        rows.push(match &loss.outcome {
            Ok(Comparison::Derivative(claimed, measured)) => vec![
                name,
                count,
                format!("{claimed:.6}"),
                format!("{measured:.6}"),
                format!("{:.1e}", relative_error(*claimed, *measured)),
                if fails(loss) { FAILS.to_string() } else { "holds".to_string() },
            ],
            Ok(Comparison::Expected(found)) => {
                let moments = || found.gradients.values();
                let length = |values: &dyn Fn(&gradcheck::Moments) -> f64| moments().map(values).sum::<f64>().sqrt();
                let squares = |data: &mut dyn Iterator<Item = f64>| data.map(|value| value * value).sum::<f64>();
                let mean = length(&|of| squares(&mut of.mean.data.iter().copied()));
                let exact = length(&|of| squares(&mut of.exact.data.iter().copied()));
                let differences = |of: &gradcheck::Moments| {
                    squares(&mut of.mean.data.iter().zip(&of.exact.data).map(|(mean, exact)| mean - exact))
                };
                let bias = if exact == 0.0 { 0.0 } else { length(&differences) / exact };
                let variance: f64 = moments().map(gradcheck::Moments::total_variance).sum();
                vec![
                    name,
                    count,
                    format!("{mean:.6}"),
                    format!("{exact:.6}"),
                    format!("{bias:.1e}"),
                    format!(
                        "estimated: lengths of the mean and of the exact gradient over {} outcomes; total variance {variance:.4}",
                        found.outcomes
                    ),
                ]
            }
            Err(reason) => vec![name, count, "-".to_string(), "-".to_string(), "-".to_string(), reason.clone()],
        });
    }
    if rows.len() == 1 { "  the model has none\n".to_string() } else { table("lrrrrl", &rows) }
}

fn estimator_table(estimators: &[Estimator]) -> String {
    let mut rows =
        vec![row(["site", "function", "rule", "claims", "of a function", "mean", "bias", "", "variance", "bias?"])];
    for estimator in estimators {
        let claim = estimator.claim.as_deref().unwrap_or("nothing");
        let head = |kind: &str| {
            let mark = if estimator.method == Method::OverArguments { " (1)" } else { "" };
            let function = format!("{}{mark}", estimator.function);
            vec![estimator.site.clone(), function, estimator.rule.clone(), claim.to_string(), kind.to_string()]
        };
        match &estimator.outcome {
            Err(reason) => {
                let mut cells = head("-");
                cells.extend(["-", "-", "", "-", reason].map(str::to_string));
                rows.push(cells);
            }
            Ok(found) => {
                for (kind, bias) in KINDS.into_iter().zip(found) {
                    let mut cells = head(kind);
                    cells.extend([
                        format!("{:.4}", bias.mean),
                        format!("{:+.4}", bias.bias),
                        match estimator.method {
                            Method::Enumerated { outcomes, choices, of } if choices < of => {
                                format!("{outcomes} outcomes of {choices} of {of} choices")
                            }
                            Method::Enumerated { outcomes, .. } => format!("{outcomes} outcomes"),
                            _ => format!("+- {:.4}", bias.interval),
                        },
                        format!("{:.4}", bias.variance),
                        verdict(bias, estimator, kind),
                    ]);
                    rows.push(cells);
                }
            }
        }
    }
    table("lllllrrlrl", &rows)
}

fn verdict(bias: &Bias, estimator: &Estimator, kind: &str) -> String {
    let enumerated = matches!(estimator.method, Method::Enumerated { .. });
    match (bias.verdict(), estimator.claims(kind)) {
        (Verdict::NoneSeen, _) if enumerated => "none".to_string(),
        (Verdict::NoneSeen, _) => "none seen".to_string(),
        (Verdict::Unclear, _) => "unclear; more --samples".to_string(),
        (Verdict::Biased, true) if enumerated => format!("{FAILS}: biased, against its claim"),
        (Verdict::Biased, true) => "biased, against its claim".to_string(),
        (Verdict::Biased, false) => "biased".to_string(),
    }
}
