//! What a token does by itself: C_Sign, again and again, in one session.

use std::{error::Error, io::Read as _, path::Path, time::Instant};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::Mechanism,
    object::{Attribute, ObjectClass},
    session::UserType,
    types::AuthPin,
};

use crate::{figure::median, process};

/// Enough that a start's cost is lost in them.
const SIGNATURES: usize = 2_000;

/// Raw signatures of a token.
pub(crate) struct Raw {
    /// A second, in one session.
    pub(crate) rate: f64,
    /// Seconds of the processor for one.
    pub(crate) cpu: f64,
    /// The middle one, in seconds.
    pub(crate) wall: f64,
}

/// Signs with the key `device-ca`; label and PIN come on standard input. Prints what [`read`] reads.
pub(crate) fn run(module: &Path) -> Result<(), Box<dyn Error>> {
    let mut words = String::new();
    std::io::stdin().read_to_string(&mut words)?;
    let (label, pin) = words.trim().split_once('\n').ok_or("no label and PIN")?;
    let context = Pkcs11::new(module)?;
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slots = context.get_slots_with_initialized_token()?;
    let is_it = |slot: &&cryptoki::slot::Slot| context.get_token_info(**slot).is_ok_and(|token| token.label() == label);
    let session = context.open_ro_session(*slots.iter().find(is_it).ok_or("no such token")?)?;
    session.login(UserType::User, Some(&AuthPin::new(pin.into())))?;
    let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(b"device-ca".to_vec())];
    let key = *session.find_objects(&wanted)?.first().ok_or("no such key")?;
    session.sign(&Mechanism::Ecdsa, key, &[7; 32])?;
    let (before, began) = (process::times(std::process::id())?, Instant::now());
    let mut each = Vec::with_capacity(SIGNATURES);
    for _ in 0..SIGNATURES {
        let began = Instant::now();
        session.sign(&Mechanism::Ecdsa, key, &[7; 32])?;
        each.push(began.elapsed().as_secs_f64());
    }
    let rate = SIGNATURES as f64 / began.elapsed().as_secs_f64();
    let cpu = process::times(std::process::id())?.since(&before).whole().as_secs_f64() / SIGNATURES as f64;
    println!("{rate} {cpu} {}", median(each));
    Ok(())
}

/// What [`run`] printed.
pub(crate) fn read(text: &str) -> Option<Raw> {
    let mut words = text.split_whitespace().map_while(|word| word.parse().ok());
    Some(Raw { rate: words.next()?, cpu: words.next()?, wall: words.next()? })
}
