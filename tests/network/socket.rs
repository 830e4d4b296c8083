//! QUIC's socket on the simulated network, in weather: datagrams are lost,
//! doubled and garbled here, by draws of their own.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;

use crate::randomness::mixed;

/// What befalls datagrams, each as so many in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) garbled: u64,
}

/// The weather over all sockets of a night; it changes.
#[derive(Debug, Clone)]
pub(crate) struct Sky(Arc<Mutex<(Weather, u64)>>);

impl Sky {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new((Weather::default(), mixed(seed ^ 0x5A1)))))
    }

    pub(crate) fn turns(&self, weather: Weather) {
        self.0.lock().unwrap().0 = weather;
    }

    /// The copies of a datagram that set out.
    fn copies(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (weather, state) = &mut *self.0.lock().unwrap();
        let mut draw = |below: u64| {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mixed(*state) % below
        };
        if draw(1000) < weather.lost {
            return vec![];
        }
        let mut copies = vec![bytes.to_vec()];
        if draw(1000) < weather.doubled {
            copies.push(bytes.to_vec());
        }
        if draw(1000) < weather.garbled {
            let at = draw(bytes.len().max(1) as u64) as usize;
            copies[0][at] ^= 1 << draw(8);
        }
        copies
    }
}

#[derive(Debug)]
pub(crate) struct Socket {
    socket: Arc<turmoil::net::UdpSocket>,
    sky: Sky,
    arrived: Mutex<mpsc::UnboundedReceiver<(Vec<u8>, SocketAddr)>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Socket {
    /// On the host that runs now.
    pub(crate) fn bind(port: u16, sky: &Sky) -> io::Result<Arc<Self>> {
        let socket = Arc::new(at_once(turmoil::net::UdpSocket::bind(("0.0.0.0", port)))?);
        let (arrives, arrived) = mpsc::unbounded_channel();
        let inner = Arc::clone(&socket);
        let reader = tokio::spawn(async move {
            let mut bytes = vec![0; 65_536];
            while let Ok((length, from)) = inner.recv_from(&mut bytes).await {
                if arrives.send((bytes[..length].to_vec(), from)).is_err() {
                    return;
                }
            }
        });
        Ok(Arc::new(Self { socket, sky: sky.clone(), arrived: Mutex::new(arrived), reader }))
    }
}

/// Binding in the simulation is asynchronous by its signature only.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the simulated network made somebody wait"),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        for copy in self.sky.copies(transmit.contents) {
            self.socket.try_send_to(&copy, transmit.destination)?;
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        match self.arrived.lock().unwrap().poll_recv(context) {
            Poll::Ready(Some((bytes, from))) => {
                buffers[0][..bytes.len()].copy_from_slice(&bytes);
                meta[0] =
                    RecvMeta { addr: from, len: bytes.len(), stride: bytes.len(), ecn: None, dst_ip: None };
                Poll::Ready(Ok(1))
            }
            Poll::Ready(None) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
