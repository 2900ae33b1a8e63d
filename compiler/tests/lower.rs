//! Language cases: `.bp` files in `tests/lang` say in comments what is wrong with them, or what their types are.
//!
//! `# error: BP0201 words` at the end of a line: a diagnostic of that code, with these words in one of its sentences, whose
//! primary place is on that line; on a line of its own: anywhere. Every diagnostic must be announced. `# set: B=4` gives a
//! dim or setting; `# grad: target=rule` chooses a rule; `# force: place` forces a random place; `# type: name f32[4, 10]`
//! states the type of an input, parameter, state or result; `# check only` leaves out the lowering of the model. A file
//! without errors must lower to a graph that verifies, before and after differentiation.

use bpc::differentiate::differentiate;
use bpc::ir::copy::prune;
use bpc::ir::graph::Graph;
use bpc::ir::text::print;
use bpc::ir::verify::verify;
use bpc::lower::{Derivatives, Lowered, Options, Setting, SignatureDim, check, lower, signature};
use bpc_lang::choice::read_choice;
use bpc_lang::diagnostics::{Diagnostic, render};
use bpc_lang::loader::load;
use bpc_lang::program::Program;
use std::fs;
use std::path::{Path, PathBuf};

fn cases(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bp"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn assert_verified(graph: &Graph, what: &str) {
    if let Err(errors) = verify(graph) {
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{what}: {}", text.join("\n"));
    }
}

/// Everything that is said about a program: names, declarations, then the model and its derivatives.
fn compile(path: &str, text: &str, options: &Options, check_only: bool) -> (Program, Vec<Diagnostic>, Option<Lowered>) {
    let (mut program, diagnostics) = load(path, text, &mut |_| None);
    if !diagnostics.is_empty() {
        return (program, diagnostics, None);
    }
    let mut options = options.clone();
    for (_, _, words) in assertions(text, "grad") {
        match read_choice(&mut program, words) {
            Ok(choice) => options.grad_overrides.push(choice),
            Err(diagnostics) => return (program, diagnostics, None),
        }
    }
    let diagnostics = check(&program);
    if !diagnostics.is_empty() || check_only {
        return (program, diagnostics, None);
    }
    let lowered = match lower(&program, &options) {
        Ok(lowered) => lowered,
        Err(diagnostics) => return (program, diagnostics, None),
    };
    assert_verified(&lowered.graph, path);
    for parameter in &lowered.parameters {
        assert_verified(&parameter.init, &parameter.name);
    }
    match differentiate(&lowered.graph, &mut Derivatives::new(&program, &lowered.loop_choices)) {
        Ok(graph) => assert_verified(&graph, &format!("{path}, differentiated")),
        Err(diagnostics) => return (program, diagnostics, None),
    }
    (program, Vec::new(), Some(lowered))
}

fn printed(program: &Program, diagnostics: &[Diagnostic]) -> String {
    let texts: Vec<String> = diagnostics.iter().map(|one| render(one, &program.sources, false)).collect();
    texts.join("\n\n")
}

/// The assertions of one kind: line number from 1, whether code stands before the comment, and the words.
fn assertions<'t>(text: &'t str, kind: &str) -> Vec<(usize, bool, &'t str)> {
    let mark = format!("# {kind}: ");
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(number, line)| {
            let at = line.find(&mark)?;
            Some((number + 1, !line[..at].trim().is_empty(), line[at + mark.len()..].trim()))
        })
        .collect()
}

fn options_of(text: &str) -> Options {
    let mut options = Options { training: true, ..Options::default() };
    for (_, _, words) in assertions(text, "set") {
        let (name, value) = words.split_once('=').expect("# set: NAME=VALUE");
        options.settings.insert(name.to_string(), Setting::from_text(value));
    }
    for (_, _, words) in assertions(text, "force") {
        options.forced.insert(words.to_string());
    }
    options
}

