//! The expansion of the attribute.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ItemFn, MetaNameValue, Result, Token};

/// The default number of seeds.
const SEEDS: u64 = 100;

/// The arguments of the attribute.
struct Settings {
    seeds: TokenStream,
    /// Calls on `Seeds` for the other arguments.
    others: Vec<TokenStream>,
}

/// The test function for an `async` function.
pub fn test(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Settings { seeds, others } = settings(attribute)?;
    let function: ItemFn = syn::parse2(item)?;
    check(&function)?;
    let ItemFn { attrs, vis, mut sig, block, .. } = function;
    let name = sig.ident.clone();
    // Attributes of a test, such as `should_panic`, belong to the generated function.
    let inner = quote! { #sig #block };
    sig.asyncness = None;
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() {
            #inner
            let path = ::core::module_path!().split_once("::").map(|(_, path)| path);
            let name = ::core::stringify!(#name);
            let name = path.map_or(name.to_owned(), |path| ::std::format!("{path}::{name}"));
            let package = ::core::env!("CARGO_PKG_NAME");
            ::ff_sim::Seeds::new(#seeds)
                #(#others)*
                .command(::std::format!("cargo test -p {package} {name} -- --exact --nocapture"))
                .from_environment()
                .check(#name)
        }
    })
}

fn settings(attribute: TokenStream) -> Result<Settings> {
    let mut settings = Settings { seeds: quote! { #SEEDS }, others: Vec::new() };
    let given = Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(attribute)?;
    for MetaNameValue { path, value, .. } in given {
        if path.is_ident("seeds") {
            check_seeds(&value)?;
            settings.seeds = quote! { #value };
        } else if path.is_ident("faults") {
            settings.others.push(quote! { .faults(#value) });
        } else if path.is_ident("time_limit") {
            settings.others.push(quote! { .time_limit(#value) });
        } else {
            let text = "expected `seeds = 200`, `faults = Faults::all()` or `time_limit = ..`";
            return Err(Error::new_spanned(path, text));
        }
    }
    Ok(settings)
}

fn check_seeds(value: &Expr) -> Result<()> {
    let Expr::Lit(literal) = value else { return Ok(()) };
    let syn::Lit::Int(number) = &literal.lit else {
        return Err(Error::new_spanned(value, "`seeds` must be a number"));
    };
    if number.base10_parse::<u64>()? == 0 {
        return Err(Error::new_spanned(value, "`seeds` must be above 0"));
    }
    Ok(())
}

fn check(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        let text = "a simulation test must be an `async fn`";
        return Err(Error::new(sig.fn_token.span, text));
    }
    if sig.inputs.len() != 1 {
        let text = "a simulation test must take one argument, `sim: ff_sim::Sim`";
        return Err(Error::new_spanned(&sig.ident, text));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &sig.generics,
            "a simulation test must not have generic parameters",
        ));
    }
    let tests = function.attrs.iter().find(|attribute| {
        attribute.path().segments.last().is_some_and(|last| last.ident == "test")
    });
    match tests {
        Some(attribute) => {
            let text = "`#[ff_sim::test]` makes the function a test: remove the other attribute";
            Err(Error::new_spanned(attribute, text))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(attribute: TokenStream, item: TokenStream) -> String {
        test(attribute, item).expect_err("it is wrong").to_string()
    }

    /// Wrong usage has a message at the position of the error.
    #[test]
    fn wrong_use_says_what_is_right() {
        let good = quote! { async fn name(sim: Sim) {} };
        assert!(wrong(quote! {}, quote! { fn name(sim: Sim) {} }).contains("`async fn`"));
        assert!(wrong(quote! {}, quote! { async fn name() {} }).contains("`sim: ff_sim::Sim`"));
        assert!(wrong(quote! {}, quote! { async fn name<T>(sim: Sim) {} }).contains("generic"));
        assert!(wrong(quote! { seeds = 0 }, good.clone()).contains("above 0"));
        assert!(wrong(quote! { seeds = "many" }, good.clone()).contains("a number"));
        assert!(wrong(quote! { seed = 200 }, good.clone()).contains("`seeds = 200`"));
        let twice = quote! { #[tokio::test] async fn name(sim: Sim) {} };
        assert!(wrong(quote! {}, twice).contains("remove the other attribute"));
        assert!(test(quote! { seeds = 200 }, good).is_ok());
    }

    /// The arguments become calls on `Seeds`.
    #[test]
    fn what_is_given_is_handed_on() {
        let good = quote! { async fn name(sim: Sim) {} };
        let text = |attribute| test(attribute, good.clone()).unwrap().to_string();
        assert!(text(quote! {}).contains("new (100u64)"));
        let all = text(quote! { seeds = 200, faults = Faults::none(), time_limit = LIMIT });
        assert!(all.contains("new (200)"), "{all}");
        assert!(all.contains(". faults (Faults :: none ()) . time_limit (LIMIT)"), "{all}");
    }
}
