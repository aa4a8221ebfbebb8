//! A private Redis from the installed binary, on a free port and with a password. It keeps nothing on the disk.
//!
//! It ends with the process that started it, however that ends: a shell holds the other end of a pipe,
//! and when that breaks it kills the server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Starts that are tried when somebody else takes the port.
const MAX_STARTS: usize = 5;
/// A server that does not answer [`Redis::ask`] for so long is paused or ill.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Says which process the server is and waits until the pipe ends. The server alone then holds standard
/// output, so that its end is seen there.
const KEEPER: &str = r#"
"$@" &
server=$!
echo "$server"
exec > /dev/null
read -r line
kill -s KILL "$server" 2> /dev/null
wait "$server"
"#;

/// A server of our own. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
    keeper: Mutex<Option<Keeper>>,
}

#[derive(Debug)]
struct Keeper {
    shell: Child,
    pipe: ChildStdin,
    server: u32,
}

impl Redis {
    /// The password of its default user.
    pub(crate) const PASSWORD: &str = "redis-pass-word";

    /// Starts one and waits until it takes connections.
    pub(crate) fn start_new() -> Self {
        for _ in 0..MAX_STARTS {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = listener.local_addr().expect("it is bound").port();
            drop(listener);
            let redis = Self { port, keeper: Mutex::default() };
            if redis.try_start() {
                return redis;
            }
        }
        panic!("ports are taken again and again");
    }

    /// Starts it again after [`Redis::stop`], empty.
    pub(crate) fn start(&self) {
        assert!(self.try_start(), "Redis does not start again: is its port taken?");
    }

    fn try_start(&self) -> bool {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", KEEPER, "keeper", "redis-server", "--port", &self.port.to_string()]);
        shell.args(["--bind", "127.0.0.1", "--requirepass", Self::PASSWORD]);
        shell.args(["--save", "", "--appendonly", "no", "--dir", "/", "--daemonize", "no"]);
        // Not in our process group: Ctrl-C is for us, and the keeper sees our end.
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut shell = shell.spawn().expect("a shell");
        let pipe = shell.stdin.take().expect("it is piped");
        let mut lines = BufReader::new(shell.stdout.take().expect("it is piped")).lines();
        let server = lines.next().and_then(|line| line.ok()?.parse().ok()).expect("a process id");
        *self.keeper() = Some(Keeper { shell, pipe, server });
        let mut said = String::new();
        for line in lines.map_while(Result::ok) {
            if line.contains("Ready to accept connections") {
                return true;
            }
            said.push_str(&line);
        }
        self.stop();
        assert!(said.contains("Could not create server TCP listening socket"), "Redis: {said:?}");
        false
    }

    /// Kills it: connections break, new ones are refused, and what it held is lost.
    pub(crate) fn stop(&self) {
        let keeper = self.keeper().take();
        if let Some(Keeper { mut shell, pipe, .. }) = keeper {
            drop(pipe);
            shell.wait().expect("it is our child");
        }
    }

    /// Halts it: connections stay, new ones are taken, and nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Redis::pause`].
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let server = self.keeper().as_ref().expect("it runs").server.to_string();
        let mut kill = Command::new("/bin/sh");
        kill.args(["-c", "kill -s \"$0\" \"$1\"", name, &server]);
        assert!(kill.status().expect("a shell").success(), "SIG{name} could not be sent");
    }

    /// Its URL, with the password.
    pub(crate) fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", Self::PASSWORD, self.port)
    }

    /// What it answers to one command without blanks in its words, as it stands on the wire; none when it
    /// cannot be reached or stays silent.
    pub(crate) fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN)).ok()?;
        let words = format!("AUTH {}\r\n{command}\r\nQUIT\r\n", Self::PASSWORD);
        stream.write_all(words.as_bytes()).ok()?;
        let mut answers = String::new();
        stream.read_to_string(&mut answers).ok()?;
        Some(answers.strip_prefix("+OK\r\n")?.strip_suffix("+OK\r\n")?.to_owned())
    }

    fn keeper(&self) -> std::sync::MutexGuard<'_, Option<Keeper>> {
        self.keeper.lock().expect("nobody panics with it")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
