//! The requests that are for the proxy itself: `GET /__proxy/stats`, `POST /__proxy/reset` and
//! `POST /__proxy/set?latency_ms=15&rate=90000000&refuse=0.1&cut=0.1&off=no|refuse|hang` (what is not named stays).

use std::time::Duration;

use super::{Off, Settings, Shared};

/// No bucket can be called that.
pub(super) const PREFIX: &str = "/__proxy/";

/// Begins the line in which the program says where it listens.
pub const MARK: &str = "proxy listens on ";

/// How S3 says that it has too much to do.
pub(super) fn slow_down() -> Vec<u8> {
    let body = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>on purpose</Message></Error>";
    message("503 Slow Down", body)
}

/// The whole answer to such a request.
pub(super) fn answer(method: &str, target: &str, shared: &Shared) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (status, body) = match (method, path.strip_prefix(PREFIX)) {
        ("GET", Some("stats")) => ("200 OK", shared.stats.to_json()),
        ("POST", Some("reset")) => {
            shared.stats.reset();
            ("200 OK", String::new())
        }
        ("POST", Some("set")) => {
            let mut settings = *shared.settings();
            match query.split('&').find_map(|part| unknown_setting(part, &mut settings)) {
                Some(wrong) => ("400 Bad Request", format!("{wrong:?} is no setting\n")),
                None => {
                    shared.set(settings);
                    ("200 OK", String::new())
                }
            }
        }
        _ => ("404 Not Found", "GET stats, POST reset, POST set\n".into()),
    };
    message(status, &body)
}

fn message(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Applies `name=value`; gives it back where it is no setting.
pub fn unknown_setting<'a>(part: &'a str, settings: &mut Settings) -> Option<&'a str> {
    let share = |text: &str| text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    let applied = part.split_once('=').and_then(|(name, value)| {
        match name {
            "latency_ms" => {
                let milliseconds = value.parse().ok().filter(|ms: &f64| (0.0..=3.6e6).contains(ms))?;
                settings.latency = Duration::from_secs_f64(milliseconds / 1e3);
            }
            "rate" => settings.rate = Some(value.parse().ok()?).filter(|rate| *rate > 0),
            "refuse" => settings.refuse = share(value)?,
            "cut" => settings.cut = share(value)?,
            "off" => {
                settings.off = match value {
                    "no" => Off::No,
                    "refuse" => Off::Refuse,
                    "hang" => Off::Hang,
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    });
    if applied.is_none() && !part.is_empty() { Some(part) } else { None }
}
