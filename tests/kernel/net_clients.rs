//! Programs that people use, against servers of the test's own: what is allowed works, what is not fails with an answer of
//! fence's, and without the proxy variables nothing works.

use crate::harness::{Ran, World, everybody, has};
use crate::lab::{Lab, lab, python_has};
use crate::need;
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto};
use std::process::Command;

const POLICY: &str = r#"{
    "network": {"allowedDomains": ["*.example.test", "rebind.test", "meta.test", "mixed.test", "gone.test"]},
    "filesystem": {"allowWrite": ["."]}
}"#;

/// All the variables that lead to the proxy, gone: `sh -c LINE` does without it.
const WITHOUT: &str = "unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY no_proxy NO_PROXY \
                       NODE_USE_ENV_PROXY JAVA_TOOL_OPTIONS GIT_SSH_COMMAND; ";

/// A line of sh works outside and inside; without the proxy variables it fails inside.
#[track_caller]
fn works(lab: &Lab, world: &World, line: &str, says: &str) {
    lab.bare(world, ["sh", "-c", line]).ok().says(says);
    lab.fenced(world, POLICY, ["sh", "-c", line]).ok().says(says);
    let without = lab.fenced(world, POLICY, ["sh", "-c", &format!("{WITHOUT}{line}")]);
    assert!(without.status != 0 && !without.out.contains(says), "without the proxy: {line}: {without:?}");
}

/// A line of sh works outside; inside it fails and says this. Where that is no more than the answer's number, fence has named
/// itself and the host after it.
#[track_caller]
fn refused(lab: &Lab, world: &World, line: &str, says: &str) {
    lab.bare(world, ["sh", "-c", line]).ok();
    let ran = lab.fenced(world, POLICY, ["sh", "-c", line]);
    assert!(ran.status != 0, "{line}: {ran:?}");
    ran.says(says).says("fence: connections to evil.test were blocked: network.allowedDomains");
}

#[test]
fn curl() {
    need!(program "curl");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        works(lab, &world, "curl -sSf -m 20 http://pkg.example.test/", "hello from the test server");
        works(lab, &world, "curl -sSf -m 20 https://pkg.example.test/", "hello from the test server");
        works(
            lab,
            &world,
            "curl -sSf -m 20 --http1.1 -w '%{http_version}' https://pkg.example.test/",
            "server\n1.1",
        );
        works(
            lab,
            &world,
            "curl -sSf -m 20 --http2 -w '%{http_version}' https://pkg.example.test/",
            "server\n2",
        );
        works(lab, &world, "curl -sSf -m 20 http://pkg.example.test:8080/close", "until the end");
        works(lab, &world, "curl -sSf -m 20 -0 http://pkg.example.test:8080/close", "until the end");
        works(lab, &world, "curl -sSfI -m 20 http://pkg.example.test/zeros", "Content-Length: 2147483648");
        // Many requests on one connection, in clear text and in a tunnel.
        works(
            lab,
            &world,
            "curl -sSf -m 20 -w '%{num_connects} ' http://pkg.example.test/ http://pkg.example.test/",
            "server\n0 ",
        );
        refused(lab, &world, "curl -sSf -m 20 http://evil.test/", "403");
        refused(lab, &world, "curl -sSfv -m 20 https://evil.test/", "Forbidden by fence");
        let text = lab.fenced(&world, POLICY, ["curl", "-sS", "-m", "20", "http://evil.test/"]).ok();
        assert!(text.out.starts_with("Connection blocked by network allowlist\nevil.test is not in network.allowedDomains of fence's"), "{text:?}");
    }
}

#[test]
fn curl_through_socks() {
    need!(program "curl");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        let curl = |url: &str| {
            lab.fenced(
                &world,
                POLICY,
                ["sh", "-c", &format!("curl -sS -m 20 --proxy $FENCE_SOCKS_PROXY --noproxy x {url}")],
            )
        };
        curl("http://pkg.example.test/").ok().says("hello from the test server");
        curl("https://pkg.example.test/").ok().says("hello from the test server");
        // 97: the proxy refused; (2) is "not allowed by ruleset".
        curl("http://evil.test/").status(97).says("(2)");
        curl("http://rebind.test/").status(97);
        curl("http://nowhere.example.invalid/").status(97);
    }
}

