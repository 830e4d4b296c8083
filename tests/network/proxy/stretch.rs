//! A stretch of network: datagrams go through, and some fare badly.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What befalls datagrams, each as so many in a thousand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    pub(crate) doubled: u64,
    /// Kept back until the next has gone.
    pub(crate) reordered: u64,
    pub(crate) garbled: u64,
    /// What is longer vanishes.
    pub(crate) bytes_max: usize,
}

impl Default for Manners {
    fn default() -> Self {
        Self { doubled: 0, reordered: 0, garbled: 0, bytes_max: usize::MAX }
    }
}

#[derive(Debug)]
pub(crate) struct Stretch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Where agents send to.
    front: UdpSocket,
    to: SocketAddr,
    manners: Manners,
    /// Grows with each rebinding: from then on the far side sees other ports.
    binding: AtomicU64,
    draws: AtomicU64,
    touched: AtomicU64,
    over: AtomicBool,
}

impl Stretch {
    pub(crate) fn to(to: SocketAddr, manners: Manners) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").expect("a port");
        front.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        let (binding, draws, touched) = (AtomicU64::new(0), AtomicU64::new(1), AtomicU64::new(0));
        let over = AtomicBool::new(false);
        let shared = Arc::new(Shared { front, to, manners, binding, draws, touched, over });
        let working = Arc::clone(&shared);
        Self { shared, thread: Some(std::thread::spawn(move || working.carry_up())) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.front.local_addr().expect("it is bound")
    }

    /// As a NAT that forgot: who sends on comes from another port.
    pub(crate) fn rebind(&self) {
        self.shared.binding.fetch_add(1, Ordering::SeqCst);
    }

    /// Datagrams that fared badly.
    pub(crate) fn touched(&self) -> u64 {
        self.shared.touched.load(Ordering::SeqCst)
    }
}

impl Drop for Stretch {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Held = Mutex<Option<Vec<u8>>>;

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn carry_up(self: Arc<Self>) {
        let mut flows: HashMap<SocketAddr, (Arc<UdpSocket>, u64)> = HashMap::new();
        let (mut bytes, held) = (vec![0; 65_536], Held::default());
        while !self.is_over() {
            let Ok((length, from)) = self.front.recv_from(&mut bytes) else { continue };
            let binding = self.binding.load(Ordering::SeqCst);
            let flow = flows.entry(from).or_insert_with(|| (self.flow(from, binding), binding));
            if flow.1 != binding {
                *flow = (self.flow(from, binding), binding);
            }
            for copy in self.copies(&bytes[..length], &held) {
                // Whoever is not there yet loses it, as on any network.
                let _ = flow.0.send(&copy);
            }
        }
    }

    /// A port of its own for who sends from `from`, and the way back to it.
    fn flow(self: &Arc<Self>, from: SocketAddr, binding: u64) -> Arc<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(self.to).expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        let socket = Arc::new(socket);
        let (shared, back) = (Arc::clone(self), Arc::clone(&socket));
        std::thread::spawn(move || {
            let (mut bytes, held) = (vec![0; 65_536], Held::default());
            while !shared.is_over() && shared.binding.load(Ordering::SeqCst) == binding {
                let Ok(length) = back.recv(&mut bytes) else { continue };
                for copy in shared.copies(&bytes[..length], &held) {
                    let _ = shared.front.send_to(&copy, from);
                }
            }
        });
        socket
    }

    /// What sets out instead of this datagram.
    fn copies(&self, bytes: &[u8], held: &Held) -> Vec<Vec<u8>> {
        let touched = || self.touched.fetch_add(1, Ordering::SeqCst);
        if bytes.len() > self.manners.bytes_max {
            touched();
            return vec![];
        }
        let mut copies = vec![bytes.to_vec()];
        if self.draw(1000) < self.manners.garbled {
            touched();
            let at = self.draw(bytes.len().max(1) as u64) as usize;
            copies[0][at] ^= 0x10;
        }
        if self.draw(1000) < self.manners.doubled {
            touched();
            copies.push(copies[0].clone());
        }
        let mut held = held.lock().expect("nobody panics with it");
        if held.is_none() && self.draw(1000) < self.manners.reordered {
            touched();
            *held = copies.pop();
        } else {
            copies.extend(held.take());
        }
        copies
    }

    /// The finaliser of SplitMix64 over a counter.
    fn draw(&self, below: u64) -> u64 {
        let number = self.draws.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
        let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (number ^ (number >> 31)) % below
    }
}
