//! What modules see of each other.

use bpc_lang::loader::load;
use bpc_lang::program::{Definition, ItemId, ModuleId, Program, Target};
use bpc_lang::tree::Item;

fn loaded(text: &str) -> Program {
    let (program, diagnostics) = load("program.bp", text, &mut |path| match path {
        "shapes.bp" => Some("use parts.edges { edge }\nfn area(x) { edge(x) * edge(x) }\nfn relu(x) { x }".to_string()),
        "parts/edges.bp" => Some("fn edge(x) { sum(x) }".to_string()),
        _ => None,
    });
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    program
}

/// The path of the module that declares what `name` means in the root.
fn origin(program: &Program, name: &str) -> Option<String> {
    match program.resolve(Program::ROOT, name)? {
        Definition::Item(id) => Some(program.paths[id.module.0 as usize].clone()),
        Definition::Builtin(builtin) => Some(format!("primitive {}", builtin.name)),
    }
}

#[test]
fn files_beside_the_program() {
    let program = loaded("use shapes\nfn f(x) { area(x) }");
    assert_eq!(origin(&program, "area").as_deref(), Some("shapes"));
    assert_eq!(origin(&program, "edge"), None, "what a module imports is not passed on");
    assert_eq!(origin(&program, "relu").as_deref(), Some("shapes"));
    assert_eq!(origin(&program, "mean").as_deref(), Some("std.core"));
    assert_eq!(origin(&program, "sum").as_deref(), Some("primitive sum"));
    let paths: Vec<&str> = program.paths.iter().map(String::as_str).collect();
    assert_eq!(
        paths,
        ["", "std.core", "std.derivatives", "std.rules.one_shot", "std.init", "shapes", "std.random", "parts.edges"]
    );
    let shapes = paths.iter().position(|path| *path == "shapes").unwrap();
    let (file, text) = (program.modules[shapes].file, "use parts.edges { edge }");
    assert_eq!(program.sources.path(file), "shapes.bp");
    assert!(program.sources.text(file).starts_with(text));
}

#[test]
fn nearer_names_hide_farther_ones() {
    let program = loaded("use std.nn\nuse shapes { relu }\nfn mean(x) { x }\nfn exp(x) { x }");
    assert_eq!(origin(&program, "relu").as_deref(), Some("shapes"), "a listed name hides a whole module");
    assert_eq!(origin(&program, "mean").as_deref(), Some(""), "own names hide the prelude");
    assert_eq!(origin(&program, "exp").as_deref(), Some(""), "own names hide primitives");
    assert_eq!(origin(&program, "dense").as_deref(), Some("std.nn"));
}

#[test]
fn rules_belong_to_a_function_not_to_a_name() {
    let text = "use std.nn { silu }
fn relu(x) { x }
exact twice for relu(x) -> y { grad x = 2 * grad y }
exact half for tanh(x) -> y { grad x = grad y / 2 }";
    let program = loaded(text);
    let names = |target: Option<Target>| -> Vec<Option<String>> {
        program.rules_for(target.unwrap()).map(|(_, rule)| rule.name.as_ref().map(|name| name.text.clone())).collect()
    };
    assert_eq!(names(program.resolve_target(Program::ROOT, "relu")), [Some("twice".to_string())]);
    let nn = program.module_named("std.nn").unwrap();
    assert_eq!(names(program.resolve_target(nn, "relu")), [None]);
    assert_eq!(names(program.resolve_target(nn, "tanh")), [Some("half".to_string()), None]);
    assert_eq!(names(program.resolve_target(Program::ROOT, "reduce_sum")), [None]);
    assert_eq!(program.resolve_target(Program::ROOT, "frobnicate"), None);
}

#[test]
fn initialisers_are_found_without_an_import() {
    let program =
        loaded("fn normal(shape: dims, dtype: dtype) { zeros(shape, dtype) }\nmodel m { in x: f32[B]; out y = x }");
    let module = |name: &str| match program.resolve_initializer(Program::ROOT, name) {
        Some(Definition::Item(ItemId { module: ModuleId(index), .. })) => program.paths[index as usize].clone(),
        other => format!("{other:?}"),
    };
    assert_eq!(module("normal"), "");
    assert_eq!(module("kaiming_uniform"), "std.init");
    assert!(module("zeros").contains("Builtin"));
    assert_eq!(module("frobnicate"), "None");
    let named = program.modules[0].items.iter().filter_map(Item::name).map(|name| name.text.as_str());
    assert_eq!(named.collect::<Vec<_>>(), ["normal", "m"]);
}

#[test]
fn every_primitive_is_on_the_language_page() {
    let page = include_str!("../../docs/language.md");
    let section = page.split("\n## ").find(|section| section.starts_with("4.")).unwrap();
    let words: Vec<&str> = section.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for builtin in bpc_lang::builtins::BUILTINS {
        let is_cast = builtin.kind == bpc_lang::builtins::BuiltinKind::Cast;
        assert!(is_cast || words.contains(&builtin.name), "{} is not on the page", builtin.name);
    }
    for word in section.split('`').skip(1).step_by(2).flat_map(str::split_whitespace) {
        let name: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let known = name.is_empty() || !word.starts_with(&name) || bpc_lang::builtins::find(&name).is_some();
        assert!(
            known || ["bpc", "lang", "a", "b", "x", "dtype", "axis", "keep", "shape"].contains(&name.as_str()),
            "{name} is no primitive"
        );
    }
}
