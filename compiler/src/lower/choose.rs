//! Which rule a call takes.
//!
//! Expects: the frame of the call on top of the stack of frames.
//! Guarantees: the command line wins over `via`, that over scopes, these over a nameless rule; an unknown rule is reported.
//! Leaves out: what the rule computes (`rule`).

use super::bind::Given;
use super::context::{Frame, FrameKind, Lowering, Outcome, Reported};
use super::minimize::matches_below;
use super::value::{Static, Value};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::{ItemId, ModuleId, Program, Target};
use bpc_lang::suggest::closest;
use bpc_lang::tree::{GradChoice, Rule, RuleUse};

/// A rule that a call takes, with its arguments.
pub(super) struct Chosen<'p> {
    pub id: ItemId,
    pub rule: &'p Rule,
    pub given: Vec<Given>,
}

/// The own parameters of a rule by name.
pub(super) type Own = Vec<(String, Static)>;

/// The rules that loops are under, with their arguments. A `via` marker of a graph holds the place of its rule here, and
/// differentiation finds it by that.
#[derive(Clone, Debug, Default)]
pub struct LoopChoices {
    rules: Vec<(ItemId, Own)>,
}

impl LoopChoices {
    /// The place of a rule, which is added if it is new.
    pub(super) fn place(&mut self, rule: ItemId, own: Own) -> u32 {
        let chosen = (rule, own);
        let known = self.rules.iter().position(|known| *known == chosen);
        let place = known.unwrap_or_else(|| {
            self.rules.push(chosen);
            self.rules.len() - 1
        });
        place as u32
    }

    /// The rule at a place.
    pub(super) fn rule(&self, place: u32) -> Option<&(ItemId, Own)> {
        self.rules.get(place as usize)
    }
}

/// The choice from the command line that undoes every other.
const EXACT: &str = "exact";

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
            if self.concerns(Program::ROOT, choice, (target, name), &path) {
                self.model.used_overrides.insert(index);
                // What it overrides matches all the same.
                if let Some(scope) = self.scope_of((target, name), &path) {
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
        if let Some(scope) = self.scope_of((target, name), &path) {
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

    /// The nearest scope that chooses a rule for a call at this path.
    fn scope_of(&self, called: (Target, &str), path: &[&str]) -> Option<usize> {
        self.model.scopes.iter().rposition(|scope| self.concerns(scope.module, &scope.choice, called, path))
    }

    /// Whether a choice that stands in a module is about a call of this function at this path. The module need not see the
    /// function: that of a layer of the library is known by its name.
    fn concerns(&self, module: ModuleId, choice: &GradChoice, (target, name): (Target, &str), path: &[&str]) -> bool {
        let called = match self.program.resolve_target(module, &choice.target.text) {
            Some(known) => known == target,
            None => choice.target.text == name,
        };
        called && choice.scope.as_ref().is_none_or(|pattern| matches_below(&pattern.segments, path))
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
        for argument in &given {
            if argument.value.fixed().is_none() {
                let label = match &argument.value {
                    Value::Poison => return Err(Reported),
                    Value::Function(_) => "this is a turn of a loop, which only the rule around it knows".to_string(),
                    Value::List(_) | Value::Tuple(_) => {
                        format!("this is {} with tensors", argument.value.kind(&self.sizes))
                    }
                    value => format!("this is {}", value.kind(&self.sizes)),
                };
                let diagnostic =
                    Diagnostic::error("BP0404", "the arguments of a rule are static", argument.span, label);
                return Err(self
                    .report(diagnostic.with_help("make the tensor an argument of the function that the rule is for")));
            }
        }
        Ok(Chosen { id, rule, given })
    }
}
