//! Accepts connections, limits their number, and closes those of slow clients.
//!
//! * `socket`: a client's socket, with a deadline for reading the answer.
//! * `activity`: the state of a connection.
//! * `table`: all connections, and the choice of one to close if there are too many.
//! * `hang_up`: whether the client of a running request is still there.

mod activity;
mod hang_up;
mod socket;
mod table;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use crate::error::ApiError;
use crate::path_name::PROBES;
use activity::Activity;
use socket::Socket;
use table::{Place, Table};

/// Longest time for the head of a request, and for a connection without a request.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// The same limit for connections above the maximum, which may only send `/ping`.
const PING_TIME: Duration = Duration::from_secs(2);
/// Longest time in which a client reads nothing of an answer.
const STALL: Duration = Duration::from_secs(20);
/// Longest head of a request in bytes. SageMaker's headers take a few thousand.
const MAX_HEAD: usize = 64 << 10;
/// Time for the arrival of requests that are in transit when the server stops.
const LAST_HEADS: Duration = Duration::from_secs(1);
/// Pause after the system had no socket left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The open connections.
pub(crate) struct Connections {
    router: Router,
    table: Arc<Table>,
    graceful: GracefulShutdown,
}

impl Connections {
    pub(crate) fn new(router: Router) -> Self {
        Self { router, table: Arc::new(Table::new()), graceful: GracefulShutdown::new() }
    }

    /// Accepts and serves clients forever.
    pub(crate) async fn accept_all(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    self.table.close_idlest();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a client in the background.
    pub(crate) fn serve(&self, stream: TcpStream) {
        let activity = Arc::new(Activity::default());
        let Some((place, seat)) = self.table.admit(activity.clone()) else {
            return;
        };
        // Sends streamed tokens at once. If the option fails, they are sent a little later.
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let io = TokioIo::new(Socket::new(stream.clone(), activity.clone(), STALL));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).half_close(true).max_buf_size(MAX_HEAD).header_read_timeout(
            match place {
                Place::Full => HEAD_TIME,
                Place::PingOnly => PING_TIME,
            },
        );
        let inner = TowerToHyperService::new(self.router.clone());
        let asked = activity.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            asked.request_began(request.version());
            let is_allowed = place == Place::Full || PROBES.contains(&request.uri().path());
            let answer = is_allowed.then(|| inner.call(request));
            let asked = asked.clone();
            async move {
                let mut response = match answer {
                    Some(answer) => answer.await?,
                    None => ApiError::TooManyClients.into_response(),
                };
                if place == Place::PingOnly {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                asked.answer_began();
                Ok::<_, Infallible>(response)
            }
        });
        let connection = self.graceful.watch(http.serve_connection(io, service));
        tokio::spawn(async move {
            let _seat = seat;
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                },
                () = activity.asked_to_close() => {
                    tracing::debug!("an idle connection was closed");
                }
                () = hang_up::watch(&stream, &activity) => {
                    tracing::debug!("a client hung up");
                }
            }
        });
    }

    /// Lets running requests finish, and closes all other connections.
    pub(crate) async fn shut_down(self) {
        let table = self.table.clone();
        let idle = async move {
            tokio::time::sleep(LAST_HEADS).await;
            table.close_all_idle();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.graceful.shutdown() => {}
            () = idle => {}
        }
    }
}
