//! Tokens and trees as text, for `bpc compile --emit tokens|ast`.
//!
//! Expects: trees from the parser.
//! Guarantees: the printed tree is a program that reads back as the same tree.
//! Leaves out: comments other than documentation, and the author's own line breaks.

use crate::lexer;
use crate::source::Sources;
use crate::tree::*;

/// A body of one short line stays on the line of its brace.
const SHORT: usize = 60;

/// One line a token: place, kind and text.
pub fn tokens(sources: &Sources, file: FileId) -> String {
    let text = sources.text(file);
    let mut out = String::new();
    for (start, token, end) in lexer::lex(text, file).tokens {
        let (line, column) = sources.line_column(file, start);
        let debug = format!("{token:?}");
        let kind = debug.split('(').next().unwrap_or_default();
        let content = text[start as usize..end as usize].trim();
        out.push_str(format!("{line}:{column} {kind} {content}").trim_end());
        out.push('\n');
    }
    out
}

/// A module as program text.
pub fn tree(module: &Module) -> String {
    let mut parts: Vec<String> = Vec::new();
    let uses: Vec<String> = module.uses.iter().map(use_line).collect();
    if !uses.is_empty() {
        parts.push(uses.join("\n"));
    }
    parts.extend(module.items.iter().map(item));
    let mut out = parts.join("\n\n");
    out.push('\n');
    out
}

fn use_line(line: &Use) -> String {
    let path: Vec<&str> = line.path.iter().map(|name| name.text.as_str()).collect();
    match &line.names {
        None => format!("use {}", path.join(".")),
        Some(wanted) => format!("use {} {{ {} }}", path.join("."), names(wanted)),
    }
}

fn item(item: &Item) -> String {
    match item {
        Item::Function(function) => documented(&function.docs, self::function("fn", function)),
        Item::Layer(function) => documented(&function.docs, self::function("layer", function)),
        Item::Rule(rule) => documented(&rule.docs, self::rule(rule)),
        Item::Optimizer(optimizer) => {
            let head = format!("optimizer {}({}) for ", optimizer.name.text, params(&optimizer.params));
            let jacobian = optimizer.jacobian.as_ref().map(|name| format!(", {}", name.text)).unwrap_or_default();
            let given = format!("{}, {}{jacobian}", param(&optimizer.weight), optimizer.gradient.text);
            let tail = format!("{given} {}", block(&optimizer.body));
            documented(&optimizer.docs, head + &tail)
        }
        Item::Model(model) => {
            let settings = if model.params.is_empty() { String::new() } else { format!("({})", params(&model.params)) };
            documented(&model.docs, format!("model {}{settings} {}", model.name.text, block(&model.body)))
        }
        Item::Train(train) => {
            let lines: Vec<String> =
                train.entries.iter().map(|(key, value)| format!("{} {}", key.text, expr(value, LOOSEST))).collect();
            documented(&train.docs, format!("train {} {}", train.model.text, braces(&lines)))
        }
    }
}

fn documented(docs: &[String], text: String) -> String {
    let mut out = String::new();
    for line in docs {
        out.push_str(format!("## {line}").trim_end());
        out.push('\n');
    }
    out + &text
}

fn function(keyword: &str, function: &Function) -> String {
    let result = match function.result.as_slice() {
        [] => String::new(),
        [one] => format!(" -> {}", ty(one)),
        many => format!(" -> ({})", many.iter().map(ty).collect::<Vec<_>>().join(", ")),
    };
    format!("{keyword} {}({}){result} {}", function.name.text, params(&function.params), block(&function.body))
}

fn rule(rule: &Rule) -> String {
    let mut out = String::from(match rule.kind {
        RuleKind::Exact => "exact",
        RuleKind::Estimator => "estimator",
    });
    if let Some(name) = &rule.name {
        out.push_str(&format!(" {}", name.text));
    }
    if !rule.params.is_empty() {
        out.push_str(&format!("({})", params(&rule.params)));
    }
    out.push_str(&format!(" for {}({}) -> {}", rule.target.text, params(&rule.target_params), results(&rule.results)));
    if let Some(claim) = &rule.exact_for {
        out.push_str(&format!(" exact_for {}", claim.class.text));
        if let Some(condition) = &claim.condition {
            out.push_str(&format!(" if {}", expr(condition, LOOSEST)));
        }
    }
    format!("{out} {}", block(&rule.body))
}

fn results(results: &[Name]) -> String {
    match results {
        [one] => one.text.clone(),
        many => format!("({})", names(many)),
    }
}

fn names(names: &[Name]) -> String {
    names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(", ")
}

fn params(params: &[Param]) -> String {
    params.iter().map(param).collect::<Vec<_>>().join(", ")
}

fn param(param: &Param) -> String {
    let mut out = match &param.kind {
        ParamKind::Typed(kind) => format!("{}: {}", param.name.text, ty(kind)),
        ParamKind::Dim(dim) => format!("{} {}", param.name.text, dim.text),
        ParamKind::Untyped => param.name.text.clone(),
    };
    if let Some(default) = &param.default {
        out.push_str(&format!(" = {}", expr(default, LOOSEST)));
    }
    out
}

