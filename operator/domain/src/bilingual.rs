//! What a department reads is said in English and Chinese, in one line: `English · 中文`.

/// Both, in one message.
#[must_use]
pub fn both(english: impl AsRef<str>, chinese: impl AsRef<str>) -> String {
    format!("{} · {}", english.as_ref(), chinese.as_ref())
}
