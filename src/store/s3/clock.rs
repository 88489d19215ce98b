//! What time it is for a store: the `Date` of its answers. Refusals carry one, too, and they are what matters: S3 refuses
//! everybody whose clock is a quarter of an hour off.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};

/// One moment on two clocks, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The store's.
    pub store: i64,
    /// This machine's, when the answer came.
    pub here: i64,
}

tokio::task_local! {
    /// Where answers to the present task are to be noted.
    static NOTED: Arc<Mutex<Option<ClockReading>>>;
}

/// Runs `requests`, and says what the last answer to them said of the time. A local folder says nothing.
pub async fn watch_clock<F: Future>(requests: F) -> (F::Output, Option<ClockReading>) {
    let noted: Arc<Mutex<Option<ClockReading>>> = Arc::default();
    let output = NOTED.scope(noted.clone(), requests).await;
    let reading = *noted.lock().unwrap_or_else(|e| e.into_inner());
    (output, reading)
}

/// Notes the time of answers whose task wants to know it.
#[derive(Debug)]
pub(super) struct WatchedConnector(pub(super) SharedHttpConnector);

impl HttpConnector for WatchedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        let Ok(noted) = NOTED.try_with(Arc::clone) else { return answer };
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if let Some(reading) = read(&answer) {
                *noted.lock().unwrap_or_else(|e| e.into_inner()) = Some(reading);
            }
            Ok(answer)
        })
    }
}

fn read(answer: &HttpResponse) -> Option<ClockReading> {
    let date = DateTime::from_str(answer.headers().get("date")?, DateTimeFormat::HttpDate).ok()?;
    let here = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(ClockReading { store: date.secs(), here: i64::try_from(here.as_secs()).ok()? })
}
