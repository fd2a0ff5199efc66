//! HTTP traffic for measuring proxies: a server, and clients that go to it straight, through a proxy, or through a tunnel of one.
//!
//! ```text
//! traffic serve PORT                             answers GET /N with N bytes
//! traffic bulk  WAY SERVER BYTES                 MB/s of one answer
//! traffic new   WAY SERVER COUNT                 microseconds of a connection with one small request, median
//! traffic kept  WAY SERVER COUNT                 microseconds of a request on a kept connection, median
//! traffic crowd WAY SERVER CONNECTIONS SECONDS   all at once, each asks once a second
//! WAY: direct | get:PROXY | connect:PROXY
//! ```

use std::io::{Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const SMALL: usize = 100;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", port] => serve(port),
        ["bulk", way, server, bytes] => bulk(Way::new(way, server)?, number(bytes)?),
        ["new", way, server, count] => fresh(&Way::new(way, server)?, number(count)?),
        ["kept", way, server, count] => kept(Way::new(way, server)?, number(count)?),
        ["crowd", way, server, count, seconds] => {
            crowd(&Way::new(way, server)?, number(count)?, number(seconds)? as u64)
        }
        _ => Err(Error::other("see the top of examples/traffic.rs")),
    }
}

fn number(word: &str) -> Result<usize> {
    word.parse().map_err(Error::other)
}

fn serve(port: &str) -> Result<()> {
    for client in TcpListener::bind(format!("127.0.0.1:{port}"))?.incoming() {
        let client = client?;
        std::thread::Builder::new().stack_size(256 * 1024).spawn(move || answer(client))?;
    }
    Ok(())
}

fn answer(mut client: TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    let piece = vec![b'x'; 64 * 1024];
    let mut buffer = Vec::new();
    loop {
        let head = head(&mut client, &mut buffer)?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let mut left = number(path.rsplit('/').next().unwrap_or_default())?;
        let mut out = format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").into_bytes();
        let first = left.min(piece.len());
        out.extend(&piece[..first]);
        client.write_all(&out)?;
        left -= first;
        while left > 0 {
            let n = left.min(piece.len());
            client.write_all(&piece[..n])?;
            left -= n;
        }
    }
}

/// Reads a head; what comes after it stays in the buffer.
fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<String> {
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = buffer.split_off(at + 4);
            let head = std::mem::replace(buffer, rest);
            return String::from_utf8(head).map_err(Error::other);
        }
        match stream.read(&mut piece)? {
            0 => return Err(Error::other("the connection ended")),
            n => buffer.extend(&piece[..n]),
        }
    }
}

enum Way {
    Direct(String),
    Get(String, String),
    Connect(String, String),
}

impl Way {
    fn new(text: &str, server: &str) -> Result<Way> {
        let server = server.to_string();
        match text.split_once(':') {
            None if text == "direct" => Ok(Way::Direct(server)),
            Some(("get", proxy)) => Ok(Way::Get(proxy.into(), server)),
            Some(("connect", proxy)) => Ok(Way::Connect(proxy.into(), server)),
            _ => Err(Error::other("no such way")),
        }
    }

    fn connect(&self) -> Result<Client> {
        let (first, server) = match self {
            Way::Direct(server) => (server, server),
            Way::Get(proxy, server) | Way::Connect(proxy, server) => (proxy, server),
        };
        let stream = TcpStream::connect(first)?;
        stream.set_nodelay(true)?;
        let prefix = if let Way::Get(..) = self { format!("http://{server}") } else { String::new() };
        let mut client = Client { stream, buffer: Vec::new(), prefix };
        if let Way::Connect(..) = self {
            write!(client.stream, "CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
            client.head()?;
        }
        Ok(client)
    }
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    prefix: String,
}

impl Client {
    fn head(&mut self) -> Result<()> {
        let head = head(&mut self.stream, &mut self.buffer)?;
        if head.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(Error::other(head)) }
    }

    fn get(&mut self, bytes: usize) -> Result<()> {
        let request = format!("GET {}/{bytes} HTTP/1.1\r\nHost: x\r\n\r\n", self.prefix);
        self.stream.write_all(request.as_bytes())?;
        self.head()?;
        let mut left = bytes - self.buffer.len();
        self.buffer.clear();
        let mut piece = [0; 64 * 1024];
        while left > 0 {
            let most = left.min(piece.len());
            match self.stream.read(&mut piece[..most])? {
                0 => return Err(Error::other("the answer ended early")),
                n => left -= n,
            }
        }
        Ok(())
    }
}

fn bulk(way: Way, bytes: usize) -> Result<()> {
    let mut client = way.connect()?;
    let started = Instant::now();
    client.get(bytes)?;
    println!("{:.0}", bytes as f64 / 1e6 / started.elapsed().as_secs_f64());
    Ok(())
}

fn median(mut times: Vec<Duration>) {
    times.sort();
    println!("{:.1}", times[times.len() / 2].as_nanos() as f64 / 1e3);
}

fn fresh(way: &Way, count: usize) -> Result<()> {
    let one = |_| {
        let started = Instant::now();
        way.connect()?.get(SMALL)?;
        Ok(started.elapsed())
    };
    median((0..count).map(one).collect::<Result<_>>()?);
    Ok(())
}

fn kept(way: Way, count: usize) -> Result<()> {
    let mut client = way.connect()?;
    let mut one = |_| {
        let started = Instant::now();
        client.get(SMALL)?;
        Ok(started.elapsed())
    };
    median((0..count).map(&mut one).collect::<Result<_>>()?);
    Ok(())
}

fn crowd(way: &Way, count: usize, seconds: u64) -> Result<()> {
    let mut clients = (0..count).map(|_| way.connect()).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let (mut asked, mut slowest) = (0, Duration::ZERO);
    while started.elapsed() < Duration::from_secs(seconds) {
        let round = Instant::now();
        for client in &mut clients {
            let began = Instant::now();
            client.get(SMALL)?;
            slowest = slowest.max(began.elapsed());
            asked += 1;
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(round.elapsed()));
    }
    println!("{count} connections, {asked} requests, none lost, slowest {} ms", slowest.as_millis());
    Ok(())
}