#[test]
fn bodies_of_any_size_and_pace() {
    need!(program "curl");
    let Some(lab) = lab() else { return };
    // FENCE_TEST_LONG: two gigabytes and a minute instead of a moment.
    let long = std::env::var_os("FENCE_TEST_LONG").is_some();
    let (bytes, count, pause) = if long { (2u64 << 30, 120, "0.5") } else { (64 << 20, 10, "0.1") };
    for who in everybody() {
        let world = World::new(who);
        let down = |scheme: &str| {
            format!(
                "curl -sSf -r 0-{} {scheme}://pkg.example.test/zeros | wc -c | grep -x {bytes}",
                bytes - 1
            )
        };
        works(lab, &world, &down("http"), &bytes.to_string());
        works(lab, &world, &down("https"), &bytes.to_string());
        let slow = format!(
            "curl -sSfN 'http://pkg.example.test:8080/slow?count={count}&pause={pause}' | wc -l | grep -x {count}"
        );
        works(lab, &world, &slow, &count.to_string());
        let up = "head -c 20000000 /dev/zero > up && sum=$(sha256sum < up | cut -d' ' -f1) && \
                  curl -sSf -m 60 HOW http://pkg.example.test:8080/ | grep \"^20000000 $sum\"";
        for how in [
            "-T up",
            "--data-binary @up",
            "-H 'Transfer-Encoding: chunked' -T up",
            "-H 'Expect: 100-continue' -T up",
        ] {
            works(lab, &world, &up.replace("HOW", how), "20000000");
        }
    }
}

#[test]
fn wget() {
    need!(program "wget");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        let ca = lab.file("ca.pem").display().to_string();
        let wget = |url: &str| format!("wget -q -T 20 -t 1 -O - --ca-certificate={ca} {url}");
        works(lab, &world, &wget("http://pkg.example.test/"), "hello from the test server");
        works(lab, &world, &wget("https://pkg.example.test/"), "hello from the test server");
        refused(lab, &world, &wget("-nv --no-quiet http://evil.test/"), "Forbidden by fence");
        refused(lab, &world, &wget("-nv --no-quiet https://evil.test/"), "Forbidden by fence");
    }
}

#[test]
fn git_over_https_and_ssh() {
    need!(program "git");
    need!(program "ssh");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        // Each into a place of its own: what protects a repository would be in the way of removing it.
        let clone =
            |url: &str| format!("r=$(mktemp -d $PWD/cXXXXXX)/r; git clone -q {url} $r && cat $r/file");
        works(lab, &world, &clone("https://git.example.test/repo.git"), "from the repository");
        refused(lab, &world, &clone("https://evil.test/repo.git"), "403");
        // Git's own protocol, with a body that is sent in chunks.
        let push = |url: &str| {
            format!(
                "d=$(mktemp -d $PWD/pXXXXXX); b=$(basename $d); git clone -q {url} $d/r && cd $d/r && head -c 3000000 /dev/urandom > big && \
                 git add big && git -c user.name=t -c user.email=t@example.test commit -qm big && git push -q origin HEAD:refs/heads/$b && \
                 git ls-remote {url} refs/heads/$b | grep -q $b && echo pushed"
            )
        };
        works(lab, &world, &push("https://git.example.test/git/smart.git"), "pushed");
        works(lab, &world, &push("http://git.example.test/git/smart.git"), "pushed");
        // The key is the user's: ssh insists. The home directory is read-only, so what ssh needs is in the work directory.
        let key = world.write("key", std::fs::read(lab.file("client_key")).unwrap());
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        world.mkdir("../home/.ssh");
        let config = format!(
            "IdentityFile {}\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nUser root\nConnectTimeout 20\n",
            key.display()
        );
        world.write("ssh_config", &config);
        // What the user's own file would say: ssh looks for it by the password file, which does not know our homes.
        world.write(
            "bin/ssh",
            format!("#!/bin/sh\nexec /usr/bin/ssh -F {}/ssh_config \"$@\"\n", world.work().display()),
        );
        let line = |url: &str| format!("chmod +x bin/ssh; PATH=$PWD/bin:$PATH; {}", clone(url));
        let repository = lab.file("www/repo.git").display().to_string();
        works(lab, &world, &line(&format!("ssh://git.example.test{repository}")), "from the repository");
        refused(
            lab,
            &world,
            &line(&format!("ssh://evil.test{repository}")),
            "fence: cannot connect to evil.test:22: Connection blocked by network allowlist",
        );
    }
}