fn ty(ty: &Type) -> String {
    let Some(shape) = &ty.shape else { return ty.element.text.clone() };
    let dims: Vec<String> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Rest(None, _) => "..".to_string(),
            Dim::Rest(Some(name), _) => format!("..{}", name.text),
            Dim::Size(size) => expr(size, LOOSEST),
        })
        .collect();
    format!("{}[{}]", ty.element.text, dims.join(", "))
}

fn block(block: &Block) -> String {
    let lines: Vec<String> = block.statements.iter().map(statement).collect();
    braces(&lines)
}

/// Lines between braces.
fn braces(lines: &[String]) -> String {
    match lines {
        [] => "{ }".to_string(),
        [one] if one.len() <= SHORT && !one.contains('\n') => format!("{{ {one} }}"),
        _ => {
            let mut out = String::from("{\n");
            for line in lines.iter().flat_map(|statement| statement.lines()) {
                out.push_str("    ");
                out.push_str(line);
                out.push('\n');
            }
            out + "}"
        }
    }
}

fn statement(statement: &Statement) -> String {
    match statement {
        Statement::Input { name, ty, .. } => format!("in {}: {}", name.text, self::ty(ty)),
        Statement::Param { name, ty, constraint, init, .. } => {
            let part = |sign: &str, value: &Option<Expr>| {
                value.as_ref().map(|value| format!(" {sign} {}", expr(value, LOOSEST))).unwrap_or_default()
            };
            format!("param {}: {}{}{}", name.text, self::ty(ty), part("in", constraint), part("~", init))
        }
        Statement::State { name, ty, init, .. } => {
            let ty = ty.as_ref().map(|ty| format!(": {}", self::ty(ty)));
            format!("state {}{} = {}", name.text, ty.unwrap_or_default(), expr(init, LOOSEST))
        }
        Statement::Let { names, value, .. } => format!("let {} = {}", results(names), expr(value, LOOSEST)),
        Statement::Next { name, value, .. } => format!("next {} = {}", name.text, expr(value, LOOSEST)),
        Statement::Yield { value, .. } => format!("yield {}", expr(value, LOOSEST)),
        Statement::Output { name, value, .. } => format!("out {} = {}", name.text, expr(value, LOOSEST)),
        Statement::Minimize { value, over, using, .. } => {
            let over: Vec<String> = over.iter().map(selector).collect();
            let over = if over.is_empty() { String::new() } else { format!(" over {}", over.join(", ")) };
            format!("minimize {}{over} using {}", expr(value, LOOSEST), expr(using, LOOSEST))
        }
        Statement::Keep { name, value: None, .. } => format!("keep {}", name.text),
        Statement::Keep { name, value: Some(value), .. } => format!("keep {} = {}", name.text, expr(value, LOOSEST)),
        Statement::Grad { name, value, .. } => format!("grad {} = {}", name.text, expr(value, LOOSEST)),
        Statement::Form { name, body, .. } => format!("form {} {}", name.text, block(body)),
        Statement::GradScope { choices, .. } => {
            let lines: Vec<String> = choices.iter().map(choice).collect();
            format!("grad {}", braces(&lines))
        }
        Statement::Repeat { name, count, turn, body, .. } => {
            let name = name.as_ref().map(|name| format!("{} ", name.text)).unwrap_or_default();
            let turn = turn.as_ref().map(|turn| format!(" as {}", turn.text)).unwrap_or_default();
            format!("repeat {name}{}{turn} {}", expr(count, LOOSEST), block(body))
        }
        Statement::If { condition, then, otherwise, .. } => {
            let otherwise = otherwise.as_ref().map(|otherwise| format!(" else {}", block(otherwise)));
            format!("if {} {}{}", expr(condition, LOOSEST), block(then), otherwise.unwrap_or_default())
        }
        Statement::Result { value, .. } => expr(value, LOOSEST),
    }
}

fn choice(choice: &GradChoice) -> String {
    let scope = choice.scope.as_ref().map(|scope| format!(" in {}", selector(scope))).unwrap_or_default();
    format!("{}{scope} => {}", choice.target.text, rule_use(&choice.rule))
}

fn selector(selector: &Selector) -> String {
    selector.segments.join(".")
}

fn rule_use(rule: &RuleUse) -> String {
    if rule.args.is_empty() { rule.name.text.clone() } else { format!("{}({})", rule.name.text, args(&rule.args)) }
}

fn args(args: &[Arg]) -> String {
    let args = args.iter().map(|arg| match &arg.name {
        Some(name) => format!("{} = {}", name.text, expr(&arg.value, LOOSEST)),
        None => expr(&arg.value, LOOSEST),
    });
    args.collect::<Vec<_>>().join(", ")
}

// How tightly an expression holds together; the levels of the grammar.
const LOOSEST: u8 = 0;
const NOT: u8 = 4;
const NEGATION: u8 = 8;
const VIA: u8 = 10;
const POSTFIX: u8 = 11;
const ATOM: u8 = 12;

