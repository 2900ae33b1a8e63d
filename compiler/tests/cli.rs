//! The `bpc` program as a user runs it: results on standard output, everything else on standard error, exit status 0, 1 or 2.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DIGITS: &str = "examples/digits.bp";

/// A model of one number a row: `double` is 2 x, `weighted` is x times a parameter, `noise` is a random place.
const SMALL: &str = "
use std.optim { sgd }
model small(times: int = 2) {
    in x: f32[B]
    param w: f32[] ~ constant(3)
    let noise = random_normal([B])
    out double = times * x
    out weighted = w * x
    out shown = noise
    minimize mean(square(w * x - 1)) using sgd(lr = 0.1)
}
";

/// A folder of this test alone, empty at first.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder of the test");
    folder
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file of the test");
    shown(&path)
}

fn shown(path: &Path) -> String {
    path.to_str().expect("a path of the test").to_string()
}

/// Runs `bpc` in the root of the repository.
fn bpc(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_bpc")).current_dir(root).args(arguments).output().expect("bpc runs")
}

/// What it prints where it must succeed.
fn prints(arguments: &[&str]) -> String {
    let output = bpc(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// It must fail with this status, print no result, and say each of these.
fn fails(status: i32, arguments: &[&str], words: &[&str]) {
    let output = bpc(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints {}", String::from_utf8_lossy(&output.stdout));
    assert!(!errors.contains("panicked") && !errors.contains("bug in bpc"), "{arguments:?}: {errors}");
    for word in words {
        assert!(errors.contains(word), "{arguments:?} does not say `{word}`:\n{errors}");
    }
}

/// The number after a name, as in `accuracy 0.9721`.
fn metric(text: &str, name: &str) -> f64 {
    let rest = text.split(&format!("{name} ")).nth(1).unwrap_or_else(|| panic!("no `{name}` in {text}"));
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no number in {rest}"))
}

/// The one tensor of that name in a JSON text.
fn numbers(json: &str, name: &str) -> Vec<f64> {
    let tensors = bpc_runtime::json_tensor::parse(json).expect("JSON of tensors");
    tensors.into_iter().find(|(known, _)| known == name).expect("the output").1.to_f64()
}

/// A file of the repository.
fn page(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path))
        .expect("a file of the repository")
}

/// The command that the README tells a user to begin with, as it stands there.
#[test]
fn the_first_command_of_the_readme_reaches_the_accuracy_that_it_promises() {
    let readme = page("README.md");
    let command = readme.lines().find_map(|line| line.strip_prefix("cargo run --release -- ")).expect("the command");
    let text = prints(&command.split_whitespace().collect::<Vec<_>>());
    assert!(metric(&text, "accuracy") >= 0.97, "{text}");
}

/// Every command in backquotes, on a line of its own or in a comment of an example: `bpc` has it, its flags and the example.
#[test]
fn commands_of_the_pages_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md"), root.join("benches/peers/README.md")];
    for folder in ["docs", "examples"] {
        let files = std::fs::read_dir(root.join(folder)).expect("a folder of the repository");
        pages.extend(files.map(|file| file.expect("a file").path()));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md" || extension == "bp"));
    let mut commands = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        for line in text.lines() {
            let bare = line.trim_start_matches(['#', ' ']);
            let own = ["bpc ", "cargo run --release -- "].into_iter().filter_map(|start| bare.strip_prefix(start));
            let quoted = line.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("bpc "));
            for words in own.chain(quoted).map(|command| command.split_whitespace().collect::<Vec<_>>()) {
                let help = prints(&[words[0], "--help"]);
                for word in &words[1..] {
                    let is_known = if let Some(flag) = word.strip_prefix("--") {
                        help.contains(&format!("--{} ", flag.trim_end_matches(['`', ',', '.'])))
                    } else {
                        !word.starts_with("examples/") || root.join(word).exists()
                    };
                    assert!(is_known, "{}: no {word} in {words:?}", page.display());
                }
                commands += 1;
            }
        }
    }
    assert!(commands > 20, "{commands} commands");
}

