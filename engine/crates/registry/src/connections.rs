//! Connections to a registry and to the hosts that it leads to, each with what belongs to its own host.
//!
//! | what | for the registry | for another host |
//! |---|---|---|
//! | certificate of the client (`certs.d`) | its own | its own, or none |
//! | who may sign | the system's, those of its `certs.d` | both of these, and those of its own `certs.d` |
//! | nobody checks who it is | when the settings say so of it | when they say so of it, or it is the same machine |
//! | without TLS | when it speaks none | only when the registry speaks none either |

use crate::certificates::{system_roots, tls_for};
use crate::proxies::Proxies;
use crate::redirect::Origin;
use crate::settings::Settings;
use dhow_model::Result;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use ureq::Agent;
use ureq::tls::Certificate;

/// How long a connection may take to come about, and how long an answer, or the next bytes of one, may stay away.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Connections that are kept for the next request: pieces of a blob come over as many as a pull has.
const IDLE_CONNECTIONS: usize = 16;
/// Hosts whose connections are kept. A registry leads to one or two.
const HOSTS_MAX: usize = 16;

/// Those of one registry.
#[derive(Debug)]
pub(crate) struct Connections {
    /// `reg.example:5000`, as its directory in `certs.d` is called.
    registry: String,
    home: Origin,
    settings: Settings,
    agents: Mutex<HashMap<Origin, Agent>>,
    system: OnceLock<Vec<Certificate<'static>>>,
}

impl Connections {
    /// # Errors
    /// `InvalidArgument` naming a variable of the environment that holds no proxy's address.
    pub(crate) fn of(registry: &str, home: Origin, settings: &Settings) -> Result<Self> {
        Proxies::of_environment().choose(home.scheme(), registry)?;
        Ok(Self {
            registry: registry.to_owned(),
            home,
            settings: settings.clone(),
            agents: Mutex::default(),
            system: OnceLock::new(),
        })
    }

    /// What connects to that host.
    ///
    /// # Errors
    /// When it has no TLS and the registry has; `InvalidArgument` naming a file of `certs.d`.
    pub(crate) fn to(&self, origin: &Origin) -> Result<Agent, ureq::Error> {
        let refused = |what: String| ureq::Error::Other(what.into());
        if self.home.is_tls() && !origin.is_tls() {
            return Err(refused(format!(
                "it leads to {origin}: what is asked for with TLS is not asked for without"
            )));
        }
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(origin) {
            return Ok(agent.clone());
        }
        let agent = self.make(origin).map_err(|error| refused(error.to_string()))?;
        if agents.len() >= HOSTS_MAX {
            agents.retain(|known, _| *known == self.home);
        }
        agents.insert(origin.clone(), agent.clone());
        Ok(agent)
    }

    fn make(&self, origin: &Origin) -> Result<Agent> {
        let host = if *origin == self.home { self.registry.clone() } else { origin.host() };
        let same_machine = origin.name() == self.home.name() && self.home.is_tls();
        let insecure = self.settings.is_insecure(if same_machine { &self.registry } else { &host });
        let system = self.system.get_or_init(system_roots);
        let tls = tls_for(&host, &self.registry, &self.settings, insecure && origin.is_tls(), system)?;
        let only_tls = self.home.is_tls();
        Ok(Proxies::of_environment().agent(|proxy| {
            Agent::config_builder()
                .http_status_as_error(false)
                .https_only(only_tls)
                // `Base::send` follows them itself: it decides who gets which headers.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(concat!("dhow/", env!("CARGO_PKG_VERSION")))
                .accept_encoding(ureq::config::AutoHeaderValue::None)
                .max_idle_connections_per_host(IDLE_CONNECTIONS)
                .timeout_connect(Some(CONNECT_PATIENCE))
                .timeout_recv_response(Some(ANSWER_PATIENCE))
                .timeout_per_read(Some(ANSWER_PATIENCE))
                .timeout_per_write(Some(ANSWER_PATIENCE))
                .tls_config(tls.clone())
                .proxy(proxy)
                .build()
        }))
    }
}
