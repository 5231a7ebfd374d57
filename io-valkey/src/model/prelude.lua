-- The environment of a library as on a server: the globals that a function sees, and its call.
local raw_call = ...

-- Reading a global that does not exist, and writing any global, raises an error.
local function sealed(content)
  return setmetatable(content, {
    __index = function(_, name)
      error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
    __newindex = function()
      error('Attempt to modify a readonly table', 2)
    end,
  })
end

local functions = {}

local function register(first, callback)
  local entry = { callback = callback, flags = {} }
  if type(first) == 'table' then
    entry = { callback = first.callback, flags = first.flags or {} }
    first = first.function_name
  end
  if type(first) ~= 'string' or not string.match(first, '^[%w_]+$') then
    error({ err = 'ERR a function needs a name of letters, digits and _' })
  end
  if type(entry.callback) ~= 'function' then
    error({ err = 'ERR a function needs a callback' })
  end
  if functions[first] then
    error({ err = 'ERR Function already exists in the library' })
  end
  for _, flag in ipairs(entry.flags) do
    if flag == 'no-writes' then
      entry.read_only = true
    elseif flag ~= 'allow-oom' and flag ~= 'allow-stale' and flag ~= 'no-cluster' then
      error({ err = 'ERR unknown flag given' })
    end
  end
  functions[first] = entry
end

local function call(...)
  local done, answer = raw_call(...)
  if not done then
    error({ err = answer }, 0)
  end
  return answer
end

-- While a library is loaded, it can register functions but not call commands; afterwards it can
-- call commands but not register functions. A `redis` that was stored while loading stays useless.
local while_loading = sealed({ register_function = register })
local while_running = sealed({
  call = call,
  error_reply = function(text)
    return { err = text }
  end,
})

local globals = {
  assert = assert, error = error, getmetatable = getmetatable, ipairs = ipairs, math = math,
  next = next, pairs = pairs, pcall = pcall, rawequal = rawequal, rawget = rawget,
  rawset = rawset, select = select, setmetatable = setmetatable, string = string, table = table,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, xpcall = xpcall,
  redis = while_loading,
}
sealed(globals)

-- The text of an error, as a server formats it.
local function error_text(problem)
  if type(problem) == 'table' then
    return tostring(rawget(problem, 'err'))
  end
  return 'ERR ' .. tostring(problem)
end

local function load(chunk)
  setfenv(chunk, globals)
  local done, problem = pcall(chunk)
  rawset(globals, 'redis', while_running)
  return not done and error_text(problem) or nil
end

local function run(name, keys, args, begin)
  local entry = functions[name]
  if not entry then
    return false, 'ERR Function not found'
  end
  begin(entry.read_only or false)
  local done, result = pcall(entry.callback, keys, args)
  if not done then
    return false, error_text(result)
  end
  if type(result) == 'table' and rawget(result, 'err') then
    return false, tostring(result.err)
  end
  return true, result
end

return load, run
