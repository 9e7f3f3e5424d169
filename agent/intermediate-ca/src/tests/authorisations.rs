//! What a brand owner signs: taken once, exactly as it was signed, for this CA alone.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use issuance::PublicKey;
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};

use super::{
    lots::{by, in_lot, lot_name, open_lot, used},
    *,
};
use crate::{Lot, LotRefused};

const DAY: i64 = 86_400;
const NOW: i64 = START / 1_000;

/// A brand owner, with a key that no configuration makes.
struct BrandOwner {
    key: KeyPair,
}

impl BrandOwner {
    fn public_key(&self) -> PublicKey {
        PublicKey::from_der(&self.key.subject_public_key_info()).unwrap()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    fn sign_text(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key.serialize_der()).unwrap();
        let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn es256(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "ES256"}), claims)
    }
}

/// A CA that takes one brand owner's word and nobody else's.
fn signed_world() -> (World, BrandOwner) {
    let (mut world, owner) = (World::new(), BrandOwner { key: key() });
    world.settings.lots.required = true;
    world.settings.lots.unsigned = false;
    world.settings.lots.brand_owners = vec![owner.public_key()];
    (world, owner)
}

fn audience(authority: &Authority, place: usize) -> String {
    let der = authority.profile_issuers()[place].chain[0].clone();
    let (_, certificate) =
        <x509_parser::certificate::X509Certificate<'_> as x509_parser::prelude::FromDer<_>>::from_der(&der).unwrap();
    URL_SAFE_NO_PAD.encode(issuance::public_key::sha256(certificate.public_key().raw))
}

fn claims(authority: &Authority) -> Value {
    json!({
        "aud": audience(authority, 0), "jti": "order-1", "lot": "WO-1", "profile": "device-ca", "quantity": 2,
        "pattern": "SN-*", "nbf": NOW - DAY, "exp": NOW + DAY,
    })
}

fn with(claims: &Value, change: Value) -> Value {
    let mut claims = claims.clone();
    let (Value::Object(all), Value::Object(change)) = (&mut claims, change) else { panic!("no object") };
    for (key, value) in change {
        match value {
            Value::Null => drop(all.remove(&key)),
            value => drop(all.insert(key, value)),
        }
    }
    claims
}

async fn authorise(authority: &Authority, jws: &str) -> Result<Lot, LotRefused> {
    authority.authorise_lot(by("station-1"), jws.to_owned()).await.unwrap()
}

/// A signed lot covers what it says: devices by pattern, up to the quantity; unsigned ones are not opened beside it, and
/// nobody amends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_lot_covers_what_it_says() {
    let (world, owner) = signed_world();
    let authority = world.open();
    assert_eq!(open_lot(&authority, "WO-0", 5).await.unwrap_err().reason, "AUTHORISATION_REQUIRED");
    let lot = authorise(&authority, &owner.es256(&claims(&authority))).await.unwrap();
    assert_eq!((lot.quantity, lot.open, lot.signature.unwrap().jti.as_str()), (2, true, "order-1"));
    let other = Submission { device_serial: "XX-1".to_owned(), ..in_lot(1, "WO-1") };
    assert_refused(&issue_one(&authority, &other).await, Reason::LotNotForDevice, "fit SN-*");
    issued(&issue_one(&authority, &in_lot(1, "WO-1")).await);
    issued(&issue_one(&authority, &in_lot(2, "WO-1")).await);
    assert_refused(&issue_one(&authority, &in_lot(3, "WO-1")).await, Reason::LotUsedUp, "2 of 2");
    let amended = authority.amend_lot(by("supervisor-1"), lot_name("WO-1"), 9, "please".to_owned()).await.unwrap();
    assert_eq!(amended.unwrap_err().reason, "LOT_IS_SIGNED");
    authority.close().await.unwrap();
}

/// A list of exact device serials, longer than one record may be, is held to the letter, also after all rows are lost.
#[tokio::test(flavor = "multi_thread")]
async fn listed_devices_and_no_others() {
    let (world, owner) = signed_world();
    let authority = world.open();
    let mut serials: Vec<String> = (0..6_000).map(|number| format!("BOARD-{number:06}")).collect();
    serials.push("SN-1".to_owned());
    let listing = json!({"pattern": null, "serials": serials, "quantity": serials.len()});
    let jws = owner.es256(&with(&claims(&authority), listing));
    assert!(jws.len() > 100_000, "{}", jws.len());
    authorise(&authority, &jws).await.unwrap();
    issued(&issue_one(&authority, &in_lot(1, "WO-1")).await);
    assert_refused(&issue_one(&authority, &in_lot(2, "WO-1")).await, Reason::LotNotForDevice, "6001 devices");
    authority.close().await.unwrap();
    std::fs::remove_dir_all(world.settings.journal.join("projections")).unwrap();
    let authority = world.open();
    assert_refused(&issue_one(&authority, &in_lot(2, "WO-1")).await, Reason::LotNotForDevice, "6001 devices");
    authority.close().await.unwrap();
}

