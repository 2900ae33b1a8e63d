//! Parameters of rules for loops: functions, dtypes and tuples reach the rule from wherever it was chosen, and a graph that names a
//! choice that nobody made is refused.

use bpc::differentiate::differentiate;
use bpc::ir::text::{parse, print};
use bpc::lower::{Derivatives, LoopChoices, Options, lower};
use bpc::{State, Tensors, compile_text};
use bpc_lang::loader::load;

/// What arrives behind the loop goes through a function, one of two dtypes and a factor, all chosen with the rule.
const BENT: &str = "
use std.rules.one_shot { adjoint, reversed }
estimator bent(bend: fn, narrow: dtype, factors = (1, 1.0)) for scan(
    step, carries, sequences, constants) -> (last, stacks, states) exact_for nothing {
    let arrived = bent_all(grad last, bend, narrow, factors)
    let (first, sums, along) = adjoint(step, states, sequences, constants, arrived, grad stacks + grad states)
    grad carries = first
    grad constants = sums
    grad sequences = reversed(along)
}
fn bent_all(tensors: list, bend: fn, narrow: dtype, factors) {
    let (whole, part) = factors
    let bent = []
    repeat len(tensors) as i { next bent = bent + [whole * part * f64(bend(cast(tensors[i], narrow)))] }
    bent
}
fn tripled(g: f[..]) -> f[..] { 3 * g }
model case {
    in x: f64[]
    in p: f64[]
    SCOPE
    let last = scan s = x over k in range(5) { next s = sin(p * s) } VIA
    out dx = grad(0.1 * last, x)
    out dp = grad(0.1 * last, p)
}";

#[test]
fn a_rule_of_a_loop_takes_functions_dtypes_and_tuples() {
    let gradients = |scope: &str, via: &str, outside: Option<&str>| {
        let text = BENT.replace("SCOPE", scope).replace("VIA", via);
        let model = compile_text("case.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
        let model = match outside {
            Some(choice) => model.choose_rule(choice).unwrap_or_else(|error| panic!("{error}")),
            None => model,
        };
        let inputs = Tensors::new()
            .with_slice("x", &[], &[0.7f64])
            .and_then(|inputs| inputs.with_slice("p", &[], &[0.4f64]))
            .unwrap();
        let found =
            model.jit().unwrap().evaluate(&mut State::new(0), &inputs).unwrap_or_else(|error| panic!("{error}"));
        [found.scalar("dx").unwrap(), found.scalar("dp").unwrap()]
    };
    let exact = gradients("", "via one_shot(mode = \"adjoint\")", None);
    let rounded = f64::from(0.1f32) / 0.1;
    assert!((rounded - 1.0).abs() > 1e-9);
    let cases = [
        ("bent(bend = tripled, narrow = f64)", 3.0),
        ("bent(bend = sin, narrow = f64)", 0.1f64.sin() / 0.1),
        ("bent(bend = tripled, narrow = f32)", 3.0 * rounded),
        ("bent(bend = tripled, narrow = f64, factors = (2, 0.25))", 1.5),
    ];
    for (rule, factor) in cases {
        let ways = [
            ("at the loop", gradients("", &format!("via {rule}"), None)),
            ("for a scope", gradients(&format!("grad {{ scan in last => {rule} }}"), "", None)),
            ("from outside", gradients("", "", Some(&format!("scan={rule}")))),
        ];
        for (way, found) in ways {
            for (found, exact) in found.iter().zip(exact) {
                let error = (found - factor * exact).abs() / exact.abs();
                // In f32 the product by 3 is rounded once more.
                let tolerance = if rule.contains("f32") { 1.2e-7 * 3.0 } else { 1e-12 };
                assert!(error <= tolerance, "{rule} {way}: {found}, not {}: off by {error:e}", factor * exact);
            }
        }
    }
}

#[test]
fn a_graph_whose_choice_of_a_rule_is_unknown_is_refused() {
    let text = BENT.replace("SCOPE", "").replace("VIA", "via bent(bend = tripled, narrow = f32)");
    let (program, found) = load("case.bp", &text, &mut |_| None);
    assert!(found.is_empty());
    let lowered = lower(&program, &Options { training: true, ..Options::default() }).unwrap();
    let printed = print(&lowered.graph);
    let marker = "choice = 0, rule = \"bent(bend = tripled, narrow = f32, factors = (1, 1.0))\"";
    assert!(printed.contains(marker), "{printed}");
    let refused = |text: &str, choices: &LoopChoices| {
        let graph = parse(text).unwrap();
        assert_eq!(print(&graph), text);
        differentiate(&graph, &mut Derivatives::new(&program, choices)).err()
    };
    assert!(refused(&printed, &lowered.loop_choices).is_none());
    let unknown = [
        refused(&printed, &LoopChoices::default()),
        refused(&printed.replace("choice = 0", "choice = 7"), &lowered.loop_choices),
        refused(&printed.replace("bend = tripled", "bend = sin"), &lowered.loop_choices),
    ];
    for diagnostics in unknown {
        let diagnostics = diagnostics.expect("a rule out of nowhere");
        assert_eq!(diagnostics[0].code, "BP0404", "{diagnostics:?}");
        assert!(diagnostics[0].primary.1.contains("no such choice"), "{diagnostics:?}");
    }
}
