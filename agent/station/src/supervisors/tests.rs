use super::*;

fn pin(text: &str) -> SecretString {
    SecretString::from(text)
}

/// Few rounds: what is tested is not how long they take.
fn hash(text: &str) -> PinHash {
    PinHash::with_rounds(&pin(text), 1_000).unwrap()
}

fn supervisors(journal: &Path) -> Supervisors {
    Supervisors::new(vec![("S-1".into(), fixed()), ("S-2".into(), hash("222333"))], journal).unwrap()
}

/// The same at each start, as a file's is: its salt does not change.
fn fixed() -> PinHash {
    static HASH: std::sync::OnceLock<PinHash> = std::sync::OnceLock::new();
    HASH.get_or_init(|| hash("123456")).clone()
}

/// A hash that another implementation made (Python's `hashlib.pbkdf2_hmac`) is read and verified.
#[test]
fn a_hash_of_another_implementation_is_verified() {
    let line = "$pbkdf2-sha256$i=1000$000102030405060708090a0b0c0d0e0f$cc44e2f6385d1efd9701cd098c9b04d04aa6f5f23e7937631fe56ed1f98682f8";
    let read = PinHash::parse(line).unwrap();
    assert!(read.verify(&pin("271828")) && !read.verify(&pin("271829")));
    assert_eq!(read.to_text(), line);
    assert_eq!(format!("{read:?}"), "PinHash(..)");
    for wrong in ["", "$pbkdf2-sha256$i=1000$00$00", "$argon2id$v=19$m=1$00$00", "$pbkdf2-sha256$i=999$0001$00"] {
        assert!(PinHash::parse(wrong).is_err(), "{wrong}");
    }
}

/// PINs that are none.
#[test]
fn a_short_or_simple_pin_is_refused() {
    for wrong in ["", "12345", "111111", "12345a", &"1".repeat(33)] {
        assert_eq!(PinHash::of(&pin(wrong)).unwrap_err(), HashError::Pin, "{wrong}");
    }
}

/// The right PIN, another's, a wrong one and an unknown badge.
#[tokio::test]
async fn only_badge_and_pin_together_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let supervisors = supervisors(directory.path());
    assert_eq!(supervisors.verify("S-1", pin("123456")).await, Ok(()));
    for (badge, text) in [("S-1", "222333"), ("S-2", "123456"), ("S-3", "123456"), ("S-1", "")] {
        assert_eq!(supervisors.verify(badge, pin(text)).await, Err(NotVerified::Wrong), "{badge}");
    }
    let nobody = Supervisors::default();
    assert_eq!(nobody.verify("S-1", pin("123456")).await, Err(NotVerified::Nobody));
}

/// Wrong PINs in a row, under a clock that stands: three cost nothing, the fourth has the next one wait, twice as long each
/// time; the right one ends it.
#[tokio::test(start_paused = true)]
async fn wrong_pins_cost_more_and_more_time() {
    let directory = tempfile::tempdir().unwrap();
    let supervisors = supervisors(directory.path());
    for _ in 0..4 {
        assert_eq!(supervisors.verify("S-1", pin("000001")).await, Err(NotVerified::Wrong));
    }
    let mut waited = Vec::new();
    for _ in 0..3 {
        let Err(NotVerified::Wait { after }) = supervisors.verify("S-1", pin("123456")).await else {
            panic!("no pause")
        };
        waited.push(after.as_secs_f64().round());
        tokio::time::advance(after).await;
        assert_eq!(supervisors.verify("S-1", pin("000001")).await, Err(NotVerified::Wrong));
    }
    assert_eq!(waited, [5.0, 10.0, 20.0]);
    assert_eq!(supervisors.verify("S-2", pin("222333")).await, Ok(()), "another badge is not held up");
    tokio::time::advance(PAUSE_MOST).await;
    assert_eq!(supervisors.verify("S-1", pin("123456")).await, Ok(()));
    assert_eq!(supervisors.verify("S-1", pin("000001")).await, Err(NotVerified::Wrong), "the count began anew");
    assert_eq!(supervisors.verify("S-1", pin("123456")).await, Ok(()));
}

/// Ten wrong ones with a restart after each: the badge is locked, for the right PIN as well, until it gets another hash.
#[tokio::test(start_paused = true)]
async fn a_restart_wins_no_tries() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..LOCKED_AT {
        let supervisors = supervisors(directory.path());
        tokio::time::advance(PAUSE_MOST).await;
        assert_eq!(supervisors.verify("S-1", pin("000001")).await, Err(NotVerified::Wrong));
    }
    let locked = supervisors(directory.path());
    tokio::time::advance(PAUSE_MOST).await;
    assert_eq!(locked.verify("S-1", pin("123456")).await, Err(NotVerified::Locked));
    let renewed = Supervisors::new(vec![("S-1".into(), hash("654321"))], directory.path()).unwrap();
    assert_eq!(renewed.verify("S-1", pin("654321")).await, Ok(()));
}

/// The disk takes nothing: no try is looked at, right or wrong.
#[tokio::test]
async fn what_cannot_be_counted_is_not_tried() {
    let directory = tempfile::tempdir().unwrap();
    let supervisors = supervisors(directory.path());
    fs::create_dir(directory.path().join("supervisor-tries.new")).unwrap();
    assert_eq!(supervisors.verify("S-1", pin("123456")).await, Err(NotVerified::Uncounted));
}

/// A file as it should be, and each way in which it is not.
#[test]
fn the_file_is_read_line_by_line() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("supervisors");
    let write = |text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        read(&file)
    };
    let line = hash("123456").to_text();
    assert_eq!(write(&format!("# The shift\n\nS-1 {line}\n")).unwrap().len(), 1);
    for (text, expected) in [
        ("S-1\n".to_owned(), "line 1: write a badge"),
        (format!("S-1 {line}\nS-1 {line}\n"), "line 2: the badge S-1 stands there twice"),
        ("S-1 123456\n".to_owned(), "line 1: this is no PIN hash"),
    ] {
        let said = write(&text).unwrap_err().to_string();
        assert!(said.starts_with(expected) && !said.contains("123456"), "{said}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(read(&file), Err(FileError::WorldReadable(_))));
}
