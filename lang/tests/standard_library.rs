//! The standard library loads without a diagnostic.

use bpc_lang::diagnostics::render;
use bpc_lang::loader::load;

#[test]
fn every_module_loads() {
    let uses: String = bpc_lang::stdlib::MODULES.iter().map(|(path, _)| format!("use {path} {{ }}\n")).collect();
    let (program, diagnostics) = load("all.bp", &uses, &mut |_| None);
    let rendered: Vec<String> =
        diagnostics.iter().map(|diagnostic| render(diagnostic, &program.sources, false)).collect();
    assert!(rendered.is_empty(), "{}", rendered.join("\n"));
    assert_eq!(program.modules.len(), bpc_lang::stdlib::MODULES.len() + 1);
}

#[test]
fn every_example_loads() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut count = 0;
    for folder in ["examples", "tests/golden"] {
        let mut paths: Vec<_> = std::fs::read_dir(format!("{root}/{folder}"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "bp"))
            .collect();
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap();
            let (program, diagnostics) = load(&path.display().to_string(), &text, &mut |_| None);
            let rendered: Vec<String> =
                diagnostics.iter().map(|diagnostic| render(diagnostic, &program.sources, false)).collect();
            assert!(rendered.is_empty(), "{}", rendered.join("\n"));
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} programs found");
}
