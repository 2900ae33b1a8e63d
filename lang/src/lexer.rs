//! Text to tokens.
//!
//! Expects: any text.
//! Guarantees: never fails; what is no token is reported and stands as [`Token::Unknown`], which no rule of the grammar
//! accepts. [`Token::Newline`] stands exactly where a line end (or a `;`) separates two statements: the line ends that
//! are blanks are gone. Comments are kept apart.
//! Leaves out: the escapes of strings and the values of numbers stay text.

use crate::diagnostics::Diagnostic;
use crate::tree::{FileId, Span};
use logos::Logos;

/// A token.
#[allow(missing_docs, reason = "keywords and signs are named after themselves")]
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
// A byte order mark is a blank.
#[logos(skip r"[ \t\r\u{FEFF}]+")]
pub enum Token<'a> {
    #[regex("#[^\n]*", allow_greedy = true)]
    Comment,
    /// A line end or `;` that separates statements.
    #[token("\n")]
    Newline,
    #[token(";")]
    Semicolon,
    /// A run of characters that begin no token.
    Unknown,

    #[regex("[A-Za-z_][A-Za-z0-9_]*")]
    Name(&'a str),
    #[regex("[0-9][0-9_]*")]
    Integer(&'a str),
    #[regex(r"[0-9][0-9_]*\.[0-9][0-9_]*([eE][+-]?[0-9]+)?")]
    #[regex(r"[0-9][0-9_]*[eE][+-]?[0-9]+")]
    Real(&'a str),
    /// With its quotes.
    #[regex(r#""([^"\\\n]|\\[^\n])*""#)]
    String(&'a str),
    #[regex(r#""([^"\\\n]|\\[^\n])*"#)]
    UnterminatedString(&'a str),

    #[token("use")]
    Use,
    #[token("layer")]
    Layer,
    #[token("fn")]
    Fn,
    #[token("exact")]
    Exact,
    #[token("estimator")]
    Estimator,
    #[token("for")]
    For,
    #[token("exact_for")]
    ExactFor,
    #[token("optimizer")]
    Optimizer,
    #[token("model")]
    Model,
    #[token("train")]
    Train,
    #[token("in")]
    In,
    #[token("param")]
    Param,
    #[token("state")]
    State,
    #[token("let")]
    Let,
    #[token("next")]
    Next,
    #[token("yield")]
    Yield,
    #[token("out")]
    Out,
    #[token("minimize")]
    Minimize,
    #[token("over")]
    Over,
    #[token("using")]
    Using,
    #[token("keep")]
    Keep,
    #[token("form")]
    Form,
    #[token("grad")]
    Grad,
    #[token("repeat")]
    Repeat,
    #[token("as")]
    As,
    #[token("if")]
    If,
    #[token("else")]
    Else,
    #[token("scan")]
    Scan,
    #[token("via")]
    Via,
    #[token("and")]
    And,
    #[token("or")]
    Or,
    #[token("not")]
    Not,
    #[token("xor")]
    Xor,
    #[token("true")]
    True,
    #[token("false")]
    False,

    #[token("(")]
    LeftParen,
    #[token(")")]
    RightParen,
    #[token("[")]
    LeftBracket,
    #[token("]")]
    RightBracket,
    #[token("{")]
    LeftBrace,
    #[token("}")]
    RightBrace,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token(".")]
    Dot,
    #[token("..")]
    DotDot,
    #[token("~")]
    Tilde,
    #[token("=")]
    Assign,
    #[token("=>")]
    FatArrow,
    #[token("->")]
    Arrow,
    #[token("==")]
    Equal,
    #[token("!=")]
    NotEqual,
    #[token("<")]
    Less,
    #[token("<=")]
    LessEqual,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterEqual,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("**")]
    StarStar,
    #[token("/")]
    Slash,
    #[token("//")]
    SlashSlash,
    #[token("%")]
    Percent,
    #[token("@")]
    At,
    #[token("^")]
    Caret,
}

/// A token between its first byte and the byte after it.
pub type Spanned<'a> = (u32, Token<'a>, u32);

/// What [`lex`] finds.
#[derive(Debug, Default)]
pub struct Lexed<'a> {
    /// The tokens that the grammar sees.
    pub tokens: Vec<Spanned<'a>>,
    /// Every comment, from its `#` to the end of its line.
    pub comments: Vec<Span>,
    /// Errors.
    pub diagnostics: Vec<Diagnostic>,
}

