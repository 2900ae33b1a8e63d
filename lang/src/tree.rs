//! The syntax tree of `.bp`: what the grammar builds and every later stage of the front end reads.
//!
//! Expects: nothing; these are plain data types.
//! Guarantees: every node that a diagnostic may point at carries its [`Span`]; spelling is kept (number
//! literals as text), so that the tree prints back to a program with the same tokens.
//! Leaves out: names are not resolved and types are not checked here; see `names` and the compiler's lowering.

/// A source file of one compilation; an index into [`crate::source::Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A half-open range of bytes in a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The smallest span that covers both; the two must lie in one file, else `self` is returned.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// An identifier where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// One file: its imports and declarations in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// The file it was read from.
    pub file: FileId,
    /// `use` lines.
    pub uses: Vec<Use>,
    /// Declarations.
    pub items: Vec<Item>,
}

/// `use std.nn { dense, relu }`; without a list every public name of the module is imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The module path, one name a segment.
    pub path: Vec<Name>,
    /// The names asked for; `None` for all.
    pub names: Option<Vec<Name>>,
    /// The whole line.
    pub span: Span,
}

/// A declaration.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `layer dense(x: f[.., I], units O) -> f[.., O] { .. }`
    Layer(Function),
    /// `fn softmax(x: f[.., K]) -> f[.., K] { .. }`
    Function(Function),
    /// `exact for tanh(x) -> y { .. }` or `estimator reinmax(..) for sample_onehot(..) -> d { .. }`
    Rule(Rule),
    /// `optimizer adam(lr: f32 = 1e-3) for w: f[..], g { .. }`
    Optimizer(Optimizer),
    /// `model digits { .. }`
    Model(Model),
    /// `train digits { .. }`
    Train(Train),
}

impl Item {
    /// The name by which other text speaks of it; rules and `train` blocks have none.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Item::Layer(function) | Item::Function(function) => Some(&function.name),
            Item::Optimizer(optimizer) => Some(&optimizer.name),
            Item::Model(model) => Some(&model.name),
            Item::Rule(_) | Item::Train(_) => None,
        }
    }

    /// Whether that is its name.
    pub fn is_called(&self, name: &str) -> bool {
        self.name().is_some_and(|own| own.text == name)
    }
}

/// A function or a layer; only a layer's body may hold `param` statements.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Lines of the `##` comment above, without the marks.
    pub docs: Vec<String>,
    /// Its name.
    pub name: Name,
    /// Its parameters.
    pub params: Vec<Param>,
    /// The declared result type; several for a tuple, none where it is inferred.
    pub result: Vec<Type>,
    /// The statements; the last one is a [`Statement::Result`] unless the function is broken.
    pub body: Block,
    /// From the keyword to the closing brace.
    pub span: Span,
}

/// One parameter of a declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The name callers use in keyword arguments.
    pub name: Name,
    /// What it takes.
    pub kind: ParamKind,
    /// The value taken when the caller gives none.
    pub default: Option<Expr>,
}

/// What a parameter takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamKind {
    /// `x: f[.., K]`
    Typed(Type),
    /// `units O`: a whole number that is bound as the dim `O`.
    Dim(Name),
    /// `x`: any tensor; its type is known only where the declaration is used.
    Untyped,
}

/// A type as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// `f32`, `bool`, .. or a class: `f` any float, `t` any dtype; or a static type: `int`, `real`, `flag`,
    /// `string`, `dims`, `fn`.
    pub element: Name,
    /// The dims between brackets; `None` where no brackets stand (a scalar tensor or a static type).
    pub shape: Option<Vec<Dim>>,
    /// The whole type.
    pub span: Span,
}

/// One entry of a shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Dim {
    /// `..` any leading dims, the same wherever it stands in one signature; `..name` names them or spreads a
    /// `dims` value.
    Rest(Option<Name>, Span),
    /// A size: a number, a name, or sums and products of them.
    Size(Expr),
}

/// Statements between braces.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// In order.
    pub statements: Vec<Statement>,
    /// With the braces.
    pub span: Span,
}

