//! A printed tree reads back as the same tree.

use bpc_lang::diagnostics::render;
use bpc_lang::parser::parse;
use bpc_lang::print;
use bpc_lang::source::Sources;
use bpc_lang::tree::Module;

fn parsed(text: &str) -> Module {
    let mut sources = Sources::default();
    let file = sources.add("test.bp", text);
    let (module, diagnostics) = parse(&sources, file);
    let rendered: Vec<String> = diagnostics.iter().map(|diagnostic| render(diagnostic, &sources, false)).collect();
    assert!(rendered.is_empty(), "{text}\n{}", rendered.join("\n"));
    module
}

/// The tree as text without the places.
fn shape(module: &Module) -> String {
    let debug = format!("{module:?}");
    let mut parts = debug.split("Span {");
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        out.push_str(part.split_once('}').map_or("", |(_, rest)| rest));
    }
    out
}

fn round_trip(text: &str) -> String {
    let module = parsed(text);
    let printed = print::tree(&module);
    assert_eq!(shape(&parsed(&printed)), shape(&module), "{printed}");
    printed
}

#[test]
fn standard_library() {
    for (path, text) in bpc_lang::stdlib::MODULES {
        assert!(round_trip(text).lines().count() > 5, "{path}");
    }
}

#[test]
fn every_construct() {
    insta::assert_snapshot!(round_trip(include_str!("text/every_construct.bp")));
}

/// The expression as the body of a function, and as it is printed.
fn expression(text: &str) -> String {
    let printed = round_trip(&format!("fn f() {{ {text} }}\n"));
    printed.trim_end().trim_start_matches("fn f() { ").trim_end_matches(" }").to_string()
}

#[test]
fn operators_bind_as_documented() {
    let cases = [
        ("((a or b) xor (c and d)) or e", "(a or b) xor c and d or e"),
        ("(not (a == b)) and c", "not a == b and c"),
        ("not (not a)", "not not a"),
        ("(a + (b * c)) - d", "a + b * c - d"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a / b) * (c / d)", "a / b * (c / d)"),
        ("-(a ^ b)", "-a ^ b"),
        ("(-a) ^ b", "(-a) ^ b"),
        ("a ^ (b ^ c)", "a ^ b ^ c"),
        ("(a ^ b) ^ c", "(a ^ b) ^ c"),
        ("a ^ (-b)", "a ^ -b"),
        ("-(a * b)", "-(a * b)"),
        ("(-a) * b", "-a * b"),
        ("(a < b) == c", "(a < b) == c"),
        ("(a @ b) @ c", "a @ b @ c"),
        ("(-x).shape", "(-x).shape"),
        ("-(x.shape)", "-x.shape"),
        ("(a + b)[0]", "(a + b)[0]"),
        ("a + (f(x) via r)", "a + f(x) via r"),
        ("-(f(x) via r(k = 2))", "-f(x) via r(k = 2)"),
        ("(f(x) via r) ^ 2", "f(x) via r ^ 2"),
        ("(f(x) via r)[0]", "(f(x) via r)[0]"),
        ("(a, b)", "(a, b)"),
        ("(a,)", "(a,)"),
        ("(a)", "a"),
        ("[..lead, 1]", "[..lead, 1]"),
        ("x[1:3, ::2, :, .., -1, 2:]", "x[1:3, ::2, :, .., -1, 2:]"),
        ("grad(loss, x.weight)", "grad(loss, x.weight)"),
        ("grad y * 2", "grad y * 2"),
        ("a // b % c", "a // b % c"),
        ("\"tab\\t quote\\\" back\\\\ line\\n\"", "\"tab\\t quote\\\" back\\\\ line\\n\""),
    ];
    for (full, short) in cases {
        assert_eq!(expression(full), short);
        assert_eq!(expression(short), short);
    }
}

#[test]
fn line_ends_that_are_blanks() {
    let one_line = "fn f(x) { let a = g(x, 1) + x * 2 via_ }\n".replace(" via_", "");
    let many_lines =
        "fn f(\n    x,\n) {\n\n    let a =\n        g(x,\n            1\n        ) +\n        x *\n        2\n\n}\n";
    assert_eq!(shape(&parsed(many_lines)), shape(&parsed(&one_line)));
    let spread = "model m {\n minimize loss(x)\n over a.*,\n b.**\n using adam(\n lr = 1)\n out y = f(x)\n via rule\n}";
    let joined = "model m { minimize loss(x) over a.*, b.** using adam(lr = 1); out y = f(x) via rule }";
    assert_eq!(shape(&parsed(spread)), shape(&parsed(joined)));
    let branches = "fn f() { if a { 1 }\n else if b { 2 }\n else { 3 } }";
    assert_eq!(shape(&parsed(branches)), shape(&parsed("fn f() { if a { 1 } else if b { 2 } else { 3 } }")));
}

#[test]
fn documentation_belongs_to_what_follows() {
    let module = parsed("# a note\n## One.\n##  Two.\nfn f() { 1 }\n## Lost.\n\nfn g() { 1 }\n");
    let docs: Vec<&[String]> = module
        .items
        .iter()
        .map(|item| match item {
            bpc_lang::tree::Item::Function(function) => function.docs.as_slice(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(docs, [&["One.".to_string(), " Two.".to_string()][..], &[]]);
}

#[test]
fn tokens_are_listed() {
    let mut sources = Sources::default();
    let file = sources.add("test.bp", "fn f(x) {  # note\n    x * 0.5\n}\n");
    let expected = "1:1 Fn fn\n1:4 Name f\n1:5 LeftParen (\n1:6 Name x\n1:7 RightParen )\n1:9 LeftBrace {\n\
                    2:5 Name x\n2:7 Star *\n2:9 Real 0.5\n3:1 RightBrace }\n";
    assert_eq!(print::tokens(&sources, file), expected);
}
