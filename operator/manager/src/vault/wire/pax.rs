//! PAX records: `length key=value newline`, the length counting itself. Values are bytes of any kind, newlines too.

use super::Moment;

/// The records that a stream uses. Others are passed over.
#[derive(Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) modified: Option<Moment>,
}

/// Appends one record.
pub(super) fn write(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    // " ", "=" and the newline.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Reads a header's records; `None` when they are not well formed.
pub(super) fn read(mut data: &[u8]) -> Option<Records> {
    let mut records = Records::default();
    while !data.is_empty() {
        let space = data.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
        data = &data[length..];
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let value = &record[equals + 1..];
        match &record[..equals] {
            b"path" => records.path = Some(value.to_vec()),
            b"linkpath" => records.target = Some(value.to_vec()),
            b"mtime" => records.modified = Some(moment(value)?),
            // These change what the header says: an honest sender has no use for them.
            b"size" | b"uid" | b"gid" => return None,
            _ => {}
        }
    }
    Some(records)
}

/// Seconds, and nanoseconds counted onwards from them: `-1.250000000` is written for −1 s and 250 ms *after* that.
pub(super) fn format(moment: Moment) -> String {
    format!("{}.{:09}", moment.seconds, moment.nanos)
}

fn moment(value: &[u8]) -> Option<Moment> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, nanos) = text.split_once('.')?;
    let moment = Moment { seconds: seconds.parse().ok()?, nanos: nanos.parse().ok()? };
    (nanos.len() == 9 && moment.nanos < 1_000_000_000).then_some(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        // Lengths around the places where the count of the record's length gains a digit.
        for length in [0, 1, 80, 88, 89, 90, 91, 92, 980, 985, 986, 987, 988, 989, 990, 4096] {
            let path = vec![b'\n'; length];
            let mut out = Vec::new();
            write(&mut out, "path", &path);
            write(&mut out, "mtime", format(Moment { seconds: -1, nanos: 5 }).as_bytes());
            let records = read(&out).unwrap();
            assert_eq!(records.path, Some(path));
            assert_eq!(records.modified, Some(Moment { seconds: -1, nanos: 5 }));
        }
    }

    #[test]
    fn what_is_malformed_is_not_read() {
        for bad in ["x", "5 a=b", "99 a=b\n", "0 a=b\n", "2 \n", "6 ab\n", "9 size=1\n", "12 mtime=1.5\n"] {
            assert!(read(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }
}