#[test]
fn pip() {
    let Some(lab) = lab() else { return };
    if !python_has("pip") {
        return;
    }
    for who in everybody() {
        let world = World::new(who);
        let install = |host: &str| {
            format!(
                "rm -rf t; /usr/bin/python3 -m pip install -q --no-cache-dir --disable-pip-version-check --retries 1 --timeout 20 \
                 --target t --index-url https://{host}/simple tiny-pkg && PYTHONPATH=t /usr/bin/python3 -m tiny_pkg"
            )
        };
        works(lab, &world, &install("pypi.example.test"), "tiny from the index");
        refused(lab, &world, &install("evil.test"), "Forbidden by fence");
    }
}

#[test]
fn npm() {
    need!(program "npm");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        let install = |host: &str| {
            format!(
                "rm -rf n; mkdir n; cd n; npm install --silent --no-audit --no-fund --no-update-notifier --fetch-retries=0 \
                 --loglevel=error --cache=$PWD/cache --registry=https://{host}/npm/ tiny-pkg && node -e 'require(\"tiny-pkg\")'"
            )
        };
        works(lab, &world, &install("npm.example.test"), "tiny from the registry");
        refused(lab, &world, &install("evil.test"), "403");
    }
}

#[test]
fn python_requests_and_a_websocket() {
    let Some(lab) = lab() else { return };
    if !python_has("requests") {
        return;
    }
    for who in everybody() {
        let world = World::new(who);
        let get = |url: &str| {
            format!(
                "/usr/bin/python3 -c \"import requests; r = requests.get('{url}', timeout=20); print(r.text); r.raise_for_status()\""
            )
        };
        works(lab, &world, &get("http://pkg.example.test/"), "hello from the test server");
        works(lab, &world, &get("https://pkg.example.test/"), "hello from the test server");
        refused(lab, &world, &get("http://evil.test/"), "Connection blocked by network allowlist");
        refused(lab, &world, &get("https://evil.test/"), "Forbidden by fence");
        // Through the proxy in both ways: as a request that is upgraded, and in a tunnel.
        world.write("ws.py", WEBSOCKET);
        for way in ["upgrade", "tunnel"] {
            let ran = lab.fenced(&world, POLICY, ["/usr/bin/python3", "ws.py", way, "ws.example.test"]);
            ran.ok().says("echo over websocket");
            let ran = lab.fenced(&world, POLICY, ["/usr/bin/python3", "ws.py", way, "evil.test"]);
            ran.status(1).says("403 Forbidden by fence");
        }
    }
}

/// A WebSocket through an HTTP proxy, spelt out: the library in use knows no proxies.
const WEBSOCKET: &str = r#"
import os, socket, sys, urllib.parse
way, host = sys.argv[1:]
proxy = urllib.parse.urlsplit(os.environ["http_proxy"])
s = socket.create_connection((proxy.hostname, proxy.port), 20)
def head():
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        got += s.recv(1)
    first = got.split(b"\r\n")[0].decode()
    print(first)
    return first.split()[1]
target = "/"
if way == "tunnel":
    s.sendall(f"CONNECT {host}:8090 HTTP/1.1\r\nHost: {host}:8090\r\n\r\n".encode())
    head() == "200" or sys.exit(1)
else:
    target = f"http://{host}:8090/"
s.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}:8090\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
          f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
head() == "101" or sys.exit(1)
text = b"over websocket"
s.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
got = s.recv(100)
print(got[2:].decode())
"#;

