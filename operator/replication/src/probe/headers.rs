//! What a store remembers of an object beside its content.

use aws_sdk_s3::primitives::DateTime;
use base64::Engine as _;
use bytes::Bytes;

use super::{Ability, Trial, decided, right};

/// A word of two scripts.
const WORD: &str = "Größe 鼎";
/// 2100-01-01, in seconds.
const LATER: i64 = 4_102_444_800;

/// AWS takes UTF-8 in a header and gives it back as mail does (RFC 2047): either way it is kept.
pub(super) async fn metadata(trial: &Trial<'_>) -> Ability {
    let key = &trial.key("metadata");
    let tried = async {
        let put = trial.store.once().put_object().bucket(trial.bucket).key(key);
        let put = put.metadata("word", WORD).body(Bytes::from_static(b"metadata").into()).send().await;
        put.map_err(|e| trial.lacking(&e))?;
        let head = trial.store.once().head_object().bucket(trial.bucket).key(key).send().await;
        let head = head.map_err(|e| trial.lacking(&e))?;
        let word = head.metadata().and_then(|kept| kept.get("word"));
        Ok(right(word.is_some_and(|word| word == WORD || unfolded(word).as_deref() == Some(WORD))))
    };
    decided(tried.await)
}

/// One word of RFC 2047, in either of its two encodings.
fn unfolded(word: &str) -> Option<String> {
    let word = word.strip_prefix("=?")?.strip_suffix("?=")?;
    let mut fields = word.splitn(3, '?');
    let (charset, encoding, text) = (fields.next()?, fields.next()?, fields.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => base64::engine::general_purpose::STANDARD.decode(text).ok()?,
        "Q" | "q" => {
            let escaped = text.replace('%', "%25").replace('_', " ").replace('=', "%");
            percent_encoding::percent_decode_str(&escaped).collect()
        }
        _ => return None,
    };
    String::from_utf8(bytes).ok()
}

/// The headers of HTTP that a reader gets back as the writer has set them.
pub(super) async fn headers(trial: &Trial<'_>) -> Ability {
    let key = &trial.key("headers");
    let (cache, disposition, language) = ("max-age=60", "attachment; filename=\"a.txt\"", "zh");
    let tried = async {
        let put = trial.store.once().put_object().bucket(trial.bucket).key(key);
        let put = put.cache_control(cache).content_disposition(disposition).content_language(language);
        let put = put.content_type("text/x-tripod").expires(DateTime::from_secs(LATER));
        let put = put.body(Bytes::from_static(b"headers").into()).send().await;
        put.map_err(|e| trial.lacking(&e))?;
        let head = trial.store.once().head_object().bucket(trial.bucket).key(key).send().await;
        let head = head.map_err(|e| trial.lacking(&e))?;
        Ok(right(
            head.cache_control() == Some(cache)
                && head.content_disposition() == Some(disposition)
                && head.content_language() == Some(language)
                && head.content_type() == Some("text/x-tripod")
                && head.expires_string() == Some("Fri, 01 Jan 2100 00:00:00 GMT"),
        ))
    };
    decided(tried.await)
}

pub(super) async fn tags(trial: &Trial<'_>) -> Ability {
    let key = &trial.key("tags");
    let tried = async {
        let put = trial.store.once().put_object().bucket(trial.bucket).key(key).tagging("tripod=probe");
        let put = put.body(Bytes::from_static(b"tags").into()).send().await;
        put.map_err(|e| trial.lacking(&e))?;
        let tags = trial.store.once().get_object_tagging().bucket(trial.bucket).key(key).send().await;
        let tags = tags.map_err(|e| trial.lacking(&e))?;
        Ok(right(matches!(tags.tag_set(), [tag] if tag.key() == "tripod" && tag.value() == "probe")))
    };
    decided(tried.await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mail_makes_of_a_word_is_the_word() {
        assert_eq!(unfolded("=?UTF-8?B?R3LDtsOfZSDpvI4=?=").as_deref(), Some(WORD));
        assert_eq!(unfolded("=?utf-8?q?Gr=C3=B6=C3=9Fe_=E9=BC=8E?=").as_deref(), Some(WORD));
        assert_eq!(unfolded("Gr??e ?"), None);
    }
}
