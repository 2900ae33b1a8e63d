//! The page of errors is true: each program gets the code it stands under, the mended one gets none, and no code of this
//! crate is missing.

use bpc_lang::diagnostics::{Diagnostic, render};
use bpc_lang::loader::load;
use bpc_lang::program::Program;

const PAGE: &str = include_str!("../../docs/errors.md");

/// Code and programs of each section about text and names.
fn sections() -> Vec<(&'static str, Vec<&'static str>)> {
    PAGE.split("\n## ")
        .skip(1)
        .filter(|section| section.starts_with("BP00") || section.starts_with("BP01"))
        .map(|section| {
            (&section[..6], section.split("```bp\n").skip(1).filter_map(|rest| rest.split("```").next()).collect())
        })
        .collect()
}

fn load_alone(text: &str) -> (Program, Vec<Diagnostic>) {
    load("program.bp", text, &mut |_| None)
}

fn rendered(program: &Program, diagnostics: &[Diagnostic]) -> String {
    let rendered: Vec<String> =
        diagnostics.iter().map(|diagnostic| render(diagnostic, &program.sources, false)).collect();
    rendered.join("\n\n")
}

/// What a program gets, after the program.
fn said(text: &str) -> String {
    let (program, diagnostics) = load_alone(text);
    format!("{text}\n----\n{}", rendered(&program, &diagnostics))
}

