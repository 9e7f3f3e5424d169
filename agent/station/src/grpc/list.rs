//! Lists: newest first, in pages that are bounded by count and by octets (<https://google.aip.dev/158>).

use issuance::{CommonName, DeviceSerial, LotName, certificate};
use prost::{Message, length_delimiter_len};
use prost_types::FieldMask;
use proto::{mask::Mask, station::v1 as wire};
use service::{grpc::MESSAGE_BYTES_MAX, page, status};
use tonic::Status;

use super::{StationApi, refused, settled};
use crate::{ledger::Listed, view};

/// What gRPC clients take by default, with room for the token and for what the transport adds.
const PAGE_OCTETS_MOST: usize = MESSAGE_BYTES_MAX - 4096;

impl StationApi {
    pub(super) fn issuances(&self, request: wire::ListIssuancesRequest) -> Result<wire::ListIssuancesResponse, Status> {
        let of = listed(&request)?;
        let mask = mask(request.read_mask)?;
        let asked = page::Asked::parse(request.page_size, &request.page_token)?;
        let found = self.ledger.list(&of, asked.before, asked.size).map_err(refused)?;
        let mut page = Page::of(found.len() == asked.size);
        for (index, id) in found {
            // `None`: after the journal failed, what was not accepted by then.
            let issuance = match self.ledger.told(id).map_err(refused)? {
                Some((issuance, last)) => view::issuance(&issuance, last),
                None => {
                    page.last = Some(index);
                    continue;
                }
            };
            let issuance = match &mask {
                Some(mask) => mask.of(&issuance),
                None => issuance,
            };
            if !page.takes(index, issuance) {
                break;
            }
        }
        let (issuances, next_page_token) = page.end();
        Ok(wire::ListIssuancesResponse { issuances, next_page_token })
    }

    pub(super) fn lots(&self, request: &wire::ListLotsRequest) -> Result<wire::ListLotsResponse, Status> {
        let asked = page::Asked::parse(request.page_size, &request.page_token)?;
        let found = self.ledger.lots(asked.before, asked.size).map_err(refused)?;
        settled(&self.ledger)?;
        let mut page = Page::of(found.len() == asked.size);
        let _ = found.iter().all(|(index, name, row)| page.takes(*index, view::lot(name, row)));
        let (lots, next_page_token) = page.end();
        Ok(wire::ListLotsResponse { lots, next_page_token })
    }
}

fn listed(request: &wire::ListIssuancesRequest) -> Result<Listed, Status> {
    let one_of = [&request.lot, &request.device_serial, &request.common_name, &request.certificate_serial];
    if one_of.iter().filter(|given| !given.is_empty()).count() + usize::from(request.in_doubt) > 1 {
        let words = "give one of lot, device_serial, common_name, certificate_serial and in_doubt";
        return Err(status::invalid_argument("lot", words));
    }
    Ok(match one_of.map(String::as_str) {
        ["", "", "", ""] if request.in_doubt => Listed::InDoubt,
        ["", "", "", ""] => Listed::All,
        [lot, "", "", ""] => Listed::Lot(status::parsed("lot", lot, LotName::parse)?),
        ["", serial, "", ""] => Listed::Device(status::parsed("device_serial", serial, DeviceSerial::parse)?),
        ["", "", name, ""] => Listed::CommonName(status::parsed("common_name", name, CommonName::parse)?.folded()),
        [.., serial] => {
            let octets = certificate::serial_octets(serial)
                .map_err(|words| status::invalid_argument("certificate_serial", words))?;
            Listed::CertificateSerial(octets)
        }
    })
}

/// The fields of issuances that are wanted; `None`: all.
pub(super) fn mask(read_mask: Option<FieldMask>) -> Result<Option<Mask>, Status> {
    let paths = read_mask.unwrap_or_default().paths;
    Mask::parse("station.v1.Issuance", &paths)
        .map_err(|unknown| status::invalid_argument("read_mask", unknown.to_string()))
}

/// A page that fills.
struct Page<T> {
    items: Vec<T>,
    octets: usize,
    /// Whether more may follow what was found.
    more: bool,
    last: Option<u64>,
}

impl<T: Message> Page<T> {
    fn of(more: bool) -> Self {
        Self { items: Vec::new(), octets: 0, more, last: None }
    }

    /// Whether the next one, found at this index, has a place. One always has: a list must come to its end.
    fn takes(&mut self, index: u64, item: T) -> bool {
        let length = item.encoded_len();
        let octets = 1 + length_delimiter_len(length) + length;
        if !self.items.is_empty() && self.octets + octets > PAGE_OCTETS_MOST {
            self.more = true;
            return false;
        }
        self.octets += octets;
        self.last = Some(index);
        self.items.push(item);
        true
    }

    fn end(self) -> (Vec<T>, String) {
        (self.items, page::token(self.last.filter(|_| self.more)))
    }
}
