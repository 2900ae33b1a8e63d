//! Bad text gives diagnostics, never a panic, and never an endless run.

use bpc_lang::diagnostics::render;
use bpc_lang::loader::load;
use bpc_lang::parser::parse;
use bpc_lang::source::Sources;

/// Loads a text and prints what it says.
fn load_and_render(text: &str) -> Vec<String> {
    let (program, diagnostics) = load("test.bp", text, &mut |_| Some("fn a(x) { x }\nfn b(x) { a(x) }".into()));
    diagnostics.iter().map(|diagnostic| render(diagnostic, &program.sources, false)).collect()
}

const SAMPLE: &str = include_str!("text/every_construct.bp");

/// Only reads a text; answers the number of messages.
fn parse_and_render(text: &str) -> usize {
    let mut sources = Sources::default();
    let file = sources.add("test.bp", text);
    let (module, diagnostics) = parse(&sources, file);
    assert!(diagnostics.len() <= 60);
    bpc_lang::print::tree(&module);
    diagnostics.iter().map(|diagnostic| render(diagnostic, &sources, false)).filter(|text| !text.is_empty()).count()
}

#[test]
fn every_prefix() {
    let ends = (0..SAMPLE.len()).filter(|end| SAMPLE.is_char_boundary(*end));
    let faulty = ends.filter(|end| parse_and_render(&SAMPLE[..*end]) > 0).count();
    assert!(faulty > SAMPLE.len() / 2, "{faulty}");
}

#[test]
fn every_byte_replaced() {
    let mut faulty = 0;
    for ((at, character), other) in SAMPLE.char_indices().zip(["}", "(", "é", "\n", "\""].into_iter().cycle()) {
        let text = format!("{}{other}{}", &SAMPLE[..at], &SAMPLE[at + character.len_utf8()..]);
        faulty += usize::from(parse_and_render(&text) > 0);
    }
    assert!(faulty > SAMPLE.len() / 2, "{faulty}");
}

#[test]
fn token_soup() {
    let words: Vec<&str> = "use layer fn exact estimator for exact_for optimizer model train in param state let next yield \
        out minimize over using keep grad repeat as if else scan via and or not xor true false ( ) [ ] { } , : . .. ~ = => \
        -> == != < <= > >= + - * ** / // % @ ^ x y f32 f 1 0.5 \"s\" \" # ; $ é \\"
        .split_whitespace()
        .chain(["\n", "\n", "\n", "{\n", "fn f(x) {", "let x = ", "model m {"])
        .collect();
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut messages = 0;
    for round in 0..3000 {
        let length = next(40);
        let text: Vec<&str> = (0..length).map(|_| words[next(words.len())]).collect();
        let text = text.join(" ");
        messages += parse_and_render(&text);
        if round % 10 == 0 {
            load_and_render(&text);
        }
    }
    assert!(messages > 1000, "{messages}");
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = 100_000;
    let cases = [
        format!("fn f(x) {{ {}x{} }}", "(".repeat(deep), ")".repeat(deep)),
        format!("fn f(x) {{ {}x{} }}", "[".repeat(deep), "]".repeat(deep)),
        format!("fn f(x) {{ {}x{} }}", "if true { ".repeat(deep), " }".repeat(deep)),
        format!("fn f(x) {{ {}x }}", "-".repeat(deep)),
        format!("fn f(x) {{ {}x }}", "not ".repeat(deep)),
        format!("fn f(x) {{ {}x }}", "x ^ ".repeat(deep)),
        format!("fn f(x) {{ {}x }}", "x + ".repeat(deep)),
        format!("fn f(x) {{ x{} }}", "(x)".repeat(deep)),
        format!("fn f(x) {{ x{} }}", ".shape".repeat(deep)),
        format!("fn f(x) {{ {} {{ x }} }}", "if true { x } else ".repeat(deep)),
        format!("fn f(x) {{ {}", "{".repeat(deep)),
        format!("fn f(x) {{ {}", "f(".repeat(deep)),
    ];
    for text in cases {
        let said = load_and_render(&text);
        assert_eq!(said.len(), 1, "{}", &text[..60]);
        assert!(said[0].contains("BP0005"), "{}", said[0]);
    }
}

#[test]
fn long_programs_are_no_error() {
    let mut text = String::from("fn f0(x) { x }\n");
    for index in 1..3000 {
        text.push_str(&format!("fn f{index}(x) {{ f{}(x) + f0(x) }}\n", index - 1));
    }
    text.push_str("fn long(x) {\n");
    for _ in 0..3000 {
        text.push_str("    let x = x + 1\n");
    }
    text.push_str(&format!("    [{}]\n}}\n", "x, ".repeat(3000)));
    assert_eq!(load_and_render(&text), Vec::<String>::new());
}

#[test]
fn several_errors_in_one_run() {
    insta::assert_snapshot!(said(
        "model digits {
    in image: f32[B, 64
    let hidden = relu(dense(image, 128)
    let y = 2 +
    out accuracy = mean(argmax(logits) == label)
    let z = scan s s0 over u in us {
        next s = s
        yield s
    }
    let w = hidden ? 3
    minimize cross_entropy(logits, label) using
}
fn g(x) -> { x }
layer h(x) { x
fn k(x) { return x }
"
    ));
}

fn said(text: &str) -> String {
    format!("{text}\n----\n{}", load_and_render(text).join("\n\n"))
}

/// Texts of the standard library and of the examples, each damaged in some places: words doubled, swapped, cut and replaced.
#[test]
fn damaged_programs() {
    let examples = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).unwrap();
    let mut files: Vec<_> = examples.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "bp"));
    files.sort();
    let mut texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert!(texts.len() >= 6, "{files:?}");
    texts.extend(bpc_lang::stdlib::MODULES.iter().map(|(_, text)| text.to_string()));
    let mut state = 7u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let (mut rounds, mut faulty) = (0, 0);
    for text in &texts {
        for _ in 0..60 {
            let mut characters: Vec<char> = text.chars().collect();
            for _ in 0..1 + next(3) {
                let (from, to) = (next(characters.len()), next(characters.len()));
                let length = (1 + next(12)).min(characters.len() - from);
                let piece: Vec<char> = characters[from..from + length].to_vec();
                match next(4) {
                    0 => drop(characters.drain(from..from + length)),
                    1 => drop(characters.splice(to..to, piece)),
                    2 => characters[from] = ['{', ')', '\n', '"', 'é', '=', ',', '9'][next(8)],
                    _ => characters.truncate(characters.len().saturating_sub(length).max(1)),
                }
            }
            let damaged: String = characters.into_iter().collect();
            rounds += 1;
            faulty += usize::from(!load_and_render(&damaged).is_empty());
        }
    }
    println!("{rounds} damaged programs, {faulty} with errors");
    assert!(faulty * 2 > rounds, "{faulty} of {rounds}");
}
