//! What fence itself answers instead of a server.

use super::Malformed;

/// An answer in plain text. Its first line names fence, and the second line of its text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    reason: &'static str,
    text: String,
}

impl Answer {
    /// No rule allows the host, or the rule of `network.deniedDomains` forbids it.
    pub fn denied(host: &str, rule: Option<&str>) -> Answer {
        let why = match rule {
            Some(rule) => {
                format!("{host} is denied by \"{rule}\" in network.deniedDomains of fence's settings")
            }
            None => format!(
                "{host} is not in network.allowedDomains of fence's settings: add it there to allow it"
            ),
        };
        Answer::blocked(&why)
    }

    /// The request names no host.
    pub fn no_host() -> Answer {
        Answer::blocked("this is fence's proxy: the request must name a host, as in GET http://example.com/")
    }

    /// The name may be asked for, but what it resolves to may not be dialled.
    pub fn blocked(why: &str) -> Answer {
        Answer {
            status: 403,
            reason: "Forbidden by fence",
            text: format!("Connection blocked by network allowlist\n{why}\n"),
        }
    }

    /// The upstream proxy refused.
    pub fn upstream_denied(host: &str) -> Answer {
        let text = format!("Upstream proxy denied connection\n{host} was refused by network.upstreamProxy\n");
        Answer { status: 403, reason: "Forbidden by fence", text }
    }

    /// The server, or the way to it, is not there.
    pub fn unreachable(host: &str, why: &str) -> Answer {
        let text = format!("Bad Gateway\nfence could not reach {host}: {why}\n");
        Answer { status: 502, reason: "Bad Gateway", text }
    }

    /// The client did not show the run's token.
    pub fn no_token() -> Answer {
        let text =
            "Proxy Authentication Required\nfence's proxy is for the command that it runs only\n".into();
        Answer { status: 407, reason: "Proxy Authentication Required", text }
    }

    /// More connections than fence serves at once.
    pub fn busy() -> Answer {
        let text =
            "Service Unavailable\nfence's proxy has too many connections: close some, or try again\n".into();
        Answer { status: 503, reason: "Service Unavailable", text }
    }

    /// The bytes. To HEAD and to none other the text is not sent. After `close` the connection must be closed.
    pub fn bytes(&self, to_head: bool, close: bool) -> Vec<u8> {
        let Answer { status, reason, text } = self;
        let challenge = if *status == 407 { "Proxy-Authenticate: Basic realm=\"fence\"\r\n" } else { "" };
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
             {challenge}Connection: {connection}\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        let mut out = head.into_bytes();
        if !to_head {
            out.extend_from_slice(text.as_bytes());
        }
        out
    }
}

impl From<Malformed> for Answer {
    /// What a client is told of its own request; the connection must be closed.
    fn from(malformed: Malformed) -> Answer {
        let (status, reason) = match malformed {
            Malformed::Large | Malformed::ManyHeaders => (431, "Request Header Fields Too Large"),
            Malformed::Syntax(_) | Malformed::Host(_) => (400, "Bad Request"),
        };
        Answer {
            status,
            reason,
            text: format!("{reason}\nfence's proxy can't pass this request on: {malformed}\n"),
        }
    }
}
