// The page: what the visitor does goes to the connection, what the server says goes to the panel it concerns.

import { Connection, ConnectionLost } from "./connection.js";
import { Group } from "./group.js";
import { Log, asText } from "./log.js";
import { asCurl, perform, requestFor } from "./recipe.js";
import { TICKER, Ticker } from "./ticker.js";

const FIRST_GROUP = "lobby";
const POLL_EVERY_MS = 2000;
const COPIED_FOR_MS = 1500;

const page = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);
const connection = new Connection({ onMessage: handle, onState: showState });
const ticker = new Ticker(connection, {
  toggle: page["ticker-toggle"],
  symbol: page.symbol,
  price: page.price,
  change: page.change,
  window: page["price-window"],
  sparkline: page.sparkline,
  line: page["price-line"],
  area: page["price-area"],
  dot: page["price-dot"],
});

const groups = new Map();
const noGroupLog = new Log("Messages"); // for what concerns no group while none is joined
let current = null;
let online = false;
let clientId = rememberedId();

// Who this tab is. sessionStorage is each tab's own, so two tabs are two clients.

function rememberedId() {
  const id = sessionStorage.getItem("client_id") ?? inventedId();
  sessionStorage.setItem("client_id", id);
  return id;
}

function inventedId() {
  const pick = (words) => words[Math.floor(Math.random() * words.length)];
  const manner = pick(["brisk", "calm", "keen", "kind", "merry", "quick", "quiet", "sunny", "swift", "witty"]);
  const animal = pick(["badger", "crane", "finch", "fox", "heron", "lynx", "marten", "otter", "robin", "wren"]);
  return `${manner}-${animal}-${Math.floor(Math.random() * 900) + 100}`;
}

