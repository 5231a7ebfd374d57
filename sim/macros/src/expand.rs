//! What the attribute comes to.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ItemFn, MetaNameValue, Result, Token};

/// How many seeds a test runs with unless it says so.
const SEEDS: u64 = 100;

/// What the attribute says.
struct Settings {
    seeds: TokenStream,
    /// Calls on `Seeds` for what else was given.
    others: Vec<TokenStream>,
}

/// The test that an `async` function becomes.
pub fn test(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Settings { seeds, others } = settings(attribute)?;
    let function: ItemFn = syn::parse2(item)?;
    check(&function)?;
    let ItemFn { attrs, vis, mut sig, block, .. } = function;
    let name = sig.ident.clone();
    // The expectations of a test, such as `should_panic`, belong to the function that is run.
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
            let text = "there are `seeds = 200`, `faults = Faults::all()` and `time_limit = ..`";
            return Err(Error::new_spanned(path, text));
        }
    }
    Ok(settings)
}

fn check_seeds(value: &Expr) -> Result<()> {
    let Expr::Lit(literal) = value else { return Ok(()) };
    let syn::Lit::Int(number) = &literal.lit else {
        return Err(Error::new_spanned(value, "`seeds` is how many seeds to run: a number"));
    };
    if number.base10_parse::<u64>()? == 0 {
        return Err(Error::new_spanned(value, "a test that runs no seed tests nothing"));
    }
    Ok(())
}

fn check(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        let text = "a test in a simulation is an `async fn`: it waits for what its workers do";
        return Err(Error::new_spanned(sig.fn_token, text));
    }
    if sig.inputs.len() != 1 {
        let text = "a test in a simulation takes one argument, `sim: ff_sim::Sim`";
        return Err(Error::new_spanned(&sig.ident, text));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(&sig.generics, "a test has no generic parameters"));
    }
    let tests = function.attrs.iter().find(|attribute| {
        attribute.path().segments.last().is_some_and(|last| last.ident == "test")
    });
    match tests {
        Some(attribute) => {
            let text = "`#[ff_sim::test]` makes the function a test: take the other one away";
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

    /// Wrong use is told in words, at the place that is wrong.
    #[test]
    fn wrong_use_says_what_is_right() {
        let good = quote! { async fn name(sim: Sim) {} };
        assert!(wrong(quote! {}, quote! { fn name(sim: Sim) {} }).contains("`async fn`"));
        assert!(wrong(quote! {}, quote! { async fn name() {} }).contains("`sim: ff_sim::Sim`"));
        assert!(wrong(quote! {}, quote! { async fn name<T>(sim: Sim) {} }).contains("generic"));
        assert!(wrong(quote! { seeds = 0 }, good.clone()).contains("tests nothing"));
        assert!(wrong(quote! { seeds = "many" }, good.clone()).contains("a number"));
        assert!(wrong(quote! { seed = 200 }, good.clone()).contains("`seeds = 200`"));
        let twice = quote! { #[tokio::test] async fn name(sim: Sim) {} };
        assert!(wrong(quote! {}, twice).contains("take the other one away"));
        assert!(test(quote! { seeds = 200 }, good).is_ok());
    }

    /// What is given reaches the seeds, and nothing else does.
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
