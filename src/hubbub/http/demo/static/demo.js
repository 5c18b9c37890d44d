// The page: what the visitor does goes to the connection, what the server says goes to the panel it concerns.

import { Client } from "../hubbub.js";
import { Group } from "./group.js";
import { Log, asText } from "./log.js";
import { Socket, cutOff, mend } from "./network.js";
import { asCurl, perform, requestFor } from "./recipe.js";
import { TICKER, Ticker } from "./ticker.js";

const FIRST_GROUP = "demo:lobby"; // its namespace keeps a history, so that nothing is missed
const AWAY_S = 8;
const POLL_EVERY_MS = 2000;
const COPIED_FOR_MS = 1500;

const page = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);
const ticker = new Ticker({
  toggle: page["ticker-toggle"],
  symbol: page.symbol,
  price: page.price,
  change: page.change,
  window: page["price-window"],
  sparkline: page.sparkline,
  line: page["price-line"],
  area: page["price-area"],
  dot: page["price-dot"],
  recovered: page["price-recovered"],
});

const groups = new Map();
const noGroupLog = new Log("Messages"); // for what concerns no group while none is joined
let current = null;
let online = false;
let clientId = rememberedId();
let client = null;
let greetedAt = 0;
let backAt = 0; // when the network comes back that was taken away

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

/** A client under the name of now, which is in all groups of this page. */
async function connect() {
  const before = client;
  const own = (client = new Client("ws", { clientId, WebSocket: Socket }));
  before?.disconnect();
  const listen = (type, hear) => client.addEventListener(type, ({ detail }) => own === client && hear(detail));
  listen("message", handle);
  listen("state", showState);
  listen("broadcast", (notice) => currentLog().addPublication({ label: "To everybody", ...notice }));
  listen("notification", (notice) => currentLog().addPublication({ label: "To you alone", ...notice }));
  listen("error", ({ error }) => note(`Something went wrong: ${error.message}`));
  await start();
}

/** Connect, and be in every group again. */
async function start() {
  const own = client;
  try {
    await own.connect();
  } catch (error) {
    if (own === client) note(error.message);
    return;
  }
  ticker.join(client, isRecovered).catch(() => {});
  for (const group of groups.values()) enter(group);
}

/** Whether a message is older than the connection that it came on. */
function isRecovered({ timestamp }) {
  return Date.parse(timestamp) < greetedAt;
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
    greetedAt = Date.parse(message.timestamp);
    showIdentity(message.client_id);
    showConnections(message.total_connections);
  },
  group_joined: ({ id, group_name: name }) => {
    // Unasked for: the server put this client into a group.
    if (id === undefined && !name.startsWith("$") && name !== TICKER && !groups.has(name)) join(name);
  },
  group_removed: ({ group_name: name }) => {
    forget(name);
    note(`The server took you out of ${name}`);
  },
  chat_message: () => {},
  group_message: () => {},
  broadcast_message: () => {},
  personal_notification: () => {},
  system_notification: ({ data }) => {
    // Who left shows in the counts and, for those who share a group, as a line there.
    if (data?.event === "client_disconnected") poll();
    else note(`System: ${asText(data)}`);
  },
  member_joined: countPeople,
  member_left: countPeople,
  messages_dropped: ({ count }) => note(`This page was too slow: ${count} messages were dropped`),
  connection_timeout: ({ message }) => note(message),
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

// Groups.

function join(name) {
  if (name === TICKER) {
    if (ticker.paused) ticker.toggle(); // it has a panel of its own
    return;
  }
  if (!groups.has(name)) {
    const group = new Group(name, count);
    groups.set(name, group);
    page.logs.append(group.log.element);
    page.tabs.append(tabFor(group));
    enter(group);
  }
  show(groups.get(name));
}

async function enter(group) {
  try {
    await group.join(client, isRecovered);
  } catch (error) {
    // Whatever else kept it: with the next connection every group is entered again.
    if (error.name !== "ReplyError") return;
    forget(group.name);
    note(`You cannot join ${group.name}: ${error.reason}`);
  }
}

/** Count a message that is not in sight, and show who is here. */
function count(group) {
  showPeople();
  if (!group || group === current) return;
  group.unread += 1;
  showTab(group);
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
  connected: () => "Connected",
  reconnecting: ({ delay }) => `Reconnecting in ${delay.toFixed(1)} s`,
  disconnected: () => "Disconnected",
};

function showState(change) {
  const { state, error } = change;
  page.state.dataset.state = state;
  page["state-text"].textContent = STATES[state](change);
  page.retry.hidden = !["reconnecting", "disconnected"].includes(state);
  // One line for a connection that goes, not one for every attempt to get it back.
  if (online && error) note(`The connection was lost (${reasonOf(error)})`);
  online = state === "connected";
  if (!online) page.connections.textContent = "–"; // nobody knows from here
  showWritable();
  showPeople();
}

function reasonOf({ code, reason }) {
  return reason ? `${code}: ${reason}` : code;
}

/** Take the network away for a while. */
function stayAway() {
  backAt = Date.now() + AWAY_S * 1000;
  cutOff();
  showAway();
}

function showAway() {
  const left = Math.ceil((backAt - Date.now()) / 1000);
  page.cut.disabled = left > 0;
  page.cut.textContent = left > 0 ? `Cut off for ${left} s` : "Cut me off";
  if (left > 0) setTimeout(showAway, 200);
  else if (backAt) comeBack();
}

function comeBack() {
  backAt = 0;
  mend();
  if (client.state === "disconnected") start();
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
  current.say(text).catch((error) => note(`Not sent: ${error.message}`));
  page.message.value = "";
});
onSubmit(page.recipe, runRecipe);
page.recipe.addEventListener("change", showRecipe);
page.copy.addEventListener("click", copyRecipe);
page.copy.hidden = !navigator.clipboard; // absent where the page came over plain HTTP from another machine
page.retry.addEventListener("click", comeBack);
page.cut.addEventListener("click", stayAway);
document.addEventListener("visibilitychange", poll);

page.name.value = clientId;
page.logs.append(noGroupLog.element);
noGroupLog.addNote("Join a group to chat in it");
join(FIRST_GROUP);
connect();
setInterval(poll, POLL_EVERY_MS);