/// Each way in which an authorisation can be wrong has its reason, and opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_authorisation_opens_nothing() {
    let (world, owner) = signed_world();
    let authority = world.open();
    let good = claims(&authority);
    let changed = |change| owner.es256(&with(&good, change));
    let headed = |header: Value| owner.sign(&header, &good);
    let stranger = BrandOwner { key: key() };
    let widened = {
        let jws = owner.es256(&good);
        let parts: Vec<&str> = jws.split('.').collect();
        let payload = URL_SAFE_NO_PAD.encode(with(&good, json!({"quantity": 2_000})).to_string());
        format!("{}.{payload}.{}", parts[0], parts[2])
    };
    let unsigned = {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", encode(&json!({"alg": "none"})), encode(&good))
    };
    const ES256: &str = "{\"alg\":\"ES256\"}";
    let text = good.to_string();
    // JSON lets a name stand twice, and readers differ in which one counts (RFC 8259 §4).
    let twice =
        |name: &str, value: &str| owner.sign_text(ES256, &text.replacen('{', &format!("{{\"{name}\":{value},"), 1));
    let truncated = owner.es256(&good).rsplit_once('.').unwrap().0.to_owned();
    let cases = [
        ("AUTHORISATION_SIGNATURE", widened),
        ("AUTHORISATION_SIGNATURE", stranger.es256(&good)),
        ("AUTHORISATION_SIGNATURE", format!("{truncated}.")),
        ("AUTHORISATION_ALGORITHM", unsigned),
        ("AUTHORISATION_ALGORITHM", headed(json!({"alg": "HS256"}))),
        ("AUTHORISATION_ALGORITHM", headed(json!({"alg": "es256"}))),
        ("AUTHORISATION_ALGORITHM", headed(json!({"alg": "ES384"}))),
        ("AUTHORISATION_CRITICAL", headed(json!({"alg": "ES256", "crit": ["max"], "max": 1}))),
        ("AUTHORISATION_CRITICAL", headed(json!({"alg": "ES256", "crit": []}))),
        ("AUTHORISATION_MALFORMED", headed(json!({"typ": "JWT"}))),
        ("AUTHORISATION_MALFORMED", headed(json!(["ES256"]))),
        ("AUTHORISATION_CLAIMS", owner.es256(&json!([1, 2]))),
        ("AUTHORISATION_MALFORMED", String::new()),
        ("AUTHORISATION_MALFORMED", "a.b".to_owned()),
        ("AUTHORISATION_MALFORMED", format!("{}.x", owner.es256(&good))),
        ("AUTHORISATION_MALFORMED", "x".repeat((1 << 20) + 1)),
        ("AUTHORISATION_AUDIENCE", changed(json!({"aud": audience(&authority, 1)}))),
        ("AUTHORISATION_AUDIENCE", changed(json!({"aud": ""}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"aud": [audience(&authority, 0), "another"]}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"aud": null}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"max_per_day": 1}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"exp": null}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"jti": ""}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"lot": "a b"}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"profile": "vpn"}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"quantity": 0}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"quantity": -1}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"quantity": 10_000_001}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"quantity": 4_294_967_297_u64}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"quantity": 1.5}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"quantity": "2"}))),
        ("AUTHORISATION_CLAIMS", twice("quantity", "900")),
        ("AUTHORISATION_CLAIMS", twice("aud", "\"x\"")),
        ("AUTHORISATION_CLAIMS", twice("jti", "\"order-2\"")),
        ("AUTHORISATION_CLAIMS", twice("exp", "9999999999")),
        ("AUTHORISATION_CLAIMS", owner.sign_text(ES256, &format!("{text}{text}"))),
        ("AUTHORISATION_MALFORMED", owner.sign_text("{\"alg\":\"none\",\"alg\":\"ES256\"}", &text)),
        // Keys never come from the header.
        (
            "AUTHORISATION_SIGNATURE",
            stranger.sign(&json!({"alg": "ES256", "jwk": {"kty": "EC"}, "kid": "../owner"}), &good),
        ),
        ("AUTHORISATION_CLAIMS", changed(json!({"pattern": null}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"pattern": "SN [0-9]"}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"serials": ["SN-1", "SN-2"]}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"pattern": null, "serials": ["SN-1"]}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"pattern": null, "serials": ["SN-1", "SN-1"]}))),
        ("AUTHORISATION_CLAIMS", changed(json!({"exp": NOW - 2 * DAY}))),
        ("AUTHORISATION_EXPIRED", changed(json!({"exp": NOW}))),
    ];
    for (number, (reason, jws)) in cases.iter().enumerate() {
        let refused = authorise(&authority, jws).await.expect_err(reason);
        assert_eq!(refused.reason, *reason, "case {number}: {refused}");
    }
    assert_eq!(authority.lots(None, 10).await.unwrap(), [], "nothing was opened");
    authorise(&authority, &owner.es256(&good)).await.unwrap();
    authority.close().await.unwrap();
}

