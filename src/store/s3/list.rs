//! Listing, over stores that differ in detail.
//!
//! A page that comes back is checked, not believed: keys lie under the prefix and ascend, so a store that lists in
//! another order (S3 Express does) is refused rather than misread. `next` is the page's last item. Where the store gives
//! items that are not behind `start_after` (a group that the start lies in), they are dropped, and an emptied page is
//! followed by the store's own token, so that every page makes progress.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;

use super::S3Store;
use super::error::Failure;
use crate::store::{Grouping, Key, ListPage, ListRequest, ObjectInfo, Operation, StoreErrorKind};

/// Empty pages in a row before the store is called broken: each costs a request.
const EMPTY_PAGES: usize = 100;

/// Behind every key of a group when appended to it: the last character of Unicode that is no noncharacter.
const LAST: char = '\u{10FFFD}';

impl S3Store {
    pub(super) async fn page(&self, request: &ListRequest) -> Result<ListPage, Failure> {
        let prefix = self.name(&request.prefix);
        let delimiter = (request.grouping == Grouping::BySlash).then(|| "/".to_owned());
        let start_after = request.start_after.as_ref().map(|after| self.name(&start(request, after)));
        let mut token: Option<String> = None;
        for _ in 0..EMPTY_PAGES {
            let send = || {
                self.client
                    .list_objects_v2()
                    .bucket(&self.bucket)
                    .prefix(&prefix)
                    .encoding_type(EncodingType::Url)
                    .max_keys(request.max_keys.clamp(1, 1000) as i32)
                    .set_delimiter(delimiter.clone())
                    .set_start_after(start_after.clone().filter(|_| token.is_none()))
                    .set_continuation_token(token.clone())
                    .send()
            };
            let answer = self.send(Operation::List, self.answer_limit(0), send).await?;
            let goes_on = answer.is_truncated().unwrap_or(false);
            let following = answer.next_continuation_token().map(str::to_owned);
            let mut page = self.read_page(request, &answer)?;
            let last =
                page.objects.last().map(|o| o.key.as_str()).max(page.groups.last().map(String::as_str));
            if let Some(last) = last {
                page.next = goes_on.then(|| last.to_owned());
                return Ok(page);
            }
            if !goes_on {
                return Ok(page);
            }
            match following {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                _ => return Err(bad("a listing goes on but does not say where")),
            }
        }
        Err(bad("a listing goes on and on without a key"))
    }

    fn read_page(&self, request: &ListRequest, answer: &ListObjectsV2Output) -> Result<ListPage, Failure> {
        let encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let read = |text: Option<&str>| {
            let text = text.ok_or_else(|| bad("a listed item has no name"))?;
            let text = if encoded { decode(text)? } else { text.to_owned() };
            match text.strip_prefix(&self.prefix) {
                Some(key) if key.starts_with(&request.prefix) => Ok(key.to_owned()),
                _ => Err(bad(&format!("{text:?} was listed, which is not under the prefix"))),
            }
        };
        let mut page = ListPage::default();
        let after = request.start_after.as_deref().unwrap_or_default();
        let started = request.start_after.is_some();
        let mut previous: Option<String> = None;
        for object in answer.contents() {
            let key = read(object.key())?;
            ascends(&mut previous, &key)?;
            if started && key.as_str() <= after {
                continue;
            }
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let (Some(size), Some(modified)) = (size, object.last_modified()) else {
                return Err(bad(&format!("{key:?} was listed without a size or a time")));
            };
            page.objects.push(ObjectInfo { key: Key::new(key), size, modified_seconds: modified.secs() });
        }
        previous = None;
        for group in answer.common_prefixes() {
            let group = read(group.prefix())?;
            ascends(&mut previous, &group)?;
            if !(started && (group.as_str() <= after || after.starts_with(&group))) {
                page.groups.push(group);
            }
        }
        Ok(page)
    }
}

/// Where the store is to begin: behind the whole group that `after` lies in, if it lies in one.
fn start(request: &ListRequest, after: &str) -> String {
    let inside = after.strip_prefix(&request.prefix).and_then(|rest| rest.find('/'));
    match inside {
        Some(slash) if request.grouping == Grouping::BySlash => {
            format!("{}{LAST}", &after[..=request.prefix.len() + slash])
        }
        _ => after.to_owned(),
    }
}

fn ascends(previous: &mut Option<String>, item: &str) -> Result<(), Failure> {
    if previous.as_deref().is_some_and(|previous| previous >= item) {
        return Err(bad("the store does not list in key order"));
    }
    *previous = Some(item.to_owned());
    Ok(())
}

/// What `encoding-type=url` did. A `+` is a space: stores that write one otherwise write `%2B` for a plus.
fn decode(text: &str) -> Result<String, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(bad(&format!("{text:?} is no encoded key"))),
                }
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad(&format!("{text:?} is not UTF-8")))
}

fn bad(detail: &str) -> Failure {
    Failure::new(StoreErrorKind::BadAnswer, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_keys() {
        let decode = |text| decode(text).ok();
        assert_eq!(decode("a/b%20c+d%2Be%25"), Some("a/b c d+e%".into()));
        assert_eq!(decode("%C3%A9"), Some("é".into()));
        for bad in ["%", "%2", "%zz", "%C3"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn starting_behind_a_group() {
        let folded = ListRequest::folded("t/");
        for (after, expected) in [
            ("t/b/", "t/b/\u{10FFFD}"),
            ("t/b/1/2", "t/b/\u{10FFFD}"),
            ("t/b", "t/b"),
            ("a/b", "a/b"),
            ("", ""),
        ] {
            assert_eq!(start(&folded, after), expected);
        }
        assert_eq!(start(&ListRequest::all("t/"), "t/b/1"), "t/b/1");
    }
}
