//! Where to cut a key space of which nothing is known: by asking the source, which says for any text what its next key is.

use std::collections::VecDeque;

use crate::StoreError;
use crate::engine::Side;
use crate::engine::listing::Range;

/// Questions that one cut may cost: a letter of a key takes about seven.
const QUESTIONS: usize = 64;
/// Characters that are looked at behind what two keys begin with alike.
const DIGITS: usize = 6;
/// Of those characters that keys usually consist of: the first, and how many there are.
const FIRST: u32 = 0x20;
const BASE: u64 = 95;
/// Behind all keys of those characters, and behind all keys.
const BEHIND_ASCII: &str = "\u{7f}";
const BEHIND_ALL: &str = "\u{10ffff}";

/// Cuts the whole key space into so many ranges, or fewer: halves, quarters and so on, of the space and not of the objects.
pub(super) async fn cut(source: &Side, parts: usize) -> Result<Vec<Range>, StoreError> {
    let (mut waiting, mut whole) = (VecDeque::from([Range::default()]), Vec::new());
    while waiting.len() + whole.len() < parts {
        let Some(range) = waiting.pop_front() else { break };
        match halve(source, &range).await? {
            Some(key) => {
                waiting.push_back(Range { after: range.after, until: Some(key.clone()) });
                waiting.push_back(Range { after: Some(key), until: range.until });
            }
            None => whole.push(range),
        }
    }
    whole.extend(waiting);
    whole.sort_by(|a, b| a.after.cmp(&b.after));
    Ok(whole)
}

/// A key of the source inside a range, about in the middle of those that it has there; `None` where that is not found.
pub(super) async fn halve(source: &Side, range: &Range) -> Result<Option<String>, StoreError> {
    let inside = |key: &String| range.until.as_ref().is_none_or(|until| key <= until);
    let next = async |after: &str| Ok::<_, StoreError>(next(source, after).await?.filter(inside));
    let Some(mut low) = next(range.after.as_deref().unwrap_or_default()).await? else { return Ok(None) };
    let first = low.clone();
    let mut high = match &range.until {
        Some(until) => until.clone(),
        None if next(BEHIND_ASCII).await?.is_some() => BEHIND_ALL.to_owned(),
        None => BEHIND_ASCII.to_owned(),
    };
    let mut questions = 0;
    // Where the last key is, roughly: else half of the space may hold next to nothing.
    while range.until.is_none() && questions < QUESTIONS / 2 {
        let Some(middle) = between(&low, &high) else { break };
        questions += 1;
        match next(&middle).await? {
            Some(key) => low = key,
            None => high = middle,
        }
    }
    let low = first;
    while questions < QUESTIONS {
        let Some(middle) = between(&low, &high) else { break };
        questions += 1;
        match next(&middle).await? {
            Some(key) if range.until.as_ref() != Some(&key) && key > low => return Ok(Some(key)),
            // Nothing, or only the last one, is behind it.
            _ => high = middle,
        }
    }
    Ok(None)
}

/// The first key of a side behind a text.
async fn next(side: &Side, after: &str) -> Result<Option<String>, StoreError> {
    let at = format!("{}{after}", side.prefix);
    let first = || side.wire.first_after(&side.bucket, &side.prefix, &at);
    let entry = side.wire.persist(first).await?;
    Ok(entry.and_then(|entry| entry.key.strip_prefix(&side.prefix).map(str::to_owned)))
}

/// A text about in the middle of two, and not the first of them; `None` where there is none.
fn between(low: &str, high: &str) -> Option<String> {
    if low >= high {
        return None;
    }
    let alike = low.chars().zip(high.chars()).take_while(|(a, b)| a == b).count();
    let mut middle: String = high.chars().take(alike).collect();
    let (a, b) = (low.chars().nth(alike), high.chars().nth(alike));
    let is_usual = |c: Option<char>| c.is_none_or(|c| c.is_ascii());
    if is_usual(a) && is_usual(b) {
        let digits = |text: &str| {
            let digit = |c: char| u64::from(u32::from(c).saturating_sub(FIRST)).min(BASE - 1);
            let digits = text.chars().skip(alike).map(digit).chain(std::iter::repeat(0));
            digits.take(DIGITS).fold(0, |sum, digit| sum * BASE + digit)
        };
        let mut sum = u64::midpoint(digits(low), digits(high));
        let mut text = Vec::with_capacity(DIGITS);
        for _ in 0..DIGITS {
            text.push(char::from_u32(FIRST + u32::try_from(sum % BASE).unwrap_or(0))?);
            sum /= BASE;
        }
        middle.extend(text.iter().rev());
        // Spaces at the end are no part of the number.
        middle.truncate(middle.trim_end_matches(' ').len());
    } else {
        let (a, b) = (a.map_or(0, u32::from), b.map_or(0, u32::from));
        middle.push(char::from_u32(u32::midpoint(a, b))?);
    }
    (middle.as_str() > low && middle.as_str() < high).then_some(middle)
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn the_middle_lies_between() {
        for (low, high) in [
            ("", "\u{7f}"),
            ("a", "b"),
            ("scans/2024/0001", "scans/2024/9999"),
            ("a/x", "z"),
            ("目录/1", "目录/9"),
            ("a", "目"),
            ("\u{7f}", "\u{10ffff}"),
            ("k 1", "k1"),
        ] {
            let middle = between(low, high).unwrap_or_else(|| panic!("{low:?} {high:?}"));
            assert!(low < middle.as_str() && middle.as_str() < high, "{low:?} {middle:?} {high:?}");
        }
        assert_eq!(between("b", "a"), None);
        assert_eq!(between("a", "a"), None);
        assert_eq!(between("a", "a "), None);
    }

    #[test]
    fn halving_comes_to_an_end_wherever_the_key_is() {
        for wanted in ["scans/2024/05/0001", "a", "~~~", "目录/文件"] {
            let (mut low, mut high, mut steps) = (String::new(), "\u{10ffff}".to_owned(), 0);
            while let Some(middle) = between(&low, &high) {
                if middle.as_str() < wanted {
                    low = middle;
                } else {
                    high = middle;
                }
                steps += 1;
                assert!(steps < 200, "{wanted}: between {low:?} and {high:?}");
            }
            assert!(low.as_str() <= wanted && wanted <= high.as_str());
        }
    }
}
