//! The two messages of the gRPC health checking protocol (`grpc.health.v1`), by hand: one field
//! each, which needs no generated code.
//!
//! ```text
//! message HealthCheckRequest  { string service = 1; }
//! message HealthCheckResponse { ServingStatus status = 1; }
//! ```

use std::fmt;

/// What a service says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Unknown,
    Serving,
    NotServing,
    /// Only told to those who watch.
    ServiceUnknown,
    /// A number that is none of the others.
    Other(u64),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Unknown => f.write_str("UNKNOWN"),
            Status::Serving => f.write_str("SERVING"),
            Status::NotServing => f.write_str("NOT_SERVING"),
            Status::ServiceUnknown => f.write_str("SERVICE_UNKNOWN"),
            Status::Other(number) => write!(f, "{number}"),
        }
    }
}

/// A length-prefixed request for `service`.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(tag(1, BYTES));
        put_number(&mut message, service.len() as u64);
        message.extend(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

/// What a length-prefixed response says; an error in words if it is none.
pub(super) fn response(body: &[u8]) -> Result<Status, &'static str> {
    const TRUNCATED: &str = "the answer is no whole message";
    let (prefix, message) = body.split_first_chunk::<5>().ok_or(TRUNCATED)?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("the answer is compressed, though nobody asked for that");
    }
    let message = message.get(..u32::from_be_bytes(length) as usize).ok_or(TRUNCATED)?;
    parse(message).ok_or("the answer is no HealthCheckResponse")
}

/// The wire types of protocol buffers that there may be.
const NUMBER: u8 = 0;
const EIGHT: u8 = 1;
const BYTES: u8 = 2;
const FOUR: u8 = 5;

const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

fn parse(mut message: &[u8]) -> Option<Status> {
    // A field that is not there has its default.
    let mut serving = Status::Unknown;
    while !message.is_empty() {
        let key = take_number(&mut message)?;
        match (key >> 3, (key & 7) as u8) {
            (1, NUMBER) => {
                serving = match take_number(&mut message)? {
                    0 => Status::Unknown,
                    1 => Status::Serving,
                    2 => Status::NotServing,
                    3 => Status::ServiceUnknown,
                    other => Status::Other(other),
                }
            }
            (_, NUMBER) => drop(take_number(&mut message)?),
            (_, EIGHT) => message = message.get(8..)?,
            (_, FOUR) => message = message.get(4..)?,
            (_, BYTES) => {
                let length = usize::try_from(take_number(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(serving)
}

fn put_number(message: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

fn take_number(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_protobuf_writes_it() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = "s".repeat(300);
        assert_eq!(request(&long)[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn answers_are_read() {
        let serving = |message: &[u8]| {
            let mut body = vec![0, 0, 0, 0, message.len() as u8];
            body.extend(message);
            response(&body)
        };
        assert_eq!(serving(&[0x08, 1]), Ok(Status::Serving));
        assert_eq!(serving(&[0x08, 2]), Ok(Status::NotServing));
        assert_eq!(serving(&[]), Ok(Status::Unknown));
        assert_eq!(serving(&[0x08, 0x80, 0x01]), Ok(Status::Other(128)));
        // Fields that a later version may have: a string, a number, both fixed sizes.
        let more =
            [0x12, 1, b'x', 0x18, 7, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x2d, 0, 0, 0, 0, 0x08, 1];
        assert_eq!(serving(&more), Ok(Status::Serving));
        for broken in [&[0x08][..], &[0x12, 9], &[0x0f], &[0xff; 11]] {
            assert!(serving(broken).is_err(), "{broken:?}");
        }
        assert!(response(&[0, 0, 0, 0]).is_err());
        assert!(response(&[0, 0, 0, 0, 2, 8]).is_err());
        assert!(response(&[1, 0, 0, 0, 0]).is_err());
    }
}
