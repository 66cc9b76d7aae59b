//! What proxies are measured with: two CPUs, processes and their CPU time, addresses.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// One CPU for the proxy under test, another for all else.
#[derive(Debug)]
pub struct Cpus {
    /// The proxy's.
    pub proxy: u32,
    /// That of origins and the load generator.
    pub rest: u32,
}

impl Cpus {
    /// The first two that this process may use.
    ///
    /// # Errors
    /// When there is but one, or no `/proc` to ask.
    pub fn two() -> anyhow::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")
            .context("this measures with Linux's /proc")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .context("/proc/self/status has no Cpus_allowed_list")?;
        match parse_cpu_list(list)[..] {
            [proxy, rest, ..] => Ok(Self { proxy, rest }),
            _ => bail!("two CPUs are needed, `{}` is allowed", list.trim()),
        }
    }
}

/// `0-2,5` as `[0, 1, 2, 5]`.
fn parse_cpu_list(list: &str) -> Vec<u32> {
    list.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// A command whose process is kept on `cpu`, and ends when this program does, however it does.
/// `taskset` and `setpriv` become the program, so it has their id.
pub fn on_cpu(cpu: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", &cpu.to_string()])
        .args(["setpriv", "--pdeathsig", "KILL"])
        .arg(program.as_ref())
        .stdin(Stdio::null());
    command
}

/// Many short rounds cancel other work on the machine out, but only so far.
pub fn warn_of_company() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let last_minute = load.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    if last_minute.is_some_and(|load| load > 1.0) {
        eprintln!("the machine is busy (load average {}): expect noise", load.trim());
    }
}

/// The program called `name` that was built with this one.
///
/// # Errors
/// When there is none.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let path = this.parent().unwrap_or(Path::new(".")).join(name);
    path.is_file().then_some(path).with_context(|| {
        format!("no `{name}` beside {}; build it with the same --profile", this.display())
    })
}

/// A child process that ends with its owner.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts what [`on_cpu`] made.
    ///
    /// # Errors
    /// When `taskset` is not there.
    pub fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("{name} could not start; scripts/deps.sh bench gets it"))?;
        Ok(Self { name, child })
    }

    /// What to call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its standard error, if that is a pipe and was not taken yet.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits until `address` accepts, for 10 seconds at most.
    ///
    /// # Errors
    /// When it does not, or the process has ended.
    pub fn await_listener(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let (name, started) = (self.name, Instant::now());
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended before it listened ({status}); scripts/deps.sh bench gets it");
            }
            ensure!(
                started.elapsed() < Duration::from_secs(10),
                "{name} does not listen on {address}"
            );
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits until it ends, or ends it at the `deadline` and returns nothing.
    ///
    /// # Errors
    /// When the system will not say.
    pub fn end_by(mut self, deadline: Instant) -> anyhow::Result<Option<ExitStatus>> {
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// User and system time so far, of all its threads.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat =
            std::fs::read_to_string(&path).with_context(|| format!("{} ended", self.name))?;
        cpu_ticks(&stat).map(|ticks| ticks / TICKS_PER_SECOND).with_context(|| path.clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `utime + stime`, the 14th and 15th field. The second is the program's name in parentheses, which
/// may hold spaces.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some(ticks()? + ticks()?)
}

/// An address nobody listens on. It is free again when this returns, so somebody else may take it;
/// then the wait for the server fails and says so.
///
/// # Errors
/// When the system has no port left.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The whole answer to one request, head included.
///
/// # Errors
/// When there is none within 5 seconds.
pub fn get(address: SocketAddr, host: &str, target: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nx-user-id: user-1\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Between two looks at a process.
const PAUSE: Duration = Duration::from_millis(20);

/// Linux reports times to user space in this unit (`USER_HZ`) on every common architecture,
/// whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::{cpu_ticks, parse_cpu_list};

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("3"), [3]);
        assert_eq!(parse_cpu_list(""), [0_u32; 0]);
    }

    #[test]
    fn ticks_after_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 213 0 1 0 31 11 0 0 20 0 1 0 9";
        assert_eq!(cpu_ticks(stat), Some(42.0));
        assert_eq!(cpu_ticks("nonsense"), None);
    }
}