/// Cuts a text into tokens.
pub fn lex(text: &str, file: FileId) -> Lexed<'_> {
    let mut lexed = Lexed::default();
    let mut layout = Layout::default();
    for (result, range) in Token::lexer(text).spanned() {
        let span = Span { file, start: range.start as u32, end: range.end as u32 };
        let token = match result {
            Ok(Token::Comment) => {
                lexed.comments.push(span);
                continue;
            }
            Ok(Token::UnterminatedString(content)) => {
                lexed.diagnostics.push(
                    Diagnostic::error("BP0002", "string without an end", span, "the line ends before the string does")
                        .with_help("put a `\"` at its end; a line end inside a string is written `\\n`"),
                );
                Token::UnterminatedString(content)
            }
            Ok(token) => token,
            Err(()) => Token::Unknown,
        };
        if token == Token::Unknown
            && let Some((_, Token::Unknown, end)) = lexed.tokens.last_mut()
            && *end == span.start
        {
            *end = span.end;
            continue;
        }
        layout.push(&mut lexed.tokens, (span.start, token, span.end));
    }
    while let Some((_, Token::Newline, _)) = lexed.tokens.last() {
        lexed.tokens.pop();
    }
    for (start, token, end) in &lexed.tokens {
        if *token == Token::Unknown {
            let span = Span { file, start: *start, end: *end };
            let found = &text[*start as usize..*end as usize];
            let help = match found {
                "!" => "negation is written `not`",
                "&" | "&&" => "both conditions together are written `and`",
                "|" | "||" => "one condition or the other is written `or`",
                "'" => "strings stand in double quotes",
                "?" => "a choice is written `if condition { a } else { b }`, or `where(condition, a, b)` elementwise",
                "“" | "”" | "„" | "‘" | "’" => "strings stand in straight quotes: `\"text\"`",
                "−" | "–" | "—" => "minus is written `-`",
                "×" | "·" => "a product is written `*`",
                "÷" => "a quotient is written `/`",
                "≤" => "it is written `<=`",
                "≥" => "it is written `>=`",
                "≠" => "it is written `!=`",
                "→" => "it is written `->`",
                "\u{a0}" => "it is a blank that does not break lines; write a plain one",
                letters if letters.chars().all(char::is_alphabetic) => "names hold the letters a to z, digits and `_`",
                _ => "take it out; text may hold any character inside `\"..\"` and after `#`",
            };
            lexed.diagnostics.push(
                Diagnostic::error("BP0001", format!("`{found}` is no part of the language"), span, "not understood")
                    .with_help(help),
            );
        }
    }
    lexed.diagnostics.sort_by_key(|diagnostic| diagnostic.primary.0.start);
    lexed
}

/// Decides which line ends separate statements.
#[derive(Default)]
struct Layout<'a> {
    /// The brackets that are open, innermost last.
    open: Vec<Token<'a>>,
    /// Whether a line end was left out just before.
    skipped_newline: bool,
}

impl<'a> Layout<'a> {
    fn push(&mut self, tokens: &mut Vec<Spanned<'a>>, (start, token, end): Spanned<'a>) {
        let last = tokens.last().map(|(_, token, _)| *token);
        match token {
            Token::Newline if matches!(self.open.last(), Some(Token::LeftParen | Token::LeftBracket)) => {
                self.skipped_newline = true;
                return;
            }
            Token::Newline | Token::Semicolon => {
                let blank = match last {
                    None | Some(Token::Newline | Token::LeftBrace) => true,
                    Some(last) => token == Token::Newline && continues_after(last),
                };
                if !blank {
                    tokens.push((start, Token::Newline, end));
                }
                return;
            }
            Token::LeftParen | Token::LeftBracket | Token::LeftBrace => self.open.push(token),
            Token::RightParen | Token::RightBracket => {
                if matches!(self.open.last(), Some(Token::LeftParen | Token::LeftBracket)) {
                    self.open.pop();
                }
            }
            // A brace ends whatever bracket was forgotten inside it.
            Token::RightBrace => while !matches!(self.open.pop(), None | Some(Token::LeftBrace)) {},
            // So does a new line with a word that begins a statement: what follows is understood again.
            _ if self.skipped_newline && (begins_declaration(token) || begins_statement(token)) => {
                let kept = self.open.iter().rposition(|open| *open == Token::LeftBrace).map_or(0, |index| index + 1);
                if kept < self.open.len() {
                    self.open.truncate(kept);
                    let line_end = tokens.last().map_or(start, |(_, _, end)| *end);
                    tokens.push((line_end, Token::Newline, line_end));
                }
            }
            _ => {}
        }
        self.skipped_newline = false;
        if continues_before(token) && last == Some(Token::Newline) {
            tokens.pop();
        }
        tokens.push((start, token, end));
    }
}

/// Whether a line end after this token is a blank.
fn continues_after(token: Token<'_>) -> bool {
    use Token::*;
    matches!(token, Comma | Tilde | Assign | FatArrow | Arrow | And | Or | Xor | Not | Via | Over | Using)
        || is_operator(token)
}

fn is_operator(token: Token<'_>) -> bool {
    use Token::*;
    is_comparison(token) || matches!(token, Plus | Minus | Star | Slash | SlashSlash | Percent | At | Caret)
}

/// Whether this is a word that no name can be.
pub fn is_keyword(token: Token<'_>) -> bool {
    use Token::*;
    begins_declaration(token)
        || begins_statement(token)
        || matches!(
            token,
            For | ExactFor | In | Over | Using | Grad | As | If | Else | Scan | Via | And | Or | Not | Xor
        )
        || matches!(token, True | False)
}

/// Whether this is a sign between two compared values.
pub fn is_comparison(token: Token<'_>) -> bool {
    use Token::*;
    matches!(token, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
}

/// Whether a line end before this token is a blank.
fn continues_before(token: Token<'_>) -> bool {
    matches!(token, Token::Via | Token::Over | Token::Using | Token::Else | Token::RightBrace)
}

/// Whether this word, first on its line, begins a declaration.
pub fn begins_declaration(token: Token<'_>) -> bool {
    use Token::*;
    matches!(token, Use | Layer | Fn | Exact | Estimator | Optimizer | Model | Train)
}

/// Whether this word, first on its line, can only begin a statement.
pub fn begins_statement(token: Token<'_>) -> bool {
    use Token::*;
    matches!(token, Param | State | Let | Next | Yield | Out | Minimize | Repeat)
}
