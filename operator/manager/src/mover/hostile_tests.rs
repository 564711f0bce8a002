//! Whatever a gateway sends, nothing is written outside the volume. Streams are made of good and bad entries, and their bytes
//! then changed, blocks moved, and the end cut off. `make fuzz` tries many.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::digest::digest;
use super::unpack::Unpack;
use crate::vault::wire::{Meta, Sender, receive};

/// Bytes of a block of a tar.
const BLOCK: usize = 512;
/// What lies beside the volume.
const CANARY: &str = "nobody writes here";

#[derive(Clone, Debug)]
enum Entry {
    Directory(Vec<u8>),
    File(Vec<u8>, Vec<u8>),
    Link(Vec<u8>, Vec<u8>),
}

/// What is done to the bytes of a stream.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    /// Another type of entry, with a checksum that is right.
    Retype(usize, u8),
    /// Another size, with a checksum that is right.
    Resize(usize, u64),
    Swap(usize, usize),
    Repeat(usize),
    Drop(usize),
    Cut(usize),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ab]".prop_map(String::into_bytes),
        1 => Just(b"..".to_vec()),
        1 => Just(b".".to_vec()),
        1 => Just(Vec::new()),
        1 => Just(b"outside".to_vec()),
        1 => Just(vec![b'n'; 255]),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join(&b'/'))
}

fn entry() -> impl Strategy<Value = Entry> {
    let target = prop_oneof![Just(b"../outside".to_vec()), Just(b"/".to_vec()), path()];
    prop_oneof![
        2 => path().prop_map(Entry::Directory),
        3 => (path(), prop::collection::vec(any::<u8>(), 0..1500)).prop_map(|(path, body)| Entry::File(path, body)),
        2 => (path(), target).prop_map(|(path, target)| Entry::Link(path, target)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, bits)| Change::Flip(at, bits)),
        (at(), any::<u8>()).prop_map(|(at, kind)| Change::Retype(at, kind)),
        (at(), any::<u64>()).prop_map(|(at, size)| Change::Resize(at, size >> 20)),
        (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        at().prop_map(Change::Repeat),
        at().prop_map(Change::Drop),
        at().prop_map(Change::Cut),
    ]
}

/// In path order, as every good sender has it, or as they come.
fn stream(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sender = Sender::new(&mut out);
    let meta = |path: &[u8], size: usize| Meta {
        path: path.to_vec(),
        mode: 0o755,
        size: size as u64,
        ..Meta::default()
    };
    sender.directory(&meta(b"", 0)).unwrap();
    for entry in entries {
        match entry {
            Entry::Directory(path) => sender.directory(&meta(path, 0)),
            Entry::Link(path, target) => sender.link(&meta(path, 0), target),
            Entry::File(path, body) => {
                sender.file(&meta(path, body.len()), |content| std::io::Write::write_all(content, body))
            }
        }
        .unwrap();
    }
    sender.finish().unwrap();
    out
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let blocks = bytes.len() / BLOCK;
        if blocks == 0 {
            break;
        }
        let block = |at: usize| (at % blocks) * BLOCK..(at % blocks + 1) * BLOCK;
        match *change {
            Change::Flip(at, bits) => {
                let at = at % bytes.len();
                bytes[at] ^= bits;
            }
            Change::Retype(at, kind) => header(&mut bytes[block(at)], |header| {
                header.set_entry_type(tar::EntryType::new(kind));
            }),
            Change::Resize(at, size) => header(&mut bytes[block(at)], |header| header.set_size(size)),
            Change::Swap(a, b) => {
                let (a, b) = (block(a), block(b));
                let kept = bytes[a.clone()].to_vec();
                bytes.copy_within(b.clone(), a.start);
                bytes[b].copy_from_slice(&kept);
            }
            Change::Repeat(at) => {
                let again = bytes[block(at)].to_vec();
                bytes.splice(block(at).end..block(at).end, again);
            }
            Change::Drop(at) => drop(bytes.drain(block(at))),
            Change::Cut(at) => bytes.truncate(at % bytes.len()),
        }
    }
    bytes
}

fn header(block: &mut [u8], change: impl FnOnce(&mut tar::Header)) {
    let mut header = tar::Header::from_byte_slice(block).clone();
    change(&mut header);
    header.set_cksum();
    block.copy_from_slice(header.as_bytes());
}

/// A volume, and beside it what is not to be touched.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("volume")).unwrap();
    fs::create_dir(home.path().join("outside")).unwrap();
    fs::write(home.path().join("outside/canary"), CANARY).unwrap();
    home
}

/// Everything below a folder but the volume, with what it holds.
fn untouched(home: &Path) -> bool {
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let canary = fs::read_to_string(home.join("outside/canary"));
    names(home) == ["outside", "volume"]
        && names(&home.join("outside")) == ["canary"]
        && canary.is_ok_and(|text| text == CANARY)
}

/// Fewer where nobody asks for more: each makes a volume of its own.
fn cases() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(1500) }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn no_stream_leads_out_of_the_volume(
        entries in prop::collection::vec(entry(), 0..10),
        in_order in any::<bool>(),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        let mut entries = entries;
        if in_order {
            let key = |entry: &Entry| match entry {
                Entry::Directory(path) | Entry::File(path, _) | Entry::Link(path, _) => path.clone(),
            };
            entries.sort_by(|a, b| crate::vault::digest::path_order(&key(a), &key(b)));
            entries.dedup_by_key(|entry| key(entry));
        }
        let sent = changed(stream(&entries), &changes);
        let home = home();
        let volume = home.path().join("volume");
        let mut unpack = Unpack::into_empty(&volume).unwrap();
        let received = receive(&sent[..], &mut unpack);
        let finished = unpack.finish();
        prop_assert!(untouched(home.path()), "{:?}", fs::read_dir(home.path()));
        if let Ok(totals) = received {
            finished.unwrap();
            // What was received whole is what is on the disk.
            prop_assert_eq!(digest(&volume).unwrap(), totals);
        }
    }
}

/// That the check above can fail.
#[test]
fn what_is_written_outside_is_noticed() {
    let home = home();
    assert!(untouched(home.path()));
    symlink(home.path().join("outside"), home.path().join("volume/link")).unwrap();
    fs::write(home.path().join("volume/link/x"), "x").unwrap();
    assert!(!untouched(home.path()));
}