/// A statement. Which ones may stand where (a `param` only in layers and models, `minimize` only in models,
/// `keep` only in rules, ..) is the checker's business, so that the message can say it in words.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `in image: f32[B, 64]`
    Input { name: Name, ty: Type, span: Span },
    /// `param weight: f[O, I] ~ kaiming_uniform`, `param stiffness: f64[] in positive ~ constant(2)`
    Param { name: Name, ty: Type, constraint: Option<Expr>, init: Option<Expr>, span: Span },
    /// `state m: f[..] = 0`; without a type it has the type of the optimised tensor.
    State { name: Name, ty: Option<Type>, init: Expr, span: Span },
    /// `let y = e`, `let (a, b) = e`
    Let { names: Vec<Name>, value: Expr, span: Span },
    /// `next w = e`
    Next { name: Name, value: Expr, span: Span },
    /// `yield e`
    Yield { value: Expr, span: Span },
    /// `out accuracy = e`
    Output { name: Name, value: Expr, span: Span },
    /// `minimize e over a.*, b using adam(lr = 1e-3)`
    Minimize { value: Expr, over: Vec<Selector>, using: Expr, span: Span },
    /// `keep xs = e`; without a value, `keep x` keeps x whole.
    Keep { name: Name, value: Option<Expr>, span: Span },
    /// `grad x = e`
    Grad { name: Name, value: Expr, span: Span },
    /// `form forward { .. }`: one of several ways to compute all cotangents of an exact rule.
    Form { name: Name, body: Block, span: Span },
    /// `grad { linear in encoder.* => wht(k = 2) }`
    GradScope { choices: Vec<GradChoice>, span: Span },
    /// `repeat block 4 as i { .. }`; the name prefixes parameters (`block.0.weight`), `turn` is bound to the number
    /// of the turn.
    Repeat { name: Option<Name>, count: Expr, turn: Option<Name>, body: Block, span: Span },
    /// `if C { .. } else { .. }` on a compile-time condition; every `if` that begins a line is this one, also where
    /// it gives the value of its block.
    If { condition: Expr, then: Block, otherwise: Option<Block>, span: Span },
    /// The value of a function or layer: an expression on a line of its own, last in its block.
    Result { value: Expr, span: Span },
}

/// `linear in encoder.*.mlp => wht(k = 2)`
#[derive(Clone, Debug, PartialEq)]
pub struct GradChoice {
    /// The function or primitive whose calls are meant.
    pub target: Name,
    /// Where; everywhere below the line when absent.
    pub scope: Option<Selector>,
    /// The rule: a name or a call.
    pub rule: RuleUse,
    /// The whole line.
    pub span: Span,
}

/// A dotted pattern over parameter and binding names; `*` matches one segment, `**` any number.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// Its segments.
    pub segments: Vec<String>,
    /// The whole pattern.
    pub span: Span,
}

/// A rule chosen for a call: `reinmax(temperature = 1.1)`.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleUse {
    /// The rule.
    pub name: Name,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// The whole.
    pub span: Span,
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// The keyword, if one stands.
    pub name: Option<Name>,
    /// The value.
    pub value: Expr,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `128`, kept as text (`_` allowed between digits).
    Integer(String),
    /// `1e-3`, kept as text.
    Real(String),
    /// `"data/digits.csv"`, without quotes, escapes resolved.
    String(String),
    /// `true`, `false`
    Bool(bool),
    /// A name.
    Name(String),
    /// `x.shape`
    Field(Box<Expr>, Name),
    /// `dense(image, 128)`
    Call(Box<Expr>, Vec<Arg>),
    /// `f(x) via rule(..)`; what stands before `via` is a call or a scan.
    Via(Box<Expr>, RuleUse),
    /// `-x`, `not x`
    Unary(UnaryOperator, Box<Expr>),
    /// `a + b`
    Binary(BinaryOperator, Box<Expr>, Box<Expr>),
    /// `x[0, 1:3, .., -1]`
    Index(Box<Expr>, Vec<IndexItem>),
    /// `[1, 2, 3]`
    List(Vec<Expr>),
    /// `..lead` inside a list: the entries of a list or dims value.
    Spread(Box<Expr>),
    /// `(a, b)`
    Tuple(Vec<Expr>),
    /// `if C { a } else { b }` on a compile-time condition.
    If(Box<Expr>, Box<Block>, Box<Block>),
    /// `grad y` inside a rule: the cotangent of the result.
    Cotangent(Name),
    /// `scan s = s0, v = v0 over x in xs, t in range(T) { next s = ..; yield .. }`
    Scan(Box<Scan>),
}

/// A loop over the leading axis of its sequences with carried state.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// Carried names and their first values.
    pub carries: Vec<(Name, Expr)>,
    /// Loop names and the sequences they walk: a tensor, or `range(T)`.
    pub sequences: Vec<(Name, Expr)>,
    /// The body.
    pub body: Block,
}

