//! The expansion of the derive macro.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{DeriveInput, Error, LitInt, LitStr, Result, Type};

/// The options of the attribute `#[job(..)]`.
#[derive(Default)]
struct Options {
    kind: Option<String>,
    output: Option<Type>,
    /// Calls on `Submission` for the other options.
    calls: Vec<TokenStream>,
}

/// The implementations for a type.
pub fn derive(item: TokenStream) -> Result<TokenStream> {
    let DeriveInput { attrs, ident, generics, .. } = syn::parse2(item)?;
    if !generics.params.is_empty() {
        let message = "a job has no generic parameters: its kind names one type";
        return Err(Error::new_spanned(generics, message));
    }
    let mut options = Options::default();
    for attribute in attrs.iter().filter(|attribute| attribute.path().is_ident("job")) {
        attribute.parse_nested_meta(|meta| options.set(&meta))?;
    }
    let kind = options.kind.unwrap_or_else(|| snake_case(&ident.to_string()));
    let output = options.output.map_or_else(|| quote!(()), |output| quote!(#output));
    let calls = options.calls;
    Ok(quote! {
        impl ::ff_sdk::Job for #ident {
            const KIND: &'static str = #kind;
            type Output = #output;

            fn options() -> ::ff_sdk::Submission {
                ::ff_sdk::Submission::new(#kind)#(#calls)*
            }
        }

        impl ::ff_sdk::FromTask for #ident {
            fn from_task(
                context: &::ff_sdk::TaskContext,
            ) -> ::core::result::Result<Self, ::ff_sdk::HandlerError> {
                let ::ff_sdk::Payload(job) = ::ff_sdk::FromTask::from_task(context)?;
                ::core::result::Result::Ok(job)
            }
        }
    })
}

impl Options {
    fn set(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "kind" => self.kind = Some(text(meta, "kind")?),
            "output" => self.output = Some(meta.value()?.parse()?),
            "lane" => {
                let lane = text(meta, "lane")?;
                self.calls.push(quote!(.lane(#lane)));
            }
            "quota" => {
                let quota = text(meta, "quota")?;
                self.calls.push(quote!(.quota(#quota)));
            }
            "budget" => {
                let budget = text(meta, "budget")?;
                self.calls.push(quote!(.budget(#budget)));
            }
            "priority" => {
                let priority: LitInt = meta.value()?.parse()?;
                if !(0..=9_000).contains(&priority.base10_parse::<u32>()?) {
                    return Err(Error::new_spanned(priority, "a priority is 0 to 9000"));
                }
                self.calls.push(quote!(.priority(#priority)));
            }
            "retries" => {
                let retries: LitInt = meta.value()?.parse()?;
                retries.base10_parse::<u32>()?;
                self.calls.push(quote!(.max_retries(#retries)));
            }
            "timeout" => {
                let text: LitStr = meta.value()?.parse()?;
                let timeout_ms = milliseconds(&text)?;
                self.calls.push(quote! {
                    .attempt_timeout(::core::time::Duration::from_millis(#timeout_ms))
                });
            }
            _ => {
                let message = "unknown option: expected kind, output, lane, priority, retries, \
                               timeout, quota or budget";
                return Err(meta.error(message));
            }
        }
        Ok(())
    }
}

/// The value of an option that is an ID: 1 to 64 printable ASCII bytes without space.
fn text(meta: &ParseNestedMeta<'_>, what: &str) -> Result<String> {
    let literal: LitStr = meta.value()?.parse()?;
    let text = literal.value();
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("a {what} has 1 to 64 printable ASCII characters without spaces");
        return Err(Error::new_spanned(literal, message));
    }
    Ok(text)
}

/// A duration such as `30s`, in milliseconds.
fn milliseconds(text: &LitStr) -> Result<u64> {
    let value = text.value();
    let unit = value.find(|found: char| !found.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(unit);
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let whole = factor.zip(number.parse::<u64>().ok());
    let whole = whole.and_then(|(factor, number)| number.checked_mul(factor));
    whole.filter(|milliseconds| *milliseconds > 0).ok_or_else(|| {
        Error::new_spanned(text, "expected a duration such as \"500ms\", \"30s\", \"5m\" or \"2h\"")
    })
}

/// `SendEmail` as `send_email`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (position, letter) in name.trim_start_matches("r#").char_indices() {
        if letter.is_uppercase() && position > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(item: TokenStream) -> String {
        derive(item).map_or_else(|error| error.to_string(), |tokens| tokens.to_string())
    }

    #[test]
    fn the_options_become_calls() {
        let text = derived(quote! {
            #[job(lane = "mail", retries = 5, timeout = "2m", output = Receipt)]
            #[job(quota = "smtp", budget = "mail", budget = "all")]
            struct SendEmail;
        });
        for part in [
            "KIND : & 'static str = \"send_email\"",
            "type Output = Receipt",
            ". lane (\"mail\")",
            ". max_retries (5)",
            ". quota (\"smtp\") . budget (\"mail\") . budget (\"all\")",
            "from_millis (120000u64)",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn an_invalid_option_is_named() {
        for (item, problem) in [
            (
                quote!(
                    #[job(kind = "a b")]
                    struct A;
                ),
                "a kind has 1 to 64",
            ),
            (
                quote!(
                    #[job(timeout = "soon")]
                    struct A;
                ),
                "expected a duration",
            ),
            (
                quote!(
                    #[job(timeout = "0s")]
                    struct A;
                ),
                "expected a duration",
            ),
            (
                quote!(
                    #[job(priority = 9001)]
                    struct A;
                ),
                "a priority is 0 to 9000",
            ),
            (
                quote!(
                    #[job(size = 1)]
                    struct A;
                ),
                "unknown option",
            ),
            (
                quote!(
                    struct A<T>(T);
                ),
                "no generic parameters",
            ),
        ] {
            let text = derived(item);
            assert!(text.contains(problem), "{text}");
        }
    }
}
