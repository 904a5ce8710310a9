//! Hearing of what others do to the firewall (nfnetlink's group of listeners to nftables).

use super::{DELETE_ELEMENT, DELETE_RULE, DELETE_TABLE, kind};
use crate::netlink::{Answer, Socket, attributes};
use dhow_model::Result;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// linux/netfilter/nfnetlink.h.
const GROUP_NFTABLES: u32 = 7;

/// A listener. Readable when something was told; what is told while nobody listens is lost.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl Watch {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the kernel has no nftables, or this process may not listen.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::netfilter_group(GROUP_NFTABLES)? })
    }

    /// Whether a table, or rules or elements of it, were deleted since the last time: also when more was told than was kept.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn hears_of_loss(&self, table: &str) -> Result<bool> {
        let heard = self.socket.heard()?;
        Ok(heard.is_none_or(|all| all.iter().any(|one| is_loss(one, table))))
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// In all these messages the first attribute is the table's name.
fn is_loss(told: &Answer, table: &str) -> bool {
    let name = || attributes(told.body.get(4..)?).find(|(kind, _)| *kind == 1).map(|(_, name)| name);
    [DELETE_TABLE, DELETE_RULE, DELETE_ELEMENT].map(kind).contains(&told.kind)
        && name().is_some_and(|name| name.strip_suffix(&[0]).unwrap_or(name) == table.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_losses_of_the_table_count() {
        let told = |message: u16, name: &[u8]| {
            let mut body = vec![1, 0, 0, 0];
            body.extend_from_slice(&u16::try_from(4 + name.len()).unwrap().to_ne_bytes());
            body.extend_from_slice(&1u16.to_ne_bytes());
            body.extend_from_slice(name);
            Answer { kind: kind(message), body }
        };
        assert!(is_loss(&told(DELETE_TABLE, b"dhow0\0"), "dhow0"));
        assert!(is_loss(&told(DELETE_RULE, b"dhow0\0"), "dhow0"));
        assert!(is_loss(&told(DELETE_ELEMENT, b"dhow0\0"), "dhow0"));
        assert!(!is_loss(&told(DELETE_TABLE, b"other\0"), "dhow0"));
        assert!(!is_loss(&told(super::super::NEW_TABLE, b"dhow0\0"), "dhow0"));
        assert!(!is_loss(&Answer { kind: kind(DELETE_TABLE), body: vec![1] }, "dhow0"));
    }
}
