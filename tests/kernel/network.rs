//! The network: what listens on the host can be reached outside the sandbox and not inside, unless every host is allowed.

use crate::harness::{World, everybody};
use crate::need;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::chown;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

/// Whatever hosts they allow, none of these opens the host's loopback.
const POLICIES: [&str; 2] =
    ["{}", r#"{"network": {"allowedDomains": ["*.example.com"], "allowLocalOutbound": true}}"#];

#[test]
fn a_tcp_server_of_the_host_is_out_of_reach() {
    for who in everybody() {
        let world = World::new(who);
        for listener in [TcpListener::bind("127.0.0.1:0"), TcpListener::bind("[::1]:0")].into_iter().flatten()
        {
            let address = listener.local_addr().unwrap().to_string();
            listener.set_nonblocking(true).unwrap();
            for policy in POLICIES {
                let (inside, outside) = world.victim_both(policy, &["connect-tcp", &address]);
                outside.ok();
                assert_eq!(inside.status(1).out, "ECONNREFUSED\n", "{address}");
                assert!(listener.accept().is_ok(), "the control came through");
                assert!(listener.accept().is_err(), "a connection from inside");
            }
        }
    }
}

#[test]
fn an_abstract_socket_of_the_host_is_out_of_reach() {
    for who in everybody() {
        let world = World::new(who);
        let name = format!("fence-net-{}-{}", std::process::id(), who.uid);
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        for policy in POLICIES {
            let (inside, outside) = world.victim_both(policy, &["connect-abstract", &name]);
            outside.ok();
            assert_eq!(inside.status(1).out, "ECONNREFUSED\n");
            assert!(listener.accept().is_ok(), "the control came through");
            assert!(listener.accept().is_err(), "a connection from inside");
        }
    }
}

#[test]
fn a_datagram_does_not_reach_the_host() {
    need!(program "bash");
    for who in everybody() {
        let world = World::new(who);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let line = format!("echo hello > /dev/udp/127.0.0.1/{}", socket.local_addr().unwrap().port());
        let mut text = [0; 16];
        for policy in POLICIES {
            world.bare("bash", ["-c", &line]).ok();
            assert_eq!(socket.recv(&mut text).unwrap(), 6, "the control came through");
            // It goes to the sandbox's own loopback, where nobody listens.
            world.fenced(policy, ["bash", "-c", &line]).ok();
            assert!(socket.recv(&mut text).is_err(), "a datagram from inside");
        }
    }
}

#[test]
fn every_domain_means_the_host_network() {
    for who in everybody() {
        let world = World::new(who);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let policy = r#"{"network": {"allowedDomains": ["*"]}}"#;
        let run = world.fenced(policy, [world.victim(), "connect-tcp".into(), address.into()]);
        assert!(run.ok().err.contains("shares the host's network"), "the reader is told");
    }
}

#[test]
fn on_host_opens_the_container_engines_and_nothing_else_does() {
    need!(root);
    for who in everybody() {
        let world = World::new(who);
        let directory = PathBuf::from(format!("/run/user/{}/podman", who.uid));
        fs::create_dir_all(&directory).unwrap();
        for path in directory.ancestors().take(2) {
            chown(path, Some(who.uid), Some(who.uid)).unwrap();
        }
        let socket = directory.join("podman.sock");
        _ = fs::remove_file(&socket);
        let _engine = UnixListener::bind(&socket).unwrap();
        chown(&socket, Some(who.uid), Some(who.uid)).unwrap();
        let act = ["connect-unix", socket.to_str().unwrap()];
        let (inside, outside) = world.victim_both("{}", &act);
        outside.ok();
        assert_eq!(inside.status(1).out, "ENOENT\n");
        let victim = world.victim();
        let flags = ["--service-execution-model", "on-host", "--", victim.to_str().unwrap()];
        let run = world.run(flags.into_iter().chain(act)).ok();
        assert!(run.err.contains("controls this machine"), "{}", run.err);
        fs::remove_dir_all(&directory).unwrap();
    }
}
