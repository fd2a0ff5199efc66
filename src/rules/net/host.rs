//! One canonical form of a host, whatever way it was spelt: bytes in, a lower-case ASCII name or an address out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host in the one form in which it is judged, resolved and dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Lower case, ASCII, without the trailing dot, never the spelling of an address.
    Name(String),
    /// An address; IPv4-mapped IPv6 is IPv4.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(address) => address.fmt(f),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Host {
        // The kernel dials a mapped address as IPv4.
        Host::Address(address.to_canonical())
    }
}

impl Host {
    /// As it stands before `:PORT`: IPv6 in brackets.
    pub fn bracketed(&self) -> String {
        match self {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            other => other.to_string(),
        }
    }
}

/// Why bytes name no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// Nothing there.
    Empty,
    /// More than 253 bytes.
    Long,
    /// A label is empty or has more than 63 bytes.
    Label,
    /// A byte or character that no host name has: NUL, control, blank, `*`, `/`, `@` and the like.
    Character,
    /// It ends in a number and is no IPv4 address, or stands in brackets and is no IPv6 address.
    Address,
    /// An address with a zone (`fe80::1%eth0`): it would pick an interface of the host.
    Zone,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostError::Empty => "the host is empty",
            HostError::Long => "the host has more than 253 bytes",
            HostError::Label => "a label of the host is empty or has more than 63 bytes",
            HostError::Character => "the host has a character that no host name has",
            HostError::Address => "the host looks like an address and is none",
            HostError::Zone => "the host is an address with a zone",
        })
    }
}

const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// The canonical form of a host as a client or a configuration file spells it.
///
/// # Errors
/// When it names none. There is no way back: what is refused here is dialled by nobody.
pub fn canonical(text: &[u8]) -> Result<Host, HostError> {
    // A character takes four bytes at most, and at least one in ASCII: what is longer can't become a name.
    if text.len() > 4 * LONGEST_NAME {
        return Err(HostError::Long);
    }
    if let Some(rest) = text.strip_prefix(b"[") {
        let inner = rest.strip_suffix(b"]").ok_or(HostError::Address)?;
        return v6(inner);
    }
    if text.contains(&b':') {
        return v6(text);
    }
    let text = std::str::from_utf8(text).map_err(|_| HostError::Character)?;
    let name = to_ascii(text.strip_suffix('.').unwrap_or(text))?;
    let Some(last) = name.rsplit('.').next().filter(|_| !name.is_empty()) else {
        return Err(HostError::Empty);
    };
    if is_number(last) {
        return inet_aton(&name).map(|address| Host::from(IpAddr::V4(address))).ok_or(HostError::Address);
    }
    if name.len() > LONGEST_NAME {
        return Err(HostError::Long);
    }
    if name.split('.').any(|label| label.is_empty() || label.len() > LONGEST_LABEL) {
        return Err(HostError::Label);
    }
    Ok(Host::Name(name))
}

fn v6(text: &[u8]) -> Result<Host, HostError> {
    if text.contains(&b'%') {
        return Err(HostError::Zone);
    }
    let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
    address.map(|address| Host::from(IpAddr::V6(address))).ok_or(HostError::Address)
}

/// What inet_aton(3) takes for a number, or might: such a last label makes the whole name an address, or nothing.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x");
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// The spellings that inet_aton(3) knows: one to four numbers, decimal, octal (`0…`) or hexadecimal (`0x…`), the last one
/// filling the bytes that are left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let (last, first) = parts.split_last()?;
    if first.len() > 3 {
        return None;
    }
    let mut address: u64 = 0;
    for part in first {
        address = address << 8 | number(part).filter(|n| *n < 256)?;
    }
    let left = 8 * (4 - first.len());
    let last = number(last).filter(|n| *n < 1 << left)?;
    u32::try_from(address << left | last).ok().map(Ipv4Addr::from)
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    // A sign is a digit to from_str_radix and to nobody else.
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(digits, radix).ok().filter(|_| plain)
}

/// Lower case and Punycode, label by label.
fn to_ascii(name: &str) -> Result<String, HostError> {
    let mut out = String::with_capacity(name.len());
    for (i, label) in name.split('.').enumerate() {
        if i > 0 {
            out.push('.');
        }
        if label.is_ascii() {
            out.extend(label.chars().map(|c| c.to_ascii_lowercase()));
        } else {
            let label: Vec<char> = label.chars().flat_map(char::to_lowercase).collect();
            if label.iter().any(|c| unclear(*c)) {
                return Err(HostError::Character);
            }
            out.push_str("xn--");
            punycode(&label, &mut out).ok_or(HostError::Label)?;
        }
    }
    match out.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        true => Ok(out),
        false => Err(HostError::Character),
    }
}

