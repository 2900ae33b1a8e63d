//! `bpc explain`, `bpc grad-check` and the readable stages of `bpc compile`, as a user meets them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn bpc(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_bpc")).args(arguments).current_dir(root).output().unwrap()
}

/// Standard output of a command that succeeds.
fn success(arguments: &[&str]) -> String {
    let output = bpc(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn case(name: &str) -> String {
    PathBuf::from("compiler/tests/explain").join(name).display().to_string()
}

/// The cells of the row whose first cells are these.
fn row<'t>(text: &'t str, first: &[&str]) -> Vec<&'t str> {
    let mut rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|cells| cells.starts_with(first)).unwrap_or_else(|| panic!("no row {first:?} in\n{text}"))
}

#[test]
fn the_data_and_the_train_block_give_the_sizes_of_dims() {
    let digits = success(&["explain", "examples/digits.bp"]);
    assert_eq!(digits, success(&["explain", "examples/digits.bp", "--set", "B=16"]));
    assert_ne!(digits, success(&["explain", "examples/digits.bp", "--set", "B=32"]));
    let text = success(&["compile", "examples/char_transformer.bp", "--emit", "graph"]);
    assert!(text.contains(r#"name = "tokens", ty = i32[32, 64]"#), "{text}");
    let text = success(&["compile", "examples/char_transformer.bp", "--emit", "graph", "--set", "B=3"]);
    assert!(text.contains(r#"name = "tokens", ty = i32[3, 64]"#), "{text}");
}

#[test]
fn data_that_cannot_be_read_is_told_where_it_would_give_sizes() {
    let output = bpc(&["explain", &case("no_data.bp")]);
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("warning[BP0313]") && error.contains("missing.csv: cannot read"), "{error}");
    assert!(error.contains("this data would give the sizes of dims"), "{error}");
    assert!(error.contains("BP0305"), "{error}");
}

/// The models of a text, each with an operation that has no derivative behind what only some sizes fit.
fn check_of(name: &str, models: &str, options: &[&str]) -> (bool, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("rows.csv"), "a,b,c,d,e\n1,2,3,4,5\n6,7,8,9,0\n").unwrap();
    let program = folder.join(format!("{name}.bp"));
    std::fs::write(&program, format!("use std.optim {{ sgd }}\n{models}")).unwrap();
    let output = bpc(&[&["check", program.to_str().unwrap()], options].concat());
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn check_finds_sizes_for_dims_that_differ() {
    for (name, dims, fits) in [
        ("twice", "A, C", "A == 2 * C + 1"),
        ("more", "A, C", "C == A + 5"),
        ("window", "A, C", "A > C and C >= 3"),
        ("square", "A, C, D", "C == A * A"),
        ("third", "A, C, D", "D == 2 * A + 1"),
        ("falling", "A, C, D", "A > C and C > D"),
        ("rising", "A, C, D", "A < C and C < D"),
        ("heads", "A, C", "A % 8 == 0 and C % 8 == 0"),
        ("one", "A", "A == 7"),
    ] {
        let model = format!(
            "model m {{\n    in x: f32[{dims}]\n    param w: f32[] ~ zeros\n    let fits = assert({fits}, \"wrong\")\n    \
             minimize mean(round(x * w)) using sgd(lr = 0.1)\n}}\n"
        );
        let (success, error) = check_of(name, &model, &[]);
        assert!(!success && error.contains("BP0411") && error.contains("round(x * w)"), "{name}: {error}");
    }
}

/// That a choice of a rule matches nothing is no question of sizes.
#[test]
fn check_finds_choices_that_match_nothing() {
    let model = "model late {
    in x: f32[B]
    param w: f32[] ~ zeros
    let y = tanh(x * w)
    grad { scan in y => truncated(every = 2) }
    minimize mean(y) using sgd(lr = 0.1)
}
";
    let (success, error) = check_of("late", model, &[]);
    assert!(!success && error.contains("BP0405") && error.contains("the calls below this line"), "{error}");
}

#[test]
fn check_says_which_models_fit_none_of_the_sizes_that_it_tries() {
    let model = "model far {
    in x: f32[A, C]
    param w: f32[] ~ zeros
    let fits = assert(A == 1000 * C, \"a thousand rows for each column\")
    minimize mean(round(x * w)) using sgd(lr = 0.1)
}
model open(width: int) {
    param w: f32[width] ~ zeros
    minimize sum(w) using sgd(lr = 0.1)
}
";
    let (success, note) = check_of("far", model, &[]);
    assert!(success, "{note}");
    for words in [
        "the gradients of `far` were not looked at: none of the sizes that were tried for A, C fit together",
        "a thousand rows for each column",
        "the gradients of `open` were not looked at: the setting `width` has no value",
    ] {
        assert!(note.contains(words), "{note}");
    }
    let (success, error) = check_of("far", model, &["--model", "far", "--set", "A=2000", "--set", "C=2"]);
    assert!(!success && error.contains("BP0411"), "{error}");
    // Sizes that are given are no tries: what does not fit is wrong.
    let (success, error) = check_of("far", model, &["--model", "far", "--set", "A=2000", "--set", "C=3"]);
    assert!(!success && error.contains("a thousand rows"), "{error}");
    assert_eq!(check_of("far", model, &["--model", "open", "--set", "width=2"]), (true, String::new()));
    let (success, error) = check_of("far", model, &["--set", "A=2000"]);
    assert!(!success && error.contains("several models"), "{error}");
}

#[test]
fn check_takes_the_sizes_of_the_data() {
    let model = |fits: &str| {
        format!(
            "model m {{
    in x: f32[B, I]
    param w: f32[I] ~ zeros
    let fits = assert({fits}, \"does not fit\")
    minimize mean(x * w) using sgd(lr = 0.1)
}}
train m {{
    data csv(\"rows.csv\")
    batch 2
}}
"
        )
    };
    assert_eq!(check_of("fitting", &model("I == 5 and B == 2"), &[]), (true, String::new()));
    let (success, error) = check_of("unfitting", &model("I == 6"), &[]);
    assert!(!success && error.contains("does not fit"), "{error}");
}

#[test]
fn explain_says_what_a_step_is_made_of() {
    let page = success(&["explain", "examples/digits.bp", "--set", "B=32"]);
    let (model, rest) = page.split_once("\nRewrites").unwrap();
    // What comes after names kernels and places, which change with every better pass.
    insta::assert_snapshot!("explain_digits", model);
    assert!(row(rest, &["2", "product"]).ends_with(&["m", "32", "n", "128", "k", "64", "524", "kFLOP", "library"]));
    // The products of a training step: two forward, one for each weight, one for the hidden layer.
    assert_eq!(rest.lines().filter(|line| line.contains(" product ")).count(), 5);
    assert!(rest.contains("Kernels of a training step") && rest.contains("Alive at the peak"));
    assert_eq!(page, success(&["explain", "examples/digits.bp", "--set", "B=32"]));
}

#[test]
fn explain_shows_random_sites_and_times_on_demand() {
    let page = success(&["explain", "examples/vae.bp", "--set", "B=4", "--timings"]);
    assert_eq!(row(&page, &["noise"]), ["noise", "random_normal", "f32[4,", "8]"]);
    for pass in ["lower", "differentiate", "e-graph", "kernels", "code"] {
        assert!(row(&page, &[pass]).ends_with(&["ms"]));
    }
    assert!(!success(&["explain", "examples/vae.bp", "--set", "B=4"]).contains(" ms\n"));
}

#[test]
fn explain_shows_the_exact_forms_of_a_loop_and_the_one_taken() {
    let page = success(&["explain", &case("loop.bp"), "--model", "right", "--set", "T=20"]);
    let forms = ["adjoint", "forward"].map(|form| row(&page, &["scan.path", "exact:", form]));
    assert_eq!(forms.iter().filter(|cells| cells.last() == Some(&"taken")).count(), 1, "{page}");
    assert!(!success(&["explain", "examples/digits.bp", "--set", "B=4"]).contains("Exact forms"));
}

#[test]
fn grad_check_sees_a_wrong_rule_of_a_loop() {
    let check = |model: &str| bpc(&["grad-check", &case("loop.bp"), "--model", model, "--set", "T=8"]);
    let (right, wrong, cut) = (check("right"), check("wrong"), check("cut"));
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(right.status.code(), Some(0), "{}", text(&right));
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    assert!(text(&wrong).contains("FAILS"), "{}", text(&wrong));
    assert!(!text(&cut).contains("FAILS") && text(&cut).contains("truncated(every = 3) of scan"), "{}", text(&cut));
}

#[test]
fn grad_check_holds_for_correct_models() {
    for (program, size) in [("examples/digits.bp", "B=4"), ("examples/pendulum.bp", "T=12"), (&case("conv.bp"), "B=2")]
    {
        let text = success(&["grad-check", program, "--set", size]);
        assert!(!text.contains("FAILS") && !text.contains("too large"), "{text}");
        let (_, losses) = text.split_once("verdict\n").and_then(|(_, rest)| rest.split_once("verdict\n")).unwrap();
        assert_eq!(row(losses, &["loss"]).last(), Some(&"holds"), "{text}");
    }
}

#[test]
fn grad_check_fails_on_a_wrong_exact_rule() {
    let output = bpc(&["grad-check", &case("wrong.bp"), "--set", "B=2"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(row(&text, &["cube", "exact"]).last(), Some(&"FAILS"));
    assert_eq!(row(&text, &["matmul", "exact"]).last(), Some(&"holds"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not what it claims"));
}

#[test]
fn grad_check_measures_the_bias_of_estimators() {
    let program = case("estimators.bp");
    let text = success(&["grad-check", &program, "--set", "B=2", "--samples", "400"]);
    assert!(row(&text, &["whole", "round", "(1)", "pass", "nothing", "linear"]).ends_with(&["none", "seen"]));
    // E[J(p) w] is the derivative of E[w . d] = w . p; passing w on is not. Two choices of three have nine outcomes.
    let through = row(&text, &["choice", "sample_onehot", "through", "linear", "linear"]);
    assert_eq!(through[through.len() - 4..], ["9", "outcomes", "0.0000", "none"], "{text}");
    assert_eq!(row(&text, &["choice", "sample_onehot", "through", "linear", "quadratic"]).last(), Some(&"biased"));
    assert_eq!(row(&text, &["claims", "sample_onehot", "straight", "nothing", "linear"]).last(), Some(&"biased"));
    // Both choices of both rows together.
    let (_, losses) = text.split_once("verdict\n").and_then(|(_, rest)| rest.split_once("verdict\n")).unwrap();
    assert!(row(losses, &["loss"]).contains(&"estimated:") && losses.contains("over 81 outcomes"), "{text}");
}

#[test]
fn grad_check_holds_estimators_to_their_claims() {
    let output = bpc(&["grad-check", &case("false_claim.bp"), "--set", "B=2"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let claims = ["claims", "sample_onehot", "through(power", "=", "1.0)", "quadratic"];
    assert_eq!(row(&text, &[&claims[..], &["linear"]].concat()).last(), Some(&"none"));
    assert!(row(&text, &[&claims[..], &["quadratic"]].concat()).ends_with(&["biased,", "against", "its", "claim"]));
    let silent = ["silent", "sample_onehot", "through(power", "=", "2.0)", "nothing", "linear"];
    assert_eq!(row(&text, &silent).last(), Some(&"biased"));
    assert!(text.contains("FAILS: `through(power = 1.0)` of `sample_onehot` says `exact_for quadratic`"), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not what it claims"));
    // A large site: some of its choices are enumerated while the others are held.
    let output = bpc(&["grad-check", &case("false_claim.bp"), "--set", "B=20"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("2187 outcomes of 7 of 20 choices"), "{text}");
    assert!(row(&text, &[&claims[..], &["linear"]].concat()).ends_with(&["none"]), "{text}");
}

#[test]
fn stages_print_as_text() {
    let tokens = success(&["compile", "examples/digits.bp", "--emit", "tokens"]);
    assert!(tokens.starts_with("2:1 Use use\n2:5 Name std\n"));
    let tree = success(&["compile", "examples/digits.bp", "--emit", "ast"]);
    assert!(tree.contains("    let logits = dense(hidden, 10)\n"));
    let report = success(&["compile", "examples/digits.bp", "--set", "B=32", "--emit", "egraph"]);
    assert!(report.contains("limits hit    none") && report.contains("transpose-matmul"), "{report}");
}

#[test]
fn check_finds_what_only_differentiation_sees() {
    let output = bpc(&["check", &case("no_rule.bp")]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("BP0411") && message.contains("round(code)"), "{message}");
}

/// A rule of a user's own file: the one that the page of rules ends with.
#[test]
fn an_eleventh_rule_goes_through_everything() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("eleventh");
    std::fs::create_dir_all(&folder).unwrap();
    let mut blocks = include_str!("../../docs/rules.md").split("```bp\n").map(|rest| rest.split("```").next().unwrap());
    let rule = blocks.find(|block| block.starts_with("# my_rules.bp")).unwrap();
    std::fs::write(folder.join("my_rules.bp"), rule).unwrap();
    let text = "
use my_rules
use std.rules.discrete
use std.nn { dense, cross_entropy }
use std.random { sample_onehot }
use std.optim { adam }
model eleventh(groups: int = 8, classes: int = 4) {
    in image: f32[B, 64]
    in label: i32[B]
    let scores = dense(image / 16, groups * classes)
    let code = sample_onehot(reshape(scores, [B, groups, classes])) via between
    let logits = dense(reshape(code, [B, groups * classes]), 10)
    out accuracy = mean(argmax(logits) == label)
    minimize cross_entropy(logits, label) using adam(lr = 1e-2)
}
train eleventh {
    data csv(\"data/digits.csv\", label = \"label\", split = 0.8)
    epochs 3
    batch 64
}
";
    let program = folder.join("eleventh.bp").display().to_string();
    std::fs::write(&program, text).unwrap();
    let small = ["--set", "B=1", "--set", "groups=2", "--set", "classes=3"];
    assert!(success(&["check", &program]).contains("no errors"));

    let checked = success(&[&["grad-check", &program][..], &small].concat());
    let site = ["code", "sample_onehot", "between(share", "=", "0.5)", "linear"];
    assert_eq!(row(&checked, &[&site[..], &["linear"]].concat()).last(), Some(&"none"), "{checked}");
    assert_eq!(row(&checked, &[&site[..], &["quadratic"]].concat()).last(), Some(&"biased"));
    assert!(checked.contains("over 9 outcomes"), "{checked}");

    let explained = success(&[&["explain", &program, "--compare"][..], &small].concat());
    assert!(explained.contains("Rules of sample_onehot side by side"), "{explained}");
    let (_, rules) = explained.split_once("side by side").unwrap();
    assert_eq!(row(rules, &["between(share", "=", "0.5)"])[3], "used");
    // Straight-through has no bias for a linear function, ReinMax for neither.
    let biases = |rule: &str| -> Vec<String> {
        let cells = row(rules, &[rule]);
        cells[cells.len() - 3..cells.len() - 1]
            .iter()
            .map(|bias| bias.trim_start_matches(['+', '-']).to_string())
            .collect()
    };
    assert_eq!(biases("straight_through")[0], "0.0000", "{rules}");
    assert_ne!(biases("straight_through")[1], "0.0000", "{rules}");
    assert_eq!(biases("reinmax"), ["0.0000", "0.0000"], "{rules}");
    assert!(rules.contains("gumbel_straight_through"), "{rules}");

    let trained = success(&["train", &program, "--data", "examples"]);
    let accuracy: f64 = trained.split("accuracy ").last().unwrap().trim().parse().unwrap();
    assert!(accuracy > 0.5, "{trained}");

    let inputs = folder.join("inputs.json").display().to_string();
    let image = vec!["1.0"; 64].join(", ");
    let json = format!(
        "{{\"image\": {{\"shape\": [1, 64], \"dtype\": \"float32\", \"data\": [[{image}]]}}, \"label\": {{\"shape\": [1], \"dtype\": \"int32\", \"data\": [3]}}}}"
    );
    std::fs::write(&inputs, json).unwrap();
    let other = "sample_onehot=between(share = 0.3)";
    assert!(success(&["run", &program, "--inputs", &inputs, "--grad", other]).contains("\"accuracy\""));
    let graph = success(&[&["compile", &program, "--emit", "grad", "--grad", other][..], &small].concat());
    assert!(graph.contains("rule = \"between(share = 0.3)\""), "{graph}");
}

#[test]
fn examples_of_choices_run_under_every_rule() {
    let rules =
        ["straight_through", "straight_through(0.5)", "gumbel_straight_through(0.5)", "reinmax", "reinmax(1.3)"];
    for program in ["examples/polynomial.bp", "examples/discrete_vae.bp"] {
        let mut losses = Vec::new();
        for rule in rules {
            let choice = format!("sample_onehot={rule}");
            let text = success(&["train", program, "--steps", "2", "--grad", &choice, "--seed", "3"]);
            let loss = text.split("loss ").nth(1).unwrap().split_whitespace().next().unwrap().to_string();
            assert!(loss.parse::<f64>().unwrap().is_finite(), "{program}, {rule}: {text}");
            losses.push(loss);
        }
        losses.dedup();
        // Two steps of 1e-3 are less than four digits of the polynomial show.
        assert!(program.contains("polynomial") || losses.len() > 2, "{program}: {losses:?}");
    }
}
