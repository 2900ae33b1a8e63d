//! Tokens to tree, with several errors in one run.
//!
//! Expects: any text.
//! Guarantees: never panics; without an error the module holds everything that the text holds. After an error the
//! statement at fault is left out, or the whole declaration where the fault stands outside of a body, and reading goes on.
//! No tree is deeper than [`DEPTH_LIMIT`], so that walking it by recursion is safe.
//! Leaves out: what names mean and which statement may stand where (`names`).

use crate::build::{Declaration, Malformed};
use crate::diagnostics::Diagnostic;
use crate::grammar_rules::grammar::{DeclarationParser, OuterChoiceParser};
use crate::lexer::{self, Spanned, Token};
use crate::source::Sources;
use crate::tree::{FileId, GradChoice, Item, Module, Span};
use lalrpop_util::ParseError;

/// How deep brackets and chains of operators may be nested, counted together.
pub const DEPTH_LIMIT: usize = 256;

/// Errors of one file after which reading ends.
const ERROR_LIMIT: usize = 50;

/// Reads one file.
pub fn parse(sources: &Sources, file: FileId) -> (Module, Vec<Diagnostic>) {
    let text = sources.text(file);
    let lexed = lexer::lex(text, file);
    let mut module = Module { file, uses: Vec::new(), items: Vec::new() };
    let mut diagnostics = lexed.diagnostics;
    for chunk in declarations(&lexed.tokens) {
        if diagnostics.len() >= ERROR_LIMIT {
            break;
        }
        let docs = docs_above(text, chunk[0].0 as usize);
        match parse_declaration(chunk.to_vec(), text, file, &mut diagnostics) {
            Some(Declaration::Use(line)) => module.uses.push(line),
            Some(Declaration::Item(item)) => module.items.push(with_docs(*item, docs)),
            None => {}
        }
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary.0.start);
    (module, diagnostics)
}

/// What a text is read as, in the words of messages.
struct Wanted {
    /// The whole.
    whole: &'static str,
    /// What it begins with.
    start: &'static str,
}

const DECLARATION: Wanted = Wanted {
    whole: "declaration",
    start: "a declaration (`fn`, `layer`, `model`, `train`, `exact`, `estimator`, `optimizer` or `use`)",
};

const CHOICE: Wanted = Wanted { whole: "choice", start: "the name of a function" };

/// Reads a choice of a rule that stands alone, `linear in blocks.*=wht(k = 2)`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_choice(sources: &Sources, file: FileId) -> Result<GradChoice, Vec<Diagnostic>> {
    let text = sources.text(file);
    let lexed = lexer::lex(text, file);
    if !lexed.diagnostics.is_empty() {
        return Err(lexed.diagnostics);
    }
    let form = "write it as `linear=wht(k = 2)` or `linear in blocks.*=wht(k = 2)`";
    if lexed.tokens.is_empty() {
        let span = Span { file, start: 0, end: 0 };
        let title = "expected a choice of a rule, found nothing";
        return Err(vec![Diagnostic::error("BP0004", title, span, "nothing stands here").with_help(form)]);
    }
    if let Some(diagnostic) = too_deep(&lexed.tokens, file) {
        return Err(vec![diagnostic]);
    }
    OuterChoiceParser::new().parse(file, lexed.tokens.iter().copied()).map_err(|error| {
        let (_, diagnostic) = explain(error, &lexed.tokens, text, file, &CHOICE);
        let diagnostic = diagnostic.into_iter().map(|found| match found.help {
            None => found.with_help(form),
            Some(_) => found,
        });
        diagnostic.collect()
    })
}

/// Cuts the tokens of a file at its declarations: at their keywords first on a line, and after the brace that closes one.
fn declarations<'t, 'a>(tokens: &'t [Spanned<'a>]) -> Vec<&'t [Spanned<'a>]> {
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut depth = 0usize;
    let mut cut = |from: &mut usize, to: usize| {
        let mut chunk = &tokens[*from..to];
        while let [(_, Token::Newline, _), rest @ ..] = chunk {
            chunk = rest;
        }
        while let [rest @ .., (_, Token::Newline, _)] = chunk {
            chunk = rest;
        }
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        *from = to;
    };
    for (index, (_, token, _)) in tokens.iter().enumerate() {
        let first_on_line = index == 0 || matches!(tokens[index - 1].1, Token::Newline | Token::LeftBrace);
        if lexer::begins_declaration(*token) && first_on_line {
            cut(&mut start, index);
            depth = 0;
        }
        match token {
            Token::LeftBrace => depth += 1,
            Token::RightBrace => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    cut(&mut start, index + 1);
                }
            }
            // Imports end with their line, and so does what is no declaration.
            Token::Newline
                if depth == 0 && one_line(tokens[start..].iter().find(|(_, token, _)| *token != Token::Newline)) =>
            {
                cut(&mut start, index);
            }
            _ => {}
        }
    }
    cut(&mut start, tokens.len());
    chunks
}

