//! The interpreter: loads the text of a library, calls its functions, and converts values between
//! Lua and the server.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ff_core::time::TimestampMs;
use mlua::{Function, IntoLua, IntoLuaMulti, Lua, LuaOptions, MultiValue, StdLib, Table};

use super::answer;
use super::server::Server;
use crate::wire::Answer;

const PRELUDE: &str = include_str!("prelude.lua");

/// The error of a library that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot load the function library: {detail}")]
pub struct LoadError {
    /// The error of the interpreter.
    pub detail: String,
}

impl From<mlua::Error> for LoadError {
    fn from(error: mlua::Error) -> Self {
        Self { detail: error.to_string() }
    }
}

/// A loaded library and the server that it runs on.
#[derive(Debug)]
pub(super) struct Library {
    lua: Lua,
    run: Function,
    begin: Function,
    server: Arc<Mutex<Server>>,
}

fn locked(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    /// Loads the text of a library; its first line may be its name (`#!lua name=...`).
    pub(super) fn load(text: &str, server: Server) -> Result<Self, LoadError> {
        let lua =
            Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::default())?;
        // Random numbers differ from run to run.
        let math: Table = lua.globals().get("math")?;
        math.set("random", mlua::Nil)?;
        math.set("randomseed", mlua::Nil)?;
        let server = Arc::new(Mutex::new(server));
        let shared = Arc::clone(&server);
        let call = lua.create_function(move |lua, args: MultiValue| call(lua, &shared, &args))?;
        let shared = Arc::clone(&server);
        let begin = lua.create_function(move |_, read_only: bool| {
            locked(&shared).begin(read_only);
            Ok(())
        })?;
        let prelude = lua.load(PRELUDE).set_name("=model");
        let (load, run): (Function, Function) = prelude.call(call)?;
        let body = match text.split_once('\n') {
            Some((first, body)) if first.starts_with("#!") => format!("\n{body}"),
            _ => text.to_owned(),
        };
        let chunk = lua.load(body).set_name("@user_function").into_function()?;
        let problem: Option<String> = load.call(chunk)?;
        match problem {
            None => Ok(Self { lua, run, begin, server }),
            Some(detail) => Err(LoadError { detail }),
        }
    }

    /// The server, for access without a function.
    pub(super) fn server(&self) -> MutexGuard<'_, Server> {
        locked(&self.server)
    }

    /// Calls a function at a time of the server's clock.
    ///
    /// # Errors
    ///
    /// The error text of the server. The writes of the function before the error remain.
    pub(super) fn call(
        &self,
        name: &str,
        keys: &[Vec<u8>],
        args: &[Cow<'_, [u8]>],
        now: TimestampMs,
    ) -> Result<Answer, String> {
        self.server().now = now;
        let called = self.try_call(name, keys, args);
        called.unwrap_or_else(|error| Err(format!("ERR {error}")))
    }

    fn try_call(
        &self,
        name: &str,
        keys: &[Vec<u8>],
        args: &[Cow<'_, [u8]>],
    ) -> mlua::Result<Result<Answer, String>> {
        let keys = self.texts(keys.iter().map(Vec::as_slice))?;
        let args = self.texts(args.iter().map(AsRef::as_ref))?;
        let (done, result): (bool, mlua::Value) = self.run.call((name, keys, args, &self.begin))?;
        if done {
            return answer_of(&result).map(Ok);
        }
        Ok(Err(result.to_string()?))
    }

    fn texts<'a>(&self, texts: impl Iterator<Item = &'a [u8]>) -> mlua::Result<Table> {
        // Pushed one by one, since Lua limits the number of values on its stack.
        let table = self.lua.create_table()?;
        for text in texts {
            table.raw_push(self.lua.create_string(text)?)?;
        }
        Ok(table)
    }
}

/// Runs a command for a function. Returns whether it succeeded, and the reply or the error's text.
fn call(lua: &Lua, server: &Mutex<Server>, args: &MultiValue) -> mlua::Result<MultiValue> {
    let mut texts = Vec::with_capacity(args.len());
    for arg in args {
        match arg {
            mlua::Value::String(text) => texts.push(text.as_bytes().to_vec()),
            mlua::Value::Integer(number) => texts.push(number.to_string().into_bytes()),
            _ => {
                let refused = "ERR Lua redis lib command arguments must be strings or integers";
                return (false, refused).into_lua_multi(lua);
            }
        }
    }
    let args: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let answer = locked(server).call(&args);
    match answer {
        Ok(answer) => (true, value_of(lua, answer)?).into_lua_multi(lua),
        Err(error) => (false, error.to_string()).into_lua_multi(lua),
    }
}

/// Converts a reply to a value of Lua; no value is `false`.
fn value_of(lua: &Lua, answer: answer::Answer) -> mlua::Result<mlua::Value> {
    match answer {
        answer::Answer::Nil => Ok(mlua::Value::Boolean(false)),
        // Lua numbers are doubles.
        answer::Answer::Integer(number) => Ok(mlua::Value::Number(number as f64)),
        answer::Answer::Text(text) => lua.create_string(text)?.into_lua(lua),
        answer::Answer::Status(text) => {
            let status = lua.create_table()?;
            status.set("ok", text)?;
            status.into_lua(lua)
        }
        answer::Answer::List(answers) => {
            let values: Result<Vec<_>, _> =
                answers.into_iter().map(|answer| value_of(lua, answer)).collect();
            lua.create_sequence_from(values?)?.into_lua(lua)
        }
    }
}

/// Converts the value that a function returned to a reply, as a server does: numbers lose their
/// fraction, `false` stands for a missing value, and a list ends at the first `nil`.
fn answer_of(value: &mlua::Value) -> mlua::Result<Answer> {
    Ok(match value {
        mlua::Value::Boolean(true) => Answer::Number(1),
        mlua::Value::Integer(number) => Answer::Number(*number),
        mlua::Value::Number(number) => Answer::Number(*number as i64),
        mlua::Value::String(text) => Answer::Data(text.as_bytes().to_vec()),
        mlua::Value::Table(table) => {
            let mut answers = Vec::new();
            for value in table.sequence_values::<mlua::Value>() {
                answers.push(answer_of(&value?)?);
            }
            Answer::List(answers)
        }
        _ => Answer::Nil,
    })
}
