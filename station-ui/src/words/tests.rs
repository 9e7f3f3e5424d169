use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::*;

/// Each key of a catalogue, attributes as `key.attribute`, with the variables in it.
fn keys(language: Language) -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut message = String::new();
    let mut key = String::new();
    for line in language.source().lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let begins = line.split_once(" = ").map(|(name, _)| name.trim());
        match begins {
            Some(name) if !line.starts_with(' ') => {
                name.clone_into(&mut message);
                key = message.clone();
            }
            Some(name) if name.starts_with('.') => key = format!("{message}{name}"),
            _ => {}
        }
        let variables = keys.entry(key.clone()).or_default();
        for part in line.split("{ $").skip(1) {
            variables.insert(part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned());
        }
    }
    keys
}

/// The sources of this crate with what they say of tests left away.
fn sources() -> String {
    fn gather(place: &Path, text: &mut String) {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, text);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
                let source = fs::read_to_string(path).unwrap();
                text.push_str(source.split("\nmod tests {").next().unwrap());
            }
        }
    }
    let mut text = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    text
}

/// Parses every catalogue and compares keys and variables with the English one: nothing is missing, nothing is over.
#[test]
fn every_language_has_every_key() {
    let english = keys(Language::English);
    assert!(english.len() > 100, "the catalogue is read");
    for language in Language::ALL {
        let parsed = FluentResource::try_new(language.source().to_owned());
        assert!(parsed.is_ok(), "{language:?}: {:?}", parsed.err().map(|(_, errors)| errors));
        let own = keys(language);
        let names = |of: &BTreeMap<String, BTreeSet<String>>| of.keys().cloned().collect::<BTreeSet<_>>();
        let missing: Vec<_> = names(&english).difference(&names(&own)).cloned().collect();
        let over: Vec<_> = names(&own).difference(&names(&english)).cloned().collect();
        assert!(missing.is_empty() && over.is_empty(), "{language:?} lacks {missing:?} and has {over:?} over");
        for (key, variables) in &english {
            assert_eq!(variables, &own[key], "the variables of {key} in {language:?}");
            let about: Vec<_> = variables.iter().map(|name| (name.as_str(), FluentValue::from(3))).collect();
            assert!(language.written(key, &about).is_some_and(|text| !text.trim().is_empty()), "{key} in {language:?}");
        }
    }
}

/// Looks for every quoted word of the sources that reads like a key, and for every key in the sources: none is unknown,
/// none is dead.
#[test]
fn every_key_of_the_code_is_in_the_catalogue_and_none_is_dead() {
    let sources = sources();
    let english = keys(Language::English);
    for call in [".say(\"", ".with(\"", "bad(language, form, \"", "say_of(\""] {
        for rest in sources.split(call).skip(1) {
            let key = rest.split('"').next().unwrap();
            assert!(english.contains_key(key), "{key} stands in no catalogue");
        }
    }
    for key in english.keys() {
        let name = key.split('.').next().unwrap();
        let built = ["fault-", "refused-", "record-"].iter().any(|prefix| name.starts_with(prefix));
        assert!(built || sources.contains(&format!("\"{name}")), "{key} is used nowhere");
    }
}

/// No text for people stands in the code: what the pages' templates quote has no words in it.
#[test]
fn no_words_stand_in_the_templates() {
    for rest in sources().split("html! {").skip(1) {
        for (number, part) in rest.split("\n}\n").next().unwrap().split('"').enumerate() {
            let inside = number % 2 == 1;
            let words = part.split(' ').filter(|word| word.chars().next().is_some_and(char::is_uppercase)).count();
            assert!(!inside || words == 0 || part.starts_with('M'), "{part:?} belongs into the catalogues");
        }
    }
}

/// Words for every kind, state and reason of the station in every language; a reason that nobody knows has none.
#[test]
fn what_the_station_says_has_words() {
    for language in Language::ALL {
        for kind in Kind::ALL {
            assert_ne!(language.headline(kind), kind.class());
            assert!(!language.next_action(kind).contains(".next"));
        }
        assert_eq!(language.find("fault-NEWER_THAN_THIS", &[]), None);
        assert_eq!(language.find("refused-LOT_CLOSED", &[]), None, "what it speaks of is missing");
        let lot = [("lot", FluentValue::from("LOT-1"))];
        assert!(language.find("refused-LOT_CLOSED", &lot).is_some_and(|text| text.contains("LOT-1")));
    }
    let german = Language::German.with("authority-away", &[("waiting", 1.into())]);
    assert_eq!(german, "Die CA ist weg: 1 Gerät wartet");
}

/// The tag decides, whatever its region; a browser's list is taken in its order.
#[test]
fn a_browsers_language_is_found() {
    assert_eq!(Language::parse("de-AT"), Some(Language::German));
    assert_eq!(Language::parse("fr"), None);
    assert_eq!(Language::accepted("fr-CH, zh-CN;q=0.9, en;q=0.8"), Some(Language::Chinese));
    assert_eq!(Language::accepted("*"), None);
}

/// Durations read like a clock, and never below zero.
#[test]
fn durations_read_like_a_clock() {
    let written: Vec<String> = [-5, 0, 7_900, 750_000, 3_723_000].into_iter().map(elapsed).collect();
    assert_eq!(written, ["0:00", "0:00", "0:07", "12:30", "1:02:03"]);
    let took = |milliseconds| Language::English.took(milliseconds);
    assert_eq!([took(-1), took(740), took(12_999), took(61_000)], ["0.0 s", "0.7 s", "12.9 s", "1:01"]);
    assert!(Language::English.drain(89_500).contains("2 minutes"));
    assert!(Language::English.drain(200).contains("1 second."));
}
