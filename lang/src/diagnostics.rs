//! Diagnostics as data: what is wrong, where, and how to mend it; and how that is printed.
//!
//! Expects: spans that lie in the given [`Sources`].
//! Guarantees: the text depends on nothing but the diagnostic and the sources (no terminal, no clock).
//! Leaves out: the codes themselves are listed in `docs/errors.md`, each with an example.

use crate::source::Sources;
use crate::tree::Span;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is compiled.
    Error,
    /// The program compiles and probably does not mean what it says.
    Warning,
}

/// One thing to tell the author of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Stable code, `BP0101`.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// A plain sentence without a full stop.
    pub title: String,
    /// The guilty place and what to say there.
    pub primary: (Span, String),
    /// Other places that explain it (where a size came from).
    pub secondary: Vec<(Span, String)>,
    /// Further sentences.
    pub notes: Vec<String>,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at one place.
    pub fn error(code: &'static str, title: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: Severity::Error,
            title: title.into(),
            primary: (span, label.into()),
            secondary: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// The same as a warning.
    pub fn warning(code: &'static str, title: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, title, span, label) }
    }

    /// Adds another place.
    pub fn with_label(mut self, span: Span, label: impl Into<String>) -> Self {
        self.secondary.push((span, label.into()));
        self
    }

    /// Adds a sentence.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says how to mend it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Prints a diagnostic in rustc's look, with colour codes when `colour` is set.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(&diagnostic.title).id(diagnostic.code));
    let mut files = vec![diagnostic.primary.0.file];
    for (span, _) in &diagnostic.secondary {
        if !files.contains(&span.file) {
            files.push(span.file);
        }
    }
    for file in files {
        let text = sources.text(file);
        let mut snippet = Snippet::source(text).path(sources.path(file));
        let (primary, label) = &diagnostic.primary;
        if primary.file == file {
            snippet = snippet.annotation(AnnotationKind::Primary.span(clamp(*primary, text)).label(label));
        }
        for (span, label) in diagnostic.secondary.iter().filter(|(span, _)| span.file == file) {
            snippet = snippet.annotation(AnnotationKind::Context.span(clamp(*span, text)).label(label));
        }
        group = group.element(snippet);
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group]).to_string()
}

fn clamp(span: Span, text: &str) -> std::ops::Range<usize> {
    let start = (span.start as usize).min(text.len());
    start..(span.end as usize).clamp(start, text.len())
}
