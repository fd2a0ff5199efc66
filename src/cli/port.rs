//! `-p [addr:]port`: the value of one flag.

use std::net::{IpAddr, Ipv4Addr};

use super::ExposePort;
use crate::error::{Failure, Result};

/// Reads `PORT`, `ADDR:PORT` or `[V6]:PORT`; the address is a literal one without a zone.
pub(super) fn parse(value: &str) -> Result<ExposePort> {
    let value = value.trim();
    if value.is_empty() {
        return Err(Failure::new("invalid --port: empty value"));
    }
    read(value).map_err(|why| Failure::new(format!("invalid --port {value:?}: {why}")))
}

fn read(value: &str) -> std::result::Result<ExposePort, String> {
    if !value.contains(':') {
        return Ok(ExposePort { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), port: number(value)? });
    }
    let (host, port) = split(value).map_err(|why| format!("address {value}: {why}"))?;
    if host.is_empty() {
        return Err("missing bind address (use \"PORT\" alone for loopback)".into());
    }
    let addr = host.parse().map_err(|_| {
        format!("bind address must be a literal IP (got {host:?}); hostnames are not supported")
    })?;
    Ok(ExposePort { addr, port: number(port)? })
}

/// Cuts at the last colon; an address that has colons itself stands in brackets.
fn split(value: &str) -> std::result::Result<(&str, &str), &'static str> {
    const MISSING: &str = "missing port in address";
    const TOO_MANY: &str = "too many colons in address";
    if let Some(inner) = value.strip_prefix('[') {
        let (host, after) = inner.split_once(']').ok_or("missing ']' in address")?;
        let port = after.strip_prefix(':').ok_or(MISSING)?;
        return if port.contains(':') { Err(TOO_MANY) } else { Ok((host, port)) };
    }
    let (host, port) = value.rsplit_once(':').ok_or(MISSING)?;
    if host.contains(':') {
        return Err(TOO_MANY);
    }
    Ok((host, port))
}

fn number(text: &str) -> std::result::Result<u16, String> {
    let number: i64 = text.parse().map_err(|_| format!("port must be an integer (got {text:?})"))?;
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("port out of range 1-65535 (got {number})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::table;

    #[test]
    fn every_row_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/ports.tsv"));
        assert_eq!(rows.len(), 42);
        for row in rows {
            let got = parse(&row["value"]);
            if row["original"] == "ok" {
                let got = got.unwrap_or_else(|e| panic!("{}: {e}", row["id"]));
                assert_eq!(
                    (got.addr.to_string(), got.port.to_string()),
                    (row["bind"].clone(), row["port"].clone())
                );
            } else {
                assert_eq!(got.map_err(|e| e.what.clone()), Err(row["message"].clone()), "{}", row["id"]);
            }
        }
    }
}
