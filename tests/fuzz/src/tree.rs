//! DER and protobuf as trees without lengths: whatever the fuzzer changes in one, the lengths around it are right again. Else a
//! change of one octet's length deep inside would be refused at the first element.
//!
//! A node is a mark, its depth, its tag in two octets, and its own content up to the next mark; what stands deeper behind it is its
//! content as well. So a content is cut or grows where the fuzzer takes or adds octets, and nothing behind it moves.

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// X.690; a tag is its one octet.
    Der,
    /// A tag is a field's number and its wire type.
    Protobuf,
}

/// Deeper is no certificate and no record, and parsers have limits of their own.
const DEPTH_MOST: u8 = 24;
const NODES_MOST: usize = 512;

/// Begins a node.
const MARK: u8 = 0xFF;
/// Before an octet of a content that would be a mark, or this: the octet is one more.
const ESCAPE: u8 = 0xFE;

struct Node {
    depth: u8,
    tag: u16,
    content: Vec<u8>,
}

fn nodes(tree: &[u8]) -> Vec<Node> {
    let mut rest = tree.iter().copied();
    let mut nodes: Vec<Node> = Vec::new();
    while let Some(octet) = rest.next() {
        let mut next = || rest.next().unwrap_or(0);
        if octet == MARK {
            let (depth, tag) = (next() % DEPTH_MOST, u16::from_be_bytes([next(), next()]));
            if nodes.len() == NODES_MOST {
                break;
            }
            nodes.push(Node { depth, tag, content: Vec::new() });
        } else {
            let octet = if octet == ESCAPE { ESCAPE + (next() & 1) } else { octet };
            // What stands before the first mark belongs to no node.
            nodes.iter_mut().last().into_iter().for_each(|node| node.content.push(octet));
        }
    }
    nodes
}

fn node(depth: u8, tag: u16, content: &[u8]) -> Vec<u8> {
    let [high, low] = tag.to_be_bytes();
    let escaped = content.iter().flat_map(|octet| match *octet {
        octet @ (ESCAPE | MARK) => vec![ESCAPE, octet - ESCAPE],
        octet => vec![octet],
    });
    [MARK, depth, high, low].into_iter().chain(escaped).collect()
}

/// What a tree says, with lengths.
pub(crate) fn built(form: Form, tree: &[u8]) -> Vec<u8> {
    let nodes = nodes(tree);
    let mut rest = nodes.as_slice();
    let mut octets = Vec::new();
    while !rest.is_empty() {
        build(form, &mut rest, &mut octets);
    }
    octets
}

fn build(form: Form, rest: &mut &[Node], octets: &mut Vec<u8>) {
    let Some((node, behind)) = rest.split_first() else { return };
    *rest = behind;
    let mut content = node.content.clone();
    while rest.first().is_some_and(|next| next.depth > node.depth) {
        build(form, rest, &mut content);
    }
    match form {
        Form::Der => octets.extend(crate::key::element(node.tag as u8, &content)),
        Form::Protobuf => {
            varint(u64::from(node.tag), octets);
            match node.tag & 7 {
                0 => varint(content.iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet)), octets),
                2 => {
                    varint(content.len() as u64, octets);
                    octets.extend(content);
                }
                _ => octets.extend(content),
            }
        }
    }
}

fn varint(mut number: u64, octets: &mut Vec<u8>) {
    while number >= 0x80 {
        octets.push(number as u8 | 0x80);
        number >>= 7;
    }
    octets.push(number as u8);
}

/// The same tree as often as it has contents, one octet of another one missing in each: what is cut off must not be read as
/// something else.
pub(crate) fn cuts(tree: &[u8]) -> Vec<Vec<u8>> {
    let nodes = nodes(tree);
    let cut = |at: usize| {
        let each = nodes.iter().enumerate().flat_map(|(number, found)| {
            let length = found.content.len() - usize::from(number == at);
            node(found.depth, found.tag, &found.content[..length])
        });
        each.collect()
    };
    nodes.iter().enumerate().filter(|(_, node)| !node.content.is_empty()).map(|(at, _)| cut(at)).collect()
}

/// The tree of these octets, which is what they are [`built`] from.
pub(crate) fn taken_apart(form: Form, octets: &[u8]) -> Vec<u8> {
    let tree = apart(form, octets, 0).expect("a seed is well-formed");
    assert_eq!(built(form, &tree), octets, "a seed is read back");
    tree
}

fn apart(form: Form, mut octets: &[u8], depth: u8) -> Option<Vec<u8>> {
    let mut tree = Vec::new();
    while !octets.is_empty() {
        let (tag, content, rest) = match form {
            Form::Der => der(octets)?,
            Form::Protobuf => field(octets)?,
        };
        octets = rest;
        let may_hold = match form {
            Form::Der => tag & 0x20 != 0 || tag == 0x04 || tag == 0x03,
            Form::Protobuf => tag & 7 == 2,
        };
        // A BIT STRING counts its unused bits first.
        let own = usize::from(form == Form::Der && tag == 0x03).min(content.len());
        let held = (may_hold && content.len() > own && depth + 1 < DEPTH_MOST)
            .then(|| apart(form, &content[own..], depth + 1))
            .flatten()
            .filter(|held| built(form, held) == content[own..]);
        match held {
            Some(held) => tree.extend([node(depth, tag, &content[..own]), held].concat()),
            None => tree.extend(node(depth, tag, &content)),
        }
    }
    Some(tree)
}

fn der(octets: &[u8]) -> Option<(u16, Vec<u8>, &[u8])> {
    let (tag, rest) = octets.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7F => (usize::from(*short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), &rest[2..]),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((u16::from(*tag), content.to_vec(), rest))
}

fn field(octets: &[u8]) -> Option<(u16, Vec<u8>, &[u8])> {
    let (tag, rest) = number(octets)?;
    let tag = u16::try_from(tag).ok()?;
    let (content, rest) = match tag & 7 {
        0 => {
            let (value, rest) = number(rest)?;
            let octets = value.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
            (octets, rest)
        }
        wire @ (1 | 2 | 5) => {
            let (length, rest) = match wire {
                1 => (8, rest),
                5 => (4, rest),
                _ => number(rest)?,
            };
            let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (content.to_vec(), rest)
        }
        _ => return None,
    };
    Some((tag, content, rest))
}

fn number(octets: &[u8]) -> Option<(u64, &[u8])> {
    let length = octets.iter().position(|octet| octet & 0x80 == 0)? + 1;
    let (digits, rest) = octets.split_at(length);
    let number = digits
        .iter()
        .rev()
        .try_fold(0_u64, |number, digit| number.checked_mul(0x80)?.checked_add(u64::from(digit & 0x7F)))?;
    Some((number, rest))
}