/// A prefix operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOperator {
    /// `-`
    Negate,
    /// `not`
    Not,
}

/// An infix operator, from loosest to tightest binding; `^` alone is right associative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOperator {
    /// `or`
    Or,
    /// `xor`
    Xor,
    /// `and`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `//` of whole numbers
    FloorDivide,
    /// `%` of whole numbers
    Remainder,
    /// `@`
    MatrixMultiply,
    /// `^`
    Power,
}

/// One place between the brackets of `x[..]`.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "few of them live at a time")]
pub enum IndexItem {
    /// `3`, `-1`: takes one element and drops the axis.
    At(Expr),
    /// `1:5`, `:n`, `::2`
    Range { start: Option<Expr>, stop: Option<Expr>, step: Option<Expr>, span: Span },
    /// `..`: all the axes that the other places do not speak of.
    Rest(Span),
}

/// A gradient rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Lines of the `##` comment above.
    pub docs: Vec<String>,
    /// Whether it claims the exact derivative (`exact`) or an estimate (`estimator`).
    pub kind: RuleKind,
    /// Its name; an `exact` rule may have none: then it is the derivative of its target.
    pub name: Option<Name>,
    /// Its own parameters.
    pub params: Vec<Param>,
    /// The function or primitive it differentiates.
    pub target: Name,
    /// The target's parameters as the rule sees them.
    pub target_params: Vec<Param>,
    /// The names of the target's results.
    pub results: Vec<Name>,
    /// What an estimator is exact for.
    pub exact_for: Option<Claim>,
    /// `let`, `keep` and `grad` lines; or the body of a function, for a rule that replaces the value of its target.
    pub body: Block,
    /// The whole declaration.
    pub span: Span,
}

/// `exact_for quadratic if temperature == 1`
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The class of functions: `linear`, `quadratic` or `nothing`.
    pub class: Name,
    /// Where the rule's own parameters decide whether it holds.
    pub condition: Option<Expr>,
}

impl Rule {
    /// Whether it gives the value of its target instead of cotangents.
    pub fn replaces(&self) -> bool {
        self.body.has_value()
    }
}

impl Block {
    /// Whether the last statement is a value.
    pub fn has_value(&self) -> bool {
        match self.statements.last() {
            Some(Statement::Result { value, .. }) => !value.is_check(),
            Some(Statement::If { then, otherwise: Some(otherwise), .. }) => then.has_value() && otherwise.has_value(),
            _ => false,
        }
    }
}

impl Expr {
    /// `assert(..)` and `warn(..)` are lines of their own and no values.
    pub fn is_check(&self) -> bool {
        matches!(&self.kind, ExprKind::Call(callee, _)
            if matches!(&callee.kind, ExprKind::Name(name) if name == "assert" || name == "warn"))
    }
}

/// What a rule claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// The derivative; held to finite differences.
    Exact,
    /// An estimate; its bias is the method's business.
    Estimator,
}

/// An update rule of one parameter tensor, or of all of them as one vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    /// Lines of the `##` comment above.
    pub docs: Vec<String>,
    /// Its name.
    pub name: Name,
    /// Its hyperparameters.
    pub params: Vec<Param>,
    /// The updated tensor and its type.
    pub weight: Param,
    /// The name of the gradient; before a Jacobian, of the residual.
    pub gradient: Name,
    /// The name of the Jacobian of the residual, for an optimizer of all parameters at once.
    pub jacobian: Option<Name>,
    /// `state`, `let` and `next` lines.
    pub body: Block,
    /// The whole declaration.
    pub span: Span,
}

/// A model: one training step and its outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Lines of the `##` comment above.
    pub docs: Vec<String>,
    /// Its name.
    pub name: Name,
    /// Dims or settings with defaults: `model vae(latent: int = 8) { .. }`.
    pub params: Vec<Param>,
    /// The statements.
    pub body: Block,
    /// The whole declaration.
    pub span: Span,
}

/// What `bpc train` does with a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Lines of the `##` comment above.
    pub docs: Vec<String>,
    /// The model.
    pub model: Name,
    /// `data csv(..)`, `epochs 20`, `batch 64`, `seed 0`
    pub entries: Vec<(Name, Expr)>,
    /// The whole declaration.
    pub span: Span,
}
