//! Backups that Velero made: the objects of one namespace, out of a compressed tarball in a bucket.
//!
//! The tarball is hostile input: whoever writes into the bucket has written it. Promises: memory does not grow with it;
//! an entry that is larger than an object may be, more entries than a cluster has, or more bytes than are worth reading end
//! the reading with words that say so. A name in it is only a name: what it addresses is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::ops::ControlFlow;

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use tokio::runtime::Handle;
use tripod_domain::restoring::archived::{LARGEST, MOST};
use tripod_replication::Store;

use crate::vault::Document;

/// Bytes that are asked of the store at once.
const PIECE: u64 = 4 << 20;
/// Entries of a tarball. Velero writes each object twice.
const ENTRIES: u64 = 4_000_000;
/// Bytes of a tarball once it is unpacked.
const UNPACKED: u64 = 64 << 30;
/// What stands beside an object in the tarball: its headers, and its name where that is long.
const BESIDE: u64 = 64 << 10;

/// A tarball in a bucket.
pub struct Tarball {
    pub store: Store,
    pub bucket: String,
    pub key: String,
    /// In bytes.
    pub size: u64,
}

impl Tarball {
    /// Reads the objects of a namespace in the order that `place` gives to their paths, as a recovery point has them. Each
    /// place is a passage over the whole tarball, of which only the names are kept. Blocks.
    ///
    /// # Errors
    /// What is wrong with the tarball, or with the store.
    pub fn each_document<K: Ord + Copy>(
        &self,
        runtime: &Handle,
        namespace: &str,
        place: impl Fn(&str) -> Option<K>,
        mut each: impl FnMut(K, Document) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let open = || Pieces { of: self, runtime, at: 0, piece: Bytes::new() };
        let mut wanted = BTreeMap::new();
        passage(open(), namespace, |path, _| {
            if let Some(place) = place(path) {
                wanted.insert(path.to_owned(), place);
            }
            if wanted.len() > MOST {
                return Err(io::Error::other(format!("it has more than {MOST} objects of the namespace")));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let places: BTreeSet<K> = wanted.values().copied().collect();
        let mut more = true;
        for place in places {
            passage(open(), namespace, |path, entry| {
                if more && wanted.get(path) == Some(&place) {
                    let mut body = Vec::new();
                    entry.read_to_end(&mut body)?;
                    more = each(place, Document { path: path.to_owned(), body }).is_continue();
                }
                Ok(if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
        }
        Ok(())
    }
}

/// One passage over a tarball: `each` gets the paths of the namespace's objects, and may read them.
fn passage(
    compressed: impl Read,
    namespace: &str,
    mut each: impl FnMut(&str, &mut dyn Read) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(Bounded {
        from: MultiGzDecoder::new(compressed),
        all: UNPACKED,
        here: LARGEST as u64 + BESIDE,
        fresh: LARGEST as u64 + BESIDE,
    });
    let mut count = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        count += 1;
        if count > ENTRIES {
            return Err(io::Error::other(format!("it has more than {ENTRIES} entries")));
        }
        if entry.size() > LARGEST as u64 {
            return Err(io::Error::other(format!(
                "it has an entry of {} bytes; no object has more than {LARGEST}",
                entry.size()
            )));
        }
        let path = entry.path_bytes().into_owned();
        if let Some(path) = std::str::from_utf8(&path).ok().and_then(|path| document_of(path, namespace))
            && entry.header().entry_type().is_file()
            && each(&path, &mut entry)?.is_break()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// `resources/deployments.apps/namespaces/shop/web.json` is `deployments.apps/web.json`. The same objects lie a second time
/// under the names of their versions: those are passed over.
fn document_of(path: &str, namespace: &str) -> Option<String> {
    let mut parts = path.trim_start_matches("./").split('/');
    let (Some("resources"), Some(kind), Some("namespaces"), Some(of), Some(file), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let name = file.strip_suffix(".json").filter(|_| of == namespace)?;
    Some(format!("{kind}/{}.json", name.replace(':', "_")))
}

/// Lets through so much in all, and so much at a time: a name without an end, or zeros that unpack to terabytes, end here.
struct Bounded<R> {
    from: R,
    all: u64,
    here: u64,
    fresh: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(buffer)?;
        let count = got as u64;
        if count > self.all {
            return Err(io::Error::other(format!("it unpacks to more than {UNPACKED} bytes")));
        }
        self.all -= count;
        // A header is read by itself, in one block: what is between two of them is one entry.
        self.here = if buffer.len() == BLOCK { self.fresh } else { self.here.saturating_sub(count) };
        if self.here == 0 {
            return Err(io::Error::other(format!("it has an entry of more than {LARGEST} bytes")));
        }
        Ok(got)
    }
}

/// Of tar.
const BLOCK: usize = 512;

/// An object of a store, read piece by piece.
struct Pieces<'a> {
    of: &'a Tarball,
    runtime: &'a Handle,
    at: u64,
    piece: Bytes,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let length = PIECE.min(self.of.size - self.at.min(self.of.size));
            if length == 0 {
                return Ok(0);
            }
            let got = self.of.store.get_range(&self.of.bucket, &self.of.key, self.at, length);
            self.piece = self.runtime.block_on(got).map_err(io::Error::other)?;
            if self.piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.at += self.piece.len() as u64;
        }
        let taken = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn tarball(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, body) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(body.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *body).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn read(tarball: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        passage(tarball, "shop", |path, entry| {
            let mut body = Vec::new();
            entry.read_to_end(&mut body)?;
            found.push((path.to_owned(), body));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    #[test]
    fn the_objects_of_one_namespace_are_found_once() {
        let long = format!("resources/configmaps/namespaces/shop/{}.json", "n".repeat(200));
        let tarball = tarball(&[
            ("metadata/version", b"1.1.0"),
            ("resources/configmaps/namespaces/shop/a.json", b"{}"),
            ("resources/configmaps/v1-preferredversion/namespaces/shop/a.json", b"{}"),
            ("resources/configmaps/namespaces/other/b.json", b"{}"),
            ("resources/namespaces/cluster/shop.json", b"{}"),
            ("resources/roles.rbac.authorization.k8s.io/namespaces/shop/a:b.json", b"{}"),
            (&long, b"{}"),
        ]);
        let paths: Vec<String> = read(&tarball).unwrap().into_iter().map(|(path, _)| path).collect();
        let expected = format!("configmaps/{}.json", "n".repeat(200));
        assert_eq!(paths, ["configmaps/a.json", "roles.rbac.authorization.k8s.io/a_b.json", &expected]);
    }

    #[test]
    fn what_is_cut_off_or_is_none_is_an_error() {
        let whole = tarball(&[("resources/configmaps/namespaces/shop/a.json", &[b'x'; 5000])]);
        assert!(read(&whole[..whole.len() / 2]).is_err());
        assert!(read(b"no tarball at all").is_err());
    }

    #[test]
    fn bombs_end_the_reading() {
        let body = vec![0; LARGEST + 1];
        let large = tarball(&[("resources/configmaps/namespaces/other/a.json", &body)]);
        assert!(read(&large).unwrap_err().to_string().contains("no object has more"));
        // A name of 100 MB: what precedes an entry is read whole before anybody is asked.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(100 << 20);
        header.set_cksum();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(header.as_bytes()).unwrap();
        encoder.write_all(&vec![b'a'; 100 << 20]).unwrap();
        let error = read(&encoder.finish().unwrap()).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }

    proptest! {
        /// However a tarball is changed, before it was compressed or after: what is read has the form that it has to have.
        #[test]
        fn no_tarball_yields_what_is_no_document(
            bodies in prop::collection::vec((".{0,40}", prop::collection::vec(any::<u8>(), 0..2000)), 0..6),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<Option<prop::sample::Index>>(),
            before in any::<bool>(),
        ) {
            let mut builder = tar::Builder::new(Vec::new());
            for (name, body) in &bodies {
                let mut header = tar::Header::new_gnu();
                header.set_size(body.len() as u64);
                let path = format!("resources/configmaps/namespaces/shop/{name}.json");
                // Names that a tar can't have are left out.
                let _ = builder.append_data(&mut header, path, &body[..]);
            }
            let plain = builder.into_inner().unwrap();
            let spoil = |mut bytes: Vec<u8>| {
                // A tar and a compressed one are never empty.
                for (at, bits) in &flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= bits;
                }
                bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
                bytes
            };
            let compress = |bytes: &[u8]| {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            };
            let tarball = if before { compress(&spoil(plain)) } else { spoil(compress(&plain)) };
            for (path, body) in read(&tarball).into_iter().flatten() {
                prop_assert!(body.len() <= LARGEST);
                let parts: Vec<&str> = path.split('/').collect();
                prop_assert!(parts.len() == 2 && parts[1].strip_suffix(".json").is_some(), "{}", path);
            }
        }
    }

    #[test]
    fn only_paths_of_the_form_are_documents() {
        for path in [
            "resources/configmaps/namespaces/shop/sub/a.json",
            "resources/configmaps/namespaces/shop/a.txt",
            "resources/../configmaps/namespaces/shop/a.json",
            "/resources/configmaps/namespaces/shop/a.json",
            "configmaps/namespaces/shop/a.json",
        ] {
            assert_eq!(document_of(path, "shop"), None, "{path}");
        }
        assert_eq!(
            document_of("resources/configmaps/namespaces/shop/a.json", "shop").as_deref(),
            Some("configmaps/a.json")
        );
    }
}
