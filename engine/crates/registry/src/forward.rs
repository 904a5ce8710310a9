//! A connection to a proxy that is asked for whole URLs: how requests without TLS go through one (RFC 9112, 3.2.2).
//!
//! Who makes the requests writes them as for the registry itself. Here the head of each gets the whole URL and the
//! proof for the proxy; bodies and answers pass. (A tunnel by `CONNECT`, which is for TLS, many proxies refuse to
//! port 80.)

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};
use ureq::{Error, Proxy};

/// The connection.
#[derive(Debug)]
pub(crate) struct Forwarded {
    proxy: Box<dyn Transport>,
    /// `http://reg.example:5000`
    origin: String,
    /// A whole header line, or nothing.
    proof: String,
    /// How much of the last request's body is still to come.
    body: u64,
}

impl Forwarded {
    /// Requests to the host of `target`, over a connection to that proxy.
    pub(crate) fn over(connection: Box<dyn Transport>, proxy: &Proxy, target: &Uri) -> Self {
        let authority = target.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let proof = proxy.username().map_or(String::new(), |username| {
            let pair = format!("{username}:{}", proxy.password().unwrap_or_default());
            format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(pair))
        });
        Self { proxy: connection, origin: format!("http://{host}"), proof, body: 0 }
    }

    /// A request's head as the proxy wants it, and the length of the body after it.
    fn rewritten(&self, head: &[u8]) -> Option<(Vec<u8>, u64)> {
        // Of heads that go on after this piece nothing is known: ours are far smaller than a buffer.
        let text = std::str::from_utf8(head).ok().filter(|text| text.ends_with("\r\n\r\n"))?;
        let (method, rest) = text.split_once(' ')?;
        let (line, headers) = rest.split_once("\r\n").filter(|(line, _)| line.starts_with('/'))?;
        let mut body = 0;
        for (name, value) in headers.lines().filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("transfer-encoding") {
                return None;
            }
            if name.eq_ignore_ascii_case("content-length") {
                body = value.trim().parse().ok()?;
            }
        }
        let Self { origin, proof, .. } = self;
        Some((format!("{method} {origin}{line}\r\n{proof}{headers}").into_bytes(), body))
    }
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.proxy.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.body > 0 || amount == 0 {
            self.body = self.body.saturating_sub(amount as u64);
            return self.proxy.transmit_output(amount, timeout);
        }
        let head = self.proxy.buffers().output().get(..amount).unwrap_or_default().to_vec();
        let (head, body) = self
            .rewritten(&head)
            .ok_or_else(|| Error::Other("a request that cannot be told to a proxy".into()))?;
        self.body = body;
        let room = self.proxy.buffers().output().len().max(1);
        for piece in head.chunks(room) {
            if let Some(place) = self.proxy.buffers().output().get_mut(..piece.len()) {
                place.copy_from_slice(piece);
            }
            self.proxy.transmit_output(piece.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.proxy.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.proxy.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use ureq::unversioned::transport::LazyBuffers;

    /// Keeps what it is to send.
    #[derive(Debug)]
    struct Wire {
        buffers: LazyBuffers,
        sent: Arc<Mutex<Vec<String>>>,
    }

    impl Transport for Wire {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.buffers
        }

        fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
            let text = String::from_utf8(self.buffers.output()[..amount].to_vec()).unwrap();
            self.sent.lock().unwrap().push(text);
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
            Ok(false)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    fn send(to: &mut Forwarded, text: &str) -> Result<(), Error> {
        to.buffers().output()[..text.len()].copy_from_slice(text.as_bytes());
        to.transmit_output(text.len(), NextTimeout::default())
    }

    #[test]
    fn each_request_of_a_connection_has_the_whole_url_and_its_body_as_it_is() {
        let sent: Arc<Mutex<Vec<String>>> = Arc::default();
        let wire = Wire { buffers: LazyBuffers::new(1, 120), sent: Arc::clone(&sent) };
        let proxy = Proxy::new("http://me:x%40y@proxy:3128").unwrap();
        let target = "http://reg.example:5000/v2/".parse().unwrap();
        let mut way = Forwarded::over(Box::new(wire), &proxy, &target);
        send(&mut way, "GET /v2/?a=b HTTP/1.1\r\nhost: reg.example:5000\r\n\r\n").unwrap();
        send(&mut way, "PUT /v2/x HTTP/1.1\r\nContent-Length: 22\r\n\r\n").unwrap();
        send(&mut way, "GET /body HTTP/1").unwrap();
        send(&mut way, ".1\r\n\r\n").unwrap();
        send(&mut way, "").unwrap();
        send(&mut way, "HEAD / HTTP/1.1\r\n\r\n").unwrap();
        let proof = "Proxy-Authorization: Basic bWU6eEB5\r\n";
        let want = format!(
            "GET http://reg.example:5000/v2/?a=b HTTP/1.1\r\n{proof}host: reg.example:5000\r\n\r\n\
             PUT http://reg.example:5000/v2/x HTTP/1.1\r\n{proof}Content-Length: 22\r\n\r\nGET /body HTTP/1.1\r\n\r\n\
             HEAD http://reg.example:5000/ HTTP/1.1\r\n{proof}\r\n"
        );
        assert_eq!(sent.lock().unwrap().concat(), want);
        for odd in [
            "GET / HTTP/1.1\r\nhost: a",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
        ] {
            assert!(send(&mut way, odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn no_proof_where_there_is_none() {
        let sent: Arc<Mutex<Vec<String>>> = Arc::default();
        let wire = Wire { buffers: LazyBuffers::new(1, 1000), sent: Arc::clone(&sent) };
        let target = "http://someone@reg.example/".parse().unwrap();
        let mut way = Forwarded::over(Box::new(wire), &Proxy::new("proxy:3128").unwrap(), &target);
        send(&mut way, "GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(sent.lock().unwrap().concat(), "GET http://reg.example/ HTTP/1.1\r\n\r\n");
    }
}
