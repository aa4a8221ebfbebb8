//! A private PostgreSQL from the installed binaries, in a temporary directory and on a free port.
//!
//! It ends with the process that started it, however that ends: a shell holds the other end of a pipe,
//! and when that breaks it stops the server and removes the directory. Durability is switched off but where
//! it is measured.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// Starts that are tried when somebody else takes the port.
const MAX_STARTS: usize = 5;

/// Longer no start takes, also where twenty tests share two slow cores.
const START_SECONDS: &str = "60";

/// For all tests that share a server.
const MAX_CONNECTIONS: usize = 200;

/// Says that it runs, waits until the pipe ends or a line comes, and stops the server at once.
/// After a line the directory stays, for the next start.
const KEEPER: &str = r#"
dir=$1; shift
"$@" >> "$dir/log" 2>&1 &
server=$!
line=
read -r line
kill -s QUIT "$server" 2> /dev/null
wait "$server"
[ -n "$line" ] || rm -rf "$dir"
"#;

/// A server of our own.
#[derive(Debug)]
pub(crate) struct Postgres {
    dir: PathBuf,
    bin: PathBuf,
    port: u16,
    /// The user that the server runs as, where we are root.
    user: Option<String>,
    is_durable: bool,
    max_connections: usize,
    keeper: Mutex<Option<(Child, ChildStdin)>>,
}

static SHARED: OnceLock<Postgres> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(1);

impl Postgres {
    /// Connections of a small server.
    pub(crate) const SMALL: usize = 12;
    /// Those of them that are its superuser's, as by default.
    pub(crate) const RESERVED: usize = 3;
    /// The user that everything is done as, with this password over TCP.
    pub(crate) const USER: &str = "tester";
    /// Its password.
    pub(crate) const PASSWORD: &str = "pass-word";

