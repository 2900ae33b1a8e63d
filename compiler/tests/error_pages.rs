//! The page of errors is true for types, models and gradients: each program gets the code it stands under, the mended one
//! gets none, and no code that this crate issues is missing.

use bpc::differentiate::differentiate;
use bpc::lower::{Derivatives, Options, check, lower};
use bpc_lang::diagnostics::{Diagnostic, render};
use bpc_lang::loader::load;
use bpc_lang::program::Program;
use std::path::PathBuf;

const PAGE: &str = include_str!("../../docs/errors.md");

/// Code and programs of each section.
fn sections() -> Vec<(&'static str, Vec<&'static str>)> {
    PAGE.split("\n## ")
        .skip(1)
        .map(|section| {
            (&section[..6], section.split("```bp\n").skip(1).filter_map(|rest| rest.split("```").next()).collect())
        })
        .collect()
}

/// Everything that is said about a program, of which a model is compiled for four rows.
fn said(text: &str) -> (Program, Vec<Diagnostic>) {
    let (program, mut diagnostics) = load("program.bp", text, &mut |_| None);
    if diagnostics.is_empty() {
        diagnostics = check(&program);
    }
    if diagnostics.is_empty() && text.contains("model ") {
        let mut options = Options { training: true, ..Options::default() };
        if text.contains("[B") {
            options.settings.insert("B".to_string(), 4.into());
        }
        diagnostics = match lower(&program, &options) {
            Ok(lowered) => differentiate(&lowered.graph, &mut Derivatives::new(&program, &lowered.loop_choices))
                .err()
                .unwrap_or_default(),
            Err(diagnostics) => diagnostics,
        };
    }
    (program, diagnostics)
}

fn printed(program: &Program, diagnostics: &[Diagnostic]) -> String {
    let texts: Vec<String> = diagnostics.iter().map(|one| render(one, &program.sources, false)).collect();
    texts.join("\n\n")
}

#[test]
fn documented_programs() {
    let mut failures = Vec::new();
    let mut tried = 0;
    for (code, programs) in sections().into_iter().filter(|(code, _)| *code >= "BP02") {
        let [wrong, mended] = programs.as_slice() else {
            assert!(programs.is_empty(), "{code}: a wrong program and a mended one, or none");
            continue;
        };
        tried += 1;
        let (program, diagnostics) = said(wrong);
        let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        if codes != [code] {
            failures.push(format!("{code}, wrong: {wrong}\n{}", printed(&program, &diagnostics)));
        }
        let (program, diagnostics) = said(mended);
        if !diagnostics.is_empty() {
            failures.push(format!("{code}, mended: {mended}\n{}", printed(&program, &diagnostics)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(tried > 20, "{tried}");
}

#[test]
fn every_code_is_documented() {
    let documented: Vec<&str> = sections().iter().map(|(code, _)| *code).collect();
    let mut files = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
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
    assert!(found > 100, "{found}");
}
