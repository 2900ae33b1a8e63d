//! Runs the file tests of the graph IR: `tests/ir/*.bpir`.
//!
//! The first line of a file says what is tested; a line `; case: NAME` begins another graph. `; error: MESSAGE` stands
//! at the end of the guilty line. Every graph without one must verify, and read back the same after printing.
//!
//! - `; test roundtrip`: the printed form has the very lines of the file, comments aside.
//! - `; test verify`: the errors of reading and verifying are exactly those that the file names.
//! - `; test run`: the interpreter agrees with each line `; run: {x = [1, 2]} == {y = [0.5]}`, bit for bit, or to 1e-12
//!   relatively with `~=`, or fails as in `; run: {} fails: MESSAGE`.
//! - `; test prune`, `; test dot`: each line `; check: TEXT` is found in the output, in this order.

use bpc::ir::copy::prune;
use bpc::ir::dot::dot;
use bpc::ir::graph::{Graph, OutputRole};
use bpc::ir::interpret::{Tensor, run};
use bpc::ir::op::Op;
use bpc::ir::text::{parse, print};
use bpc::ir::types::{Dtype, TensorType};
use bpc::ir::verify::{VerifyError, verify};
use std::collections::BTreeMap;
use std::path::Path;

/// Lines, from 1, and what is wrong there.
type Failures = Vec<(usize, String)>;

/// Names and texts of the files.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| (path.file_name().unwrap().to_string_lossy().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn file_tests() {
    let mut failures = Vec::new();
    for (name, text) in files() {
        failures.extend(check_file(&text).iter().map(|(line, message)| format!("{name}:{line}: {message}")));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_operation_runs_in_some_file() {
    let texts: Vec<String> = files().into_iter().map(|(_, text)| text).collect();
    let running = || texts.iter().filter(|text| text.starts_with("; test run"));
    for name in Op::NAMES {
        let starts = [format!(" = {name}("), format!(" = {name} {{")];
        assert!(running().any(|text| starts.iter().any(|start| text.contains(start))), "no file runs {name}");
    }
}

/// The file tests cannot pass by not running: a wrong expectation of each kind is seen.
#[test]
fn wrong_expectations_are_seen() {
    let graph = "region r0 \"main\" {\n  n0 = input {role = data, name = \"x\", ty = f32[2]} : f32[2]\n  \
                 n1 = neg(n0) : f32[2]\n  result value \"y\" = n1\n}\n";
    let failures = |head: &str| check_file(&format!("{head}\n{graph}")).len();
    assert_eq!(failures("; test run\n; run: {x = [1, 2]} == {y = [-1, -2]}"), 0);
    assert_eq!(failures("; test run\n; run: {x = [1, 2]} == {y = [-1, 2]}"), 1);
    assert_eq!(failures("; test run\n; run: {x = [1, 2]} == {y = [-1]}"), 1);
    assert_eq!(failures("; test run\n; run: {x = [1, 2]} == {z = [-1, -2]}"), 1);
    assert_eq!(failures("; test run\n; run: {x = [0, 2]} == {y = [0, -2]}"), 1);
    assert_eq!(failures("; test run\n; run: {x = [1, 2]} ~= {y = [-1.000000001, -2]}"), 1);
    assert_eq!(failures("; test run\n; run: {x = [1, 2]} fails: no"), 1);
    assert_eq!(failures("; test run"), 1);
    assert_eq!(failures("; test verify"), 0);
    assert_eq!(failures("; test verify\n; case: one\n; error: no"), 1);
    assert_eq!(failures("; test roundtrip"), 0);
    assert_eq!(check_file(&format!("; test roundtrip\n{}", graph.replace("f32[2]}", "f32[ 2]}"))).len(), 1);
    assert_eq!(failures("; test prune\n; check: n1 = neg(n0)\n; check: n0 = input"), 1);
    assert_eq!(failures("; test nothing"), 1);
    assert_eq!(failures("no head"), 1);
}

fn check_file(text: &str) -> Failures {
    let Some(kind) = text.lines().next().and_then(|line| line.strip_prefix("; test ")) else {
        return vec![(1, "expected ; test roundtrip, verify, run, prune or dot".to_string())];
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut starts: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].starts_with("; case:")).collect();
    if starts.is_empty() {
        starts.push(0);
    }
    let mut failures = Vec::new();
    for (position, start) in starts.iter().enumerate() {
        let stop = starts.get(position + 1).copied().unwrap_or(lines.len());
        let case = Case { kind, lines: &lines[*start..stop] };
        failures.extend(case.check().into_iter().map(|(line, message)| (start + line, message)));
    }
    failures
}

