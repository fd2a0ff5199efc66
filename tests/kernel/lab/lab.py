#!/usr/bin/python3
"""A machine and a network for the tests of real clients. Run as root, in network and mount namespaces of its own:
`unshare -n -m lab.py DIRECTORY`. These namespaces are the machine; a second network namespace, at the other end of a veth
pair, has the servers. Says "ready" when all of them listen, and ends with them when its stdin does."""
import base64, hashlib, http.server, io, json, os, socket, socketserver, subprocess, sys, tarfile, threading, time, zipfile
from urllib.parse import parse_qs, urlsplit

HERE = sys.argv[1]
WWW = HERE + "/www"
SERVER, MACHINE, SERVER6, MACHINE6 = "198.51.100.1", "198.51.100.2", "2001:db8:fe::1", "2001:db8:fe::2"


def run(*words, **more):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)


class Web(http.server.BaseHTTPRequestHandler):
    """What a file server can't do: uploads, slow bodies in chunks, bodies that end with the connection."""
    protocol_version = "HTTP/1.1"
    log_message = lambda *_: None

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path.startswith("/git/"):
            return self.git(url, b"")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/slow":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(int(query["count"])):
                self.wfile.write(b"2\r\n%d\n\r\n" % (i % 10))
                self.wfile.flush()
                time.sleep(float(query["pause"]))
            self.wfile.write(b"0\r\n\r\n")
        elif url.path == "/close":
            self.close_connection = True
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"until the end")
        else:
            self.answer(json.dumps({"path": self.path, "headers": self.headers.items()}).encode())

    def git(self, url, body):
        """git's own server, as a web server starts it (CGI)."""
        names = {"Git-Protocol": "HTTP_GIT_PROTOCOL", "Content-Encoding": "HTTP_CONTENT_ENCODING", "Content-Type": "CONTENT_TYPE"}
        environment = {variable: self.headers[name] for name, variable in names.items() if name in self.headers}
        environment |= {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": HERE, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": url.path,
                        "QUERY_STRING": url.query, "REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(len(body)), "REMOTE_USER": "t"}
        out = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env=environment).stdout
        head, body = out.split(b"\r\n\r\n", 1)
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        url = urlsplit(self.path)
        if url.path.startswith("/git/"):
            return self.git(url, b"".join(self.body()))
        digest, length = hashlib.sha256(), 0
        for piece in self.body():
            digest.update(piece)
            length += len(piece)
        self.answer(f"{length} {digest.hexdigest()}\n".encode())

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            left = int(self.headers["Content-Length"])
            while left:
                piece = self.rfile.read(min(left, 1 << 16))
                yield piece
                left -= len(piece)

    do_PUT = do_POST

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Dual(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    address_family = socket.AF_INET6


def serve_http(port):
    server = Dual(("::", port), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_websockets():
    import asyncio, websockets

    async def echo(connection, *_):
        async for message in connection:
            await connection.send("echo " + message)

    async def main():
        async with websockets.serve(echo, SERVER, 8090):
            await asyncio.Future()

    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()


def servers():
    """In the servers' namespace: what Python serves itself."""
    serve_http(8080)
    serve_websockets()
    print("ready", flush=True)
    sys.stdin.read()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if isinstance(text, bytes) else "w") as file:
        file.write(text)


def certificates():
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Test CA",
        "-keyout", HERE + "/ca.key", "-out", HERE + "/ca.pem")
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=example.test", "-keyout", HERE + "/tls.key",
        "-out", HERE + "/tls.csr")
    write(HERE + "/names", "subjectAltName=DNS:example.test,DNS:*.example.test,DNS:evil.test,DNS:rebind.test\n")
    run("openssl", "x509", "-req", "-days", "2", "-in", HERE + "/tls.csr", "-CA", HERE + "/ca.pem", "-CAkey", HERE + "/ca.key",
        "-CAcreateserial", "-extfile", HERE + "/names", "-out", HERE + "/tls.pem")