fn level(kind: &ExprKind) -> u8 {
    match kind {
        ExprKind::Binary(operator, ..) => sign(*operator).1,
        ExprKind::Unary(UnaryOperator::Not, _) => NOT,
        ExprKind::Unary(UnaryOperator::Negate, _) => NEGATION,
        ExprKind::Via(..) => VIA,
        ExprKind::Call(..) | ExprKind::Index(..) | ExprKind::Field(..) => POSTFIX,
        _ => ATOM,
    }
}

/// The sign of an operator and its level.
fn sign(operator: BinaryOperator) -> (&'static str, u8) {
    match operator {
        BinaryOperator::Or => ("or", 1),
        BinaryOperator::Xor => ("xor", 2),
        BinaryOperator::And => ("and", 3),
        BinaryOperator::Equal => ("==", 5),
        BinaryOperator::NotEqual => ("!=", 5),
        BinaryOperator::Less => ("<", 5),
        BinaryOperator::LessEqual => ("<=", 5),
        BinaryOperator::Greater => (">", 5),
        BinaryOperator::GreaterEqual => (">=", 5),
        BinaryOperator::Add => ("+", 6),
        BinaryOperator::Subtract => ("-", 6),
        BinaryOperator::Multiply => ("*", 7),
        BinaryOperator::Divide => ("/", 7),
        BinaryOperator::FloorDivide => ("//", 7),
        BinaryOperator::Remainder => ("%", 7),
        BinaryOperator::MatrixMultiply => ("@", 7),
        BinaryOperator::Power => ("^", 9),
    }
}

/// An expression, in parentheses where it holds together more loosely than its place wants.
fn expr(expr: &Expr, at_least: u8) -> String {
    let text = bare(&expr.kind);
    if level(&expr.kind) < at_least { format!("({text})") } else { text }
}

fn bare(kind: &ExprKind) -> String {
    match kind {
        ExprKind::Integer(text) | ExprKind::Real(text) | ExprKind::Name(text) => text.clone(),
        ExprKind::String(content) => quoted(content),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Field(base, field) => format!("{}.{}", expr(base, POSTFIX), field.text),
        ExprKind::Call(callee, args) => format!("{}({})", expr(callee, POSTFIX), self::args(args)),
        ExprKind::Via(call, rule) => format!("{} via {}", expr(call, POSTFIX), rule_use(rule)),
        ExprKind::Unary(UnaryOperator::Negate, operand) => format!("-{}", expr(operand, NEGATION)),
        ExprKind::Unary(UnaryOperator::Not, operand) => format!("not {}", expr(operand, NOT)),
        ExprKind::Binary(operator, left, right) => {
            let (sign, level) = sign(*operator);
            let (left_level, right_level) = match operator {
                BinaryOperator::Power => (VIA, NEGATION),
                // Comparisons do not chain.
                _ if level == 5 => (level + 1, level + 1),
                _ => (level, level + 1),
            };
            format!("{} {sign} {}", expr(left, left_level), expr(right, right_level))
        }
        ExprKind::Index(base, items) => {
            let items: Vec<String> = items.iter().map(index_item).collect();
            format!("{}[{}]", expr(base, POSTFIX), items.join(", "))
        }
        ExprKind::List(entries) => format!("[{}]", list(entries)),
        ExprKind::Spread(inner) => format!("..{}", expr(inner, POSTFIX)),
        ExprKind::Tuple(entries) if entries.len() == 1 => format!("({},)", list(entries)),
        ExprKind::Tuple(entries) => format!("({})", list(entries)),
        ExprKind::If(condition, then, otherwise) => {
            format!("if {} {} else {}", expr(condition, LOOSEST), block(then), block(otherwise))
        }
        ExprKind::Cotangent(result) => format!("grad {}", result.text),
        ExprKind::Scan(scan) => {
            let pairs = |pairs: &[(Name, Expr)], between: &str| {
                let pairs = pairs.iter().map(|(name, value)| format!("{}{between}{}", name.text, expr(value, LOOSEST)));
                pairs.collect::<Vec<_>>().join(", ")
            };
            let carries = pairs(&scan.carries, " = ");
            let blank = if carries.is_empty() { "" } else { " " };
            format!("scan {carries}{blank}over {} {}", pairs(&scan.sequences, " in "), block(&scan.body))
        }
    }
}

fn list(entries: &[Expr]) -> String {
    entries.iter().map(|entry| expr(entry, LOOSEST)).collect::<Vec<_>>().join(", ")
}

fn index_item(item: &IndexItem) -> String {
    let bound = |bound: &Option<Expr>| bound.as_ref().map(|bound| expr(bound, LOOSEST)).unwrap_or_default();
    match item {
        IndexItem::At(place) => expr(place, LOOSEST),
        IndexItem::Range { start, stop, step, .. } => {
            let step = step.as_ref().map(|step| format!(":{}", expr(step, LOOSEST))).unwrap_or_default();
            format!("{}:{}{step}", bound(start), bound(stop))
        }
        IndexItem::Rest(_) => "..".to_string(),
    }
}

fn quoted(content: &str) -> String {
    let mut out = String::from("\"");
    for character in content.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