#[test]
fn node_fetches() {
    need!(program "node");
    let Some(lab) = lab() else { return };
    // Node reads the proxy variables from 22.21 and 24.5 on.
    let version = Command::new("node").args(["-p", "process.versions.node"]).output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let mut numbers = version.trim().split('.').map(|n| n.parse::<u32>().unwrap());
    let (major, minor) = (numbers.next().unwrap(), numbers.next().unwrap());
    let knows = matches!((major, minor), (22, 21..) | (24, 5..) | (25.., _));
    for who in everybody() {
        let world = World::new(who);
        let fetch = |url: &str| {
            format!(
                "node -e \"fetch('{url}').then(r => r.text().then(t => {{ console.log(t); process.exit(r.ok ? 0 : 1) }})).catch(e => {{ console.log(e, e.cause); process.exit(2) }})\""
            )
        };
        lab.bare(&world, ["sh", "-c", &fetch("https://pkg.example.test/")])
            .ok()
            .says("hello from the test server");
        if !has("program:node24", knows, &format!("node {} has no NODE_USE_ENV_PROXY", version.trim())) {
            // It can't get out then, and not round the proxy either.
            assert_ne!(
                lab.fenced(&world, POLICY, ["sh", "-c", &fetch("https://pkg.example.test/")]).status,
                0
            );
            continue;
        }
        works(lab, &world, &fetch("http://pkg.example.test/"), "hello from the test server");
        works(lab, &world, &fetch("https://pkg.example.test/"), "hello from the test server");
        // Of the proxy's answer it shows the status alone.
        refused(lab, &world, &fetch("http://evil.test/"), "Proxy response (403)");
        refused(lab, &world, &fetch("https://evil.test/"), "Proxy response (403)");
    }
}

#[test]
fn java_http_client() {
    need!(program "java");
    need!(program "keytool");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        world.write("Get.java", JAVA);
        let ca = lab.file("ca.pem").display().to_string();
        let store = [
            "keytool",
            "-importcert",
            "-noprompt",
            "-alias",
            "ca",
            "-file",
            &ca,
            "-keystore",
            "store",
            "-storepass",
            "secret",
        ];
        lab.bare(&world, store).ok();
        let get = |url: &str| {
            format!(
                "java -Djavax.net.ssl.trustStore=store -Djavax.net.ssl.trustStorePassword=secret Get.java {url}"
            )
        };
        works(lab, &world, &get("http://pkg.example.test/"), "hello from the test server");
        works(lab, &world, &get("https://pkg.example.test/"), "hello from the test server");
        refused(lab, &world, &get("http://evil.test/"), "Connection blocked by network allowlist");
        refused(lab, &world, &get("https://evil.test/"), "403");
    }
}

const JAVA: &str = r#"
import java.net.URI;
import java.net.http.*;
public class Get {
    public static void main(String[] words) throws Exception {
        var answer = HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(words[0])).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.body());
        System.exit(answer.statusCode() == 200 ? 0 : 1);
    }
}
"#;

#[test]
fn go_http() {
    need!(program "go");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        world.write("get.go", GO);
        lab.bare(
            &world,
            ["sh", "-c", "GOCACHE=$PWD/cache GOFLAGS=-mod=mod CGO_ENABLED=0 go build -o get get.go"],
        )
        .ok();
        works(lab, &world, "./get http://pkg.example.test/", "hello from the test server");
        works(lab, &world, "./get https://pkg.example.test/", "hello from the test server");
        refused(lab, &world, "./get http://evil.test/", "Connection blocked by network allowlist");
        refused(lab, &world, "./get https://evil.test/", "Forbidden by fence");
    }
}

const GO: &str = r#"package main
import ("fmt"; "io"; "net/http"; "os")
func main() {
    answer, err := http.Get(os.Args[1])
    if err != nil { fmt.Println(err); os.Exit(2) }
    body, _ := io.ReadAll(answer.Body)
    fmt.Println(answer.Status, string(body))
    if answer.StatusCode != 200 { os.Exit(1) }
}
"#;

