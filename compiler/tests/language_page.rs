//! The page that defines the language is true: each block of it that is a program loads and checks.

use bpc::lower::check;
use bpc_lang::diagnostics::render;
use bpc_lang::loader::load;

const PAGE: &str = include_str!("../../docs/language.md");

#[test]
fn programs_of_the_page() {
    let programs: Vec<&str> = PAGE.split("```bp\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(programs.len(), PAGE.matches("```").count() / 2, "a block without `bp` would not be checked");
    assert!(programs.len() >= 6, "{}", programs.len());
    for text in programs {
        let (program, mut diagnostics) = load("language.bp", text, &mut |_| None);
        if diagnostics.is_empty() {
            diagnostics = check(&program);
        }
        let said: Vec<String> = diagnostics.iter().map(|one| render(one, &program.sources, false)).collect();
        assert!(said.is_empty(), "{text}\n{}", said.join("\n\n"));
    }
}

/// The page of rules: its texts are those of the library word for word, and its own programs check.
#[test]
fn programs_of_the_page_of_rules() {
    let page = include_str!("../../docs/rules.md");
    let blocks: Vec<&str> = page.split("```bp\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let mut of_library = 0;
    for text in blocks {
        if bpc_lang::stdlib::MODULES.iter().any(|(_, module)| module.contains(text)) {
            of_library += 1;
            continue;
        }
        let (program, mut diagnostics) = load("rules.bp", text, &mut |_| None);
        if diagnostics.is_empty() {
            diagnostics = check(&program);
        }
        let said: Vec<String> = diagnostics.iter().map(|one| render(one, &program.sources, false)).collect();
        assert!(said.is_empty(), "neither in the library nor a program:\n{text}\n{}", said.join("\n\n"));
    }
    assert!(of_library >= 6, "{of_library}");
}
