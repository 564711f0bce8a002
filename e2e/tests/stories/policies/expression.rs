//! Mutations of a CEL expression: each operand of `&&` becomes true, each of `||` false, each condition both, each
//! predicate of a macro both, each element of a list and each term of a sum is left out; at every depth.

use std::ops::Range;

/// What is done, and the expression after it.
pub fn mutations(text: &str) -> Vec<(String, String)> {
    let mut walk = Walk { text, depths: depths(text), found: Vec::new() };
    walk.expression(0..text.len());
    walk.found
}

/// In how many brackets each byte is, the brackets themselves outside; nowhere within a string.
fn depths(text: &str) -> Vec<usize> {
    let (mut depth, mut string, mut all) = (0usize, false, Vec::new());
    for byte in text.bytes() {
        let quote = byte == b'\'';
        if !string && b")]}".contains(&byte) {
            depth = depth.saturating_sub(1);
        }
        all.push(if string || quote { usize::MAX } else { depth });
        string ^= quote;
        if !string && b"([{".contains(&byte) {
            depth += 1;
        }
    }
    all
}

struct Walk<'a> {
    text: &'a str,
    depths: Vec<usize>,
    found: Vec<(String, String)>,
}

impl Walk<'_> {
    fn replace(&mut self, range: &Range<usize>, with: &str) {
        let old = self.text[range.clone()].trim();
        let what = if with.is_empty() { "left out".to_owned() } else { format!("is{with}") };
        let mutant = format!("{}{with} {}", &self.text[..range.start], &self.text[range.end..]);
        self.found.push((format!("`{old}` {what}"), mutant));
    }

    fn expression(&mut self, range: Range<usize>) {
        if let Some((condition, yes, no)) = self.ternary(&range) {
            self.replace(&condition, " true");
            self.replace(&condition, " false");
            return [condition, yes, no].into_iter().for_each(|part| self.expression(part));
        }
        // From what binds least to what binds most; what is compared is not changed itself.
        let comparisons = ["==", "!=", "<=", " in "].map(|operator| (operator, None));
        let logic = [("||", Some(" false")), ("&&", Some(" true"))];
        for (operator, neutral) in logic.into_iter().chain(comparisons).chain([("+", None)]) {
            let operands = self.split(&range, operator);
            if operands.len() > 1 {
                match neutral {
                    Some(neutral) => operands.iter().for_each(|operand| self.replace(operand, neutral)),
                    None if operator == "+" => self.one_less(&operands),
                    None => {}
                }
                return operands.into_iter().for_each(|operand| self.expression(operand));
            }
        }
        for (open, close) in self.groups(&range) {
            self.group(range.start, open, open + 1..close);
        }
    }

    /// What is in brackets: arguments of functions and macros, elements of lists.
    fn group(&mut self, start: usize, open: usize, inside: Range<usize>) {
        let parts = self.split(&inside, ",");
        let head = self.text[start..open].trim_end();
        let predicate = match head.rsplit('.').next() {
            Some("all" | "exists" | "exists_one" | "filter") => parts.get(1),
            Some("map") if parts.len() == 3 => parts.get(1),
            _ => None,
        };
        if let Some(predicate) = predicate {
            self.replace(predicate, " true");
            self.replace(predicate, " false");
        }
        let indexed =
            head.ends_with(|c: char| c.is_alphanumeric() || ")]".contains(c)) && !head.ends_with(" in");
        if self.text[open..].starts_with('[') && !indexed && parts.len() > 1 {
            self.one_less(&parts);
        }
        for part in parts {
            self.expression(part);
        }
    }

    /// Leaves out each part with the separator beside it. A text in a sum of texts only makes it readable.
    fn one_less(&mut self, parts: &[Range<usize>]) {
        for (at, part) in parts.iter().enumerate() {
            let is_sum = self.text[..parts[1].start].ends_with('+');
            if is_sum && self.text[part.clone()].trim().starts_with('\'') {
                continue;
            }
            let range = match parts.get(at + 1) {
                Some(next) => part.start..next.start,
                None => parts[at - 1].end..part.end,
            };
            self.replace(&range, "");
        }
    }

    fn base(&self, range: &Range<usize>) -> usize {
        self.depths[range.clone()].iter().copied().min().unwrap_or_default()
    }

    /// The parts of a range between an operator, in no bracket of its own.
    fn split(&self, range: &Range<usize>, operator: &str) -> Vec<Range<usize>> {
        let (base, mut start, mut parts) = (self.base(range), range.start, Vec::new());
        for at in range.clone().filter(|at| self.depths[*at] == base) {
            if at >= start && self.text[at..range.end].starts_with(operator) {
                parts.push(start..at);
                start = at + operator.len();
            }
        }
        parts.push(start..range.end);
        parts
    }

    /// `condition ? yes : no`; not the `?` of what is optional.
    fn ternary(&self, range: &Range<usize>) -> Option<(Range<usize>, Range<usize>, Range<usize>)> {
        let (base, text) = (self.base(range), self.text.as_bytes());
        let at_base = || range.clone().filter(|at| self.depths[*at] == base);
        let optional = |at: usize| at == range.start || b".[".contains(&text[at - 1]);
        let question = at_base().find(|at| text[*at] == b'?' && !optional(*at))?;
        let mut nested = 0;
        let colon = at_base().filter(|at| *at > question).find(|at| match text[*at] {
            b'?' if !optional(*at) => {
                nested += 1;
                false
            }
            b':' if nested > 0 => {
                nested -= 1;
                false
            }
            byte => byte == b':',
        })?;
        Some((range.start..question, question + 1..colon, colon + 1..range.end))
    }

    /// Opening and closing brackets.
    fn groups(&self, range: &Range<usize>) -> Vec<(usize, usize)> {
        let (base, text) = (self.base(range), self.text.as_bytes());
        let mut brackets =
            range.clone().filter(|at| self.depths[*at] == base && b"([{)]}".contains(&text[*at]));
        let mut pairs = Vec::new();
        while let (Some(open), Some(close)) = (brackets.next(), brackets.next()) {
            pairs.push((open, close));
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::mutations;

    fn of(text: &str) -> Vec<String> {
        let squeeze = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        mutations(text).into_iter().map(|(_, mutant)| squeeze(mutant)).collect()
    }

    #[test]
    fn operands_become_neutral() {
        assert_eq!(of("a && b"), ["true && b", "a && true"]);
        assert_eq!(
            of("a || !(b && c)"),
            ["false || !(b && c)", "a || false", "a || !( true && c)", "a || !(b && true )"]
        );
        assert_eq!(of("x == '&& ( '"), Vec::<String>::new());
    }

    #[test]
    fn conditions_become_both() {
        assert_eq!(of("a ? b : c"), ["true ? b : c", "false ? b : c"]);
        assert_eq!(of("l[?'k'].orValue('') == o.?p"), Vec::<String>::new());
    }

    #[test]
    fn lists_and_sums_get_shorter() {
        assert_eq!(of("x in ['a', 'b']"), ["x in [ 'b']", "x in ['a' ]"]);
        assert_eq!(of("x == a + f(b)"), ["x == f(b)", "x == a"]);
        assert_eq!(of("a.exists(x, x > 1)"), ["a.exists(x, true )", "a.exists(x, false )"]);
    }
}
