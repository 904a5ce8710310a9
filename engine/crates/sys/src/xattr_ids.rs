//! Ids inside of extended attributes: file capabilities and access lists name users and groups too, which a
//! container with a user namespace knows by other numbers than the host.
//!
//! The forms are the kernel's: `struct vfs_ns_cap_data` (include/uapi/linux/capability.h) and `struct
//! posix_acl_xattr_header` (include/uapi/linux/posix_acl_xattr.h), little-endian both.

/// Capabilities for any user namespace whose root is the file system's; for one whose root is the user named.
const CAPS_V2: u32 = 0x0200_0000;
const CAPS_V3: u32 = 0x0300_0000;
const CAPS_REVISION: u32 = 0xff00_0000;
const CAPS_V2_BYTES: usize = 20;
const CAPS_V3_BYTES: usize = 24;

const ACL_VERSION: u32 = 2;
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;
const ACL_HEADER_BYTES: usize = 4;
const ACL_ENTRY_BYTES: usize = 8;

/// An attribute's value with its ids translated; what has none, or is malformed, stays as it is. Pure.
pub fn translate(name: &[u8], value: Vec<u8>, owners: &dyn Fn(u32, u32) -> (u32, u32)) -> Vec<u8> {
    match name {
        b"security.capability" => capabilities(value, owners),
        b"system.posix_acl_access" | b"system.posix_acl_default" => access_list(value, owners),
        _ => value,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn capabilities(mut value: Vec<u8>, owners: &dyn Fn(u32, u32) -> (u32, u32)) -> Vec<u8> {
    let Some(magic) = number(&value, 0) else { return value };
    let root = match (magic & CAPS_REVISION, value.len()) {
        (CAPS_V2, CAPS_V2_BYTES) => 0,
        (CAPS_V3, CAPS_V3_BYTES) => number(&value, CAPS_V2_BYTES).unwrap_or(0),
        _ => return value,
    };
    let (translated, _) = owners(root, 0);
    if translated == root {
        return value;
    }
    let flags = magic & !CAPS_REVISION;
    value.truncate(CAPS_V2_BYTES);
    let revision = if translated == 0 {
        CAPS_V2
    } else {
        value.extend(translated.to_le_bytes());
        CAPS_V3
    };
    value[..4].copy_from_slice(&(revision | flags).to_le_bytes());
    value
}

fn access_list(mut value: Vec<u8>, owners: &dyn Fn(u32, u32) -> (u32, u32)) -> Vec<u8> {
    if number(&value, 0) != Some(ACL_VERSION) {
        return value;
    }
    for entry in value[ACL_HEADER_BYTES..].chunks_exact_mut(ACL_ENTRY_BYTES) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let translated = match tag {
            ACL_USER => owners(id, 0).0,
            ACL_GROUP => owners(0, id).1,
            _ => continue,
        };
        entry[4..].copy_from_slice(&translated.to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(uid: u32, gid: u32) -> (u32, u32) {
        (uid + 1000, gid + 2000)
    }

    fn inside(uid: u32, gid: u32) -> (u32, u32) {
        (uid.saturating_sub(1000), gid.saturating_sub(2000))
    }

    #[test]
    fn capabilities_are_of_the_containers_root() {
        // cap_net_raw+ep
        let plain = [&[1, 0, 0, 2, 0, 0x20, 0, 0][..], &[0; 12]].concat();
        let named = translate(b"security.capability", plain.clone(), &outside);
        assert_eq!(
            (named.len(), &named[..5], &named[20..]),
            (24, &[1, 0, 0, 3, 0][..], &[0xe8, 3, 0, 0][..])
        );
        assert_eq!(translate(b"security.capability", named.clone(), &inside), plain);
        assert_eq!(translate(b"security.capability", named.clone(), &|u, g| (u, g)), named);
        assert_eq!(translate(b"user.x", plain.clone(), &outside), plain);
        for odd in [vec![], vec![1, 0, 0], vec![1, 0, 0, 9], vec![1, 0, 0, 2, 0]] {
            assert_eq!(translate(b"security.capability", odd.clone(), &outside), odd);
        }
    }

    #[test]
    fn access_lists_name_the_ids_of_the_other_side() {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[7, 0], &id.to_le_bytes()].concat();
        let list = |user, group| {
            let none = entry(0x01, u32::MAX);
            [&2u32.to_le_bytes()[..], &none, &entry(ACL_USER, user), &entry(ACL_GROUP, group)].concat()
        };
        assert_eq!(translate(b"system.posix_acl_access", list(5, 6), &outside), list(1005, 2006));
        assert_eq!(translate(b"system.posix_acl_default", list(1005, 2006), &inside), list(5, 6));
        assert_eq!(translate(b"system.posix_acl_access", vec![9; 12], &outside), vec![9; 12]);
    }
}
