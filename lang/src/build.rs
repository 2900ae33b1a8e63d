//! Tree nodes out of the parts that the grammar found.
//!
//! Expects: to be called from the grammar's actions.
//! Guarantees: every node gets the span from its first to its last token.
//! Leaves out: everything that needs more than the parts at hand.

use crate::tree::*;

/// One declaration at the top of a file.
pub enum Declaration {
    /// A `use` line.
    Use(Use),
    /// Everything else.
    Item(Box<Item>),
}

/// Name, parameters, result types and body of a function.
pub type FunctionParts = (Name, Vec<Param>, Vec<Type>, Block);

/// What is grammatical and still no program.
#[derive(Debug)]
pub enum Malformed {
    /// `via` after something that is neither a call nor a scan.
    Via {
        /// The word `via`.
        at: Span,
        /// What stands before it.
        operand: Span,
    },
    /// An unknown escape in a string.
    Escape {
        /// The two characters.
        at: Span,
    },
}

pub fn span(file: FileId, start: u32, end: u32) -> Span {
    Span { file, start, end }
}

pub fn name(file: FileId, start: u32, text: &str, end: u32) -> Name {
    Name { text: text.to_string(), span: span(file, start, end) }
}

pub fn function((name, params, result, body): FunctionParts, file: FileId, start: u32, end: u32) -> Function {
    Function { docs: Vec::new(), name, params, result, body, span: span(file, start, end) }
}

pub fn block(file: FileId, start: u32, statements: Vec<Statement>, end: u32) -> Block {
    Block { statements, span: span(file, start, end) }
}

pub fn open_if(
    (condition, then, otherwise): (Expr, Block, Option<Block>),
    file: FileId,
    start: u32,
    end: u32,
) -> Statement {
    Statement::If { condition, then, otherwise, span: span(file, start, end) }
}

/// `else if ..` is `else { if .. }`.
pub fn else_if(parts: (Expr, Block, Option<Block>), file: FileId, start: u32, end: u32) -> Block {
    Block { span: span(file, start, end), statements: vec![open_if(parts, file, start, end)] }
}

/// A line that is an expression: the value of its block, or an `if` statement.
pub fn expression_statement(value: Expr, file: FileId, start: u32, end: u32) -> Statement {
    let span = span(file, start, end);
    match value.kind {
        ExprKind::If(condition, then, otherwise) => {
            Statement::If { condition: *condition, then: *then, otherwise: Some(*otherwise), span }
        }
        _ => Statement::Result { value, span },
    }
}

pub fn if_kind((condition, then, otherwise): (Expr, Block, Block)) -> ExprKind {
    ExprKind::If(Box::new(condition), Box::new(then), Box::new(otherwise))
}

pub fn expr(file: FileId, start: u32, kind: ExprKind, end: u32) -> Expr {
    Expr { kind, span: span(file, start, end) }
}

pub fn name_expr(name: Name) -> Expr {
    Expr { kind: ExprKind::Name(name.text), span: name.span }
}

pub fn binary(left: Expr, operator: BinaryOperator, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    Expr { kind: ExprKind::Binary(operator, Box::new(left), Box::new(right)), span }
}

pub fn unary(file: FileId, start: u32, operator: UnaryOperator, operand: Expr, end: u32) -> Expr {
    expr(file, start, ExprKind::Unary(operator, Box::new(operand)), end)
}

pub fn via(call: Expr, at: Span, rule: RuleUse, file: FileId, start: u32, end: u32) -> Result<Expr, Failed<'static>> {
    if !matches!(call.kind, ExprKind::Call(..) | ExprKind::Scan(_)) {
        return Err(lalrpop_util::ParseError::User { error: Malformed::Via { at, operand: call.span } });
    }
    Ok(expr(file, start, ExprKind::Via(Box::new(call), rule), end))
}

/// How an action refuses.
pub type Failed<'a> = lalrpop_util::ParseError<u32, crate::lexer::Token<'a>, Malformed>;

pub fn grad_call(callee: Span, args: Vec<Arg>) -> ExprKind {
    ExprKind::Call(Box::new(Expr { kind: ExprKind::Name("grad".to_string()), span: callee }), args)
}

pub fn prepend<T>(first: T, mut rest: Vec<T>) -> Vec<T> {
    rest.insert(0, first);
    rest
}

/// Segments of a selector: `blocks.0.1` reads as a name and the real `0.1`.
pub fn selector(texts: Vec<&str>, file: FileId, start: u32, end: u32) -> Selector {
    let segments = texts.iter().flat_map(|text| text.split('.')).map(str::to_string).collect();
    Selector { segments, span: span(file, start, end) }
}

/// The content of a quoted string that begins at `start`.
pub fn unescape<'a>(quoted: &str, file: FileId, start: u32) -> Result<String, Failed<'a>> {
    let mut content = String::new();
    let mut characters = quoted[1..quoted.len() - 1].char_indices();
    while let Some((offset, character)) = characters.next() {
        if character != '\\' {
            content.push(character);
            continue;
        }
        let Some((_, escaped)) = characters.next() else {
            unreachable!("bug in bpc: the lexer takes a backslash with its character")
        };
        content.push(match escaped {
            'n' => '\n',
            't' => '\t',
            '"' | '\\' => escaped,
            _ => {
                let from = start + 1 + offset as u32;
                let at = span(file, from, from + 1 + escaped.len_utf8() as u32);
                return Err(lalrpop_util::ParseError::User { error: Malformed::Escape { at } });
            }
        });
    }
    Ok(content)
}
