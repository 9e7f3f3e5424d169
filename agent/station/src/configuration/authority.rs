//! The table `[authority]`: which CA, and what it promises.

use intermediate_ca::parse_tls;
use issuance::submission::{Repeats, Terms, WhenInDoubt};
use service::{configuration::Table, tls};

use super::AuthoritySettings;

pub(super) fn read(table: &Table<'_>) -> Option<AuthoritySettings> {
    let name = table.string("name");
    let endpoint = table.parsed("endpoint", |text| tls::check_endpoint(text).map(|()| text.to_owned()));
    let tls = parse_tls(table);
    let repeats = table.optional_parsed("repeats", |text| match text {
        "same" => Ok(Repeats::Same),
        "new" => Ok(Repeats::New),
        _ => Err(format!(
            "{text:?} is not known: use \"same\" when the CA answers the same request with the same certificate, \"new\" \
             when it makes a second one"
        )),
    });
    let in_doubt = table.optional_parsed("in_doubt", |text| match text {
        "ask" => Ok(WhenInDoubt::Ask),
        "resubmit" => Ok(WhenInDoubt::Resubmit),
        _ => Err(format!(
            "{text:?} is not known: use \"ask\" for a supervisor's decision, \"resubmit\" to send it again"
        )),
    });
    let terms = Terms { repeats: repeats.unwrap_or_default(), in_doubt: in_doubt.unwrap_or_default() };
    Some(AuthoritySettings { name: name?, endpoint: endpoint?, tls: tls?, terms })
}
