//! Listings: what is current, all versions, and what was begun.

use std::fmt::Write as _;
use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TOKEN;
use http::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::{Escaped, Failure, Reply, xml};
use super::clock::write_iso;
use super::fault::Fault;
use super::request::Request;
use super::state::{Bucket, Version};
use super::synthetic;
use super::{Options, Order};

/// What `encoding-type=url` leaves as it is.
const KEY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b' ');

/// A page while it is written.
struct Page {
    out: String,
    /// Where each entry begins in it.
    starts: Vec<usize>,
    /// Common prefixes follow the entries.
    prefixes: String,
    count: usize,
    limit: usize,
    truncated: bool,
    encoded: bool,
}

impl Page {
    fn new(options: &Options, request: &Request, limit: &str) -> Result<Self, Failure> {
        let limit = request.number(limit)?.unwrap_or(1000).min(options.page_size).min(1000);
        Ok(Self {
            out: String::with_capacity(256 * limit.min(64)),
            starts: Vec::with_capacity(limit),
            prefixes: String::new(),
            count: 0,
            limit,
            truncated: false,
            encoded: request.query("encoding-type") == Some("url"),
        })
    }

    /// Whether one more finds no place; then there is a next page.
    fn full(&mut self) -> bool {
        self.truncated = self.count >= self.limit && self.limit > 0;
        self.count >= self.limit
    }

    fn begin(&mut self) {
        self.count += 1;
        self.starts.push(self.out.len());
    }

    fn name(&self, name: &str) -> String {
        if !self.encoded {
            return Escaped(name).to_string();
        }
        let text = utf8_percent_encode(name, KEY).to_string();
        if text.contains(' ') { text.replace(' ', "+") } else { text }
    }

    fn object(&mut self, key: &str, version: &Version) {
        self.begin();
        let key = self.name(key);
        let out = &mut self.out;
        out.push_str("<Contents><Key>");
        out.push_str(&key);
        out.push_str("</Key>");
        about(out, version);
        out.push_str("</Contents>");
    }

    fn version(&mut self, key: &str, version: &Version, latest: bool) {
        self.begin();
        let (key, id) = (self.name(key), &version.id);
        let out = &mut self.out;
        let kind = if version.is_delete_marker() { "DeleteMarker" } else { "Version" };
        // To a String nothing fails.
        let _ =
            write!(out, "<{kind}><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{latest}</IsLatest>");
        about(out, version);
        let _ = write!(out, "</{kind}>");
    }

    /// The entries, as a fault wants them.
    fn entries(&self, fault: Option<&Fault>) -> String {
        let entry = |n: usize| {
            let end = self.starts.get(n + 1).copied().unwrap_or(self.out.len());
            &self.out[self.starts[n]..end]
        };
        let last = self.starts.len().saturating_sub(1);
        match fault {
            Some(Fault::ListDuplicate) if !self.starts.is_empty() => self.out.clone() + entry(last),
            Some(Fault::ListOutOfOrder) if last > 0 => {
                let between = &self.out[self.starts[1]..self.starts[last]];
                [entry(last), between, entry(0)].concat()
            }
            _ => self.out.clone(),
        }
    }

    /// An element of the head, where the request has such a parameter or something is to be told.
    fn echo(&self, element: &str, value: Option<&str>) -> String {
        value.map(|value| format!("<{element}>{}</{element}>", self.name(value))).unwrap_or_default()
    }
}

/// What entries of both kinds have.
fn about(out: &mut String, version: &Version) {
    out.push_str("<LastModified>");
    write_iso(version.modified, out);
    out.push_str("</LastModified>");
    if version.is_delete_marker() {
        return;
    }
    let class = version.header("x-amz-storage-class").unwrap_or("STANDARD");
    let _ = write!(
        out,
        "<ETag>&quot;{}&quot;</ETag><Size>{}</Size><StorageClass>{class}</StorageClass>",
        version.etag,
        version.size()
    );
}

/// A page of the current objects.
pub(super) fn objects(
    options: &Options,
    bucket: &Bucket,
    request: &Request,
    fault: Option<&Fault>,
) -> Result<Response<Reply>, Failure> {
    let mut page = Page::new(options, request, "max-keys")?;
    let prefix = request.query("prefix").unwrap_or_default();
    let (token, after) = (request.query("continuation-token"), request.query("start-after"));
    let next = match token.map(position).transpose()? {
        Some(start) if options.order == Order::Backwards => walk_unordered(&mut page, bucket, prefix, start),
        None if options.order == Order::Backwards => walk_unordered(&mut page, bucket, prefix, None),
        Some(start) => walk(&mut page, bucket, request, start),
        None => walk(&mut page, bucket, request, after.map(|after| Bound::Excluded(after.to_owned()))),
    };
    let encoding = if page.encoded { "<EncodingType>url</EncodingType>" } else { "" };
    let token = token.map(|token| format!("<ContinuationToken>{token}</ContinuationToken>"));
    let next = next.filter(|_| page.truncated);
    let next = next.map(|next| format!("<NextContinuationToken>{next}</NextContinuationToken>"));
    Ok(xml(format!(
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name>{}{}{}{encoding}\
         <MaxKeys>{}</MaxKeys><KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>{}{}{}{}</ListBucketResult>",
        request.bucket,
        page.echo("Prefix", Some(prefix)),
        page.echo("Delimiter", request.query("delimiter")),
        page.echo("StartAfter", after),
        page.limit,
        page.count,
        page.truncated,
        token.unwrap_or_default(),
        next.unwrap_or_default(),
        page.entries(fault),
        page.prefixes,
    )))
}

