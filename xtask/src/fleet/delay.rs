//! Makes packets wait: the kernel hands over the number of each packet that the
//! rules queue here, and gets it back when its time has come. The packets
//! themselves never leave the kernel, so nothing about them changes. `netem`
//! would do the same, but many kernels are built without it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

/// `NFNL_SUBSYS_QUEUE`, the upper half of every message's type.
const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = SUBSYSTEM;
const VERDICT: u16 = SUBSYSTEM | 1;
const CONFIG: u16 = SUBSYSTEM | 2;
const ERROR: u16 = 2;

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;

const CONFIG_COMMAND: u16 = 1;
const CONFIG_PARAMETERS: u16 = 2;
const CONFIG_LENGTH: u16 = 3;
const CONFIG_MASK: u16 = 4;
const CONFIG_FLAGS: u16 = 5;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;

const BIND: u8 = 1;
/// Only numbers are told, no contents.
const COPY_META: u8 = 1;
/// Large packets are taken whole.
const LARGE_PACKETS: u32 = 4;
const ACCEPT: u32 = 1;
/// A second of a fast link; what is beyond is lost, as it would be in a router.
const PACKETS_MAX: u32 = 65_536;
/// Of a message's header and of what follows it at once.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// Goes on until it is killed; then nobody holds the queue, and what is queued is
/// lost. The fleet's name is there for whoever looks at the list of processes.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let numbers = match words {
        [_fleet, queue, delay] => queue.parse().ok().zip(delay.parse().ok()),
        _ => None,
    };
    let (queue, delay) =
        numbers.ok_or("delay-queue takes a fleet, the number of a queue and milliseconds")?;
    delay_queue(queue, Duration::from_millis(delay)).map_err(|cause| format!("queue {queue}: {cause}"))
}

fn delay_queue(queue: u16, delay: Duration) -> io::Result<()> {
    let socket = Arc::new(open(queue)?);
    let (later, due) = mpsc::channel::<(Instant, u32)>();
    let sender = Arc::clone(&socket);
    std::thread::spawn(move || {
        for (at, packet) in due {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            // A packet that the kernel has dropped meanwhile needs no verdict.
            let _ = send(&sender, &verdict(queue, packet));
        }
    });
    let mut buffer = vec![0; 65_536];
    loop {
        let read = match recv(&*socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((read, _)) => read,
            // More came than the socket holds: those are lost.
            Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => continue,
            Err(cause) => return Err(cause.into()),
        };
        let at = Instant::now() + delay;
        for packet in packets(&buffer[..read.min(buffer.len())]) {
            if later.send((at, packet)).is_err() {
                return Err(io::Error::other("the thread that sends packets on is gone"));
            }
        }
    }
}

fn open(queue: u16) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    // The kernel wants at least so much for a burst of small packets.
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 8 << 20)?;
    ask(&socket, &message(CONFIG, queue, &attribute(CONFIG_COMMAND, &[BIND, 0, 0, 0])))?;
    let mut parameters = attribute(CONFIG_PARAMETERS, &[0, 0, 0, 0, COPY_META]);
    parameters.extend(attribute(CONFIG_LENGTH, &PACKETS_MAX.to_be_bytes()));
    parameters.extend(attribute(CONFIG_FLAGS, &LARGE_PACKETS.to_be_bytes()));
    parameters.extend(attribute(CONFIG_MASK, &LARGE_PACKETS.to_be_bytes()));
    ask(&socket, &message(CONFIG, queue, &parameters))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    sendto(socket, message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// Sends and waits for what the kernel thinks of it.
fn ask(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    let mut message = message.to_vec();
    message[6..8].copy_from_slice(&(REQUEST | ACKNOWLEDGE).to_ne_bytes());
    send(socket, &message)?;
    let mut buffer = [0; 4096];
    let (read, _) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
    let answer = buffer.get(HEADER..HEADER + 4).filter(|_| read >= HEADER + 4);
    let answer: [u8; 4] = answer.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    match (u16::from_ne_bytes([buffer[4], buffer[5]]), i32::from_ne_bytes(answer)) {
        (ERROR, 0) => Ok(()),
        (ERROR, number) => Err(io::Error::from_raw_os_error(-number)),
        (kind, _) => Err(io::Error::other(format!("the kernel answered with a message of type {kind}"))),
    }
}

fn message(kind: u16, queue: u16, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + FAMILY_HEADER + attributes.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence number, sender; then family and version.
    message.extend([0; 8]);
    message.extend([0; 2]);
    message.extend(queue.to_be_bytes());
    message.extend(attributes);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::with_capacity(value.len() + 4);
    attribute.extend(u16::try_from(value.len() + 4).unwrap_or(u16::MAX).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

fn verdict(queue: u16, packet: u32) -> Vec<u8> {
    let header = [ACCEPT.to_be_bytes(), packet.to_be_bytes()].concat();
    message(VERDICT, queue, &attribute(VERDICT_HEADER, &header))
}

/// The numbers of the packets that these messages tell of; what is odd is left out.
fn packets(mut bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while let Some(length) = length_of(bytes, 4) {
        let (message, rest) = bytes.split_at(length.min(bytes.len()));
        bytes = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
        if message.len() < HEADER + FAMILY_HEADER || u16::from_ne_bytes([message[4], message[5]]) != PACKET {
            continue;
        }
        let mut attributes = &message[HEADER + FAMILY_HEADER..];
        while let Some(length) = length_of(attributes, 2) {
            let (attribute, rest) = attributes.split_at(length.min(attributes.len()));
            attributes = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
            if attribute.len() >= 8 && u16::from_ne_bytes([attribute[2], attribute[3]]) == PACKET_HEADER {
                found.push(u32::from_be_bytes([attribute[4], attribute[5], attribute[6], attribute[7]]));
            }
        }
    }
    found
}

/// Written in the first `width` bytes; none at the end, or when it cannot be.
fn length_of(bytes: &[u8], width: usize) -> Option<usize> {
    let length = match (width, bytes) {
        (2, [a, b, _, _, ..]) => usize::from(u16::from_ne_bytes([*a, *b])),
        (4, [a, b, c, d, ..]) => usize::try_from(u32::from_ne_bytes([*a, *b, *c, *d])).ok()?,
        _ => return None,
    };
    (length >= 4).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(packet: u32) -> Vec<u8> {
        let mut attributes = attribute(9, b"eth0!");
        attributes.extend(attribute(PACKET_HEADER, &[&packet.to_be_bytes()[..], &[8, 0, 2]].concat()));
        message(PACKET, 7, &attributes)
    }

    #[test]
    fn packets_are_known_by_their_numbers_and_other_messages_are_passed_over() {
        let all = [told(5), message(ERROR, 0, &[0; 4]), told(0x0102_0304)].concat();
        assert_eq!(packets(&all), [5, 0x0102_0304]);
    }

    #[test]
    fn no_message_however_cut_or_odd_is_read_beyond_its_end() {
        let all = [told(5), told(6)].concat();
        for end in 0..all.len() {
            assert!(packets(&all[..end]).len() <= 2);
        }
        for at in 0..all.len() {
            let mut odd = all.clone();
            odd[at] = 0xff;
            packets(&odd);
        }
    }
}
