//! What a hostile or broken sender can send, and what becomes of it.

use std::io::{self, Read};

use super::*;

/// Remembers what it was given.
#[derive(Default)]
struct Notes(Vec<(Vec<u8>, Vec<u8>)>);

impl Receiver for Notes {
    fn directory(&mut self, meta: &Meta) -> io::Result<()> {
        self.0.push((meta.path.clone(), b"/".to_vec()));
        Ok(())
    }
    fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()> {
        self.0.push((meta.path.clone(), target.to_vec()));
        Ok(())
    }
    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> io::Result<()> {
        let mut body = Vec::new();
        content.read_to_end(&mut body)?;
        self.0.push((meta.path.clone(), body));
        Ok(())
    }
}

fn meta(path: &[u8]) -> Meta {
    let modified = Moment { seconds: 1_700_000_000, nanos: 123_456_789 };
    Meta { path: path.to_vec(), mode: 0o644, uid: 7, gid: 8, modified, size: 0 }
}

type Sending<'a> = Sender<&'a mut Vec<u8>>;

fn stream(build: impl FnOnce(&mut Sending<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sender = Sender::new(&mut out);
    sender.directory(&meta(b"")).unwrap();
    build(&mut sender);
    sender.finish().unwrap();
    out
}

fn file(sender: &mut Sending<'_>, path: &[u8], body: &[u8]) {
    let meta = Meta { size: body.len() as u64, ..meta(path) };
    sender.file(&meta, |content| io::Write::write_all(content, body)).unwrap();
}

fn refused(stream: &[u8]) -> String {
    receive(stream, &mut Notes::default()).unwrap_err().to_string()
}

#[test]
fn a_stream_arrives_as_it_was_sent() {
    let long = vec![b'x'; 255];
    let sent = stream(|s| {
        s.directory(&meta(b"a")).unwrap();
        file(s, b"a/b", b"hello");
        s.link(&meta(b"a/l\xff\n"), b"../../etc/passwd").unwrap();
        file(s, b"a-b", &[9; 1024]);
        file(s, &long, b"");
    });
    let mut notes = Notes::default();
    let totals = receive(&sent[..], &mut notes).unwrap();
    assert_eq!((totals.files, totals.bytes, totals.links), (3, 1029, 1));
    let paths: Vec<&[u8]> = notes.0.iter().map(|(path, _)| &path[..]).collect();
    assert_eq!(paths, [&b""[..], b"a", b"a/b", b"a/l\xff\n", b"a-b", &long]);
    assert_eq!(notes.0[2].1, b"hello");
}

#[test]
fn wherever_a_stream_is_cut_it_fails() {
    let sent = stream(|s| {
        s.directory(&meta(b"a")).unwrap();
        file(s, b"a/b", &[1; 700]);
    });
    // The two empty blocks at the end say nothing that the marker before them did not.
    let marker = sent.len() - 1024 - 512;
    for end in 0..marker {
        assert!(receive(&sent[..end], &mut Notes::default()).is_err(), "cut at {end} of {}", sent.len());
    }
}

#[test]
fn one_changed_byte_is_noticed() {
    let mut sent = stream(|s| file(s, b"f", b"content"));
    let at = sent.windows(7).position(|window| window == b"content").unwrap();
    sent[at] ^= 1;
    assert!(refused(&sent).contains("disagree"));
}

#[test]
fn hostile_paths_are_refused() {
    for (path, reason) in [
        (&b"../x"[..], "`.` or `..`"),
        (b"a/../../x", "`.` or `..`"),
        (b"./x", "`.` or `..`"),
        (b"/etc/passwd", "an empty name"),
        (b"a//b", "an empty name"),
        (b"a\0b", "a NUL"),
        (b"missing/x", "directory was not sent"),
        (&[b'n'; 256], "longer than 255"),
        (&b"d/".repeat(300), "an empty name"),
        (&[&b"d/".repeat(300)[..], b"x"].concat(), "deeper than"),
        (&[&[b'n'; 200][..], b"/"].concat().repeat(25), "longer than 4096"),
    ] {
        let got = refused(&stream(|s| file(s, path, b"")));
        // A path can break two rules at once; that it is refused is what counts.
        assert!(got.contains("refused"), "{}: {got}", path.escape_ascii());
        if path.len() < 257 {
            assert!(got.contains(reason), "{}: {got}", path.escape_ascii());
        }
    }
}

#[test]
fn order_and_doubles_are_refused() {
    let double = stream(|s| {
        file(s, b"a", b"");
        file(s, b"a", b"");
    });
    assert!(refused(&double).contains("twice"));
    let back = stream(|s| {
        file(s, b"b", b"");
        file(s, b"a", b"");
    });
    assert!(refused(&back).contains("out of order"));
    // A link is no directory: nothing can be placed behind it.
    let through = stream(|s| {
        s.link(&meta(b"l"), b"/etc").unwrap();
        file(s, b"l/passwd", b"x");
    });
    assert!(refused(&through).contains("directory was not sent"));
}

#[test]
fn devices_hard_links_and_foreign_tars_are_refused() {
    for kind in [
        tar::EntryType::Block,
        tar::EntryType::Char,
        tar::EntryType::Fifo,
        tar::EntryType::Link,
        tar::EntryType::GNUSparse,
        tar::EntryType::GNULongName,
    ] {
        let mut sent = stream(|s| file(s, b"f", b""));
        // Block 0 and 1: the root's records; 2: the root; 3 and 4: the file's records; 5: the file.
        let header = tar::Header::from_byte_slice(&sent[5 * 512..6 * 512]);
        let mut header = header.clone();
        header.set_entry_type(kind);
        header.set_cksum();
        sent[5 * 512..6 * 512].copy_from_slice(header.as_bytes());
        assert!(refused(&sent).contains("no directory, file or symbolic link"), "{kind:?}");
    }
    let mut foreign = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    foreign.append_data(&mut header, "data", io::empty()).unwrap();
    assert!(refused(&foreign.into_inner().unwrap()).contains("without its header"));
}

#[test]
fn a_header_that_announces_gigabytes_is_refused_unread() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(1 << 34);
    header.set_cksum();
    assert!(refused(header.as_bytes()).contains("no entry needs"));
}
