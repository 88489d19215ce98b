//! Who commits, when nothing was set: as git would guess, the user's full name and `user@host`.

/// Longest author that a commit can hold, in bytes (`docs/format.md`).
const MAX_BYTES: usize = 1024;

/// `Name <user@host>` of the user who runs this process.
pub(super) fn of_this_user() -> String {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let login = user.as_ref().map_or_else(|| format!("uid-{uid}"), |user| user.name.clone());
    let full = user.and_then(|user| full_name(&user.gecos.to_string_lossy(), &login));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|host| host.trim().to_owned());
    let clean = |text: String| text.replace(['<', '>', '\n'], "");
    format!(
        "{} <{}@{}>",
        clean(full.unwrap_or_else(|| login.clone())),
        clean(login),
        clean(host.filter(|host| !host.is_empty()).unwrap_or_else(|| "localhost".into()))
    )
}

/// The first field of the comment in `/etc/passwd`, where `&` means the capitalised login name.
fn full_name(gecos: &str, login: &str) -> Option<String> {
    let capital: String =
        login.chars().take(1).flat_map(char::to_uppercase).chain(login.chars().skip(1)).collect();
    let name = gecos.split(',').next().unwrap_or("").trim().replace('&', &capital);
    (!name.is_empty()).then_some(name)
}

/// Why a text cannot be an author; `None` when it can.
pub(super) fn problem(author: &str) -> Option<String> {
    if author.len() > MAX_BYTES {
        return Some(format!("an author has at most {MAX_BYTES} bytes, this one {}", author.len()));
    }
    let form = author.strip_suffix('>').and_then(|rest| rest.split_once(" <"));
    let well = form.is_some_and(|(name, mail)| {
        !name.trim().is_empty()
            && !name.contains(['<', '>'])
            && !mail.is_empty()
            && !mail.contains(['<', '>', ' '])
    });
    if !well || author.chars().any(char::is_control) {
        return Some(format!("{author:?} is not an author: write `Ada Lovelace <ada@example.org>`"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors() {
        assert_eq!(problem("Ada Lovelace <ada@example.org>"), None);
        assert_eq!(problem(&of_this_user()), None);
        for bad in ["", "ada", "ada@example.org", "<a@b>", "A <a b>", "A <a>\n <b>", "A <>", " <a@b>"] {
            assert!(problem(bad).is_some(), "{bad:?}");
        }
        assert!(problem(&format!("{} <a@b>", "x".repeat(1024))).is_some());
        assert_eq!(full_name("& Doe,Room 1", "jane"), Some("Jane Doe".into()));
        assert_eq!(full_name(",,,", "jane"), None);
    }
}
