//! A program of the host that goes on editing the tree while a test runs: an editor that saves, git, an installer, `rm -rf`.

use crate::harness::World;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// In `churn` and beside it; ends by itself after some minutes, should nobody end it.
const LINES: &str = r#"
mkdir -p churn/src; cd churn; n=0
if command -v git >/dev/null; then
    git init -q -b main up; git -C up config user.name me; git -C up config user.email me@example.org
    git -C up commit -q --allow-empty -m 0; git clone -q up down
fi >/dev/null 2>&1
touch ready
while [ ! -e stop ] && [ $n -lt 2000 ]; do
    n=$((n+1))
    echo "$n" > src/.file.tmp; mv src/.file.tmp src/file; echo "$n" > ../.saved.tmp; mv ../.saved.tmp ../saved
    mkdir -p node_modules/.staging/a/bin; echo '{}' > node_modules/.staging/a/package.json
    ln -s ../a/bin node_modules/.staging/a/bin/link; mv node_modules/.staging/a node_modules/a; touch ../lockfile
    if [ -d up ]; then git -C up commit -q --allow-empty -m "$n"; git -C down pull -q --ff-only; fi
    rm -rf node_modules ../lockfile; mv src old; mkdir src; rm -r old
    rm -rf ../build; mkdir -p ../build/deep; touch ../build/deep/file
done >/dev/null 2>&1
"#;

/// The program at work; ended with this value.
pub struct Churner {
    child: Child,
    stop: std::path::PathBuf,
}

impl Churner {
    /// Starts it in the world's work directory, as the world's user.
    pub fn start(world: &World) -> Churner {
        let mut command = world.command("sh", ["-c", LINES]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let churn = world.work().join("churn");
        let churner = Churner { child, stop: churn.join("stop") };
        let end = Instant::now() + Duration::from_secs(60);
        while !churn.join("ready").exists() {
            assert!(Instant::now() < end, "the churner did not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        churner
    }

    /// It went on up to here.
    pub fn end(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the churner ended by itself");
        _ = std::fs::write(&self.stop, "");
        self.child.wait().unwrap();
    }
}

impl Drop for Churner {
    fn drop(&mut self) {
        _ = std::fs::write(&self.stop, "");
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