/// The exact repeat changes nothing, whatever became of the lot: signed with another nonce, after devices took their places,
/// after closing, after a restart. Another content under the same jti is refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_authorisation_counts_once() {
    let (world, owner) = signed_world();
    let authority = world.open();
    let good = claims(&authority);
    let first = authorise(&authority, &owner.es256(&good)).await.unwrap();
    assert_eq!(authorise(&authority, &owner.es256(&good)).await.unwrap(), first);
    issued(&issue_one(&authority, &in_lot(1, "WO-1")).await);
    authority.close_lot(by("mes-1"), lot_name("WO-1")).await.unwrap().unwrap();
    authority.close().await.unwrap();
    let authority = world.open();
    let again = authorise(&authority, &owner.es256(&good)).await.unwrap();
    assert_eq!((again.open, again.used), (false, 1), "a replay does not open it again");
    for change in [json!({"quantity": 3}), json!({"lot": "WO-2"}), json!({"exp": NOW + 2 * DAY})] {
        let refused = authorise(&authority, &owner.es256(&with(&good, change))).await.unwrap_err();
        assert_eq!(refused.reason, "AUTHORISATION_REPLAYED", "{refused}");
    }
    authority.close().await.unwrap();
}

/// A new signature widens a lot and opens it again; one below what is used, one that was kept back, and another brand
/// owner's are refused.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_newer_signature_widens() {
    let (mut world, owner) = signed_world();
    let other = BrandOwner { key: key() };
    world.settings.lots.brand_owners.push(other.public_key());
    let authority = world.open();
    let good = claims(&authority);
    authorise(&authority, &owner.es256(&good)).await.unwrap();
    for number in [1, 2] {
        issued(&issue_one(&authority, &in_lot(number, "WO-1")).await);
    }
    authority.close_lot(by("mes-1"), lot_name("WO-1")).await.unwrap().unwrap();
    let newer = |jti: &str, quantity: u32, nbf: i64| {
        owner.es256(&with(&good, json!({"jti": jti, "quantity": quantity, "nbf": nbf})))
    };
    assert_eq!(authorise(&authority, &newer("order-2", 1, NOW)).await.unwrap_err().reason, "LOT_BELOW_USED");
    assert_eq!(authorise(&authority, &other.es256(&good)).await.unwrap_err().reason, "LOT_EXISTS");
    let widened = authorise(&authority, &newer("order-3", 3, NOW)).await.unwrap();
    assert_eq!((widened.quantity, widened.used, widened.open), (3, 2, true));
    let kept_back = authorise(&authority, &newer("order-4", 900, NOW - 1)).await.unwrap_err();
    assert_eq!(kept_back.reason, "AUTHORISATION_OUTDATED");
    issued(&issue_one(&authority, &in_lot(3, "WO-1")).await);
    assert_refused(&issue_one(&authority, &in_lot(4, "WO-1")).await, Reason::LotUsedUp, "3 of 3");
    authority.close().await.unwrap();
}

/// Before its time and after it an authorised lot covers nothing new; what was issued is still answered, and a device that
/// has its place renews there: it takes no other place, and no other device gets its one.
#[tokio::test(flavor = "multi_thread")]
async fn an_authorisation_has_its_time() {
    let (world, owner) = signed_world();
    let authority = world.open();
    let jws = owner.es256(&with(&claims(&authority), json!({"nbf": NOW + 60})));
    authorise(&authority, &jws).await.unwrap();
    assert_refused(&issue_one(&authority, &in_lot(1, "WO-1")).await, Reason::LotNotYetValid, "60 s");
    world.time.fetch_add(60_000, Ordering::SeqCst);
    let first = in_lot(1, "WO-1");
    let certificate = issued(&issue_one(&authority, &first).await).clone();
    world.time.fetch_add(DAY * 1_000, Ordering::SeqCst);
    assert_refused(&issue_one(&authority, &in_lot(2, "WO-1")).await, Reason::LotExpired, "has expired");
    assert_eq!(issued(&issue_one(&authority, &first).await), &certificate);
    let renewed = Submission { supersedes: vec![id(1)], issuance: id(11), ..in_lot(1, "WO-1") };
    issued(&issue_one(&authority, &renewed).await);
    let borrowed = Submission { supersedes: vec![id(11)], ..in_lot(2, "WO-1") };
    assert!(matches!(issue_one(&authority, &borrowed).await, Outcome::Refused(_)), "another device's place");
    assert_eq!(used(&authority, "WO-1").await, 1);
    authority.close().await.unwrap();
}