/// One graph of a file.
struct Case<'a> {
    kind: &'a str,
    lines: &'a [&'a str],
}

impl Case<'_> {
    /// What stands after a directive, with its line.
    fn directives(&self, directive: &str) -> Vec<(usize, &str)> {
        let numbered = self.lines.iter().enumerate();
        numbered.filter_map(|(index, line)| Some((index + 1, line.split_once(directive)?.1.trim()))).collect()
    }

    fn check(&self) -> Failures {
        let expected: Failures =
            self.directives("; error: ").into_iter().map(|(line, message)| (line, message.to_string())).collect();
        let graph = match parse(&self.lines.join("\n")) {
            Ok(graph) => graph,
            Err(error) => return compare_errors(&expected, &[(error.line, error.message)]),
        };
        let errors = verify(&graph).err().unwrap_or_default();
        let found: Failures = errors.iter().map(|error| (self.line_of(error), error.message.clone())).collect();
        if !expected.is_empty() || !found.is_empty() {
            return compare_errors(&expected, &found);
        }
        let printed = print(&graph);
        match parse(&printed) {
            Ok(again) if again.same(&graph) && print(&again) == printed => {}
            Ok(_) => return vec![(1, format!("reads back as another graph:\n{printed}"))],
            Err(error) => return vec![(1, format!("does not read back: {error}\n{printed}"))],
        }
        match self.kind {
            "verify" => Vec::new(),
            "roundtrip" => self.check_roundtrip(&printed),
            "run" => self.check_runs(&graph),
            "prune" => self.check_output(&print(&prune(&graph))),
            "dot" => self.check_output(&dot(&graph)),
            other => vec![(1, format!("there is no test {other}"))],
        }
    }

    /// The line of the node, or of the head of the region.
    fn line_of(&self, error: &VerifyError) -> usize {
        let head = format!("region {} ", error.region);
        let region = self.lines.iter().position(|line| line.starts_with(&head)).unwrap();
        let Some(node) = error.node else { return region + 1 };
        let node = format!("{node} = ");
        region + 1 + self.lines[region..].iter().position(|line| line.trim().starts_with(&node)).unwrap()
    }

    fn check_roundtrip(&self, printed: &str) -> Failures {
        let written = self.lines.iter().enumerate().map(|(index, line)| (index + 1, without_comment(line)));
        let mut written = written.filter(|(_, line)| !line.is_empty());
        let mut failures = Vec::new();
        for printed in printed.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match written.next() {
                Some((_, line)) if line == printed => {}
                Some((number, _)) => failures.push((number, format!("is printed as {printed}"))),
                None => failures.push((self.lines.len(), format!("is followed by {printed}"))),
            }
        }
        failures
    }

    fn check_output(&self, output: &str) -> Failures {
        let checks = self.directives("; check: ");
        if checks.is_empty() {
            return vec![(1, "has no ; check: line".to_string())];
        }
        let mut rest = output;
        for (line, text) in checks {
            match rest.find(text) {
                Some(position) => rest = &rest[position + text.len()..],
                None => return vec![(line, format!("is not found in the rest of the output:\n{rest}"))],
            }
        }
        Vec::new()
    }

    fn check_runs(&self, graph: &Graph) -> Failures {
        let runs = self.directives("; run: ");
        if runs.is_empty() {
            return vec![(1, "has no ; run: line".to_string())];
        }
        runs.into_iter()
            .filter_map(|(line, text)| check_run(graph, text).err().map(|message| (line, message)))
            .collect()
    }
}

