//! The errors of the model for functions that do something wrong: the same texts as servers.

use std::borrow::Cow;

use ff_core::time::TimestampMs;

use super::keyspace::{Keyspace, Value};
use super::library::Library;
use super::server::Server;
use crate::wire::Answer;

const NOW: TimestampMs = TimestampMs::new(1_764_000_000_123);

/// Calls a function with this body with the key `{t}k` and the argument `4`.
fn run(body: &str) -> Result<Answer, String> {
    run_on(Server::new(7), "'allow-oom'", body).0
}

fn run_on(server: Server, flag: &str, body: &str) -> (Result<Answer, String>, Keyspace) {
    let text = format!(
        "#!lua name=test\nlocal function f(keys, args)\n{body}\nend\nredis.register_function({{ \
         function_name = 'f', callback = f, flags = {{ {flag} }} }})"
    );
    let library = Library::load(&text, server).expect("it loads");
    let answer = library.call("f", &[b"{t}k".to_vec()], &[Cow::Borrowed(b"4".as_slice())], NOW);
    let keyspace = library.server().keyspace.clone();
    (answer, keyspace)
}

fn data(text: &str) -> Answer {
    Answer::Data(text.as_bytes().to_vec())
}

fn refused(body: &str, text: &str) {
    let problem = run(body).expect_err(body);
    assert!(problem.contains(text), "{body}: {problem}");
}

#[test]
fn replies_are_converted_as_on_servers() {
    let list = |items: &[Answer]| Ok(Answer::List(items.to_vec()));
    assert_eq!(run("return 4.9"), Ok(Answer::Number(4)));
    assert_eq!(run("return args[1] - 4.9"), Ok(Answer::Number(0)));
    assert_eq!(run("return nil"), Ok(Answer::Nil));
    assert_eq!(run("return false"), Ok(Answer::Nil));
    assert_eq!(run("return true"), Ok(Answer::Number(1)));
    assert_eq!(run("return '\\0\\255'"), Ok(Answer::Data(vec![0, 255])));
    let shown = [Answer::Number(1), Answer::Nil, data("x")];
    assert_eq!(run("return { 1, false, 'x', nil, 5 }"), list(&shown));
    assert_eq!(run("return type(redis.call('GET', keys[1]))"), Ok(data("boolean")));
    assert_eq!(run("return redis.call('MSET', keys[1], 12).ok"), Ok(data("OK")));
    assert_eq!(run("return redis.call('TIME')"), list(&[data("1764000000"), data("123000")]));
}

#[test]
fn errors_have_the_texts_of_servers() {
    refused("redis.call('RPUSH', keys[1], 1) return redis.call('GET', keys[1])", "WRONGTYPE ");
    refused(
        "redis.call('MSET', keys[1], 1) return redis.call('ZADD', keys[1], 1, 1)",
        "WRONGTYPE ",
    );
    refused("redis.call('MSET', keys[1], 1) return redis.call('LLEN', keys[1])", "WRONGTYPE ");
    refused("return redis.call('ZADD', keys[1], '1.5x', 'x')", "ERR value is not a valid float");
    refused("return redis.call('ZADD', keys[1], 1, 'x', 2)", "ERR syntax error");
    refused("return redis.call('ZRANGE', keys[1], 0, 1, 'LIMIT', 0, 1)", "LIMIT is only supported");
    refused("return redis.call('ZCOUNT', keys[1], '(', 1)", "ERR min or max is not a float");
    refused("return redis.call('LINDEX', keys[1], 'x')", "ERR value is not an integer");
    refused("return redis.call('GET')", "Wrong number of args");
    refused("return redis.call('GET', keys[1], keys[1])", "Wrong number of args");
    refused("return redis.call('NOPE')", "ERR Unknown Redis command");
    refused("return redis.call('MSET', keys[1], {})", "must be strings or integers");
    refused("return redis.call('GET', '{u}k') or redis.call('GET', keys[1])", "the same slot");
    refused("error('boom')", "ERR ");
    refused("error({ err = 'MINE text' })", "MINE text");
    refused("return { err = 'MINE text' }", "MINE text");
    assert_eq!(run("return redis.call('MGET', keys[1])"), Ok(Answer::List(vec![Answer::Nil])));
}

#[test]
fn functions_cannot_reach_the_machine_or_each_other() {
    for name in ["os", "io", "require", "cjson", "bit", "print", "load", "dofile", "_G", "x"] {
        refused(&format!("return {name}"), "nonexistent global variable");
    }
    refused("x = 1", "Attempt to modify a readonly table");
    refused("return math.random()", "attempt to call");
    refused("return redis.register_function('g', f)", "nonexistent global variable");
    let load = |text: &str| Library::load(text, Server::new(7)).expect_err(text).detail;
    assert!(load("local call = redis.call").contains("nonexistent global variable 'call'"));
    assert!(load("redis.register_function('a b', pairs)").contains("needs a name"));
    assert!(load("x = 1").contains("readonly"));
    assert!(load("this is not Lua").contains("syntax error"));
    let kept = "local kept = redis\nredis.register_function('g', function() kept.call('TIME') end)";
    let library = Library::load(kept, Server::new(7)).expect("it loads");
    let none: [Vec<u8>; 0] = [];
    let problem = library.call("g", &none, &[], NOW).expect_err("kept");
    assert!(problem.contains("nonexistent global variable 'call'"), "{problem}");
    assert_eq!(library.call("h", &none, &[], NOW), Err("ERR Function not found".to_owned()));
}

#[test]
fn a_read_only_function_changes_nothing() {
    for body in ["redis.call('MSET', keys[1], 1)", "redis.call('PUBLISH', 'a', 'b')"] {
        let (answer, keyspace) = run_on(Server::new(7), "'no-writes'", body);
        assert_eq!(
            answer,
            Err("ERR Write commands are not allowed from read-only scripts.".to_owned())
        );
        assert_eq!(keyspace, Keyspace::default());
    }
}

#[test]
fn writes_of_a_function_before_its_error_remain() {
    let body = "redis.call('MSET', keys[1], 'kept') error('boom')";
    let (answer, keyspace) = run_on(Server::new(7), "", body);
    assert!(answer.is_err());
    assert_eq!(keyspace.value(b"{t}k"), Some(&Value::Text(b"kept".to_vec())));
    let body = "redis.call('RPUSH', keys[1], 1) redis.call('LTRIM', keys[1], 1, -1) \
                redis.call('ZADD', keys[1], 1, 'a') redis.call('ZREM', keys[1], 'a')";
    assert_eq!(run_on(Server::new(7), "", body).1, Keyspace::default());
}