#[test]
fn saved_parameters_measure_as_training_said() {
    let folder = folder("saved");
    let saved = shown(&folder.join("digits.safetensors"));
    let trained = prints(&["train", DIGITS, "--epochs", "2", "--save", &saved]);
    assert!(metric(&trained, "accuracy") > 0.8, "{trained}");
    let measured = prints(&["eval", DIGITS, "--params", &saved]);
    for name in ["loss", "accuracy"] {
        assert_eq!(metric(&trained, name), metric(&measured, name), "{trained}{measured}");
    }
    // The same by any number of workers.
    let again = prints(&["train", DIGITS, "--epochs", "2", "--threads", "1"]);
    assert_eq!(metric(&trained, "loss"), metric(&again, "loss"));

    let bytes = std::fs::read(&saved).expect("the saved file");
    std::fs::write(&saved, &bytes[..bytes.len() / 2]).expect("a truncated file");
    fails(1, &["eval", DIGITS, "--params", &saved], &["digits.safetensors"]);
}

#[test]
fn check_is_silent_on_examples_and_names_errors() {
    for example in [
        "digits",
        "mnist",
        "mnist_conv",
        "char_transformer",
        "vae",
        "pendulum",
        "cascaded_tanks",
        "silverbox",
        "debris",
        "vit",
    ] {
        let _ = prints(&["check", &format!("examples/{example}.bp")]);
    }
    let folder = folder("check");
    let broken = write(&folder, "broken.bp", "model m {\n    in x: f32[B]\n    out y = tahn(x)\n}\n");
    fails(1, &["check", &broken], &["tahn", "tanh", "broken.bp:3", "1 error"]);
    fails(1, &["check", "nowhere.bp"], &["nowhere.bp", "help"]);
    fails(2, &["chekc", DIGITS], &["check"]);
    fails(2, &["check"], &["PROGRAM"]);
}

#[test]
fn every_stage_of_a_compilation_prints() {
    for stage in ["tokens", "ast", "graph", "grad", "egraph", "optimized", "kernels", "clif", "asm", "dot"] {
        let text = prints(&["compile", DIGITS, "--set", "B=4", "--emit", stage]);
        assert!(text.lines().count() > 3, "{stage}: {text}");
    }
    let grad = prints(&["compile", DIGITS, "--set", "B=4", "--emit", "grad"]);
    assert!(grad.contains("vjp"), "{grad}");
    let object = shown(&folder("object").join("step.o"));
    let _ = prints(&["compile", DIGITS, "--set", "B=4", "--emit", "obj", "--output", &object]);
    assert!(std::fs::metadata(&object).expect("the object file").len() > 1000);
    fails(2, &["compile", DIGITS, "--set", "B=4", "--emit", "obj"], &["--output"]);
    fails(1, &["compile", "compiler/tests/explain/no_data.bp", "--emit", "graph"], &["B"]);
    fails(2, &["compile", DIGITS, "--emit", "grahp"], &["graph"]);
    fails(1, &["compile", DIGITS, "--set", "B=4", "--emit", "graph", "--output", "nowhere/g.txt"], &["nowhere/g.txt"]);
}