fn run_case(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().to_string();
    let (program, diagnostics, lowered) = compile(&name, &text, &options_of(&text), text.contains("# check only"));
    let mut announced = assertions(&text, "error");
    for diagnostic in &diagnostics {
        let (line, _) = program.sources.line_column(diagnostic.primary.0.file, diagnostic.primary.0.start);
        let shown = render(diagnostic, &program.sources, false);
        // Not the printed text: that holds the line with the announcement itself.
        let labels = std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary).map(|(_, label)| label);
        let said: Vec<&String> =
            std::iter::once(&diagnostic.title).chain(labels).chain(&diagnostic.notes).chain(&diagnostic.help).collect();
        let found = announced.iter().position(|(at, beside, words)| {
            let (code, fragment) = words.split_once(' ').unwrap_or((words, ""));
            code == diagnostic.code && said.iter().any(|text| text.contains(fragment)) && (!beside || *at == line)
        });
        match found {
            Some(index) => drop(announced.remove(index)),
            None => return Err(format!("{name}: not announced:\n{shown}")),
        }
    }
    if let Some((line, _, words)) = announced.first() {
        return Err(format!("{name}:{line}: nobody says {words}\n{}", printed(&program, &diagnostics)));
    }
    for (line, _, words) in assertions(&text, "type") {
        let lowered = lowered.as_ref().ok_or(format!("{name}: a type is stated, and nothing is lowered"))?;
        let (wanted, ty) = words.split_once(' ').expect("# type: NAME TYPE");
        let inputs = lowered.inputs.iter().map(|one| (&one.name, &one.ty));
        let parameters = lowered.parameters.iter().map(|one| (&one.name, &one.ty));
        let states = lowered.states.iter().map(|one| (&one.name, &one.ty));
        let mut all =
            lowered.outputs.iter().map(|one| (&one.name, &one.ty)).chain(inputs).chain(parameters).chain(states);
        match all.find(|(known, _)| *known == wanted) {
            Some((_, found)) if found.to_string() == ty => {}
            Some((_, found)) => return Err(format!("{name}:{line}: {wanted} is {found}, not {ty}")),
            None => return Err(format!("{name}:{line}: there is no {wanted}")),
        }
    }
    Ok(())
}

#[test]
fn language_cases() {
    let failures: Vec<String> = cases("tests/lang").iter().filter_map(|path| run_case(path).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn examples_lower() {
    for path in cases("../examples") {
        let text = fs::read_to_string(&path).unwrap();
        let models: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("model ")).collect();
        for model in models {
            let mut options = Options { training: true, ..Options::default() };
            options.model = model.split([' ', '(']).next().map(str::to_string);
            let (program, _) = load(&path.display().to_string(), &text, &mut |_| None);
            let signature = signature(&program, options.model.as_deref()).expect("a model of the example");
            for dim in signature.inputs.iter().flat_map(|input| &input.dims) {
                match dim {
                    SignatureDim::Name(name) if name == "B" => options.settings.insert(name.clone(), 4.into()),
                    SignatureDim::Name(name) if name == "T" => options.settings.insert(name.clone(), 64.into()),
                    _ => None,
                };
            }
            let (program, diagnostics, _) = compile(&path.display().to_string(), &text, &options, false);
            assert!(diagnostics.is_empty(), "{}", printed(&program, &diagnostics));
        }
    }
}

/// What an index is made of is elaborated once: a random place in it is one place.
#[test]
fn an_index_is_elaborated_once() {
    let text = "model m { in x: f32[4, 3]; let row = x[random_uniform([2]).shape[0]]; out y = row }";
    let (program, diagnostics, lowered) = compile("index.bp", text, &options_of(text), false);
    let sites = lowered.unwrap_or_else(|| panic!("{}", printed(&program, &diagnostics))).sites;
    assert_eq!(sites.iter().map(|site| site.path.as_str()).collect::<Vec<_>>(), ["row"]);
}

/// Every diagnostic of the cases as it is printed.
#[test]
fn diagnostics_read_well() {
    for name in ["shape_conflicts", "rules", "names_of_sizes", "selector"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/lang/{name}.bp"));
        let text = fs::read_to_string(path).unwrap();
        let (program, diagnostics, _) = compile(&format!("{name}.bp"), &text, &options_of(&text), false);
        insta::assert_snapshot!(name, printed(&program, &diagnostics));
    }
}

/// Markers, keep lines and scans as the graph shows them.
#[test]
fn graphs_read_well() {
    for name in ["kept", "scan"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/lang/{name}.bp"));
        let text = fs::read_to_string(path).unwrap();
        let (_, _, lowered) = compile(&format!("{name}.bp"), &text, &options_of(&text), false);
        insta::assert_snapshot!(format!("graph_{name}"), print(&prune(&lowered.unwrap().graph)));
    }
}
