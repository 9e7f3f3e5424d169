//! Makes what an auditor gets of a journal of some thousand records, for programs of others to check:
//! `cargo run -p journal --example audit-sample DIRECTORY [records]`. Below the directory: `journal/tlog`,
//! `journal.vkey`, `journal.hardware.vkey`, `witness.vkey`, `older/` checkpoints that were signed on the way, `proofs/`.

use std::{env, fs, path::PathBuf, sync::Arc};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use journal::{JournalOptions, LogOptions, Prover, Reader, Signature, Signer, TransparencyLog, VerifyingKey, Witness};

const ORIGIN: &str = "factory.example/sample";

/// Around the borders of tiles, where mistakes would be.
const STOPS: [u64; 8] = [1, 2, 255, 256, 257, 511, 1000, 1025];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("say in which directory")?);
    let records: u64 = arguments.next().map_or(Ok(70_000), |text| text.to_string_lossy().parse())?;
    let (journal, older, proofs) = (directory.join("journal"), directory.join("older"), directory.join("proofs"));
    fs::create_dir_all(&older)?;
    fs::create_dir_all(&proofs)?;
    let options = JournalOptions::new(&journal, ORIGIN);
    let hardware = Hardware::new()?;
    let mut log_options = LogOptions::beside(&journal);
    fs::write(log_options.hardware_key_file(), format!("{}\n", hardware.verifying))?;
    log_options.signers.push(Arc::new(hardware));
    let (handle, log, _) = TransparencyLog::open(&options, log_options)?;
    let witness = Witness::open(&directory.join("witness"), &directory.join("witness.key"), "factory.example/witness")?;
    let mut seen = 0;
    for stop in STOPS.into_iter().filter(|stop| *stop < records).chain([records]) {
        let from = handle.length();
        let entries: Vec<Vec<u8>> = (from..stop).map(entry).collect();
        for group in entries.chunks(1000) {
            handle.append(group.to_vec())?.wait()?;
        }
        let checkpoint = log.checkpoint()?;
        let (_, note) = log.newest();
        fs::write(older.join(format!("{stop}")), note.to_string())?;
        let proof = log.consistency(seen, &checkpoint)?;
        let signed = witness.cosign("sample", &log.key().to_string(), &note.to_string(), seen, &proof)?;
        log.keep_cosignature(note, signed)?;
        seen = checkpoint.size;
    }
    log.close()?;
    handle.close()?;
    let reader = Reader::open(&journal)?;
    for index in
        STOPS.into_iter().map(|stop| stop - 1).chain([records / 2, records - 1]).filter(|index| *index < records)
    {
        let entry = reader.entry(index)?.ok_or("a record is not there")?;
        let mut prover = Prover::open(&journal.join("tlog"), index)?;
        let proven = prover.prove(index, &entry)?;
        fs::write(proofs.join(format!("{index}.json")), prover.file(String::new(), vec![proven]).encode()?)?;
    }
    println!("{}: {records} records", directory.display());
    Ok(())
}

/// In the place of a TPM or an HSM: what it signs is the same.
struct Hardware {
    pair: EcdsaKeyPair,
    verifying: VerifyingKey,
}

impl Hardware {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())?;
        let verifying = VerifyingKey::hardware(ORIGIN, public.as_ref()).ok_or("the key is none")?;
        Ok(Self { pair, verifying })
    }
}

impl Signer for Hardware {
    fn sign(&self, text: &str) -> Result<Signature, String> {
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).map_err(|error| error.to_string())?;
        self.verifying.line(text, signature.as_ref().to_vec()).ok_or_else(|| "it does not verify".to_owned())
    }
}

fn entry(index: u64) -> Vec<u8> {
    // Of many lengths, so that bundles are none of a kind.
    let mut entry = format!("record {index} ").into_bytes();
    entry.resize(entry.len() + (index * 37 % 211) as usize, b'.');
    entry
}