function connect() {
  const url = new URL(`ws/${encodeURIComponent(clientId)}`, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  connection.open(url);
}

// The client id is in the WebSocket's address, so a new name is a new connection.
function rename(name) {
  if (!name || name === clientId) return;
  sessionStorage.setItem("client_id", name);
  showIdentity(name);
  connect();
}

function showIdentity(id) {
  if (id === clientId) return; // what the visitor is writing into the field stays
  clientId = id;
  page.name.value = id;
  showRecipe();
}

// What the server says, by the type of the message.

const HANDLERS = {
  connection_established: (message) => {
    showIdentity(message.client_id);
    showConnections(message.total_connections);
    for (const group of groups.values()) enter(group);
    ticker.join();
  },
  group_joined: (message) => {
    // Unasked for: the server put this client into a group.
    if (message.group_name !== TICKER) join(message.group_name);
  },
  group_removed: (message) => {
    forget(message.group_name);
    note(`The server took you out of ${message.group_name}`);
  },
  chat_message: (message) => {
    withGroup(message.group_name, (group) => group.showChat(message, message.from === clientId));
  },
  group_message: (message) => {
    if (message.group_name === TICKER) ticker.show(message.data ?? {});
    else withGroup(message.group_name, (group) => group.showPublication(message));
  },
  broadcast_message: (message) => currentLog().addPublication({ label: "To everybody", ...message }),
  personal_notification: (message) => currentLog().addPublication({ label: "To you alone", ...message }),
  system_notification: ({ data }) => {
    // Who left shows in the counts and, for those who share a group, as a line there.
    if (data?.event === "client_disconnected") poll();
    else note(`System: ${asText(data)}`);
  },
  member_joined: countPeople,
  member_left: countPeople,
  messages_dropped: ({ count }) => note(`This page was too slow: ${count} messages were dropped`),
  connection_timeout: ({ message }) => note(message),
  error: ({ message }) => note(`The server says: ${message}`),
};

function handle(message) {
  HANDLERS[message.type]?.(message);
  // Prices and heartbeats have their own places, and come too often to be read here.
  if (message.group_name !== TICKER && message.type in HANDLERS) {
    page["last-message"].textContent = spacedJson(message);
  }
}

/** JSON on one line, with spaces where it may wrap. */
function spacedJson(value) {
  return JSON.stringify(value, null, 1).replaceAll(/\n */g, " ");
}

function withGroup(name, act) {
  const group = groups.get(name);
  if (!group) return;
  act(group);
  if (group === current) return;
  group.unread += 1;
  showTab(group);
}

// Groups.

function join(name) {
  if (name === TICKER) {
    if (ticker.paused) ticker.toggle(); // it has a panel of its own
    return;
  }
  if (!groups.has(name)) {
    const group = new Group(name, connection);
    groups.set(name, group);
    page.logs.append(group.log.element);
    page.tabs.append(tabFor(group));
    enter(group);
  }
  show(groups.get(name));
}

async function enter(group) {
  try {
    await group.join();
    showPeople();
  } catch (error) {
    // A lost connection comes back, and then every group is entered again.
    if (error instanceof ConnectionLost) return;
    forget(group.name);
    note(`You cannot join ${group.name}: ${error.message}`);
  }
}

function leave(group) {
  group.leave();
  forget(group.name);
}

function forget(name) {
  const group = groups.get(name);
  if (!group) return;
  groups.delete(name);
  group.log.element.remove();
  group.tab.remove();
  if (group === current) show([...groups.values()].at(-1) ?? null);
}

function show(group) {
  current = group;
  if (group) group.unread = 0;
  for (const other of groups.values()) {
    other.log.hide();
    showTab(other);
  }
  noGroupLog.hide();
  currentLog().show();
  page["message-label"].textContent = group ? `Message to ${group.name}` : "Message";
  page.message.placeholder = group ? `Message to ${group.name}` : "Join a group to chat";
  showPeople();
  showWritable();
  showRecipe();
}

function currentLog() {
  return current ? current.log : noGroupLog;
}

function note(text) {
  currentLog().addNote(text);
}

function tabFor(group) {
  group.tab = page["tab-template"].content.firstElementChild.cloneNode(true);
  const [choose, close] = group.tab.querySelectorAll("button");
  group.tab.querySelector(".group-name").textContent = group.name;
  choose.addEventListener("click", () => {
    show(group);
    page.message.focus();
  });
  close.setAttribute("aria-label", `Leave ${group.name}`);
  close.addEventListener("click", () => {
    leave(group);
    page["group-name"].focus();
  });
  return group.tab;
}

function showTab(group) {
  group.tab.querySelector("button").setAttribute("aria-current", group === current);
  group.tab.querySelector(".unread").textContent = group.unread || "";
}

async function countPeople() {
  await Promise.all([...groups.values()].map((group) => group.countPeople()));
  showPeople();
}

function showPeople() {
  page.people.textContent = online ? current?.people ?? "" : "";
}

// The connection.

const STATES = {
  connecting: () => "Connecting…",
  open: () => "Connected",
  waiting: ({ delay }) => `Reconnecting in ${(delay / 1000).toFixed(1)} s`,
  stopped: () => "Disconnected",
};

function showState(state) {
  page.state.dataset.state = state.name;
  page["state-text"].textContent = STATES[state.name](state);
  page.retry.hidden = !["waiting", "stopped"].includes(state.name);
  // One line for a connection that goes, not one for every attempt to get it back.
  if (online && state.code) note(`The connection was lost (${reasonOf(state)})`);
  else if (state.name === "stopped") note(`The server sent this page away (${reasonOf(state)})`);
  online = state.name === "open";
  if (!online) page.connections.textContent = "–"; // nobody knows from here
  showWritable();
  showPeople();
}

function reasonOf({ code, reason }) {
  return reason ? `${code}: ${reason}` : code;
}

function showWritable() {
  page.send.disabled = !(online && current);
}

function showConnections(count) {
  page.connections.textContent = count.toLocaleString();
  page["connections-word"].textContent = count === 1 ? "connection" : "connections";
}

async function poll() {
  if (!online || document.hidden) return;
  countPeople();
  try {
    const response = await fetch("stats");
    const { total_connections: count } = await response.json();
    if (online) showConnections(count);
  } catch {
    // The server is on its way out; the connection will notice, and say so.
  }
}

// The recipe.

function chosenRequest() {
  const audience = page.recipe.elements.audience.value;
  return requestFor(audience, { group: current?.name ?? FIRST_GROUP, clientId });
}

function showRecipe() {
  page.curl.textContent = asCurl(chosenRequest());
  page["audience-group"].textContent = current?.name ?? FIRST_GROUP;
}

async function runRecipe() {
  const refusal = await perform(chosenRequest());
  if (refusal) note(`Not published: ${refusal}`);
}

async function copyRecipe() {
  await navigator.clipboard.writeText(page.curl.textContent);
  page.copy.textContent = "Copied";
  setTimeout(() => { page.copy.textContent = "Copy"; }, COPIED_FOR_MS);
}

// What the visitor does.

function onSubmit(form, act) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}

onSubmit(page.rename, () => rename(page.name.value.trim()));
onSubmit(page.join, () => {
  const name = page["group-name"].value.trim();
  if (!name) return;
  page["group-name"].value = "";
  join(name);
  page.message.focus();
});
onSubmit(page.compose, () => {
  const text = page.message.value.trim();
  if (!text) return;
  current.say(text);
  page.message.value = "";
});
onSubmit(page.recipe, runRecipe);
page.recipe.addEventListener("change", showRecipe);
page.copy.addEventListener("click", copyRecipe);
page.copy.hidden = !navigator.clipboard; // absent where the page came over plain HTTP from another machine
page.retry.addEventListener("click", () => connection.retryNow());
document.addEventListener("visibilitychange", poll);
window.addEventListener("online", () => online || connection.retryNow());

page.name.value = clientId;
page.logs.append(noGroupLog.element);
noGroupLog.addNote("Join a group to chat in it");
join(FIRST_GROUP);
connect();
setInterval(poll, POLL_EVERY_MS);