def packages():
    """One package for each package manager, and a repository."""
    write(WWW + "/index.html", "hello from the test server\n")
    with open(WWW + "/zeros", "w") as file:
        file.truncate(2 << 30)
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("tiny_pkg.py", "print('tiny from the index')\n")
        zipped.writestr("tiny_pkg-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-pkg\nVersion: 1.0\n")
        zipped.writestr("tiny_pkg-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        zipped.writestr("tiny_pkg-1.0.dist-info/RECORD", "tiny_pkg.py,,\ntiny_pkg-1.0.dist-info/METADATA,,\ntiny_pkg-1.0.dist-info/WHEEL,,\ntiny_pkg-1.0.dist-info/RECORD,,\n")
    name = "tiny_pkg-1.0-py3-none-any.whl"
    write(f"{WWW}/files/{name}", wheel.getvalue())
    write(WWW + "/simple/tiny-pkg/index.html", f'<!DOCTYPE html><a href="/files/{name}">{name}</a>')
    tarball = io.BytesIO()
    with tarfile.open(fileobj=tarball, mode="w:gz") as tar:
        for path, text in [("package/package.json", '{"name": "tiny-pkg", "version": "1.0.0", "main": "index.js"}'), ("package/index.js", "console.log('tiny from the registry')\n")]:
            info = tarfile.TarInfo(path)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    write(WWW + "/files/tiny-pkg-1.0.0.tgz", tarball.getvalue())
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball.getvalue()).digest()).decode()
    version = {"name": "tiny-pkg", "version": "1.0.0", "dist": {"tarball": "https://npm.example.test/files/tiny-pkg-1.0.0.tgz", "integrity": integrity}}
    write(WWW + "/npm/tiny-pkg", json.dumps({"name": "tiny-pkg", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}))
    work = HERE + "/repository"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]
    run(*git, "init", "-q", work)
    write(work + "/file", "from the repository\n")
    run(*git, "-C", work, "add", ".")
    run(*git, "-C", work, "commit", "-qm", "first")
    run(*git, "clone", "-q", "--bare", work, WWW + "/repo.git")
    run(*git, "-C", WWW + "/repo.git", "update-server-info")
    run(*git, "clone", "-q", "--bare", work, HERE + "/git/smart.git")


def keys():
    for name in ["client", "host"]:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{HERE}/{name}_key")
    os.chmod(HERE + "/client_key", 0o600)


def network():
    """The other namespace; its holder's process."""
    holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
    while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        time.sleep(0.01)
    inside = ["nsenter", "-t", str(holder.pid), "-n"]
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", str(holder.pid))
    for enter, own, own6 in [([], MACHINE, MACHINE6), (inside, SERVER, SERVER6)]:
        run(*enter, "ip", "link", "set", "lo", "up")
        run(*enter, "ip", "address", "add", own + "/24", "dev", "veth0")
        run(*enter, "ip", "-6", "address", "add", own6 + "/64", "dev", "veth0", "nodad")
        run(*enter, "ip", "link", "set", "veth0", "up")
    # Who answers here answers the metadata address too: only fence refuses it.
    run(*inside, "ip", "address", "add", "169.254.169.254/32", "dev", "lo")
    run("ip", "route", "add", "169.254.169.254/32", "via", SERVER)
    write(HERE + "/resolv.conf", f"nameserver {SERVER}\noptions timeout:2\n")
    run("mount", "--bind", HERE + "/resolv.conf", os.path.realpath("/etc/resolv.conf"))
    return holder, inside


def listens(inside, port):
    for _ in range(500):
        if subprocess.run([*inside, "sh", "-c", f"ss -ltnH 'sport = :{port}' | grep -q ."]).returncode == 0:
            return
        time.sleep(0.02)
    sys.exit(f"nobody listens on port {port}")


def main():
    os.makedirs(WWW)
    certificates()
    packages()
    keys()
    holder, inside = network()
    write(HERE + "/nginx.conf", f"""
daemon off; pid {HERE}/nginx.pid; error_log {HERE}/nginx.log; user root;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type application/octet-stream; client_body_temp_path {HERE}/body; proxy_temp_path {HERE}/proxy;
    fastcgi_temp_path {HERE}/f; uwsgi_temp_path {HERE}/u; scgi_temp_path {HERE}/s;
    types {{ text/html html; }}
    server {{
        listen 80; listen [::]:80; listen 443 ssl http2; listen [::]:443 ssl http2;
        ssl_certificate {HERE}/tls.pem; ssl_certificate_key {HERE}/tls.key; root {WWW};
        location /npm/ {{ default_type application/json; }}
        location /git/ {{ proxy_pass http://127.0.0.1:8080; client_max_body_size 0; }}
    }}
}}
""")
    os.makedirs("/run/sshd", exist_ok=True)
    started = [
        ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root", "--pid-file",
         "--listen-address=" + SERVER, "--bind-interfaces", f"--address=/example.test/evil.test/{SERVER}",
         f"--address=/example.test/{SERVER6}", "--address=/rebind.test/127.0.0.1", "--address=/meta.test/169.254.169.254",
         "--address=/mixed.test/127.0.0.1", "--host-record=gone.test,198.51.100.77"],
        ["nginx", "-e", HERE + "/nginx.log", "-c", HERE + "/nginx.conf"],
        ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", HERE + "/host_key", "-o", "PidFile=none", "-o", "UsePAM=no",
         "-o", "StrictModes=no", "-o", "PermitRootLogin=yes", "-o", f"AuthorizedKeysFile={HERE}/client_key.pub"],
    ]
    log = open(HERE + "/servers.log", "w")
    children = [subprocess.Popen([*inside, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log) for words in started]
    own = subprocess.Popen([*inside, sys.executable, __file__, HERE, "servers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    own.stdout.readline()
    for port in [53, 80, 443, 22, 8080, 8090]:
        listens(inside, port)
    # On the machine's own loopback: what a name must not lead to.
    serve_http(80)
    print("ready", flush=True)
    sys.stdin.read()
    for child in [*children, own, holder]:
        child.kill()


servers() if len(sys.argv) > 2 else main()
