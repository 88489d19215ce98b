//! Real S3 servers, started by `scripts/servers/*`.
//!
//! A server ends when this process ends, however it does: the script that runs it waits for the end of its standard input,
//! whose other end only this process holds. Where a server cannot be installed, see `required`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use atfs::store::{AccessKeys, S3Options, S3Store};

use super::required::or_skip;

/// What exit status 3 of a script means.
const CANNOT_INSTALL: &str = "cannot install the server";

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// `ministack` or `radosgw`.
    pub name: &'static str,
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    /// Keys that may do everything.
    pub keys: AccessKeys,
    buckets: AtomicU32,
    script: Child,
}

/// The ministack that the tests of this program share; `None` where it cannot be had.
pub fn ministack() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| start_or_skip("ministack")).as_ref()
}

/// The radosgw that the tests of this program share (it takes 20 s to start); `None` where it cannot be had.
pub fn radosgw() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| start_or_skip("radosgw")).as_ref()
}

fn start_or_skip(name: &'static str) -> Option<Server> {
    or_skip(name, Server::start(name))
}

impl Server {
    /// A server of one's own; it stops when this is dropped.
    pub fn start(name: &'static str) -> Result<Self, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name);
        // Between choosing a port and using it another process may take it: then another is chosen.
        let mut reason = String::new();
        for _ in 0..3 {
            match Self::start_on(name, &script, free_port()) {
                Ok(server) => return Ok(server),
                // Another port does not install it.
                Err(why) if why.contains(CANNOT_INSTALL) => return Err(why),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }

    fn start_on(name: &'static str, script: &Path, port: u16) -> Result<Self, String> {
        let mut child = Command::new(script)
            .args(["run", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", script.display()))?;
        let mut environment = HashMap::new();
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            let line = line.map_err(|e| e.to_string())?;
            if line == "READY" {
                let mut value = |name: &str| environment.remove(name).expect("the script says it");
                return Ok(Self {
                    name,
                    endpoint: value("AWS_ENDPOINT_URL"),
                    keys: AccessKeys {
                        access_key: value("AWS_ACCESS_KEY_ID"),
                        secret_key: value("AWS_SECRET_ACCESS_KEY"),
                        session_token: None,
                    },
                    buckets: AtomicU32::new(0),
                    script: child,
                });
            }
            if let Some((name, value)) = line.split_once('=') {
                environment.insert(name.to_owned(), value.to_owned());
            }
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        if status.code() == Some(3) {
            return Err(format!("{} {CANNOT_INSTALL} (its output says why)", script.display()));
        }
        Err(format!("{} ended with {status}", script.display()))
    }

    /// Options to reach it from this process.
    pub fn options(&self) -> S3Options {
        S3Options {
            endpoint_url: Some(self.endpoint.clone()),
            region: Some("us-east-1".into()),
            keys: Some(self.keys.clone()),
            ..S3Options::default()
        }
    }

    /// The environment to reach it from another process.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", self.keys.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.keys.secret_key.clone()),
            ("AWS_REGION", "us-east-1".into()),
        ]
    }

    /// A new, empty bucket of this server.
    pub async fn new_bucket(&self) -> String {
        let name = format!("test-{}-{}", std::process::id(), self.buckets.fetch_add(1, Ordering::Relaxed));
        self.client().create_bucket().bucket(&name).send().await.unwrap();
        name
    }

    /// The SDK's client with all rights, for what a store does not do.
    pub fn client(&self) -> aws_sdk_s3::Client {
        use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
        let AccessKeys { access_key, secret_key, .. } = self.keys.clone();
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .region(Region::new("us-east-1"))
            .force_path_style(true)
            .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// A store in a new bucket, below a prefix.
    pub async fn new_store(&self) -> S3Store {
        S3Store::open(&self.new_bucket().await, "some/prefix", &self.options()).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input stops the server; its end is waited for, so that its port and folder are free.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// A port on which nothing listens now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