#[test]
fn names_that_lead_to_this_machine_are_refused() {
    need!(program "curl");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        // Allowed by name; the address is the machine's own, or the metadata service's.
        for (host, kind) in [
            ("rebind.test", "127.0.0.1 is a loopback address"),
            ("mixed.test", "loopback"),
            ("meta.test", "169.254.169.254 is a link-local address"),
        ] {
            let url = format!("http://{host}/");
            lab.bare(&world, ["curl", "-sSf", "-m", "20", &url]).ok();
            let ran =
                lab.fenced(&world, POLICY, ["curl", "-sS", "-m", "20", "-w", "%{http_code}", &url]).ok();
            assert!(ran.out.starts_with("Connection blocked") && ran.out.ends_with("403"), "{ran:?}");
            ran.says(kind);
            let tunnel = format!("https://{host}:80/");
            lab.fenced(&world, POLICY, ["curl", "-sSv", "-m", "20", &tunnel])
                .status(56)
                .says("403 Forbidden by fence");
        }
        // An entry of its own opens it.
        let policy = r#"{"network": {"allowedDomains": ["rebind.test", "127.0.0.1"]}}"#;
        lab.fenced(&world, policy, ["curl", "-sSf", "-m", "20", "http://rebind.test/"]).ok().says("\"path\"");
    }
}

#[test]
fn addresses_in_every_spelling_are_refused() {
    need!(program "curl");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        let ask = |policy: &str, url: &str| {
            let words = [
                "curl",
                "-sS",
                "-m",
                "20",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "--request-target",
                url,
                "http://pkg.example.test/",
            ];
            lab.fenced(&world, policy, words).ok().out
        };
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "0",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "169.254.169.254",
            "198.51.100.1",
        ] {
            assert_eq!(ask(POLICY, &format!("http://{host}/")), "403", "{host}");
        }
        for host in ["[fe80::1%25veth0]", "a..b", "x.1.2.3.4", "pkg.example.test%00.evil.test"] {
            assert_eq!(ask(POLICY, &format!("http://{host}/")), "400", "{host}");
        }
        // A spelling does not get past a denial either; the control is the same address when it is allowed.
        let policy = |denied: &str| {
            format!(
                r#"{{"network": {{"allowedDomains": ["198.51.100.1", "*.example.test"], "deniedDomains": [{denied}]}}}}"#
            )
        };
        for host in [
            "198.51.100.1",
            "3325256705",
            "0xc6.0x33.0x64.1",
            "[::ffff:198.51.100.1]",
            "198.51.25601",
            "PKG.Example.TEST.",
        ] {
            assert_eq!(ask(&policy(""), &format!("http://{host}/")), "200", "{host}");
            assert_eq!(
                ask(&policy(r#""198.51.100.1", "pkg.example.test""#), &format!("http://{host}/")),
                "403",
                "{host}"
            );
        }
    }
}

#[test]
fn the_way_there_may_be_missing() {
    need!(program "curl");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        let curl = |url: &str| {
            lab.fenced(&world, POLICY, ["curl", "-sS", "-m", "20", "-w", "%{http_code}", url]).ok()
        };
        let nobody = curl("http://pkg.example.test:9/");
        assert!(
            nobody.out.ends_with("502") && nobody.out.contains("fence could not reach pkg.example.test"),
            "{nobody:?}"
        );
        assert!(nobody.out.contains("refused"), "{nobody:?}");
    }
}

#[test]
fn names_are_answered_for_allowed_hosts_only() {
    need!(program "getent");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        if world.engine_lacks(POLICY, "can't answer name queries") {
            continue;
        }
        let ask = |name: &str| -> (Ran, Ran) {
            let words = ["getent", "hosts", name];
            (lab.bare(&world, words).ok(), lab.fenced(&world, POLICY, words))
        };
        // No datagrams, so no names, without a network of its own: there the proxies resolve them.
        let answered =
            if crate::harness::engine().is_some_and(|engine| engine[1] == "landlock") { 2 } else { 0 };
        assert_eq!(ask("pkg.example.test").1.status, answered);
        assert_eq!(ask("evil.test").1.status, 2, "a name that is not allowed");
    }
}

