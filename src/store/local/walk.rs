//! Listing a folder in key order.
//!
//! Keys sort bytewise with the `/` in them, so a directory sorts among its siblings as its name and a `/`: a walk in that
//! order meets the keys in order, and subtrees outside the request are never opened.

use std::fs;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::Failure;
use super::path::TEMPORARY;
use crate::store::page::{PageBuilder, info};
use crate::store::{ListPage, ListRequest, StoreErrorKind};

/// No key of ours is longer (see [`crate::store::Key`]); a loop of symbolic links ends here.
const MAX_KEY: usize = 1024;

pub(super) fn list(root: &Path, request: &ListRequest) -> Result<ListPage, Failure> {
    if !root.is_dir() {
        return Err(Failure::new(StoreErrorKind::NoBucket, "the folder does not exist any more"));
    }
    let mut page = PageBuilder::new(request);
    // The last folder that the prefix names whole: nothing outside it can match.
    let start = request.prefix.rfind('/').map_or("", |slash| &request.prefix[..=slash]);
    let hidden = start.split('/').next() == Some(TEMPORARY);
    if hidden
        || start.starts_with('/')
        || start.contains("//")
        || start.split('/').any(|p| matches!(p, "." | ".."))
    {
        return Ok(ListPage::default());
    }
    let _ = folder(&root.join(start), start, &mut page)?;
    Ok(page.finish())
}

/// Offers the keys below `path`, whose key is `dir` (empty, or ending in `/`).
fn folder(path: &Path, dir: &str, page: &mut PageBuilder<'_>) -> Result<ControlFlow<()>, Failure> {
    for (key, is_folder) in entries(path, dir)? {
        if is_folder {
            if page.passes_over(&key) {
                continue;
            }
            let flow = match page.group_of(&key).map(str::to_owned) {
                // An empty directory is no key's group.
                Some(group) if holds_a_file(&path.join(&key[dir.len()..]), key.len())? => {
                    page.offer_group(&group)
                }
                Some(_) => ControlFlow::Continue(()),
                None => folder(&path.join(&key[dir.len()..]), &key, page)?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
            continue;
        }
        let file = path.join(&key[dir.len()..]);
        let mut failed = None;
        let flow = page.offer(&key, || match fs::metadata(&file) {
            Ok(found) => Some(info(&key, found.len(), found.mtime())),
            // Removed since the directory was read.
            Err(e) if vanished(&e) => None,
            Err(e) => {
                failed = Some(e);
                None
            }
        });
        if let Some(e) = failed {
            return Err(e.into());
        }
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The entries of a directory as keys in key order, directories with their `/`; nothing when it is gone.
fn entries(path: &Path, dir: &str) -> Result<Vec<(String, bool)>, Failure> {
    let read = match fs::read_dir(path) {
        Ok(read) => read,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for entry in read {
        let entry = entry?;
        // Names that are not UTF-8 are no keys, nor is the folder of unfinished files.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if dir.is_empty() && name == TEMPORARY || dir.len() + name.len() >= MAX_KEY {
            continue;
        }
        let is_folder = match is_folder(&entry) {
            Ok(is_folder) => is_folder,
            Err(e) if vanished(&e) => continue,
            Err(e) => return Err(e.into()),
        };
        let slash = if is_folder { "/" } else { "" };
        found.push((format!("{dir}{name}{slash}"), is_folder));
    }
    found.sort_unstable();
    Ok(found)
}

/// Removed since its directory was read, or a link that leads nowhere.
fn vanished(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP)
}

fn is_folder(entry: &fs::DirEntry) -> io::Result<bool> {
    let kind = entry.file_type()?;
    if kind.is_symlink() { Ok(fs::metadata(entry.path())?.is_dir()) } else { Ok(kind.is_dir()) }
}

fn holds_a_file(path: &Path, key_length: usize) -> Result<bool, Failure> {
    let read = match fs::read_dir(path) {
        Ok(read) => read,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    if key_length >= MAX_KEY {
        return Ok(false);
    }
    for entry in read {
        let entry = entry?;
        let length = key_length + 1 + entry.file_name().len();
        match is_folder(&entry) {
            Ok(true) if !holds_a_file(&entry.path(), length)? => {}
            Ok(_) => return Ok(true),
            Err(e) if vanished(&e) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(false)
}
