//! Which rule a call takes.
//!
//! Expects: the frame of the call on top of the stack of frames.
//! Guarantees: the command line wins over `via`, that over scopes, these over a nameless rule; an unknown rule is reported.
//! Leaves out: what the rule computes (`rule`).

use super::bind::Given;
use super::context::{Frame, FrameKind, Lowering, Outcome};
use super::minimize::matches_below;
use super::value::Value;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::parser::parse_rule;
use bpc_lang::program::{ItemId, ModuleId, Program, Target};
use bpc_lang::suggest::closest;
use bpc_lang::tree::{GradChoice, Rule, RuleUse, Span};

/// A rule that a call takes, with its arguments.
pub(super) struct Chosen<'p> {
    pub id: ItemId,
    pub rule: &'p Rule,
    pub given: Vec<Given>,
}

/// The choice from the command line that undoes every other.
const EXACT: &str = "exact";

/// Whether a choice is about a call of this name at this path.
fn concerns(choice: &GradChoice, name: &str, path: &[&str]) -> bool {
    let inside = choice.scope.as_ref().is_none_or(|pattern| matches_below(&pattern.segments, path));
    choice.target.text == name && inside
}

impl<'p> Lowering<'p> {
    /// The rule that a call takes: from the command line, by `via`, by the nearest scope, or the nameless one. In the body of a
    /// rule, the calls of its target do not take that rule again.
    pub fn choose_rule(&mut self, target: Target, name: &str, via: Option<&RuleUse>) -> Outcome<Option<Chosen<'p>>> {
        let chosen = self.rule_for(target, name, via)?;
        Ok(chosen.filter(|chosen| !self.active_rules.contains(&chosen.id)))
    }

    fn rule_for(&mut self, target: Target, name: &str, via: Option<&RuleUse>) -> Outcome<Option<Chosen<'p>>> {
        let site = self.frames.last().map_or_else(Vec::new, Frame::site);
        let path: Vec<&str> = site.iter().map(String::as_str).collect();
        let options = self.options;
        for (index, choice) in options.grad_overrides.iter().enumerate() {
            if concerns(choice, name, &path) {
                self.model.used_overrides.insert(index);
                // What it overrides matches all the same.
                if let Some(scope) = self.scope_of(name, &path) {
                    self.model.scopes[scope].used = true;
                }
                if choice.rule.name.text == EXACT {
                    return Ok(self.nameless_rule(target));
                }
                return self.named_rule(target, name, &choice.rule, Some(Program::ROOT)).map(Some);
            }
        }
        if let Some(rule) = via {
            return self.named_rule(target, name, rule, None).map(Some);
        }
        if let Some(scope) = self.scope_of(name, &path) {
            let scope = &mut self.model.scopes[scope];
            scope.used = true;
            let (rule, module) = (scope.choice.rule.clone(), scope.module);
            return self.named_rule(target, name, &rule, Some(module)).map(Some);
        }
        Ok(self.nameless_rule(target))
    }

    /// What a function takes where no rule is chosen; without it, its body is differentiated.
    fn nameless_rule(&self, target: Target) -> Option<Chosen<'p>> {
        let Target::Item(_) = target else { return None };
        let (id, rule) = self.program.rules_for(target).find(|(_, rule)| rule.name.is_none())?;
        Some(Chosen { id, rule, given: Vec::new() })
    }

    /// The rule that a text names, as a graph holds it; `span` is the call that took it.
    pub fn rule_by_text(&mut self, target: Target, name: &str, text: &str, span: Span) -> Outcome<Chosen<'p>> {
        match parse_rule(text, span) {
            Some(rule) => self.named_rule(target, name, &rule, Some(Program::ROOT)),
            None => self.error("BP0404", format!("`{text}` is no rule with arguments"), span, "for this call"),
        }
    }

    /// The nearest scope that chooses a rule for a call at this path.
    fn scope_of(&self, name: &str, path: &[&str]) -> Option<usize> {
        self.model.scopes.iter().rposition(|scope| concerns(&scope.choice, name, path))
    }

    fn named_rule(
        &mut self,
        target: Target,
        name: &str,
        wanted: &RuleUse,
        module: Option<ModuleId>,
    ) -> Outcome<Chosen<'p>> {
        let rules: Vec<(ItemId, &'p Rule)> = self.program.rules_for(target).collect();
        let by_name = |rule: &&'p Rule| rule.name.as_ref().is_some_and(|known| known.text == wanted.name.text);
        let Some((id, rule)) = rules.iter().copied().find(|(_, rule)| by_name(rule)) else {
            let known: Vec<&str> =
                rules.iter().filter_map(|(_, rule)| rule.name.as_ref()).map(|name| name.text.as_str()).collect();
            let title = format!("`{name}` has no rule `{}`", wanted.name.text);
            let mut diagnostic = Diagnostic::error("BP0404", title, wanted.name.span, "unknown rule");
            diagnostic = match closest(&wanted.name.text, known.iter().copied()) {
                Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
                None if known.is_empty() => {
                    diagnostic.with_note(format!("no module that is in use has a rule for `{name}`"))
                }
                None => diagnostic.with_note(format!("its rules are: {}", known.join(", "))),
            };
            return Err(self.report(diagnostic));
        };
        // The arguments of a scope's rule mean what they mean at the scope.
        let given = match module {
            Some(module) => {
                self.frames.push(Frame::new(module, FrameKind::Model, Vec::new()));
                let given = self.arguments(&wanted.args);
                self.frames.pop();
                given?
            }
            None => self.arguments(&wanted.args)?,
        };
        if let Some(tensor) = given.iter().find(|argument| matches!(argument.value, Value::Tensor(_))) {
            let span = tensor.span;
            return self.error("BP0404", "the arguments of a rule are static", span, "this is a tensor");
        }
        Ok(Chosen { id, rule, given })
    }
}