#[test]
fn documented_programs() {
    let mut out = String::new();
    for (code, programs) in sections() {
        let [wrong, mended] = programs.as_slice() else { continue };
        let (program, diagnostics) = load_alone(wrong);
        let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        assert_eq!(codes, [code], "{wrong}\n{}", rendered(&program, &diagnostics));
        out.push_str(&said(wrong));
        out.push_str("\n\n\n");
        let (program, diagnostics) = load_alone(mended);
        assert!(diagnostics.is_empty(), "{code}: {mended}\n{}", rendered(&program, &diagnostics));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn every_code_is_documented() {
    let documented: Vec<&str> = sections().iter().map(|(code, _)| *code).collect();
    let mut files = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut found = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for code in text.split("\"BP").skip(1).map(|rest| format!("BP{}", &rest[..4])) {
            assert!(documented.contains(&code.as_str()), "{code} is not in docs/errors.md");
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}

#[test]
fn misplaced_statements() {
    insta::assert_snapshot!(said(
        "fn f(x) {
    in y: f32[]
    yield x
    next x = 1
    minimize x using adam
    x + 1
    assert(true, \"\")
    x
}
model m {
    in x: f32[B]
    state s = 0
    keep x
    grad x = 1
    let z = scan a = 0 over k in range(3) {
        param p: f32[] ~ ones
        out q = a
        next b = a
        a + 1
    }
    z
    let y = grad x
    let w = if training { 1 } else { let u = 2 }
    out x = z + y + w
    out x = z
}
"
    ));
}

#[test]
fn rules_and_their_targets() {
    insta::assert_snapshot!(said(
        "use std.nn { linear }
estimator low(k: int) for linear(x: f[.., I], w: f[O, I]) -> y exact_for cubic {
    keep xs = x * k
    grad w = transpose(grad z) @ xs
    grad x = grad y @ w + sum(x) + f(x.shape[0])
    grad v = 0
}
exact for tahn(x) -> y { grad x = 0 }
exact for low_rank(x) -> y { grad x = 0 }
model m {
    in x: f32[B, 4]
    grad { linaer in a.* => low(k = 2); linear => lwo; tanh => low }
    param w: f[4, 4] ~ kaiming_unifrom
    out y = linear(x, w) via low(k = size)
}
"
    ));
}

#[test]
fn carries_of_another_loop() {
    insta::assert_snapshot!(said(
        "fn f(x) {
    scan a = x, a = x over k in range(3) {
        let inner = scan b = a over a in range(2) { next a = b }
        repeat 2 { next c = a }
        next a = inner
    }
}
optimizer plain(lr: real = 1) for w: f[..], g {
    let all = scan s = g over k in range(2) { next w = s }
    next g = all
    next w = all
}
"
    ));
}

#[test]
fn two_derivatives() {
    insta::assert_snapshot!(said("exact for tanh(x) -> y { grad x = 0 }"));
}

#[test]
fn circles() {
    let text =
        "use left\nfn f(x) { g(x) }\nfn g(x) { h(x, f) }\nfn h(x, inner: fn) { inner(x) }\nlayer l(x) { l(x) }\n";
    insta::assert_snapshot!(said(&text.replace("use left\n", "")));
    let (program, diagnostics) = load("program.bp", text, &mut |path| match path {
        "left.bp" => Some("use right\nfn a(x) { x }".to_string()),
        "right.bp" => Some("use left { a, c }\n".to_string()),
        _ => None,
    });
    insta::assert_snapshot!(rendered(&program, &diagnostics));
}

#[test]
fn modules_and_imports() {
    insta::assert_snapshot!(said(
        "use std.nm { dense }
use optim { adam }
use std.nn { dence, relu, unheard_of }
use nowhere
fn f(x) { x }
fn g(x, x) { x }
fn f(y) { y }
"
    ));
    insta::assert_snapshot!(said(
        "model m { in x: f32[B]; out y = gelu(x); out z = frobnicate(x, x.size); out w = x.sum(); out v = std.nn.gelu(x) }\ntrain n { dta csv(\"a\"); seed 0; seed 1 }"
    ));
}

#[test]
fn what_is_only_reported_is_no_value() {
    insta::assert_snapshot!(said("model m { in x: f32[B]; out total = sum(x); out mean_of = total / B }\n"));
}

#[test]
fn hints_for_common_slips() {
    insta::assert_snapshot!(said(
        "import nn
def f(x) { x }
fn g(x) { y = 2; x ** 2 }
fn h(x) { if x.rank = 2 { x } elif x { x } else { x } }
fn k(x) { 1 < x < 2 }
fn l(x) { x * .5 }
fn m(x) { x * 1. }
"
    ));
    insta::assert_snapshot!(said(
        "from std.nn import dense
fn f(x) { maximum(x 0) }
fn g(x) { let y = x; y += 1; y }
fn h(x) { for k in range(3) { x } }
fn k(x) { let twice = lambda u: 2 * u; x }
fn l(x) { return 2 * x }
fn m(x: f32(B, 64)) { x }
fn n(x) {
    // the sum
    sum(x)
}
fn o(x) { let y = maximum(x, 0; y }
model p { in x: f32[B]; minimize mean(x) }
train p { data csv(\"a.csv\"); epochs = 20 }
"
    ));
    insta::assert_snapshot!(said(
        "fn f(x, full: flag) { if full && !true || false { x } else { x } }
fn g(x) { assert(x.rank == 2, 'a matrix'); x }
"
    ));
    insta::assert_snapshot!(said(
        "fn f(x) { sum(x, keep = True) }
fn g(x) { sum(x, axis = None) }
fn h(x) { torch.relu(x) }
"
    ));
    insta::assert_snapshot!(said("use std.nn { dense, square, adam }\n"));
    insta::assert_snapshot!(said(
        "// a comment
class Net { }
let width = 64
fn f(x f32[2]) { x }
fn g(x) { let y == x; y }
fn h(x) { x[0] = 3; x }
fn k(x) { maximum(x, 0] }
fn l(x) { x[0) }
model m { in x f32[2]; in grad: f32[2]; out y = x }
model n(x: f32[2]) -> f32[2] { x }
model o {
    param w ~ zeros
    in x: f32[2],
    in z: f32[2]
    out y = x if true else w
}
"
    ));
    insta::assert_snapshot!(said(
        "fn größe(x) { x − 1 × 2 }
fn h(x) { x > 0 ? 1 : 2 }
train m { data csv(“a.csv”) }
model m { in x: f32[2]; out y = x }
"
    ));
}