/// Fills a page, and says where the next one begins.
fn walk(page: &mut Page, bucket: &Bucket, request: &Request, start: Option<Bound<String>>) -> Option<String> {
    let prefix = request.query("prefix").unwrap_or_default();
    let delimiter = request.query("delimiter").filter(|delimiter| !delimiter.is_empty());
    let start = start.filter(|start| match start {
        Bound::Included(from) | Bound::Excluded(from) => from.as_str() >= prefix,
        Bound::Unbounded => true,
    });
    let mut start = start.unwrap_or_else(|| Bound::Included(prefix.to_owned()));
    if let Some(synthetic) = bucket.synthetic {
        let after = match &start {
            Bound::Excluded(after) => Some(after.as_str()),
            _ => None,
        };
        return walk_synthetic(page, synthetic, prefix, after);
    }
    let mut next = None;
    loop {
        let mut jump = None;
        for (key, versions) in bucket.from(start.as_ref().map(String::as_str)) {
            let Some(rest) = key.strip_prefix(prefix) else { return next };
            let Some(version) = versions.last().filter(|version| !version.is_delete_marker()) else {
                continue;
            };
            if page.full() {
                return next;
            }
            let Some((folder, _)) = delimiter.and_then(|delimiter| rest.split_once(delimiter)) else {
                page.object(key, version);
                next = Some(TOKEN.encode(format!("k{key}")));
                continue;
            };
            let folder = [prefix, folder, delimiter.unwrap_or_default()].concat();
            let element = format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", page.name(&folder));
            page.prefixes.push_str(&element);
            page.count += 1;
            next = Some(TOKEN.encode(format!("p{folder}")));
            jump = beyond(&folder);
            break;
        }
        match jump {
            Some(to) => start = Bound::Included(to),
            None => return next,
        }
    }
}

/// The same by the keys read backwards: an order, but not that of keys. Nothing can be asked for from a key on.
fn walk_unordered(
    page: &mut Page,
    bucket: &Bucket,
    prefix: &str,
    start: Option<Bound<String>>,
) -> Option<String> {
    let backwards = |a: &str, b: &str| a.bytes().rev().cmp(b.bytes().rev());
    let after = match start {
        Some(Bound::Excluded(after)) => Some(after),
        _ => None,
    };
    let current = bucket.from(Bound::Unbounded).filter_map(|(key, versions)| {
        let is_behind = after.as_ref().is_none_or(|after| backwards(key, after).is_gt());
        let version = versions.last().filter(|version| !version.is_delete_marker())?;
        (is_behind && key.starts_with(prefix)).then_some((key, version))
    });
    let mut current: Vec<_> = current.collect();
    // No more than a page of them is looked at.
    if page.limit + 1 < current.len() {
        current.select_nth_unstable_by(page.limit + 1, |(a, _), (b, _)| backwards(a, b));
        current.truncate(page.limit + 1);
    }
    current.sort_by(|(a, _), (b, _)| backwards(a, b));
    let mut next = None;
    for (key, version) in current {
        if page.full() {
            break;
        }
        page.object(key, version);
        next = Some(TOKEN.encode(format!("k{key}")));
    }
    next
}

fn walk_synthetic(
    page: &mut Page,
    synthetic: synthetic::Synthetic,
    prefix: &str,
    after: Option<&str>,
) -> Option<String> {
    let mut last = None;
    for index in synthetic.range(prefix, after) {
        if page.full() {
            break;
        }
        page.begin();
        synthetic::write_entry(index, synthetic.size, &mut page.out);
        last = Some(index);
    }
    last.map(|index| TOKEN.encode(format!("k{}", synthetic::key(index))))
}

/// Where a continuation token says to go on.
fn position(token: &str) -> Result<Option<Bound<String>>, Failure> {
    let invalid = || Failure::invalid("The continuation token is not one of this store.");
    let text = TOKEN.decode(token).map_err(|_| invalid())?;
    let text = String::from_utf8(text).map_err(|_| invalid())?;
    match text.split_at_checked(1) {
        Some(("k", key)) => Ok(Some(Bound::Excluded(key.to_owned()))),
        Some(("p", folder)) => Ok(beyond(folder).map(Bound::Included)),
        _ => Err(invalid()),
    }
}

