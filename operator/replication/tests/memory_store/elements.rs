//! The few things that requests say in XML.

use std::collections::BTreeMap;

use quick_xml::events::{BytesRef, Event};
use quick_xml::{Reader, XmlVersion};

use super::answer::Failure;

/// What is in each element of a name: texts, by the name of the element that they are in.
pub(super) fn elements(xml: &[u8], name: &str) -> Result<Vec<BTreeMap<String, String>>, Failure> {
    parsed(xml, name)
        .ok_or_else(|| Failure::new(400, "MalformedXML", "The body is not the XML that is expected."))
}

fn parsed(xml: &[u8], name: &str) -> Option<Vec<BTreeMap<String, String>>> {
    let mut reader = Reader::from_str(std::str::from_utf8(xml).ok()?);
    let mut found = Vec::new();
    let mut current: Option<BTreeMap<String, String>> = None;
    let (mut leaf, mut text) = (None, String::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                let tag: String = tag.local_name().as_ref().into();
                if tag == name {
                    current = Some(BTreeMap::new());
                } else {
                    leaf = Some(tag);
                    text.clear();
                }
            }
            Event::Text(piece) => text.push_str(&piece.xml_content(XmlVersion::Implicit1_0)),
            Event::GeneralRef(entity) => text.push(character(&entity)?),
            Event::End(tag) if tag.local_name().as_ref() == name => found.extend(current.take()),
            Event::End(_) => {
                if let (Some(leaf), Some(current)) = (leaf.take(), &mut current) {
                    current.insert(leaf, std::mem::take(&mut text));
                }
            }
            Event::Eof => return Some(found),
            _ => {}
        }
    }
}

fn character(entity: &BytesRef<'_>) -> Option<char> {
    if let Some(character) = entity.resolve_char_ref().ok()? {
        return Some(character);
    }
    match entity.as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}
