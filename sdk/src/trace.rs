//! The trace context of a submitter, as the header `traceparent` of W3C Trace Context has it.

/// The length of version 00, which is also the shortest of later versions.
const LENGTH: usize = 55;

/// Whether a text is a valid header: `VERSION-TRACEID-PARENTID-FLAGS` in lower-case hexadecimal
/// digits, two, 32, 16 and two of them, with neither id zero. A later version than 00 may go on
/// after another `-`; version ff is invalid.
pub(crate) fn is_trace_parent(header: &str) -> bool {
    let mut fields = header.splitn(5, '-');
    let mut next = |length: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        fields.next().filter(|field| field.len() == length && field.bytes().all(is_digit))
    };
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    let (Some(version), Some(trace), Some(parent), Some(_flags)) =
        (next(2), next(32), next(16), next(2))
    else {
        return false;
    };
    let length_fits = version != "00" || header.len() == LENGTH;
    version != "ff" && length_fits && !is_zero(trace) && !is_zero(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_headers_are_accepted() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(header.len(), LENGTH);
        assert!(is_trace_parent(header));
        assert!(is_trace_parent(&header.replacen("00", "01", 1)));
        assert!(is_trace_parent(&format!("{}-more", header.replacen("00", "cc", 1))));
        for invalid in [
            "",
            "00",
            &header[..LENGTH - 1],
            &format!("{header}-more"),
            &format!("{header}0"),
            &format!("{}0", header.replacen("00", "01", 1)),
            &header.replacen("00", "ff", 1),
            &header.to_uppercase(),
            &header.replace('-', "_"),
            &header.replace("b7ad6b7169203331", "0000000000000000"),
            &header.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &header.replace("0af7", "0ag7"),
            &header.replace("0af7", "0\u{e4}7"),
        ] {
            assert!(!is_trace_parent(invalid), "{invalid}");
        }
    }
}
