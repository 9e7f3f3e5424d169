//! Signed notes (C2SP signed-note) with Ed25519 keys and, beside them, with the ECDSA key of a TPM or an HSM; and cosignatures
//! of checkpoints (C2SP tlog-cosignature).

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_ASN1, ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// What begins a signature line: an em dash and a space.
const DASH: &str = "\u{2014} ";
/// What stands before the point in the DER of a P-256 key (SubjectPublicKeyInfo, RFC 5480 §2), uncompressed.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
    0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// More signatures than this are not a checkpoint's: C2SP has verifiers bound them.
const SIGNATURES_MAX: usize = 100;

/// A text and who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    pub(super) signatures: Vec<Signature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    key_id: [u8; 4],
    pub(super) bytes: Vec<u8>,
}

impl Note {
    /// A note without a signature. The text ends with a newline.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, signatures: Vec::new() }
    }

    /// Reads a note; `None` when it is none. No signature is checked.
    #[must_use]
    pub fn parse(note: &str) -> Option<Self> {
        let blank = note.rfind("\n\n")?;
        let (text, lines) = (&note[..=blank], note[blank + 2..].strip_suffix('\n')?);
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return None;
        }
        let signatures: Option<Vec<Signature>> = lines.split('\n').map(Signature::parse).collect();
        let signatures = signatures.filter(|found| (1..=SIGNATURES_MAX).contains(&found.len()))?;
        Some(Self { text: text.to_owned(), signatures })
    }

    /// What was signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a line, in place of one of the same key.
    pub fn add(&mut self, signature: Signature) {
        self.signatures.retain(|other| (&other.name, other.key_id) != (&signature.name, signature.key_id));
        self.signatures.push(signature);
    }

    /// The signature lines.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        self.signatures.iter().any(|signature| key.verify(&self.text, signature).is_some())
    }

    /// When this witness's key cosigned it, in seconds since 1970; `None` when it did not.
    #[must_use]
    pub fn cosigned_at(&self, key: &VerifyingKey) -> Option<u64> {
        self.signatures.iter().find_map(|signature| key.verify(&self.text, signature)).flatten()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl Signature {
    /// Reads one line, without its newline.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (key_id, bytes) = decoded.split_first_chunk::<4>()?;
        (is_name(name) && !bytes.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: *key_id,
            bytes: bytes.to_vec(),
        })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DASH}{} {}", self.name, STANDARD.encode([&self.key_id[..], &self.bytes].concat()))
    }
}

/// What a key signs: a log its checkpoints, a witness those of others with the time.
///
/// The number is the type of C2SP signed-note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signature type 0x01: Ed25519 over the text.
    Log,
    /// Signature type 0x04: Ed25519 over the time and the text.
    Witness,
    /// Signature type 0x02: ECDSA over the text, P-256 and SHA-256, by a key that never leaves a TPM or an HSM. The key is a
    /// SubjectPublicKeyInfo, DER, and its id is the beginning of that one's SHA-256; the signature is an ECDSA-Sig-Value, DER.
    Hardware,
}

impl Purpose {
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
            Self::Hardware => 0x02,
        }
    }
}

/// Whoever signs notes: the Ed25519 key of a process, or its TPM or HSM beside it.
pub trait Signer: Send + Sync {
    /// The signature line for this text.
    ///
    /// # Errors
    /// Why it could not be made, in words.
    fn sign(&self, text: &str) -> Result<Signature, String>;
}

/// An Ed25519 key that signs.
pub struct SigningKey {
    verifying: VerifyingKey,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new one from the system's random source. `None` when that fails, or the name cannot be a key's.
    #[must_use]
    pub fn generate(name: &str, purpose: Purpose) -> Option<Self> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).ok()?;
        Self::from_seed(name, purpose, seed)
    }

    fn from_seed(name: &str, purpose: Purpose, seed: [u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        let verifying = VerifyingKey::new(name, purpose, pair.public_key().as_ref())?;
        Some(Self { verifying, seed, pair })
    }

    /// Reads what [`SigningKey::encode`] wrote.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (name, id, typed) = split_key(text.trim_end().strip_prefix("PRIVATE+KEY+")?)?;
        let (byte, seed) = typed.split_first()?;
        let key = Self::from_seed(name, purpose(*byte)?, seed.try_into().ok()?)?;
        (key.verifying.key_id == id).then_some(key)
    }

    /// `PRIVATE+KEY+name+id+key`, as golang.org/x/mod/sumdb/note has it.
    #[must_use]
    pub fn encode(&self) -> String {
        let typed = [&[self.verifying.purpose.byte()][..], &self.seed].concat();
        let VerifyingKey { name, key_id, .. } = &self.verifying;
        format!("PRIVATE+KEY+{name}+{}+{}", crate::hex(key_id), STANDARD.encode(typed))
    }

    /// What verifies its signatures.
    #[must_use]
    pub fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }
}

