// Live updates of the pages. Everything else works without this script.

const EVERY_MS = 3000;
// Every so many updates, the page of an execution that has not changed is read too: workers, lanes
// and limits may have changed.
const ALL_EVERY = 5;
const MAX_FRAMES = 5000;
const status = document.getElementById("live");
let live = "Live.";
let updates = 0;

// Replaces the parts of the page that change by those of a new copy, which the service has made.
async function refresh() {
  const shown = document.querySelector("[data-version]")?.dataset.version;
  const headers = {};
  if (shown) headers["x-shown-version"] = ++updates % ALL_EVERY ? shown : "";
  const options = { credentials: "same-origin", redirect: "manual", headers };
  const response = await fetch(location.href, options);
  if (response.type === "opaqueredirect" || response.status === 401) {
    status.textContent = "Signed out: reload the page to sign in.";
    return false;
  }
  if (response.status === 204) {
    status.textContent = live;
    return true;
  }
  if (!response.ok) {
    status.textContent = `No live updates: the service answers ${response.status}.`;
    return true;
  }
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const name = CSS.escape(part.dataset.live);
    const next = fresh.querySelector(`[data-live="${name}"]`);
    const isUsed = part.contains(document.activeElement) || hasText(part);
    if (next && !isUsed && next.outerHTML !== part.outerHTML) {
      part.replaceWith(document.adoptNode(next));
    }
  }
  live = `Live: as of ${new Date().toISOString()}.`;
  status.textContent = live;
  return true;
}

// Whether a form in this part has text that was typed.
function hasText(part) {
  const fields = part.querySelectorAll("input:not([type=hidden]), textarea");
  return [...fields].some((field) => field.value !== field.defaultValue);
}

async function keepFresh() {
  let goesOn = true;
  while (goesOn) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    if (document.hidden) continue;
    try {
      goesOn = await refresh();
    } catch {
      status.textContent = "No live updates: the service cannot be reached. Trying again.";
    }
  }
}

// Follows the output of an attempt. The browser reconnects with the id of the last event; if it
// gives up, a new connection begins after that event.
function follow(list, note) {
  let last = list.dataset.cursor;
  let source = null;
  function open() {
    const url = new URL(list.dataset.follow, location.href);
    url.searchParams.set("cursor", last);
    source = new EventSource(url);
    source.onopen = () => { note.textContent = "Live: new output appears here."; };
    source.onerror = () => {
      note.textContent = "The connection was lost. Reconnecting.";
      if (source.readyState === EventSource.CLOSED) setTimeout(open, EVERY_MS);
    };
    source.addEventListener("frame", (event) => {
      last = event.lastEventId;
      add(list, JSON.parse(event.data));
    });
    source.addEventListener("gap", (event) => {
      last = event.lastEventId;
      add(list, { at: Date.now(), type: "gap", payload: "Frames before this were dropped." });
    });
    source.addEventListener("closed", () => {
      source.close();
      note.textContent = "The output is closed.";
    });
    source.addEventListener("error", (event) => {
      if (event.data) {
        source.close();
        note.textContent = JSON.parse(event.data).message;
      }
    });
  }
  open();
}

function add(list, frame) {
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const item = document.createElement("li");
  const at = new Date(frame.at).toISOString();
  const time = document.createElement("time");
  time.dateTime = at;
  time.textContent = at;
  const tag = document.createElement("span");
  tag.className = "tag";
  tag.textContent = frame.type;
  const payload = document.createElement("span");
  payload.className = "payload";
  payload.textContent = frame.payload ?? frame.payload_hex ?? "";
  item.append(time, " ", tag, " ", payload);
  list.append(item);
  while (list.childElementCount > MAX_FRAMES) list.firstElementChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

if (document.querySelector("[data-live]")) keepFresh();
const frames = document.getElementById("frames");
if (frames?.dataset.follow) follow(frames, document.getElementById("following"));