fn compare_errors(expected: &[(usize, String)], found: &[(usize, String)]) -> Failures {
    let mut failures = Vec::new();
    for (line, message) in found.iter().filter(|error| !expected.contains(error)) {
        failures.push((*line, format!("unexpected error: {message}")));
    }
    for (line, message) in expected.iter().filter(|error| !found.contains(error)) {
        failures.push((*line, format!("this error does not come: {message}")));
    }
    failures
}

/// A line without its comment; quotes protect a semicolon.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (position, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => return line[..position].trim(),
            _ => {}
        }
    }
    line.trim()
}

/// `{inputs} == {results}`, `{inputs} ~= {results}` or `{inputs} fails: message`.
fn check_run(graph: &Graph, text: &str) -> Result<(), String> {
    let close = text.find('}').ok_or("expected {inputs}")? + 1;
    let main = graph.main();
    let mut inputs = BTreeMap::new();
    for (name, data) in bindings(&text[..close])? {
        let ty = main
            .input_named(&name)
            .map_or_else(|| TensorType::new(Dtype::F64, [data.len() as u64]), |input| main.tensor(input).clone());
        inputs.insert(name, Tensor { ty, data });
    }
    let results = run(graph, &inputs);
    let rest = text[close..].trim();
    if let Some(message) = rest.strip_prefix("fails: ") {
        return match results {
            Err(found) if found == message => Ok(()),
            Err(found) => Err(format!("fails otherwise: {found}")),
            Ok(_) => Err("does not fail".to_string()),
        };
    }
    let (exact, wanted) = match (rest.strip_prefix("== "), rest.strip_prefix("~= ")) {
        (Some(wanted), _) => (true, wanted),
        (_, Some(wanted)) => (false, wanted),
        _ => return Err("expected ==, ~= or fails:".to_string()),
    };
    let equal = |(x, y): (&f64, &f64)| {
        let near = !exact && (x - y).abs() <= 1e-12 * y.abs();
        near || x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan()
    };
    let wanted = bindings(wanted)?;
    let found: Vec<(String, Vec<f64>)> = results?
        .into_iter()
        .map(|(output, tensor)| match output.role {
            OutputRole::Value => (output.name, tensor.data),
            OutputRole::Warning => (format!("warning {}", output.name), tensor.data),
            OutputRole::Next => (format!("next {}", output.name), tensor.data),
        })
        .collect();
    let agrees = found.len() == wanted.len()
        && found.iter().zip(&wanted).all(|(found, wanted)| {
            found.0 == wanted.0 && found.1.len() == wanted.1.len() && found.1.iter().zip(&wanted.1).all(equal)
        });
    if agrees { Ok(()) } else { Err(format!("gives {found:?}")) }
}

/// `{name = [1, 2], other = 3}`; nested lists are read in order, as their elements lie in memory.
fn bindings(text: &str) -> Result<Vec<(String, Vec<f64>)>, String> {
    let text = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or("expected { }")?;
    let mut bindings = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("expected name = value")?;
        let mut depth = 0;
        let end = after.find(|character| {
            depth += match character {
                '[' => 1,
                ']' => -1,
                _ => 0,
            };
            depth == 0 && character == ','
        });
        let (value, next) = end.map_or((after, ""), |position| (&after[..position], &after[position + 1..]));
        let numbers = value.split(['[', ']', ',', ' ']);
        let data: Result<Vec<f64>, String> = numbers.filter(|word| !word.is_empty()).map(number).collect();
        bindings.push((name.trim().to_string(), data?));
        rest = next.trim();
    }
    Ok(bindings)
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "true" => Ok(1.0),
        "false" => Ok(0.0),
        _ => text.parse().map_err(|_| format!("{text} is no number")),
    }
}