fn one_line(first: Option<&Spanned<'_>>) -> bool {
    first.is_some_and(|(_, token, _)| *token == Token::Use || !lexer::begins_declaration(*token))
}

/// Reads one declaration, again and again without the statements at fault.
fn parse_declaration<'a>(
    mut tokens: Vec<Spanned<'a>>,
    text: &str,
    file: FileId,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Declaration> {
    if let Some(diagnostic) = too_deep(&tokens, file) {
        diagnostics.push(diagnostic);
        return None;
    }
    // A string that swallows the rest of its line may swallow brackets; that is said once.
    let torn = tokens.iter().any(|(_, token, _)| matches!(token, Token::UnterminatedString(_)));
    loop {
        let error = match DeclarationParser::new().parse(file, tokens.iter().copied()) {
            Ok(declaration) => return Some(declaration),
            Err(error) => error,
        };
        let broken_off = matches!(error, ParseError::UnrecognizedEof { .. });
        let (position, diagnostic) = explain(error, &tokens, text, file, &DECLARATION);
        if !(torn && broken_off) {
            diagnostics.extend(diagnostic);
        }
        if broken_off || diagnostics.len() >= ERROR_LIMIT || !remove_statement(&mut tokens, position) {
            return None;
        }
    }
}

/// What is said where brackets, operators and calls nest deeper than the limit.
fn too_deep(tokens: &[Spanned<'_>], file: FileId) -> Option<Diagnostic> {
    // One counter for each open bracket: the operators since its last comma or line end.
    let mut counters = vec![0usize];
    let mut depth = 0usize;
    for (start, token, end) in tokens {
        match token {
            Token::LeftParen | Token::LeftBracket | Token::LeftBrace => {
                *counters.last_mut()? += 1;
                depth += 2;
                counters.push(0);
                depth -= 1;
            }
            Token::RightParen | Token::RightBracket | Token::RightBrace if counters.len() > 1 => {
                depth -= counters.pop()?;
            }
            Token::Comma | Token::Newline => depth -= std::mem::take(counters.last_mut()?),
            Token::Name(_) | Token::Integer(_) | Token::Real(_) | Token::String(_) => {}
            _ => {
                *counters.last_mut()? += 1;
                depth += 1;
            }
        }
        if depth > DEPTH_LIMIT {
            let span = Span { file, start: *start, end: *end };
            let label = format!("more than {DEPTH_LIMIT} levels here");
            let diagnostic = Diagnostic::error("BP0005", "nested too deeply", span, label);
            return Some(diagnostic.with_help("bind parts of it by `let`"));
        }
    }
    None
}

/// Takes the statement around a token out; false where the token stands in no body.
fn remove_statement(tokens: &mut Vec<Spanned<'_>>, position: usize) -> bool {
    let mut depth = 0usize;
    let mut start = position;
    loop {
        let Some(before) = start.checked_sub(1) else { return false };
        match tokens[before].1 {
            Token::RightBrace => depth += 1,
            Token::LeftBrace if depth == 0 => break,
            Token::LeftBrace => depth -= 1,
            Token::Newline if depth == 0 => break,
            _ => {}
        }
        start = before;
    }
    let mut end = position;
    while let Some((_, token, _)) = tokens.get(end) {
        match token {
            Token::LeftBrace => depth += 1,
            Token::RightBrace if depth == 0 => break,
            Token::RightBrace => depth -= 1,
            Token::Newline if depth == 0 => {
                end += 1;
                break;
            }
            _ => {}
        }
        end += 1;
    }
    tokens.drain(start..end);
    start < end
}

/// The index of the guilty token, and what is wrong; nothing if the lexer has said it already.
fn explain(
    error: ParseError<u32, Token<'_>, Malformed>,
    tokens: &[Spanned<'_>],
    text: &str,
    file: FileId,
    wanted: &Wanted,
) -> (usize, Option<Diagnostic>) {
    let index_at = |start: u32| tokens.partition_point(|(from, _, _)| *from < start).min(tokens.len() - 1);
    match error {
        ParseError::UnrecognizedToken { token: (start, token, end), expected } => {
            let index = tokens.iter().position(|spanned| *spanned == (start, token, end)).unwrap_or(index_at(start));
            if token == Token::Unknown {
                return (index, None);
            }
            let span = Span { file, start, end };
            let phrases = if index == 0 { wanted.start.to_string() } else { words(&expected) };
            let title = format!("expected {phrases}, found {}", found(token, text, span));
            let mut diagnostic = Diagnostic::error("BP0003", title, span, "not expected here");
            if let Some(help) = help_for(tokens, index, &expected) {
                diagnostic = diagnostic.with_help(help);
            }
            (index, Some(diagnostic))
        }
        ParseError::UnrecognizedEof { expected, .. } => {
            let last = tokens.len() - 1;
            (last, Some(unfinished(tokens, wanted.whole, &words(&expected), file)))
        }
        ParseError::User { error: Malformed::Via { at, operand } } => {
            let diagnostic =
                Diagnostic::error("BP0006", "`via` follows a call or a scan", at, "chooses a rule for nothing")
                    .with_label(operand, "this is neither")
                    .with_help("write the operation as a call: `matmul(a, b) via rule`");
            (index_at(at.start), Some(diagnostic))
        }
        ParseError::User { error: Malformed::Escape { at } } => {
            let diagnostic = Diagnostic::error("BP0007", "unknown escape in a string", at, "stands for nothing")
                .with_help("known are `\\\"`, `\\\\`, `\\n` and `\\t`; a backslash itself is written `\\\\`");
            (tokens.partition_point(|(start, _, _)| *start <= at.start).saturating_sub(1), Some(diagnostic))
        }
        ParseError::InvalidToken { location } | ParseError::ExtraToken { token: (location, _, _) } => {
            let span = Span { file, start: location, end: location };
            let title = format!("the {} should have ended", wanted.whole);
            let diagnostic = Diagnostic::error("BP0003", title, span, "not expected here");
            (index_at(location), Some(diagnostic))
        }
    }
}

/// The brackets that are open after these tokens, innermost last.
fn open_brackets<'a>(tokens: &[Spanned<'a>]) -> Vec<Spanned<'a>> {
    let mut open = Vec::new();
    for (start, token, end) in tokens {
        match token {
            Token::LeftBrace | Token::LeftParen | Token::LeftBracket => open.push((*start, *token, *end)),
            Token::RightBrace | Token::RightParen | Token::RightBracket => {
                open.pop();
            }
            _ => {}
        }
    }
    open
}

