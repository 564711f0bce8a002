//! Mutations of a CEL expression: each operand of `&&` becomes true, each of `||` false, each condition both, each
//! element of a list and each term of a sum is left out; at every depth.

use std::ops::Range;

/// What is done, and the expression after it.
pub fn mutations(text: &str) -> Vec<(String, String)> {
    let mut walk = Walk { text, found: Vec::new() };
    walk.expression(0..text.len());
    walk.found
}

struct Walk<'a> {
    text: &'a str,
    found: Vec<(String, String)>,
}

impl Walk<'_> {
    fn replace(&mut self, range: Range<usize>, with: &str) {
        let (before, old, after) =
            (&self.text[..range.start], &self.text[range.clone()], &self.text[range.end..]);
        let what = if with.is_empty() { "left out".to_owned() } else { format!("is {with}") };
        self.found.push((format!("`{}` {what}", old.trim()), format!("{before}{with}{after}")));
    }

    fn expression(&mut self, range: Range<usize>) {
        if let Some((condition, yes, no)) = self.ternary(&range) {
            self.replace(condition.clone(), "true ");
            self.replace(condition.clone(), "false ");
            [condition, yes, no].into_iter().for_each(|part| self.expression(part));
            return;
        }
        for (operator, neutral) in [("||", " false "), ("&&", " true ")] {
            let operands = self.split(&range, operator);
            if operands.len() > 1 {
                operands.iter().for_each(|operand| self.replace(operand.clone(), neutral));
                return operands.into_iter().for_each(|operand| self.expression(operand));
            }
        }
        let terms = self.split(&range, "+");
        if terms.len() > 1 {
            self.one_less(&terms);
            return terms.into_iter().for_each(|term| self.expression(term));
        }
        self.groups(&range);
    }

    /// What is in brackets: arguments of functions and macros, elements of lists.
    fn groups(&mut self, range: &Range<usize>) {
        let mut at = range.start;
        while let Some(open) = (at..range.end).find(|i| self.depths(&(range.start..range.end))[i - range.start].1 == Mark::Open) {
            let Some(close) = self.closing(open, range.end) else { return };
            let parts = self.split(&(open + 1..close), ",");
            let head = self.text[range.start..open].trim_end();
            let predicate = match head.rsplit('.').next() {
                Some("all" | "exists" | "exists_one" | "filter") => parts.get(1),
                Some("map") if parts.len() == 3 => parts.get(1),
                _ => None,
            };
            if let Some(predicate) = predicate.cloned() {
                self.replace(predicate.clone(), " true");
                self.replace(predicate, " false");
            }
            let is_list = self.text[open..].starts_with('[')
                && !head.ends_with(|c: char| c.is_alphanumeric() || ")]".contains(c));
            if is_list && parts.len() > 1 {
                self.one_less(&parts);
            }
            parts.into_iter().for_each(|part| self.expression(part));
            at = close + 1;
            if at >= range.end {
                return;
            }
            return self.groups(&(at..range.end));
        }
    }
}