#[test]
fn a_denial_is_one_line() {
    need!(program "curl");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        let line = "curl -s http://evil.test/path; curl -s https://evil.test/; curl -s http://pkg.example.test/; \
                    curl -s --proxy $FENCE_SOCKS_PROXY --noproxy x http://evil.test/; true";
        let ran = lab.fenced_with(&world, &["-m"], POLICY, ["sh", "-c", line]).ok();
        let lines = |with: &str| ran.err.lines().filter(|l| l.contains('✗') && l.contains(with)).count();
        assert_eq!((lines("[fence:http]"), lines("[fence:socks]")), (2, 1), "{ran:?}");
        for part in
            ["GET     403 evil.test http://evil.test/path", "CONNECT 403 evil.test https://evil.test:443"]
        {
            assert_eq!(lines(part), 1, "{part}: {ran:?}");
        }
        assert_eq!(lines("CONNECT evil.test:80 BLOCKED"), 1, "{ran:?}");
    }
}

#[test]
fn connect_copies_both_ways_and_half_closes() {
    need!(program "bash");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        // The end of the request is the end of stdin; the answer still comes.
        let line = format!(
            "printf 'GET /close HTTP/1.0\\r\\n\\r\\n' | {} connect pkg.example.test 8080; echo status $?",
            world.fence().display()
        );
        lab.fenced(&world, POLICY, ["bash", "-c", &line]).ok().says("until the end").says("status 0");
        let refused = format!("{} connect evil.test 80", world.fence().display());
        let ran = lab.fenced(&world, POLICY, ["bash", "-c", &refused]).status(125);
        let err: String = ran
            .err
            .lines()
            .filter(|line| !line.contains("Landlock and seccomp alone"))
            .fold(String::new(), |all, line| all + line + "\n");
        assert_eq!(
            err,
            "fence: cannot connect to evil.test:80: Connection blocked by network allowlist: evil.test is not in \
             network.allowedDomains of fence's settings: add it there to allow it\n\
             fence: connections to evil.test were blocked: network.allowedDomains allows hosts, -m shows each denial\n"
        );
        let outside =
            lab.bare(&world, [world.fence().to_str().unwrap(), "connect", "pkg.example.test", "80"]);
        outside.status(125).says("commands that run inside fence");
    }
}

#[test]
fn a_name_for_socks_has_one_verdict() {
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        world.write("socks.py", SOCKS);
        let policy = r#"{"network": {"allowedDomains": ["*.example.test"], "deniedDomains": ["secret.example.test"]}}"#;
        let ran = lab.fenced(&world, policy, ["/usr/bin/python3", "socks.py"]).ok();
        let expected = "PKG.Example.TEST 0\npkg.example.test. 0\nsecret.example.test 2\nSECRET.example.test. 2\nexample.test 2\n\
             notexample.test 2\nx.example.test.evil.test 2\npkg.example.test\\x00.evil.test 2\npkg.example.test\\x00 2\n 2\n\
             pkg..example.test 2\n198.51.100.1 2\n3325256705 2\nlong 2\nbind 7\nudp 7\ntype 8\n";
        assert_eq!(ran.out, expected, "{ran:?}");
    }
}

const SOCKS: &str = r#"
import os, socket, struct
port = int(os.environ["FENCE_SOCKS_PROXY"].rsplit(":", 1)[1])
def ask(name, command=1, kind=3):
    s = socket.create_connection(("127.0.0.1", port), 20)
    s.sendall(b"\x05\x01\x00")
    assert s.recv(2) == b"\x05\x00"
    s.sendall(bytes([5, command, 0, kind, len(name)]) + name + struct.pack(">H", 80))
    return s.recv(10)[1]
for name in ["PKG.Example.TEST", "pkg.example.test.", "secret.example.test", "SECRET.example.test.", "example.test", "notexample.test",
             "x.example.test.evil.test", "pkg.example.test\0.evil.test", "pkg.example.test\0", "", "pkg..example.test", "198.51.100.1",
             "3325256705"]:
    print(name.replace("\0", "\\x00"), ask(name.encode()))
print("long", ask(b"a." * 121 + b"example.test."))
print("bind", ask(b"pkg.example.test", command=2))
print("udp", ask(b"pkg.example.test", command=3))
print("type", ask(b"pkg.example.test", kind=2))
"#;

