//! Everything that runs during the demo: started together, ended together.

use super::{
    admin::Admin,
    config::{self, Plan, Versions},
    load::Load,
    record::Totals,
    service::{DARK, Service},
};
use crate::{
    client::Client,
    life::Event,
    server::{Server, Start},
};
use http::Method;
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Mutex,
    thread::JoinHandle,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// What the demo consists of.
#[derive(Debug)]
pub(super) struct Stage {
    file: PathBuf,
    /// Removed when dropped.
    temporary: Option<TempDir>,
    v2: Service,
    versions: Versions,
    /// Versions that are never told anything.
    _others: [Service; 2],
    gateway: Gateway,
    client: Client,
    load: Load,
}

/// The gateway on its thread.
#[derive(Debug)]
struct Gateway {
    web: SocketAddr,
    admin: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Stage {
    /// Starts services, gateway and users, who are shared out by `plan`. Files go to `dir`, or to a
    /// new directory that is removed at the end.
    ///
    /// # Errors
    /// When a directory, a file, a socket or a thread cannot be had; the message says which.
    pub(super) async fn set(dir: Option<&Path>, plan: Plan) -> io::Result<Self> {
        let (dir, temporary) = match dir {
            Some(dir) => {
                let why = |error: io::Error| explain(&error, "cannot make the directory", dir);
                fs::create_dir_all(dir).map_err(why)?;
                (dir.canonicalize()?, None)
            }
            None => {
                let made = tempfile::Builder::new().prefix("tidegate-").tempdir()?;
                (made.path().to_owned(), Some(made))
            }
        };
        let file = dir.join("gateway.yaml");
        config::make_room(&file)?;
        let v1 = Service::start("v1").await?;
        let v2 = Service::start("v2").await?;
        let v3 = Service::start(DARK).await?;
        let versions = Versions { v1: v1.address(), v2: v2.address(), v3: v3.address() };
        let text = config::text(versions, plan);
        config::save(&file, &text).map_err(|error| explain(&error, "cannot write", &file))?;
        log_to(&dir.join("tidegate.log"))?;
        let gateway = Gateway::start(file.clone()).await?;
        let client = Client::new();
        let load = Load::start(&client, gateway.web);
        Ok(Self { file, temporary, v2, versions, _others: [v1, v3], gateway, client, load })
    }

    /// The configuration file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Saves the configuration with another plan; returns its text.
    pub(super) fn save(&self, plan: Plan) -> io::Result<String> {
        let text = config::text(self.versions, plan);
        config::save(&self.file, &text)?;
        Ok(text)
    }

    pub(super) fn v2(&self) -> &Service {
        &self.v2
    }

    /// Tells v2 to fail this percentage of its requests.
    pub(super) async fn v2_fails(&self, percent: u32) -> io::Result<()> {
        let url = format!("http://{}/behave?errors={percent}", self.v2.address());
        let told = self.client.request(Method::POST, &url, &[]).await;
        told.map(|_| ()).map_err(io::Error::other)
    }

    /// Where the gateway serves.
    pub(super) fn web(&self) -> SocketAddr {
        self.gateway.web
    }

    /// Where the admin API is.
    pub(super) fn admin_address(&self) -> SocketAddr {
        self.gateway.admin
    }

    pub(super) fn admin(&self) -> Admin {
        Admin::new(self.client.clone(), self.gateway.admin)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Ends it all: first the users, then the gateway, so that no request is lost.
    ///
    /// # Errors
    /// When the gateway did not end well, or the directory cannot be removed.
    pub(super) async fn clear(self) -> io::Result<Totals> {
        let Self { temporary, gateway, client, load, .. } = self;
        let record = load.stop().await;
        // Its kept connections would hold the gateway's drain up.
        drop(client);
        let Gateway { stop, thread, .. } = gateway;
        let _ = stop.send(());
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
        match ended {
            Ok(Ok(ended)) => ended?,
            _ => return Err(io::Error::other("the gateway's thread panicked")),
        }
        if let Some(dir) = temporary {
            let path = dir.path().to_owned();
            dir.close().map_err(|error| explain(&error, "cannot remove", &path))?;
        }
        Ok(record.totals())
    }
}

impl Gateway {
    /// Starts a gateway as `tidegate run -c` does.
    async fn start(file: PathBuf) -> io::Result<Self> {
        let (started, bound) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        // It brings its own runtimes, which no thread of another runtime may start.
        let thread = std::thread::Builder::new().name("gateway".into()).spawn(move || {
            let server = match bind(file) {
                Ok(server) => server,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return Ok(());
                }
            };
            let _ = started.send(Ok(server.addresses().to_vec()));
            let life = server.life();
            server.on_control(|| {
                tokio::spawn(async move {
                    let _ = stopped.await;
                    let _ = life.send(Event::Stop).await;
                })
            });
            server.run()
        })?;
        let addresses =
            bound.await.map_err(|_| io::Error::other("the gateway did not start"))??;
        let address_of = |name: &str| {
            let found = addresses.iter().find(|(listener, _)| **listener == *name);
            let missing = || io::Error::other(format!("the gateway has no listener `{name}`"));
            found.map(|(_, address)| *address).ok_or_else(missing)
        };
        let (web, admin) = (address_of("web")?, address_of("admin")?);
        Ok(Self { web, admin, stop, thread })
    }
}

fn bind(file: PathBuf) -> io::Result<Server> {
    let loaded = tidegate_config::load(&file, None)
        .map_err(|failure| io::Error::other(failure.render(false)))?;
    Server::bind(file, loaded, Start::alone())
}

/// The process's log would scribble over the table: it goes to a file.
fn log_to(path: &Path) -> io::Result<()> {
    let file = fs::File::create(path).map_err(|error| explain(&error, "cannot write", path))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter("info,pingora_core=off,pingora_proxy=off")
        .with_ansi(false)
        .with_target(false)
        .with_writer(Mutex::new(file));
    log.try_init().map_err(io::Error::other)
}

fn explain(error: &io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}
