//! Against the definitions written out, and against fixed values of others.

use std::convert::Infallible;

use super::{
    checkpoint::Checkpoint,
    note::{Note, Purpose, Signer as _, SigningKey, VerifyingKey},
    proof::{self, Nodes},
    tile::{Kind, Tile},
    *,
};

/// RFC 9162 §2.1.1, word for word.
fn merkle_tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [only] => *only,
        _ => {
            let k = (0..).map(|n| 1 << n).take_while(|k| *k < leaves.len()).last().unwrap();
            node_hash(&merkle_tree_hash(&leaves[..k]), &merkle_tree_hash(&leaves[k..]))
        }
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

struct Leaves(Vec<Hash>);

impl Nodes for Leaves {
    type Error = Infallible;

    fn node(&mut self, level: u32, number: u64) -> Result<Hash, Infallible> {
        let from = (number << level) as usize;
        Ok(merkle_tree_hash(&self.0[from..from + (1 << level)]))
    }
}

/// The growing tree has the root that the definition gives, at every size over a tile's border and at one over two levels.
#[test]
fn roots_are_those_of_the_definition() {
    let leaves = leaves(66_000);
    let mut tree = Tree::default();
    assert_eq!(tree.root(), empty_root());
    for (size, leaf) in (1..).zip(&leaves) {
        tree.push(*leaf, |_, _, _| Ok::<_, Infallible>(())).unwrap();
        if size < 600 || [65_535, 65_536, 65_537, 65_793, 66_000].contains(&size) {
            assert_eq!(tree.root(), merkle_tree_hash(&leaves[..size]), "size {size}");
        }
    }
}

/// The test vectors of Certificate Transparency's reference code: the root over its eight leaves.
#[test]
fn root_of_the_reference_leaves() {
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let hex: String = root_of(&leaves).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
}

/// Every inclusion proof of every small tree is accepted, and with anything changed it is not.
#[test]
fn inclusion_proofs() {
    for size in 1..=40 {
        let mut nodes = Leaves(leaves(size));
        let root = merkle_tree_hash(&nodes.0);
        for index in 0..size {
            let proof = proof::inclusion(&mut nodes, index, size).unwrap();
            let leaf = nodes.0[index as usize];
            assert!(proof::check_inclusion(&leaf, index, size, &proof, &root), "{index} of {size}");
            assert!(!proof::check_inclusion(&leaf_hash(b"other"), index, size, &proof, &root));
            assert!(!proof::check_inclusion(&leaf, index + size, size, &proof, &root));
            for at in 0..proof.len() {
                let mut altered = proof.clone();
                altered[at][7] ^= 1;
                assert!(!proof::check_inclusion(&leaf, index, size, &altered, &root));
                altered.remove(at);
                assert!(!proof::check_inclusion(&leaf, index, size, &altered, &root));
            }
            if index + 1 < size && nodes.0[index as usize + 1] != leaf {
                assert!(!proof::check_inclusion(&leaf, index + 1, size, &proof, &root));
            }
        }
    }
}

/// Every consistency proof between small trees is accepted; with a changed root, step or size it is not.
#[test]
fn consistency_proofs() {
    for new in 1..=40 {
        let mut nodes = Leaves(leaves(new));
        let new_root = merkle_tree_hash(&nodes.0);
        for old in 0..=new {
            let old_root = merkle_tree_hash(&nodes.0[..old as usize]);
            let proof = proof::consistency(&mut nodes, old, new).unwrap();
            assert!(proof::check_consistency(old, &old_root, new, &new_root, &proof), "{old} in {new}");
            let other = leaf_hash(b"other");
            assert!(!proof::check_consistency(old, &other, new, &new_root, &proof), "{old} in {new}");
            assert!(old == 0 || !proof::check_consistency(old, &old_root, new, &other, &proof), "{old} in {new}");
            for at in 0..proof.len() {
                let mut altered = proof.clone();
                altered[at][0] ^= 1;
                assert!(!proof::check_consistency(old, &old_root, new, &new_root, &altered));
                altered.remove(at);
                assert!(!proof::check_consistency(old, &old_root, new, &new_root, &altered));
            }
        }
    }
}

/// Paths are those of the specification.
#[test]
fn tile_paths() {
    let tile = |kind, number, width| Tile { kind, number, width };
    for (tile, path) in [
        (tile(Kind::Hashes(0), 0, 256), "tile/0/000"),
        (tile(Kind::Hashes(1), 1_234_067, 256), "tile/1/x001/x234/067"),
        (tile(Kind::Entries, 1000, 17), "tile/entries/x001/000.p/17"),
    ] {
        assert_eq!(tile.path(), path);
    }
}

/// A note that golang.org/x/mod/sumdb/note documents is read and verified with its documented key.
#[test]
fn note_of_the_reference() {
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let key = VerifyingKey::parse(key).unwrap();
    let read = Note::parse(note).unwrap();
    assert!(read.is_signed_by(&key));
    assert_eq!(read.to_string(), note);
    let altered = Note::parse(&note.replace("answer", "Answer")).unwrap();
    assert!(!altered.is_signed_by(&key));
}

/// A checkpoint signed and cosigned is read back; a witness's line is no log's, and the time is under its signature.
#[test]
fn checkpoint_signed_and_cosigned() {
    let log = SigningKey::generate("factory.example/station-1", Purpose::Log).unwrap();
    let witness = SigningKey::generate("ca-1/witness", Purpose::Witness).unwrap();
    let checkpoint = Checkpoint { origin: "factory.example/station-1".into(), size: 300, root: [7; 32] };
    let mut note = Note::new(checkpoint.text());
    note.add(log.sign(note.text()).unwrap());
    assert!(note.cosigned_at(witness.verifying()).is_none());
    note.add(witness.sign(note.text()).unwrap());
    let read = Note::parse(&note.to_string()).unwrap();
    assert_eq!(Checkpoint::parse(read.text()), Some(checkpoint));
    assert!(read.is_signed_by(log.verifying()) && read.cosigned_at(witness.verifying()).is_some());
    let stranger = SigningKey::generate("factory.example/station-1", Purpose::Log).unwrap();
    assert!(!read.is_signed_by(stranger.verifying()));
    let mut postdated = read.clone();
    postdated.signatures[1].bytes[7] ^= 1;
    assert!(postdated.cosigned_at(witness.verifying()).is_none());
    for key in [log.verifying(), witness.verifying()] {
        assert_eq!(VerifyingKey::parse(&key.to_string()).as_ref(), Some(key));
    }
    assert_eq!(SigningKey::decode(&log.encode()).unwrap().verifying(), log.verifying());
}

/// Numbers, hashes and lines are written in one way only.
#[test]
fn checkpoints_that_are_none() {
    let root = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    assert!(Checkpoint::parse(&format!("o\n1\n{root}\n")).is_some());
    assert!(Checkpoint::parse(&format!("o\n1\n{root}\nextension\n")).is_some());
    for text in [
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("\n1\n{root}\n"),
        format!("o\n1\n{root}"),
        format!("o\n1\n{root}\n\n"),
        "o\n1\nBwcH\n".to_owned(),
    ] {
        assert_eq!(Checkpoint::parse(&text), None, "{text:?}");
    }
}
