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