/// A text that breaks off.
fn unfinished(tokens: &[Spanned<'_>], whole: &str, expected: &str, file: FileId) -> Diagnostic {
    let open = open_brackets(tokens);
    let (_, _, end) = tokens[tokens.len() - 1];
    let here = Span { file, start: end, end };
    let title = format!("the {whole} ends too early: expected {expected}");
    let diagnostic = Diagnostic::error("BP0004", title, here, "ends here");
    match open.last() {
        Some((start, bracket, end)) => {
            let closing = match bracket {
                Token::LeftBrace => "}",
                Token::LeftParen => ")",
                _ => "]",
            };
            diagnostic
                .with_label(Span { file, start: *start, end: *end }, "opened here and never closed")
                .with_help(format!("put a `{closing}` where it ends"))
        }
        None => diagnostic,
    }
}

fn found(token: Token<'_>, text: &str, span: Span) -> String {
    match token {
        Token::Newline if text[span.start as usize..].starts_with(';') => "`;`".to_string(),
        Token::Newline => "the end of the line".to_string(),
        Token::String(_) | Token::UnterminatedString(_) => "a string".to_string(),
        _ => format!("`{}`", &text[span.start as usize..span.end as usize]),
    }
}

const COLON: &str = "a colon stands between a name and its type: `x: f32[B]`";

/// Whether the line of a token begins as `x[..` does.
fn begins_with_place(tokens: &[Spanned<'_>], index: usize) -> bool {
    let ends_line = |(_, token, _): &Spanned<'_>| matches!(token, Token::Newline | Token::LeftBrace);
    let start = tokens[..index].iter().rposition(ends_line).map_or(0, |end| end + 1);
    matches!(tokens[start..index], [(_, Token::Name(_), _), (_, Token::LeftBracket, _), ..])
}

/// Hints for slips that are easy to make.
fn help_for(tokens: &[Spanned<'_>], index: usize, expected: &[String]) -> Option<&'static str> {
    use Token::*;
    let may_follow = |token: &str| expected.iter().any(|known| known.trim_matches('"') == token);
    let before = index.checked_sub(1).map(|index| tokens[index].1);
    let two_before = index.checked_sub(2).map(|index| tokens[index].1);
    let after = tokens.get(index + 1).map(|(_, token, _)| *token);
    let begins_line = |token: Option<Token<'_>>| matches!(token, Some(Newline | LeftBrace));
    let starts_line = before.is_none() || begins_line(before);
    let open = open_brackets(&tokens[..index]).last().map(|(_, bracket, _)| *bracket);
    match (before, tokens[index].1) {
        (None, Name("def" | "func" | "function" | "fun")) => Some("functions begin with `fn`"),
        (None, Name("class" | "struct")) => {
            Some("a model is written `model name { .. }`, a part of it `layer name(x) { .. }`")
        }
        (None, Let) => Some("a value stands in a body; a constant is a function: `fn width() { 64 }`"),
        (None, Name("import" | "from")) => Some("imports are written `use std.nn { dense }`"),
        (Some(Name("const" | "var" | "val")), _) => Some("values are bound by `let`"),
        (None, Name("return")) | (Some(Name("return")), _) => {
            Some("the last expression of a body is its value; there is no `return`")
        }
        (Some(Name("lambda")), _) => Some("functions have names: declare an `fn` and pass its name"),
        (_, For) | (Some(Name("while")), _) => {
            Some("loops are written `repeat 3 { next h = f(h) }`, or `scan` over the rows of a tensor")
        }
        (_, SlashSlash) if starts_line => Some("comments begin with `#`"),
        (_, Slash) if starts_line && matches!(after, Some(Star | StarStar | Slash)) => Some("comments begin with `#`"),
        (_, RightBracket) if open == Some(LeftParen) => Some("a `(` before it is closed by `)`"),
        (_, RightParen) if open == Some(LeftBracket) => Some("a `[` before it is closed by `]`"),
        (Some(Name(_)), LeftBracket) if matches!(two_before, Some(Name(_))) => Some(COLON),
        (Some(Name(_)), Name(_) | Tilde) if may_follow(":") && !may_follow(",") => Some(COLON),
        (_, Arrow) if may_follow("=>") => Some("a choice of a rule is written `function in path => rule`"),
        (Some(Name(_)), FatArrow | In) if two_before == Some(Grad) => {
            Some("choices of rules stand in braces: `grad { function in path => rule }`")
        }
        (_, Arrow) if tokens[0].1 == Model => Some("a model says what it gives by `out name = ..` lines"),
        (_, If) if may_follow("newline") => Some("a choice is written `if condition { a } else { b }`"),
        (_, Comma) if may_follow("newline") => Some("a line ends without a comma"),
        (_, word) if may_follow("name") && !may_follow("integer") && lexer::is_keyword(word) => {
            Some("it is a word of the language; choose another name")
        }
        (_, Name("elif")) => Some("a further case is written `else if`"),
        (_, Dot) if matches!(tokens.get(index + 1), Some((_, Integer(_), _))) => {
            Some("a real has digits before its point: `0.5`")
        }
        (Some(Dot), _) if matches!(two_before, Some(Integer(_))) => Some("a real has digits after its point: `1.0`"),
        (Some(Star), Star) | (_, StarStar) => Some("a power is written `x ^ y`"),
        (Some(Plus | Minus | Star | Slash), Assign) => Some("a name is bound anew: `let x = x + 1`"),
        (Some(Name(_)), Assign | Colon) if begins_line(two_before) && may_follow("integer") => {
            Some("the value stands right after the word: `epochs 20`")
        }
        (Some(Name("f32" | "f64" | "i32" | "i64" | "u32" | "bool" | "f" | "t")), LeftParen) if may_follow("[") => {
            Some("the sizes of a type stand in square brackets: `f32[B, 64]`")
        }
        (_, Newline) if may_follow(")") && !may_follow("using") => Some("a `(` before it is not closed"),
        (_, RightBrace | Newline) if may_follow("using") => {
            Some("say how it is minimized: `minimize loss using adam(lr = 1e-3)`")
        }
        (_, Name(_) | Integer(_) | Real(_) | String(_)) if may_follow(",") => Some("a comma may be missing before it"),
        (Some(Name(_)), Assign) if begins_line(two_before) => Some("a new name is bound by `let name = ..`"),
        (Some(RightBracket), Assign) if may_follow("newline") && begins_with_place(tokens, index) => {
            Some("tensors are never changed in place; bind a new one, by `where`, `concat` or `scatter_add`")
        }
        (_, Assign) if !expected.is_empty() => Some("equality is written `==`"),
        (Some(Name(_)), Equal) if may_follow("=") => Some("a name is bound by one `=`"),
        (Some(Assign), Equal) => Some("equality is written `==`"),
        (Some(Name(_) | Integer(_) | Real(_) | RightParen | RightBracket), sign) if lexer::is_comparison(sign) => {
            Some("comparisons do not chain; join two of them by `and`")
        }
        _ => None,
    }
}

/// What the grammar could have read, in words.
fn words(expected: &[String]) -> String {
    let has = |token: &str| expected.iter().any(|known| known.trim_matches('"') == token);
    let begins_expression = has("integer") && has("(");
    let classes: [(&str, bool, &[&[&str]]); 5] = [
        ("a statement", has("let") && has("minimize"), &[NAME, EXPRESSION, STATEMENT]),
        ("an expression", begins_expression && !has("let"), &[NAME, EXPRESSION]),
        ("a name", has("name") && !begins_expression, &[NAME]),
        ("an operator", has("+") && has("^"), &[OPERATOR]),
        ("the end of the line", has("newline"), &[&["newline"]]),
    ];
    let present = || classes.iter().filter(|(_, present, _)| *present);
    let mut phrases: Vec<String> = present().map(|(phrase, ..)| phrase.to_string()).collect();
    let covered: Vec<&str> = present().flat_map(|(.., tables)| tables.concat()).collect();
    for token in expected {
        let token = token.trim_matches('"');
        if !covered.contains(&token) {
            phrases.push(match token {
                "integer" | "real" => "a number".to_string(),
                "string" | "unterminated" => "a string".to_string(),
                _ => format!("`{token}`"),
            });
        }
    }
    phrases.dedup();
    if phrases.len() > 6 {
        phrases.truncate(6);
        phrases.push("..".to_string());
    }
    match phrases.split_last() {
        None => "nothing more".to_string(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// Tokens that are names.
const NAME: &[&str] = &["name", "keep", "form"];

/// Further tokens that begin an expression.
const EXPRESSION: &[&str] =
    &["integer", "real", "string", "unterminated", "true", "false", "(", "[", "grad", "if", "scan", "-", "not"];

/// Further tokens that begin a statement.
const STATEMENT: &[&str] = &["in", "param", "state", "let", "next", "yield", "out", "minimize", "repeat"];

/// Tokens that go on with an expression.
const OPERATOR: &[&str] = &[
    "or", "xor", "and", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "//", "%", "@", "^", "(", "[", ".", "via",
];

/// Lines of the `##` comment directly above a place, without the marks.
fn docs_above(text: &str, start: usize) -> Vec<String> {
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let mut docs: Vec<String> = text[..line_start]
        .lines()
        .rev()
        .map_while(|line| line.trim().strip_prefix("##"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_string())
        .collect();
    docs.reverse();
    docs
}

fn with_docs(mut item: Item, docs: Vec<String>) -> Item {
    match &mut item {
        Item::Layer(function) | Item::Function(function) => function.docs = docs,
        Item::Rule(rule) => rule.docs = docs,
        Item::Optimizer(optimizer) => optimizer.docs = docs,
        Item::Model(model) => model.docs = docs,
        Item::Train(train) => train.docs = docs,
    }
    item
}
