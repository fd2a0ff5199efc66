//! Sockets of the host that have a path: hidden wherever they are, unless the policy names them.

use crate::harness::{World, everybody};
use crate::need;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A server that everybody may connect to.
fn listen(path: &Path) -> UnixListener {
    _ = fs::remove_file(path);
    let server = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    server
}

fn connects(world: &World, policy: &str, path: &Path) -> bool {
    let (inside, outside) = world.victim_both(policy, &["connect-unix", path.to_str().unwrap()]);
    assert_eq!(outside.status, 0, "{}: {outside:?}", path.display());
    inside.status == 0
}

#[test]
fn sockets_outside_run_are_hidden_unless_named() {
    for who in everybody() {
        let world = World::new(who);
        let paths =
            [world.home().join("agent.sock"), world.mkdir("d").join("with blank"), world.work().join("s")];
        let _servers: Vec<UnixListener> = paths.iter().map(|path| listen(path)).collect();
        for policy in ["{}", r#"{"filesystem": {"allowWrite": [".", "~"]}}"#] {
            for path in &paths {
                assert!(!connects(&world, policy, path), "{who:?} {policy} {}", path.display());
            }
        }
        let named = r#"{"network": {"allowUnixSockets": ["~/agent.sock", "d/*"]}, "filesystem": {"allowWrite": ["."]}}"#;
        assert!(connects(&world, named, &paths[0]) && connects(&world, named, &paths[1]));
        assert!(!connects(&world, named, &paths[2]));
        let all = r#"{"network": {"allowAllUnixSockets": true}}"#;
        assert!(paths.iter().all(|path| connects(&world, all, path)));
    }
}

#[test]
fn sockets_in_private_places_are_shown_when_they_are_named() {
    need!(root);
    for who in everybody() {
        let world = World::new(who);
        let id = format!("fence-test-{}-{}", std::process::id(), who.uid);
        for dir in ["/run", "/tmp"] {
            let dir = PathBuf::from(dir).join(&id);
            fs::create_dir(&dir).unwrap();
            let path = dir.join("s");
            let _server = listen(&path);
            let named =
                |what: &Path| format!(r#"{{"network": {{"allowUnixSockets": ["{}"]}}}}"#, what.display());
            let hidden = !connects(&world, "{}", &path);
            let shown = connects(&world, &named(&path), &path) && connects(&world, &named(&dir), &path);
            let all = connects(&world, r#"{"network": {"allowAllUnixSockets": true}}"#, &path);
            fs::remove_dir_all(&dir).unwrap();
            assert!(
                hidden && shown && all == dir.starts_with("/run"),
                "{who:?} {} {hidden} {shown} {all}",
                dir.display()
            );
        }
    }
}

#[test]
fn a_server_that_makes_its_socket_anew_stays_hidden() {
    for who in everybody() {
        let world = World::new(who);
        let path = world.work().join("s");
        let first = listen(&path);
        let line = format!(
            "touch started; while [ ! -e go ]; do sleep 0.01; done; {} connect-unix s",
            world.victim().display()
        );
        let policy = r#"{"filesystem": {"allowWrite": ["."]}}"#;
        if world.engine_lacks(policy, "makes no mount again") {
            continue;
        }
        let run = world.fenced_command(policy, ["sh", "-c", &line]).stdout(Stdio::piped()).spawn().unwrap();
        wait_for(|| world.work().join("started").exists());
        drop(first);
        let _second = listen(&path);
        std::thread::sleep(Duration::from_millis(200));
        world.write("go", "");
        assert!(!run.wait_with_output().unwrap().status.success());
        world.bare(world.victim(), ["connect-unix", "s"]).ok();
    }
}

fn wait_for(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server that is ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn server(world: &World, words: &[&str], socket: &Path) -> Server {
    let mut command = world.command(words[0], &words[1..]);
    let server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for(|| socket.exists());
    server
}

/// A real server, a real client: refused, and let through by the one entry.
fn real(world: &World, entry: &str, client: &[&str]) {
    world.bare(client[0], &client[1..]).ok();
    let refused = world.fenced("{}", client);
    assert!(refused.status != 0, "{client:?}: {refused:?}");
    world.fenced(&format!(r#"{{"network": {{"allowUnixSockets": ["{entry}"]}}}}"#), client).ok();
}

#[test]
fn ssh_agent_gpg_agent_and_postgres() {
    need!(program "ssh-agent");
    need!(program "gpg-agent");
    need!(program "initdb");
    for who in everybody() {
        let world = World::new(who);
        let agent = world.home().join("agent.sock");
        let _agent = server(&world, &["ssh-agent", "-D", "-a", agent.to_str().unwrap()], &agent);
        let add = "ssh-keygen -q -t ed25519 -N '' -f ~/key && SSH_AUTH_SOCK=~/agent.sock ssh-add -q ~/key";
        world.bare("sh", ["-ec", add]).ok();
        real(&world, "~/agent.sock", &["sh", "-c", "SSH_AUTH_SOCK=~/agent.sock ssh-add -l"]);

        let keys = world.mkdir(world.home().join(".gnupg"));
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
        // In /run/user where there is such a directory, else in the home directory.
        let socket = world.bare("gpgconf", ["--list-dirs", "agent-socket"]).ok().out;
        let socket = PathBuf::from(socket.trim());
        world.bare("gpgconf", ["--launch", "gpg-agent"]).ok();
        wait_for(|| socket.exists());
        let ask = "gpg-connect-agent --no-autostart 'GETINFO pid' /bye | grep -q ^OK";
        real(&world, socket.to_str().unwrap(), &["sh", "-c", ask]);
        world.bare("gpgconf", ["--kill", "gpg-agent"]).ok();

        // Postgres refuses to run as root.
        if who.uid != 0 {
            let (data, run) = (world.home().join("data"), world.mkdir(world.home().join("pg")));
            world.bare("initdb", ["-D", data.to_str().unwrap(), "-A", "trust", "-U", "me", "--no-sync"]).ok();
            let socket = run.join(".s.PGSQL.5432");
            let words = [
                "postgres",
                "-D",
                data.to_str().unwrap(),
                "-k",
                run.to_str().unwrap(),
                "-c",
                "listen_addresses=",
            ];
            let _postgres = server(&world, &words, &socket);
            let ready =
                format!("until psql -h {} -U me -c 'select 1' postgres; do sleep 0.2; done", run.display());
            world.bare("timeout", ["20", "sh", "-c", &ready]).ok();
            let query = ["psql", "-h", run.to_str().unwrap(), "-U", "me", "-c", "select 1", "postgres"];
            real(&world, "~/pg/.s.PGSQL.5432", &query);
        }
    }
}
