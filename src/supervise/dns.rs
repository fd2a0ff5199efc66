//! The name server of the sandbox: allowed names are resolved as the proxies would, all others refused, so that a program
//! which looks a name up before it connects gets as far as it may, and asks nobody else.

use super::dial::{NoConnection, permitted};
use super::net::Net;
use super::reactor::{Io, Way};
use super::resolve::{Unresolved, framed, read_framed};
use super::route::{Route, filtered, report};
use crate::monitor::event::{Layer, Outcome};
use crate::wire::dns::{Question, code, kind, question};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, recvfrom, sendto};
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

/// Questions at once; more are left to be asked again.
const MOST: usize = 256;
/// An answer holds so long; the proxies ask for themselves.
const SECONDS: u32 = 30;
/// A client of the stream server that asks nothing is closed.
const IDLE: Duration = Duration::from_secs(30);

/// Answers datagrams for ever.
pub async fn datagrams(net: Rc<Net>, socket: Io) {
    let socket = Rc::new(socket);
    let open = Rc::new(Cell::new(0));
    loop {
        let mut packet = [0; 512];
        let (count, from) = match next(&socket, &mut packet).await {
            Ok(datagram) => datagram,
            Err(_) => {
                net.reactor.sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if open.get() >= MOST {
            continue;
        }
        open.set(open.get() + 1);
        let packet = packet[..count].to_vec();
        let (net, socket, done) = (net.clone(), socket.clone(), open.clone());
        let reactor = net.reactor.clone();
        reactor.spawn(async move {
            if let Some(reply) = reply(&net, &packet).await {
                // No room: as lost on the way.
                _ = sendto(&*socket, &reply, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &from);
            }
            done.set(done.get() - 1);
        });
    }
}

async fn next(socket: &Io, packet: &mut [u8]) -> Result<(usize, SocketAddrAny), Errno> {
    poll_fn(|_| {
        let received = socket.poll_try(Way::Read, |fd| recvfrom(fd, &mut *packet, RecvFlags::DONTWAIT));
        received.map(|received| {
            let (_, count, from) = received?;
            Ok((count, from.ok_or(Errno::DESTADDRREQ)?))
        })
    })
    .await
}

/// Answers one client of the stream server.
pub async fn stream(net: Rc<Net>, client: Io) {
    let mut buffer = Vec::new();
    loop {
        let message = net.reactor.within(IDLE, read_framed(&net, &client, &mut buffer)).await;
        let Some(Ok(message)) = message else { return };
        let Some(reply) = reply(&net, &message).await else { return };
        if client.write(&framed(reply)).await.is_err() {
            return;
        }
    }
}

/// The answer to a question; None when there must be none.
async fn reply(net: &Net, message: &[u8]) -> Option<Vec<u8>> {
    let question = match question(message) {
        Ok(question) => question,
        Err(refusal) => return refusal,
    };
    let Some(host) = &question.host else { return Some(question.code(code::REFUSED)) };
    // What another proxy is to judge must not leave as a question before it did.
    if let Err(rule) = filtered(net, host, 53, false).and_then(Route::unless_upstream) {
        let what = format!("{} {host} REFUSED", kind_name(&question));
        report(net, Layer::Dns, Outcome::Denied, what, &host.to_string(), Some((host, rule.as_deref())));
        return Some(question.code(code::REFUSED));
    }
    if !matches!(question.kind, kind::A | kind::AAAA) {
        return Some(question.answer(&[], SECONDS));
    }
    Some(match permitted(net, host).await {
        Ok(addresses) => question.answer(&addresses, SECONDS),
        Err(NoConnection::Unresolved(Unresolved::Missing)) => question.code(code::NO_NAME),
        Err(why @ NoConnection::Address(_)) => {
            let what = format!("{} {host} REFUSED: {why}", kind_name(&question));
            report(net, Layer::Dns, Outcome::Denied, what, &host.to_string(), None);
            question.code(code::REFUSED)
        }
        Err(_) => question.code(code::SERVER),
    })
}

fn kind_name(question: &Question) -> String {
    match question.kind {
        kind::A => "A".into(),
        kind::AAAA => "AAAA".into(),
        other => format!("TYPE{other}"),
    }
}
