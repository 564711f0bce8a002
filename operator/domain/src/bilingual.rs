//! What a department reads is said in English and Chinese, in one line: `English · 中文`.

/// Both, in one message.
#[must_use]
pub fn both(english: impl AsRef<str>, chinese: impl AsRef<str>) -> String {
    format!("{} · {}", english.as_ref(), chinese.as_ref())
}

/// A message of both, with more said in each.
#[must_use]
pub fn append(message: &str, english: &str, chinese: &str) -> String {
    match message.split_once(" · ") {
        Some((en, zh)) => both(format!("{en}{english}"), format!("{zh}{chinese}")),
        None => both(format!("{message}{english}"), chinese),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_language_gets_its_own_end() {
        assert_eq!(super::append("a · 甲", "; b", "；乙"), "a; b · 甲；乙");
    }
}
