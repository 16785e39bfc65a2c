//! A PostgreSQL server of the test's own: the host's, or else a container's.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::local_runner::LocalRunner;

const USER: &str = "app";
const PASSWORD: &str = "only-for-this-test";
const IMAGE: &str = "postgres:17-alpine";

/// Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Postgres {
    port: u16,
    server: Server,
}

#[derive(Debug)]
enum Server {
    Process { child: Child, _data: TempDir },
    Container { id: String },
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match &mut self.server {
            Server::Process { child, .. } => {
                // SIGQUIT: at once, with the children; the data is thrown away.
                let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
                let _ = child.wait();
            }
            Server::Container { id } => {
                let _ = Command::new("docker").args(["rm", "--force", "--volumes", id]).output();
            }
        }
    }
}

impl Postgres {
    /// A server with an empty database `default`.
    pub(crate) fn start() -> Self {
        let server = match binaries() {
            Some(binaries) => Self::process(&binaries),
            None => Self::container(),
        };
        server.wait_until_ready();
        server.execute("postgres", "CREATE DATABASE \"default\"");
        server
    }

    fn process(binaries: &std::path::Path) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let directory = data.path().join("data");
        std::fs::create_dir(&directory).expect("a directory for the cluster");
        let root = output(Command::new("id").arg("-u")).stdout.starts_with(b"0\n");
        let drop_rights = |program: PathBuf| {
            // PostgreSQL refuses to run as root. `--pdeathsig`: a killed test leaves no server behind.
            let mut command = Command::new("setpriv");
            command.arg("--pdeathsig=QUIT");
            if root {
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
            }
            command.arg("--").arg(program);
            command
        };
        if root {
            output(Command::new("chown").arg("postgres:").args([data.path(), &directory]));
        }
        let password = data.path().join("password");
        std::fs::write(&password, PASSWORD).expect("a password file");
        output(
            drop_rights(binaries.join("initdb"))
                .args(["--no-sync", "--auth=scram-sha-256", "-U", USER])
                .arg("--pwfile")
                .arg(&password)
                .arg("-D")
                .arg(&directory),
        );
        let port = free_port();
        let child = drop_rights(binaries.join("postgres"))
            .arg("-D")
            .arg(&directory)
            .args(["-p", &port.to_string()])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
                "-c",
                "fsync=off",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        Self {
            port,
            server: Server::Process { child, _data: data },
        }
    }

    fn container() -> Self {
        let id = output(
            Command::new("docker")
                .args(["run", "--detach", "--rm", "--label", "nuages.testkit=migrate"])
                .args([
                    "--publish",
                    "127.0.0.1::5432",
                    "--env",
                    &format!("POSTGRES_USER={USER}"),
                    "--env",
                    &format!("POSTGRES_PASSWORD={PASSWORD}"),
                    IMAGE,
                ]),
        );
        let id = String::from_utf8_lossy(&id.stdout).trim().to_owned();
        let port = output(Command::new("docker").args(["port", &id, "5432/tcp"]));
        let port = String::from_utf8_lossy(&port.stdout);
        let port = port
            .lines()
            .next()
            .and_then(|l| l.rsplit(':').next()?.trim().parse().ok())
            .expect("a published port");
        Self {
            port,
            server: Server::Container { id },
        }
    }

    fn wait_until_ready(&self) {
        // An image restarts its server once after its set-up, so it must answer a query, not merely a connection.
        for _ in 0..300 {
            if self.query("postgres", "SELECT 1").status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "PostgreSQL does not answer: {}",
            String::from_utf8_lossy(&self.query("postgres", "SELECT 1").stderr)
        );
    }

    /// A runner whose project uses this server.
    pub(crate) fn runner(&self, data: &std::path::Path) -> LocalRunner {
        LocalRunner::new(data)
            .with("PGHOST", "127.0.0.1")
            .with("PGPORT", &self.port.to_string())
            .with("PGUSER", USER)
            .with("PGPASSWORD", PASSWORD)
    }

    fn query(&self, database: &str, sql: &str) -> Output {
        const PROGRAM: &str = "import os, sys, psycopg
with psycopg.connect(dbname=sys.argv[1], autocommit=True) as connection:
    cursor = connection.execute(sys.argv[2])
    if cursor.description:
        for row in cursor:
            print('|'.join(str(value) for value in row))";
        self.python(PROGRAM)
            .args([database, sql])
            .output()
            .expect("the virtual environment's Python")
    }

    fn python(&self, program: &str) -> Command {
        let mut command = Command::new(crate::python::with_django(crate::python::DJANGO));
        command
            .args(["-c", program])
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string());
        command.env("PGUSER", USER).env("PGPASSWORD", PASSWORD);
        command
    }

    /// Runs a statement; its rows, columns joined by `|`.
    pub(crate) fn execute(&self, database: &str, sql: &str) -> Vec<String> {
        let output = self.query(database, sql);
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// A session that holds this lock until it is dropped.
    pub(crate) fn session_holding(&self, sql: &str) -> Session {
        use std::io::{BufRead as _, BufReader};
        const PROGRAM: &str = "import sys, psycopg
connection = psycopg.connect(dbname='default')
connection.execute(sys.argv[1])
print('held', flush=True)
sys.stdin.read()";
        let mut child = self
            .python(PROGRAM)
            .arg(sql)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the virtual environment's Python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        assert_eq!(line.trim(), "held");
        Session(child)
    }
}

/// Somebody else's session.
#[derive(Debug)]
pub(crate) struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the newest server of this machine has its programs.
fn binaries() -> Option<PathBuf> {
    let usable = |directory: &PathBuf| directory.join("initdb").exists() && directory.join("postgres").exists();
    // Without it a killed test would leave its server behind.
    Command::new("setpriv").arg("--version").output().ok()?;
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, directory)| usable(directory))
        .collect();
    versions.sort();
    versions.pop().map(|(_, directory)| directory)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

fn output(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