/// Characters that are no letters, or that Unicode's tables turn into others before they become ASCII. The tables are not
/// here, so such a name is refused; it can be written in ASCII (`xn--…`).
fn unclear(c: char) -> bool {
    match c {
        '-' | '_' => false,
        '\u{80}'..='\u{bf}' | '\u{2b0}'..='\u{36f}' | '\u{1100}'..='\u{11ff}' | '\u{2000}'..='\u{2fff}' => {
            true
        }
        '\u{3130}'..='\u{33ff}' | '\u{f900}'..='\u{ffff}' | '\u{1d400}'..='\u{1d7ff}' | '\u{2f800}'.. => true,
        _ => !c.is_alphanumeric(),
    }
}

/// RFC 3492, for one label of at most 63 characters; none when it is longer.
fn punycode(label: &[char], out: &mut String) -> Option<()> {
    const BASE: u32 = 36;
    const T_MIN: u32 = 1;
    const T_MAX: u32 = 26;
    if label.len() > LONGEST_LABEL {
        return None;
    }
    let basic = label.iter().filter(|c| c.is_ascii());
    let basics = basic.clone().count() as u32;
    out.extend(basic);
    if basics > 0 {
        out.push('-');
    }
    // 63 characters and 21 bits each: no sum below leaves 32 bits.
    let (mut n, mut delta, mut bias, mut done) = (128, 0u32, 72, basics);
    while (done as usize) < label.len() {
        let next = label.iter().map(|c| *c as u32).filter(|c| *c >= n).min()?;
        delta += (next - n) * (done + 1);
        n = next;
        for c in label.iter().map(|c| *c as u32) {
            if c < n {
                delta += 1;
            }
            if c != n {
                continue;
            }
            let mut q = delta;
            let mut k = BASE;
            loop {
                let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
                if q < t {
                    break;
                }
                out.push(digit(t + (q - t) % (BASE - t)));
                q = (q - t) / (BASE - t);
                k += BASE;
            }
            out.push(digit(q));
            // The bias for the next one.
            delta = if done == basics { delta / 700 } else { delta / 2 };
            delta += delta / (done + 1);
            let mut steps = 0;
            while delta > (BASE - T_MIN) * T_MAX / 2 {
                delta /= BASE - T_MIN;
                steps += BASE;
            }
            bias = steps + (BASE - T_MIN + 1) * delta / (delta + 38);
            delta = 0;
            done += 1;
        }
        delta += 1;
        n += 1;
    }
    Some(())
}