impl Signer for SigningKey {
    fn sign(&self, text: &str) -> Result<Signature, String> {
        let bytes = match self.verifying.purpose {
            Purpose::Log => self.pair.sign(text.as_bytes()).as_ref().to_vec(),
            Purpose::Witness => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs();
                let signature = self.pair.sign(cosigned(now, text).as_bytes());
                [&now.to_be_bytes()[..], signature.as_ref()].concat()
            }
            Purpose::Hardware => return Err("a key of a TPM or an HSM is not held by this process".to_owned()),
        };
        Ok(Signature { name: self.verifying.name.clone(), key_id: self.verifying.key_id, bytes })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("verifying", &self.verifying).finish_non_exhaustive()
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.seed);
    }
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    purpose: Purpose,
    key_id: [u8; 4],
    /// 32 octets of an Ed25519 key, or the SubjectPublicKeyInfo of a P-256 key.
    public: Vec<u8>,
}

impl VerifyingKey {
    fn new(name: &str, purpose: Purpose, public: &[u8]) -> Option<Self> {
        let (is_key, [a, b, c, d, ..]) = match purpose {
            Purpose::Hardware => (point(public).is_some(), crate::sha256(public)),
            Purpose::Log | Purpose::Witness => {
                let named = [name.as_bytes(), b"\n", &[purpose.byte()], public].concat();
                (public.len() == 32, crate::sha256(&named))
            }
        };
        let key = || Self { name: name.to_owned(), purpose, key_id: [a, b, c, d], public: public.to_vec() };
        (is_key && is_name(name)).then(key)
    }

    /// The key of a TPM or an HSM that signs the checkpoints of the log `origin` beside the log's own: named
    /// `<origin>/hardware`. `None` when this is no SubjectPublicKeyInfo of a P-256 key.
    #[must_use]
    pub fn hardware(origin: &str, public_key: &[u8]) -> Option<Self> {
        Self::new(&hardware_name(origin), Purpose::Hardware, public_key)
    }

    /// The line that this signature over `text` makes, which others made with this key; `None` when it does not verify.
    #[must_use]
    pub fn line(&self, text: &str, signature: Vec<u8>) -> Option<Signature> {
        let line = Signature { name: self.name.clone(), key_id: self.key_id, bytes: signature };
        self.verify(text, &line).map(|_| line)
    }

    /// Whether this line says that it is by this key; whether it is, its bytes tell.
    pub(crate) fn is_named_by(&self, signature: &Signature) -> bool {
        signature.name == self.name && signature.key_id == self.key_id
    }

    /// Reads `name+id+key`, as C2SP signed-note has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, id, typed) = split_key(text.trim_end())?;
        let (byte, public) = typed.split_first()?;
        let key = Self::new(name, purpose(*byte)?, public)?;
        (key.key_id == id).then_some(key)
    }

    /// The key's name: a log's origin, or a witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// `None` when it is not this key's signature over the text; else a witness's time.
    fn verify(&self, text: &str, signature: &Signature) -> Option<Option<u64>> {
        if !self.is_named_by(signature) {
            return None;
        }
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        match self.purpose {
            Purpose::Hardware => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point(&self.public)?);
                key.verify(text.as_bytes(), &signature.bytes).ok().map(|()| None)
            }
            Purpose::Log => key.verify(text.as_bytes(), &signature.bytes).ok().map(|()| None),
            Purpose::Witness => {
                let (time, bytes) = signature.bytes.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                key.verify(cosigned(time, text).as_bytes(), bytes).ok().map(|()| Some(time))
            }
        }
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.purpose.byte()][..], &self.public].concat();
        write!(f, "{}+{}+{}", self.name, crate::hex(self.key_id), STANDARD.encode(typed))
    }
}

/// What a witness signs: C2SP tlog-cosignature, `cosignature/v1`.
fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

fn purpose(byte: u8) -> Option<Purpose> {
    [Purpose::Log, Purpose::Witness, Purpose::Hardware].into_iter().find(|purpose| purpose.byte() == byte)
}

/// The uncompressed point of a P-256 key.
fn point(public_key: &[u8]) -> Option<&[u8]> {
    public_key.strip_prefix(&P256_PREFIX).filter(|point| point.len() == 65 && point.first() == Some(&4))
}

/// How the key of a TPM or an HSM is named that signs beside a log's own.
pub(crate) fn hardware_name(origin: &str) -> String {
    format!("{origin}/hardware")
}

/// C2SP signed-note: not empty, no space, no plus sign.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn split_key(text: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    // The key's base64 may hold plus signs: only the first two divide.
    let mut parts = text.splitn(3, '+');
    let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
    let id = u32::from_str_radix(id, 16).ok().filter(|_| id.len() == 8)?;
    Some((name, id.to_be_bytes(), STANDARD.decode(key).ok()?))
}