/// The first text in the order of bytes that is after all that begin with a prefix.
fn beyond(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Between the two lie the surrogates, which are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// A page of all versions and delete markers, the newest of a key first.
pub(super) fn versions(
    options: &Options,
    bucket: &Bucket,
    request: &Request,
    fault: Option<&Fault>,
) -> Result<Response<Reply>, Failure> {
    if request.query("delimiter").is_some_and(|delimiter| !delimiter.is_empty()) || bucket.synthetic.is_some()
    {
        return Err(Failure::unsupported("Versions are listed without delimiter, and of real buckets only."));
    }
    let mut page = Page::new(options, request, "max-keys")?;
    let prefix = request.query("prefix").unwrap_or_default();
    let key_marker = request.query("key-marker").unwrap_or_default();
    let id_marker = request.query("version-id-marker").filter(|id| !id.is_empty());
    let start = match (key_marker >= prefix, id_marker) {
        (false, _) => Bound::Included(prefix),
        (true, Some(_)) => Bound::Included(key_marker),
        (true, None) if key_marker.is_empty() => Bound::Unbounded,
        (true, None) => Bound::Excluded(key_marker),
    };
    let mut next: Option<(&str, &str)> = None;
    'page: for (key, versions) in bucket.from(start).take_while(|(key, _)| key.starts_with(prefix)) {
        // Where the version was deleted meanwhile, the key begins again: so some stores do.
        let is_there = |id: &&str| versions.iter().any(|version| version.id == *id);
        let mut passed = id_marker.filter(|_| key == key_marker).filter(is_there);
        for (n, version) in versions.iter().rev().enumerate() {
            if let Some(id) = passed {
                passed = passed.filter(|_| version.id != id);
                continue;
            }
            if page.full() {
                break 'page;
            }
            page.version(key, version, n == 0);
            next = Some((key, &version.id));
        }
    }
    let (next_key, next_id) = next.filter(|_| page.truncated).unzip();
    let encoding = if page.encoded { "<EncodingType>url</EncodingType>" } else { "" };
    Ok(xml(format!(
        "<ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name>{}{}{}{encoding}\
         <MaxKeys>{}</MaxKeys><IsTruncated>{}</IsTruncated>{}{}{}</ListVersionsResult>",
        request.bucket,
        page.echo("Prefix", Some(prefix)),
        page.echo("KeyMarker", Some(key_marker)),
        page.echo("VersionIdMarker", id_marker),
        page.limit,
        page.truncated,
        page.echo("NextKeyMarker", next_key),
        page.echo("NextVersionIdMarker", next_id),
        page.entries(fault),
    )))
}

/// A page of the uploads that were begun and not ended.
pub(super) fn uploads(
    options: &Options,
    bucket: &Bucket,
    request: &Request,
) -> Result<Response<Reply>, Failure> {
    let mut page = Page::new(options, request, "max-uploads")?;
    let prefix = request.query("prefix").unwrap_or_default();
    let marker = (request.query("key-marker").unwrap_or_default(), request.query("upload-id-marker"));
    let mut begun: Vec<_> = bucket
        .uploads
        .iter()
        .map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload.initiated))
        .filter(|(key, _, _)| key.starts_with(prefix))
        .filter(|(key, id, _)| *key > marker.0 || (*key == marker.0 && marker.1.is_some_and(|m| *id > m)))
        .collect();
    begun.sort_unstable();
    let mut next = None;
    for (key, id, initiated) in begun {
        if page.full() {
            break;
        }
        page.begin();
        let name = page.name(key);
        let _ = write!(page.out, "<Upload><Key>{name}</Key><UploadId>{id}</UploadId><Initiated>");
        write_iso(initiated, &mut page.out);
        page.out.push_str("</Initiated><StorageClass>STANDARD</StorageClass></Upload>");
        next = Some((key, id));
    }
    let (next_key, next_id) = next.filter(|_| page.truncated).unzip();
    let encoding = if page.encoded { "<EncodingType>url</EncodingType>" } else { "" };
    Ok(xml(format!(
        "<ListMultipartUploadsResult><Bucket>{}</Bucket>{}{}{}{encoding}<MaxUploads>{}</MaxUploads>\
         <IsTruncated>{}</IsTruncated>{}</ListMultipartUploadsResult>",
        request.bucket,
        page.echo("Prefix", Some(prefix)),
        page.echo("NextKeyMarker", next_key),
        page.echo("NextUploadIdMarker", next_id),
        page.limit,
        page.truncated,
        page.out,
    )))
}