    /// The one of this process, which nobody stops.
    pub(crate) fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start_new)
    }

    /// One for a test that stops it. It ends when it is dropped.
    pub(crate) fn start_new() -> Self {
        Self::start_as(false)
    }

    /// The same; what is committed is on the disk if it is to be durable.
    pub(crate) fn start_as(is_durable: bool) -> Self {
        Self::start_with(is_durable, MAX_CONNECTIONS)
    }

    /// The same with hardly more connections than an instance of Portico takes.
    pub(crate) fn start_small() -> Self {
        Self::start_with(false, Self::SMALL)
    }

    fn start_with(is_durable: bool, max_connections: usize) -> Self {
        let bin = binaries();
        let dir = tempfile::Builder::new().prefix("pg-").tempdir().expect("a directory");
        let user = user_of_server();
        for _ in 0..MAX_STARTS {
            let port = free_port();
            let server = Self {
                dir: dir.path().to_owned(),
                bin: bin.clone(),
                port,
                user: user.clone(),
                is_durable,
                max_connections,
                keeper: Mutex::default(),
            };
            if !dir.path().join("data").exists() {
                server.init();
            }
            if server.try_start() {
                // From here on the keeper removes it.
                let _kept = dir.keep();
                return server;
            }
        }
        panic!(
            "no PostgreSQL starts: {}",
            fs::read_to_string(dir.path().join("log")).expect("a log")
        );
    }

    fn init(&self) {
        if self.user.is_some() {
            run(Command::new("chown").arg(self.user_name()).arg(&self.dir));
        }
        fs::set_permissions(&self.dir, Permissions::from_mode(0o755)).expect("it is ours");
        let password = self.dir.join("password");
        fs::write(&password, Self::PASSWORD).expect("a file");
        fs::set_permissions(&password, Permissions::from_mode(0o644)).expect("it is ours");
        run(self
            .command("initdb")
            .args(["-U", Self::USER, "--no-sync", "--no-locale", "--encoding=UTF8"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(self.dir.join("data")));
    }

    /// Starts it again after [`Postgres::stop`].
    pub(crate) fn start(&self) {
        assert!(self.try_start(), "PostgreSQL does not start again");
    }

    fn try_start(&self) -> bool {
        let server = self.command("postgres");
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&self.dir);
        keeper.arg(server.get_program()).args(server.get_args());
        keeper.arg("-D").arg(self.dir.join("data")).arg("-k").arg(&self.dir);
        let port = format!("port={}", self.port);
        for setting in [&*port, "listen_addresses=127.0.0.1"] {
            keeper.args(["-c", setting]);
        }
        if !self.is_durable {
            keeper.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        let connections = format!("max_connections={}", self.max_connections);
        for setting in [&*connections, "shared_buffers=16MB", "autovacuum=off"] {
            keeper.args(["-c", setting]);
        }
        if self.dir.join("server.key").exists() {
            for (name, file) in [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
                keeper.arg("-c").arg(format!("{name}={}", self.dir.join(file).display()));
            }
            keeper.args(["-c", "ssl=on"]);
        }
        // Not in our process group: Ctrl-C is for us, and the keeper sees our end.
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let said_before = fs::metadata(self.dir.join("log")).map_or(0, |log| log.len());
        let mut child = keeper.spawn().expect("a shell");
        let pipe = child.stdin.take().expect("it is piped");
        *self.keeper.lock().expect("nobody panics with it") = Some((child, pipe));
        let is_ready = self.says_that_it_is_ready(said_before);
        if !is_ready {
            self.stop();
        }
        is_ready
    }

    /// Follows what the server says, but for what was there before, until it takes connections or gives up.
    fn says_that_it_is_ready(&self, said_before: u64) -> bool {
        let mut follower = Command::new("timeout");
        follower.args([START_SECONDS, "tail", "-F", "-c", &format!("+{}", said_before + 1)]);
        follower.arg(self.dir.join("log"));
        follower.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut follower = follower.spawn().expect("timeout and tail, of coreutils");
        let lines = BufReader::new(follower.stdout.take().expect("it is piped")).lines();
        let outcome = lines.map_while(Result::ok).find_map(|line| {
            let is_ready = line.contains("ready to accept connections");
            let is_over = line.contains("could not create any TCP/IP sockets")
                || line.contains("database system is shut down");
            (is_ready || is_over).then_some(is_ready)
        });
        drop(follower.kill());
        drop(follower.wait());
        outcome.unwrap_or(false)
    }

    /// Stops it at once, as a crash would.
    pub(crate) fn stop(&self) {
        let keeper = self.keeper.lock().expect("nobody panics with it").take();
        if let Some((mut child, mut pipe)) = keeper {
            pipe.write_all(b"keep\n").expect("the keeper reads");
            child.wait().expect("it is our child");
        }
    }

    /// A certificate and its key, in PEM, to be used from the next start on.
    pub(crate) fn use_tls(&self, certificate: &str, key: &str) {
        for (name, content) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.dir.join(name);
            fs::write(&path, content).expect("a file");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
            if self.user.is_some() {
                run(Command::new("chown").arg(self.user_name()).arg(&path));
            }
        }
    }

    /// A new empty database; its name.
    pub(crate) fn create_database(&self) -> String {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// The URL of a database, over TCP and with the password.
    pub(crate) fn url(&self, database: &str) -> String {
        let (user, password) = (Self::USER, Self::PASSWORD);
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Has a database do something; what it says, without headings.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.command("psql");
        psql.arg("-h").arg(&self.dir).args(["-p", &self.port.to_string(), "-U", Self::USER]);
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        run(&mut psql)
    }

    /// A file that the server's programs may write.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs one of PostgreSQL's programs as the server's own user would; what it says.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.command(program);
        command.env("PGHOST", &self.dir).env("PGPORT", self.port.to_string());
        run(command.env("PGUSER", Self::USER).args(arguments))
    }

    fn user_name(&self) -> &str {
        self.user.as_deref().unwrap_or_default()
    }

    /// One of PostgreSQL's programs, as the server's user: it refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let Some(user) = &self.user else { return Command::new(program) };
        let group = run(Command::new("id").args(["-g", user]));
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", group.trim(), "--clear-groups", "--"]);
        command.arg(program).current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let keeper = self.keeper.lock().expect("nobody panics with it").take();
        if let Some((mut child, pipe)) = keeper {
            drop(pipe);
            drop(child.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// The newest that Debian's packages have installed, else what is on the path.
fn binaries() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| installed_bin(*version).join("initdb").exists())
        .max();
    if let Some(version) = newest {
        return installed_bin(version);
    }
    let found = Command::new("pg_config").arg("--bindir").output();
    let found = found.expect("PostgreSQL is installed: `make test` does it");
    PathBuf::from(String::from_utf8(found.stdout).expect("UTF-8").trim())
}

fn installed_bin(version: u32) -> PathBuf {
    Path::new("/usr/lib/postgresql").join(version.to_string()).join("bin")
}

fn user_of_server() -> Option<String> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let exists = |user: &str| {
        Command::new("id").args(["-u", user]).output().is_ok_and(|id| id.status.success())
    };
    is_root.then(|| if exists("postgres") { "postgres" } else { "nobody" }.to_owned())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