#[test]
fn run_reads_and_writes_json_and_npz() {
    let folder = folder("run");
    let program = write(&folder, "small.bp", SMALL);
    let inputs = write(&folder, "in.json", r#"{"x": {"shape": [3], "dtype": "float32", "data": [1, -2, 0.5]}}"#);
    let text = prints(&["run", &program, "--inputs", &inputs]);
    assert_eq!(numbers(&text, "double"), [2.0, -4.0, 1.0]);
    assert_eq!(numbers(&text, "weighted"), [3.0, -6.0, 1.5]);
    let interpreted = prints(&["run", &program, "--inputs", &inputs, "--interpret"]);
    for name in ["double", "weighted"] {
        assert_eq!(numbers(&text, name), numbers(&interpreted, name));
    }
    for (compiled, interpreted) in numbers(&text, "shown").iter().zip(numbers(&interpreted, "shown")) {
        assert!((compiled - interpreted).abs() < 1e-6, "{compiled} and not {interpreted}");
    }
    let set = prints(&["run", &program, "--inputs", &inputs, "--set", "times=5"]);
    assert_eq!(numbers(&set, "double"), [5.0, -10.0, 2.5]);

    // Outputs as npz are inputs again.
    let npz = shown(&folder.join("out.npz"));
    assert!(prints(&["run", &program, "--inputs", &inputs, "--outputs", &npz]).is_empty());
    let back = bpc_runtime::tensor_file::read_tensors(Path::new(&npz)).expect("npz of tensors");
    let double = back.into_iter().find(|(name, _)| name == "double").expect("the output").1;
    let again = shown(&folder.join("again.npz"));
    bpc_runtime::tensor_file::write_tensors(Path::new(&again), &[("x".to_string(), double)]).expect("npz");
    assert_eq!(numbers(&prints(&["run", &program, "--inputs", &again]), "double"), [4.0, -8.0, 2.0]);

    let params = write(&folder, "params.json", r#"{"w": {"shape": [], "dtype": "float32", "data": 10}}"#);
    assert_eq!(
        numbers(&prints(&["run", &program, "--inputs", &inputs, "--params", &params]), "weighted"),
        [10.0, -20.0, 5.0]
    );
    let forced = write(&folder, "noise.json", r#"{"n": {"shape": [3], "dtype": "float32", "data": [7, 8, 9]}}"#);
    let force = format!("noise={forced}");
    assert_eq!(numbers(&prints(&["run", &program, "--inputs", &inputs, "--force", &force]), "shown"), [7.0, 8.0, 9.0]);
}

#[test]
fn wrong_inputs_are_errors_that_name_them() {
    let folder = folder("wrong");
    let program = write(&folder, "small.bp", SMALL);
    let good = write(&folder, "in.json", r#"{"x": {"shape": [2], "dtype": "float32", "data": [1, 2]}}"#);
    let file = |name: &str, text: &str| write(&folder, name, text);
    let shape = file("shape.json", r#"{"x": {"shape": [1, 2], "dtype": "float32", "data": [[1, 2]]}}"#);
    fails(1, &["run", &program, "--inputs", &shape], &["x", "f32[B]"]);
    let dtype = file("dtype.json", r#"{"x": {"shape": [2], "dtype": "int32", "data": [1, 2]}}"#);
    fails(
        1,
        &["run", &program, "--inputs", &dtype],
        &["the input `x` is f32, and its data i32", "declare the input as i32", "f32(x)"],
    );
    let name = file("name.json", r#"{"y": {"shape": [2], "dtype": "float32", "data": [1, 2]}}"#);
    fails(1, &["run", &program, "--inputs", &name], &["`y`", "it has: x"]);
    let none = file("none.json", "{}");
    fails(1, &["run", &program, "--inputs", &none], &["`x` is missing"]);
    let more = file(
        "more.json",
        r#"{"x": {"shape": [2], "dtype": "float32", "data": [1, 2]}, "y": {"shape": [], "dtype": "float32", "data": 1}}"#,
    );
    fails(1, &["run", &program, "--inputs", &more], &["`y`"]);
    let broken = file("broken.json", "{");
    fails(1, &["run", &program, "--inputs", &broken], &["broken.json", "JSON"]);
    fails(1, &["run", &program, "--inputs", "nowhere.json"], &["nowhere.json"]);
    fails(1, &["run", &program, "--inputs", &good, "--model", "other"], &["other", "small"]);
    fails(2, &["run", &program, "--inputs", &good, "--set", "times"], &["--set", "NAME=VALUE"]);
    fails(1, &["run", &program, "--inputs", &good, "--set", "times=two"], &["is a whole number", "the string \"two\""]);
    fails(1, &["run", &program, "--inputs", &good, "--set", "times=2.5"], &["is a whole number", "the number 2.5"]);
    fails(2, &["run", &program, "--inputs", &good, "--set", "times=2", "--set", "times=3"], &["`times` twice"]);
    fails(1, &["run", &program, "--inputs", &good, "--set", "tmies=2"], &["tmies"]);
    fails(1, &["run", &program, "--inputs", &good, "--outputs", "nowhere/out.json"], &["nowhere/out.json"]);
    let params = file("params.json", r#"{"v": {"shape": [], "dtype": "float32", "data": 1}}"#);
    fails(1, &["run", &program, "--inputs", &good, "--params", &params], &["`v`", "w"]);
    let params = file("shape_of_w.json", r#"{"w": {"shape": [2], "dtype": "float32", "data": [1, 2]}}"#);
    fails(1, &["run", &program, "--inputs", &good, "--params", &params], &["`w`"]);
}

#[test]
fn wrong_data_is_an_error_that_names_the_place() {
    let folder = folder("data");
    let text = format!("{SMALL}\ntrain small {{\n    data csv(\"rows.csv\")\n    epochs 1\n    batch 2\n}}\n");
    let program = write(&folder, "small.bp", &text);
    fails(1, &["train", &program], &["rows.csv"]);
    write(&folder, "rows.csv", "x\n1\n2\nthree\n4\n");
    fails(1, &["train", &program], &["rows.csv", "three"]);
    write(&folder, "rows.csv", "x\n1\n2\n3\n4\n");
    assert!(prints(&["train", &program]).contains("2 steps"));
    fails(1, &["train", "examples/digits.bp", "--data", &shown(&folder)], &["data/digits.csv"]);
    let bare = write(&folder, "bare.bp", SMALL);
    fails(1, &["train", &bare], &["train small"]);
}

#[test]
fn parameters_of_another_model_are_errors() {
    let folder = folder("parameters");
    let program = write(&folder, "small.bp", SMALL);
    let inputs = write(&folder, "in.json", r#"{"x": {"shape": [1], "dtype": "float32", "data": [1]}}"#);
    let none = write(&folder, "none.json", "{}");
    for engine in [&["--threads", "1"][..], &["--interpret"]] {
        let run = |params: &str, words: &[&str]| {
            fails(1, &[&["run", &program, "--inputs", &inputs, "--params", params], engine].concat(), words);
        };
        run(&none, &["none.json", "has no parameter w"]);
        let wrong = r#"{"w": {"shape": [2], "dtype": "float32", "data": [1, 2]}}"#;
        run(&write(&folder, "wrong.json", wrong), &["`w`", "f32[2]", "f32[]"]);
        let other = r#"{"v": {"shape": [], "dtype": "float32", "data": 1}}"#;
        run(&write(&folder, "other.json", other), &["no parameter `v`", "w"]);
    }
}

#[test]
fn where_nothing_can_be_written_is_said_before_the_work() {
    fails(2, &["train", DIGITS, "--epochs", "0"], &["0 steps"]);
    fails(1, &["train", DIGITS, "--save", "nowhere/p.safetensors"], &["nowhere/p.safetensors", "create the folder"]);
    fails(1, &["bench", "--only", "small-mlp", "--json", "nowhere/b.json"], &["nowhere/b.json"]);
    fails(2, &["bench", "--seconds=0"], &["--seconds", "above 0"]);
    fails(2, &["grad-check", DIGITS, "--samples", "1"], &["--samples"]);
}

/// A full disk is an error, and a reader that is gone is none.
#[test]
#[cfg(target_os = "linux")]
fn results_that_cannot_be_written_are_no_panic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for arguments in [
        &["check", DIGITS][..],
        &["explain", DIGITS],
        &["compile", DIGITS, "--emit", "graph"],
        &["train", DIGITS, "--steps", "1"],
    ] {
        let run = |output: std::process::Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bpc"));
            command.current_dir(&root).args(arguments).stdout(output).output().expect("bpc runs")
        };
        let full = run(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("the device").into());
        let errors = String::from_utf8_lossy(&full.stderr);
        assert!(full.status.code() == Some(1) && errors.contains("cannot write to standard output"), "{errors}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let closed = run(writer.into());
        assert_eq!(closed.status.code(), Some(0), "{}", String::from_utf8_lossy(&closed.stderr));
    }
}

#[test]
fn bench_times_its_own_step_where_no_peer_is() {
    let folder = folder("bench");
    write(&folder, "small.bp", SMALL);
    let suite = |program: &str| {
        format!(
            r#"[{{"name": "small", "program": "{program}", "peer": "small.py", "case": "sgd", "tolerance": 1e-4,
                "inputs": {{"x": {{"dtype": "f32", "shape": [8]}}}}}}]"#
        )
    };
    write(&folder, "suite.json", &suite("small.bp"));
    let json = shown(&folder.join("results.json"));
    let common = ["bench", "--suite", folder.to_str().unwrap(), "--python", "no-such-python", "--seconds", "0.01"];
    let table = prints(&[common.as_slice(), &["--threads", "1", "--json", &json]].concat());
    assert!(table.lines().any(|line| line.trim_start().starts_with("small")), "{table}");
    let results: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let engine = &results[0]["engines"][0];
    assert_eq!((results[0]["threads"].as_u64(), engine["engine"].as_str()), (Some(1), Some("bpc")));
    assert!(engine["step_seconds"].as_f64().unwrap() > 0.0);
    assert!(engine["first_call_seconds"].as_f64().unwrap() > engine["step_seconds"].as_f64().unwrap());

    let output = bpc(&[common.as_slice(), &["--only", "smal"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.code() == Some(2) && errors.contains("the workloads are small"), "{errors}");
    write(&folder, "suite.json", &suite("absent.bp"));
    let output = bpc(&common);
    let errors = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.code() == Some(1) && errors.contains("absent.bp"), "{errors}");
    write(&folder, "suite.json", r#"[{"name": "small"}]"#);
    let output = bpc(&common);
    let errors = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(errors.contains("entry 1") && errors.contains("`inputs` is missing"), "{errors}");
}

/// A model that takes four rows at a time, over a table of so many.
fn four_rows(folder: &Path, rows: usize, entries: &str) -> String {
    let table: String = (0..rows).map(|row| format!("{row},{}\n", 2 * row)).collect();
    write(folder, "rows.csv", &format!("x,y\n{table}"));
    let text = format!(
        "use std.optim {{ sgd }}
model line {{
    in x: f32[4]
    in y: f32[4]
    param slope: f32[] ~ constant(2)
    out largest = max(x)
    minimize mean(square(slope * x - y)) using sgd(lr = 0.001)
}}
train line {{
    data csv(\"rows.csv\", x = \"x\", y = \"y\"{entries}
    shuffle false
}}
"
    );
    write(folder, "line.bp", &text)
}

#[test]
fn a_model_of_whole_batches_leaves_rows_out_and_says_so() {
    let folder = folder("whole");
    let program = four_rows(&folder, 10, ")");
    let output = bpc(&["train", &program]);
    let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.starts_with("2 steps"), "{text}{notes}");
    // The mean over rows 0 to 3 and 4 to 7: rows 8 and 9 were not seen.
    assert_eq!(metric(&text, "largest"), 5.0, "{text}");
    assert!(notes.contains("2 of 10 rows of the training data fill no batch of 4"), "{notes}");

    let params = write(&folder, "params.json", r#"{"slope": {"shape": [], "dtype": "float32", "data": 2}}"#);
    let output = bpc(&["eval", &program, "--params", &params]);
    let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("8 rows: ") && metric(&text, "largest") == 5.0, "{text}{notes}");
    assert!(notes.contains("2 of 10 rows of the evaluation data fill no batch of 4"), "{notes}");

    // With a split of 6 and 4 rows nothing of the evaluation is left out.
    let program = four_rows(&folder, 10, ", split = 0.6)");
    let output = bpc(&["train", &program]);
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && notes.contains("2 of 6 rows of the training data"), "{notes}");
    assert!(!notes.contains("evaluation data"), "{notes}");

    let rows = ["3 rows do not fill one batch of 4", "data csv", "asked for here"];
    fails(1, &["train", &four_rows(&folder, 3, ")")], &rows);
    let rows =
        ["3 rows do not fill one batch of 4", "error[BP0313]", "|     ^^^^^^^ asked for here", "help: give more rows"];
    fails(1, &["train", &four_rows(&folder, 3, ")\n    batch 4")], &rows);
    fails(1, &["train", &four_rows(&folder, 3, ")\n    batch 4")], &["line.bp:", "batch 4"]);
    fails(1, &["train", &four_rows(&folder, 10, ", split = 0.7)")], &["3 rows do not fill one batch of 4"]);
    fails(
        1,
        &["train", &four_rows(&folder, 10, ")\n    batch 5")],
        &["batches of 4 rows", "`batch` is 5", "^^^^^^^ does not fit the model"],
    );
    fails(
        1,
        &["train", &four_rows(&folder, 8, ")"), "--batch", "8"],
        &["batches of 4 rows", "`batch` is 8", "write `--batch 4`"],
    );
}

#[test]
fn a_dim_that_is_set_fixes_the_batch() {
    let folder = folder("set_batch");
    let text = format!("{SMALL}\ntrain small {{ data csv(\"rows.csv\") }}\n");
    let program = write(&folder, "small.bp", &text);
    write(&folder, "rows.csv", "x\n1\n2\n3\n4\n5\n");
    fails(1, &["train", &program, "--set", "B=-1"], &["BP0305", "the dim `B` cannot be -1"]);
    let output = bpc(&["train", &program, "--set", "B=2"]);
    let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("2 steps") && notes.contains("1 of 5 rows"), "{text}{notes}");
}

#[test]
fn wrong_train_blocks_are_shown_at_their_place() {
    let folder = folder("train_block");
    for (source, place, words) in [
        ("csv(\"rows.csv\", split = 1.5)", "split = 1.5", "between 0 and 1"),
        ("csv(\"rows.csv\", z = \"x\")", "z = ", "no input `z`"),
        ("csv(\"rows.csv\", x = 3)", "3)", "name of a column"),
        ("csv(x = \"x\")", "csv(", "path of a file first"),
        ("npz(\"a.npz\", \"b.npz\")", "\"b.npz\"", "one path"),
        ("text(\"a.txt\", target = \"x\")", "text(", "input = "),
        ("text(\"a.txt\", input = \"x\", lenght = 3)", "lenght", "no keyword `lenght`"),
        ("idx()", "idx(", "a file for each input"),
        ("csv(\"rows.csv\")\n    epochs -1", "-1", "not negative"),
        ("csv(\"rows.csv\")\n    shuffle 1", "1\n", "true or false"),
        ("csv(\"rows.csv\")\n    epochs 1\n    steps 7", "7\n", "leave one out"),
    ] {
        let text = format!("{SMALL}\ntrain small {{\n    data {source}\n}}\n");
        let program = write(&folder, "small.bp", &text);
        let before =
            &text[..text.find("train small").unwrap() + text[text.find("train small").unwrap()..].find(place).unwrap()];
        let line = format!("small.bp:{}:", before.lines().count());
        for command in ["check", "train"] {
            fails(1, &[command, &program], &["BP0312", words, &line]);
        }
    }
}

/// Data that is missing, or does not fit, is told at the `data` line.
#[test]
fn data_that_cannot_be_used_is_told_at_its_line() {
    let folder = folder("data_line");
    write(&folder, "rows.csv", "x,label\n1,2\n");
    for (source, words) in [
        ("csv(\"missing.csv\")", "missing.csv: cannot read"),
        ("idx(x = \"a.gz\", test = idx(x = \"b.gz\"))", "a.gz: cannot read"),
        ("csv(\"rows.csv\", x = \"y\")", "did you mean"),
    ] {
        let program = write(&folder, "small.bp", &format!("{SMALL}\ntrain small {{\n    data   {source}\n}}\n"));
        let line = SMALL.lines().count() + 3;
        let place = format!("small.bp:{line}:12");
        let marked = format!("|            {} named here", "^".repeat(source.len()));
        fails(1, &["train", &program], &["error[BP0313]: ", words, &place, &marked, "= help: "]);
    }
}

/// The numbers of a random place come in as an input, which cannot have the name of another.
#[test]
fn a_forced_place_has_a_name_of_its_own() {
    let folder = folder("forced_name");
    let program =
        write(&folder, "m.bp", "model m {\n    in x: f32[2]\n    let x = x + random_uniform([2])\n    out y = x\n}\n");
    let inputs = write(&folder, "x.json", r#"{"x": {"shape": [2], "dtype": "float32", "data": [1, 4]}}"#);
    let force = ["run", &program, "--inputs", &inputs, "--force", &format!("x={inputs}")];
    fails(1, &force, &["m.bp:3:17", "BP0304", "`x` is the name of an input already"]);
}

#[test]
fn training_says_the_warnings_of_the_program_once() {
    let output = bpc(&["train", "examples/boolean_digits.bp", "--set", "eta=200", "--epochs", "1"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors.matches("warning: step 1, hidden.weight.boolean: more than a tenth").count(), 1, "{errors}");
    let metrics = String::from_utf8_lossy(&output.stdout);
    assert!(metrics.contains("accuracy") && !metrics.contains("warning"), "{metrics}");
    let healthy = bpc(&["train", "examples/boolean_digits.bp", "--epochs", "1"]);
    assert!(!String::from_utf8_lossy(&healthy.stderr).contains("warning"));
}

#[test]
fn settings_of_every_kind_come_from_outside() {
    let folder = folder("settings");
    let program = "
model scaled(factor: real = 0.5, doubled: flag = false, mode: string = \"plain\") {
    in x: f32[B]
    param shift: f32[] ~ constant(factor)
    let signed = if mode == \"negated\" { -x } else { x }
    out y = if doubled { 2 * factor * signed } else { factor * signed }
    out z = shift * x
}
";
    let program = write(&folder, "scaled.bp", program);
    let inputs = write(&folder, "x.json", r#"{"x": {"shape": [2], "dtype": "float32", "data": [1, 4]}}"#);
    let run = |more: &[&str]| prints(&[&["run", &program, "--inputs", &inputs], more].concat());
    assert_eq!(numbers(&run(&[]), "y"), [0.5, 2.0]);
    assert_eq!(numbers(&run(&["--set", "factor=0.25"]), "y"), [0.25, 1.0]);
    assert_eq!(numbers(&run(&["--set", "factor=2.5e-1"]), "z"), [0.25, 1.0]);
    assert_eq!(numbers(&run(&["--set", "factor=3"]), "y"), [3.0, 12.0]);
    let several = ["--set", "factor=0.25", "--set", "doubled=true", "--set", "mode=negated"];
    assert_eq!(numbers(&run(&several), "y"), [-0.5, -2.0]);

    let wrong = |setting: &str, words: &[&str]| {
        fails(1, &["run", &program, "--inputs", &inputs, "--set", setting], words);
    };
    wrong("factor=fast", &["`factor` of `scaled` is a number", "the string \"fast\"", "factor: real"]);
    wrong("doubled=1", &["`doubled` of `scaled` is true or false"]);
    wrong("mode=3", &["`mode` of `scaled` is a string"]);
    wrong("factr=0.1", &["no dim or setting `factr`", "did you mean `factor`?"]);
    wrong(
        "lr=0.01",
        &["no dim or setting `lr`", "the model has: B, doubled, factor, mode", "`model scaled(lr = 0.01)`"],
    );
    wrong("epochs=3", &["no dim or setting `epochs`", "`--epochs 3`"]);
    wrong("B=1.5", &["BP0305", "the dim `B` cannot be 1.5"]);
}

/// `--grad` is read by the grammar of the language: errors point into its text, and arguments may be any static expression.
#[test]
fn choices_of_rules_are_read_as_the_language_reads_them() {
    let folder = folder("choices");
    let text = "
use std.nn { linear }
use std.optim { sgd }
estimator weighted(by: list, name: string = \"w\") for linear(x: f[.., I], w: f[O, I]) -> y exact_for nothing {
    assert(len(by) == 2, \"weighted: by has two entries\")
    grad x = by[0] * (grad y @ w)
    grad w = by[1] * (transpose(grad y) @ x)
}
model m {
    in x: f32[4, 2]
    param w: f32[3, 2] ~ ones
    let hidden = linear(x, w)
    minimize mean(square(hidden)) using sgd
}
";
    let program = write(&folder, "m.bp", text);
    let compile = ["compile", &program, "--emit", "grad", "--grad"];
    let rule = |choice: &str| {
        let graph = prints(&[&compile[..], &[choice]].concat());
        graph.split("rule = \"weighted").nth(1).map(|rest| rest.split(", site").next().unwrap().to_string())
    };
    for choice in [
        "linear=weighted([1, 2 + 1], name = \"a, b\")",
        "linear in hidden => weighted(by = [1] + [3], name = \"a, b\")",
        "linear in ** = weighted([if true { 1 } else { 2 }, -(-3)], \"a, b\")",
    ] {
        let found = rule(choice).expect("a rule");
        assert_eq!(found, "(by = [1, 3], name = \\\"a, b\\\")\"", "{choice}");
    }
    assert_eq!(rule("linear=exact"), None);
    for (choice, place, words) in [
        ("linear=weighted([1, 2", "--grad:1:22", "put a `]` where it ends"),
        ("linear=weighted([1, 2)", "--grad:1:22", "expected"),
        ("linear weighted", "--grad:1:8", "write it as `linear=wht(k = 2)`"),
        ("linear=weighted(by = [1, 'a'])", "--grad:1:26", "strings stand in double quotes"),
        ("linear=weighted(by = [1, size])", "--grad:1:26", "`size`"),
        ("linear=weighted(bi = [1, 2])", "--grad:1:17", "did you mean `by`?"),
        ("linear=weighed([1, 2])", "--grad:1:8", "did you mean `weighted`?"),
        ("linear in hiden=weighted([1, 2])", "--grad:1:1", "matches no call of the model"),
        ("linaer=weighted([1, 2])", "--grad:1:1", "did you mean `linear`?"),
        ("linear=weighted([1, 2]) sgd", "--grad:1:25", "found `sgd`"),
        ("", "--grad:1:1", "a choice of a rule"),
        ("linear", "--grad:1:7", "ends too early"),
    ] {
        fails(2, &[&compile[..], &[choice]].concat(), &[place, words]);
    }
    fails(1, &[&compile[..], &["linear=weighted([1])"]].concat(), &["m.bp:12:18", "by has two entries"]);
}