#[test]
fn nothing_gets_out_beside_the_proxy() {
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        world.write("out.py", OUT);
        let mut acts = vec!["tcp4", "tcp6", "udp", "dns", "mapped"];
        acts.extend(SOMETIMES.iter().filter(|kind| there_is(kind)).map(|kind| kind.0));
        if who.uid == 0 {
            acts.extend(["raw", "packet"]);
        }
        for act in acts {
            lab.bare(&world, ["/usr/bin/python3", "out.py", act]).ok().says("out");
            let inside = lab.fenced(&world, POLICY, ["/usr/bin/python3", "out.py", act]);
            assert!(inside.status == 1 && inside.out.is_empty(), "{act}: {inside:?}");
            // No such network; without a namespace no such address, or no such kind of socket.
            let errnos = match act {
                "raw" | "packet" => ["[Errno 1]", "[Errno 97]"],
                "vsock" => ["[Errno 97]", "[Errno 97]"],
                "mptcp" => ["[Errno 101]", "[Errno 97]"],
                "udp" | "dns" => ["[Errno 101]", "[Errno 97]"],
                _ => ["[Errno 101]", "[Errno 13]"],
            };
            assert!(errnos.iter().any(|errno| inside.err.contains(errno)), "{act}: {inside:?}");
        }
    }
}

/// FENCE_TEST_ENGINE=landlock runs all the others so.
#[test]
fn without_a_network_namespace() {
    need!(listener);
    need!(program "curl");
    let Some(lab) = lab() else { return };
    for who in everybody() {
        let world = World::new(who);
        world.write("out.py", OUT);
        let flags = ["--engine", "landlock"];
        let fenced = |line: &str| lab.fenced_with(&world, &flags, POLICY, ["sh", "-c", line]);
        let hello = "hello from the test server";
        let socks = "curl -sSf -m 20 --proxy $FENCE_SOCKS_PROXY --noproxy x http://pkg.example.test/";
        fenced("curl -sSf -m 20 https://pkg.example.test/").ok().says(hello);
        fenced(socks).ok().says(hello);
        let hint = "fence: connections to evil.test were blocked";
        let refused = fenced("curl -sSf -m 20 https://evil.test/").says("403").says(hint);
        assert_ne!(refused.status, 0);
        let without = fenced(&format!("{WITHOUT}curl -sSf -m 20 https://pkg.example.test/"));
        assert!(without.status != 0 && !without.out.contains(hello), "{without:?}");
        for act in ["tcp4", "tcp6", "udp", "mapped"] {
            let inside = fenced(&format!("/usr/bin/python3 out.py {act}")).status(1);
            assert!(
                inside.err.contains("[Errno 13]") || inside.err.contains("[Errno 97]"),
                "{act}: {inside:?}"
            );
        }
    }
}

/// Sockets that not every kernel has: the act, and how they are made.
const SOMETIMES: [(&str, AddressFamily, Option<Protocol>); 2] =
    [("vsock", AddressFamily::VSOCK, None), ("mptcp", AddressFamily::INET, Some(ipproto::MPTCP))];

fn there_is((name, family, protocol): &(&'static str, AddressFamily, Option<Protocol>)) -> bool {
    let tried = rustix::net::socket(*family, SocketType::STREAM, *protocol);
    has(name, tried.is_ok(), "this kernel has no such sockets")
}

/// Ways to a server by its address: each says "out" when something came back, or went on its way where nothing can come.
const OUT: &str = r#"
import socket, sys
act = sys.argv[1]
query = bytes.fromhex("123401000001000000000000") + b"\x03pkg\x07example\x04test\x00\x00\x01\x00\x01"
if act in ("tcp4", "tcp6", "mapped", "mptcp"):
    address = {"tcp6": "2001:db8:fe::1", "mapped": "::ffff:198.51.100.1"}.get(act, "198.51.100.1")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM, 262 if act == "mptcp" else 0)
    s.settimeout(10)
    s.connect((address, 80))
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert s.recv(100)
elif act in ("udp", "dns"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.sendto(query, ("198.51.100.1", 53 if act == "dns" else 9))
    act == "udp" or s.recv(500)
elif act == "vsock":
    # What a virtual machine reaches its host by knows no network namespaces: there is not even the socket.
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
elif act == "raw":
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.sendto(bytes.fromhex("0800f7ff00000000"), ("198.51.100.1", 0))
elif act == "packet":
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind(("veth0", 0))
print("out")
"#;