fn digit(value: u32) -> char {
    let value = value as u8;
    char::from(if value < 26 { b'a' + value } else { b'0' + value - 26 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]
mod tests {
    use super::*;

    fn said(text: &[u8]) -> String {
        canonical(text).map_or_else(|e| format!("{e:?}"), |host| host.to_string())
    }

    #[test]
    fn names() {
        let rows = [
            ("example.com", "example.com"),
            ("ALLOWED.COM", "allowed.com"),
            ("allowed.com.", "allowed.com"),
            ("allowed.com..", "Label"),
            (".allowed.com", "Label"),
            ("a..b", "Label"),
            (".", "Empty"),
            ("", "Empty"),
            ("..", "Label"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("-x.example.com", "-x.example.com"),
            ("localhost", "localhost"),
            ("LocalHost.", "localhost"),
            ("exa mple.com", "Character"),
            (" example.com", "Character"),
            ("example.com\t", "Character"),
            ("example.com\0.evil.com", "Character"),
            ("allowed.com\n", "Character"),
            ("a\x7f.com", "Character"),
            ("*.example.com", "Character"),
            ("a%2eb.com", "Character"),
            ("user@example.com", "Character"),
            ("example.com/", "Character"),
            ("example.com\\", "Character"),
            ("example.com#", "Character"),
        ];
        for (text, expected) in rows {
            assert_eq!(said(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(said(b"a\xff.com"), "Character");
    }

    #[test]
    fn lengths() {
        let label = "a".repeat(63);
        let longest = [label.as_str(), &label, &label, &"a".repeat(61)].join(".");
        assert_eq!(longest.len(), 253);
        assert_eq!(said(longest.as_bytes()), longest);
        assert_eq!(said(format!("{longest}.").as_bytes()), longest);
        assert_eq!(said(format!("{longest}a").as_bytes()), "Long");
        assert_eq!(said(format!("a{label}.com").as_bytes()), "Label");
        assert_eq!(said("a.".repeat(127).as_bytes()), "a.".repeat(127).trim_end_matches('.'));
        assert_eq!(said(&vec![b'a'; 1 << 20]), "Long");
        assert_eq!(said("ü".repeat(64).as_bytes()), "Label");
        assert_eq!(said("ü".repeat(500).as_bytes()), "Label");
    }

    #[test]
    fn addresses_in_every_spelling() {
        let rows = [
            ("127.0.0.1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0X7F.0.0.0x1", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("0177.0x0.1.", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("0.0.0.0", "0.0.0.0"),
            ("00.000.0", "0.0.0.0"),
            ("1.2.3", "1.2.0.3"),
            ("1.2.65535", "1.2.255.255"),
            ("1.2.65536", "Address"),
            ("1.16777215", "1.255.255.255"),
            ("1.16777216", "Address"),
            ("4294967295", "255.255.255.255"),
            ("4294967296", "Address"),
            ("99999999999999999999999", "Address"),
            ("256.0.0.1", "Address"),
            ("1.2.3.4.5", "Address"),
            ("0x7f.1.", "127.0.0.1"),
            ("08", "Address"),
            ("1.09", "Address"),
            ("0x", "Address"),
            ("1.0x", "Address"),
            ("1..2", "Address"),
            (".1", "Address"),
            ("+1", "Character"),
            ("1.+2", "Character"),
            ("-1", "-1"),
            ("example.1", "Address"),
            ("example.0x1f", "Address"),
            ("example.0xg", "example.0xg"),
            ("1.2.3.4a", "1.2.3.4a"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("[0:0:0:0:0:0:0:1]", "::1"),
            ("[2001:DB8::00A]", "2001:db8::a"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            ("[::ffff:7f00:1]", "127.0.0.1"),
            ("::ffff:169.254.169.254", "169.254.169.254"),
            ("[::ffff:0x7f.1]", "Address"),
            ("[::]", "::"),
            ("[::127.0.0.1]", "::7f00:1"),
            ("[64:ff9b::7f00:1]", "64:ff9b::7f00:1"),
            ("[fe80::1%eth0]", "Zone"),
            ("fe80::1%25eth0", "Zone"),
            ("[::1%]", "Zone"),
            ("[127.0.0.1]", "Address"),
            ("[::1", "Address"),
            ("::1]", "Address"),
            ("[[::1]]", "Address"),
            ("[::1].", "Address"),
            ("[]", "Address"),
            ("[example.com]", "Address"),
            ("example.com:80", "Address"),
            (":80", "Address"),
            ("127.0.0.1%eth0", "Character"),
        ];
        for (text, expected) in rows {
            assert_eq!(said(text.as_bytes()), expected, "{text:?}");
            let address = expected.parse::<IpAddr>().is_ok();
            assert_eq!(matches!(canonical(text.as_bytes()), Ok(Host::Address(_))), address, "{text:?}");
        }
    }

    #[test]
    fn letters_become_punycode() {
        // RFC 3492 section 7.1 and names in use.
        let rows = [
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example.", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("www.straße.de", "www.xn--strae-oqa.de"),
            ("münchen.de", "xn--mnchen-3ya.de"),
            ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("ليهمابتكلموشعربي؟", "Character"),
            ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
            ("почемужеонинеговорятпорусски", "xn--b1abfaaepdrnnbgefbadotcwatmq2g4l"),
            ("3年b組金八先生", "xn--3b-ww4c5e180e575a65lsy2b"),
            ("bu\u{308}cher.example", "Character"),
            ("\u{ff45}xample.com", "Character"),
            ("example\u{3002}com", "Character"),
            ("a\u{200d}b.com", "Character"),
            ("bü cher.de", "Character"),
            ("bü*.de", "Character"),
        ];
        for (text, expected) in rows {
            assert_eq!(said(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn the_form_is_its_own_form() {
        for text in ["Example.COM.", "0x7f.1", "[::ffff:1.2.3.4]", "bücher.example", "[2001:db8::1]"] {
            let host = canonical(text.as_bytes()).unwrap();
            assert_eq!(canonical(host.to_string().as_bytes()), Ok(host.clone()));
            assert_eq!(canonical(host.bracketed().as_bytes()), Ok(host));
        }
    }
}
