"use strict";
// Shows what /dashboard/events tells. Text only ever enters the page as text.
const byId = (id) => document.getElementById(id);
const svgNamespace = "http://www.w3.org/2000/svg";
const staleAfter = 5000;
const historyLength = 240;
const history = [];
let lastSight = 0;
let lastEvent = 0;
let lastReadiness = null;
let lastStart = 0;

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function make(name, attributes = {}, text = null) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}
function makeSVG(name, attributes, text = null) {
  const node = document.createElementNS(svgNamespace, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}
function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
}
// To a tenth of a millisecond: more would only make the table wide.
function tableSeconds(value) {
  if (value > 0 && value < 1e-4) return "<0.0001";
  return number(Number.isFinite(value) ? Math.round(1e4 * value) / 1e4 : value);
}
function seconds(value) {
  return value === null || value === undefined ? "–" : number(value) + " s";
}
function percent(value) {
  return Math.round(100 * value) + " %";
}
function clock(at) {
  return new Date(at * 1000).toLocaleTimeString();
}

/// Rows of a table's body by their keys: kept where they are, so that nothing being read goes away.
function rows(table, entries, build, update) {
  const body = byId(table).tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const keys = entries.map((entry, index) => index + " " + entry.key);
  if (keys.join("\n") !== [...body.rows].map((row) => row.dataset.key).join("\n")) {
    const fresh = entries.map((entry, index) => {
      const row = known.get(keys[index]) ?? build(entry);
      row.dataset.key = keys[index];
      return row;
    });
    body.replaceChildren(...fresh);
  }
  entries.forEach((entry, index) => update(body.rows[index], entry));
}
function row(cells) {
  const node = make("tr");
  cells.forEach((name, index) => {
    const cell = make(index === 0 ? "th" : "td", index === 0 ? { scope: "row" } : {});
    if (name) cell.className = name;
    node.append(cell);
  });
  return node;
}
function setFill(cell, used, total, name) {
  let meter = cell.querySelector("meter");
  if (!meter) {
    const span = make("span", { class: "fill" });
    meter = make("meter", { min: 0 });
    span.append(meter, make("span"));
    cell.append(span);
  }
  meter.max = Math.max(1, total);
  meter.value = used;
  meter.style.setProperty("--fill", total ? Math.min(100, 100 * used / total) + "%" : "0%");
  meter.setAttribute("aria-label", name);
  setText(meter.nextSibling, total ? used + "/" + total : "none");
  meter.hidden = !total;
}

/// Why a chain takes no jobs now: which of its servers are away. Empty when it does.
function whyClosed(chain, status) {
  const states = new Map(status.servers.map((server) => [server.name, server.state]));
  return [...new Set(chain.servers)].filter((name) => states.get(name) !== "ready")
    .map((name) => name + " is " + (states.get(name) ?? "gone")).join(", ");
}

function showNow(sight) {
  const { status, observed, outlook } = sight;
  const running = status.chains.reduce((sum, chain) => sum + chain.running, 0);
  const capacity = status.chains.filter((chain) => !whyClosed(chain, status))
    .reduce((sum, chain) => sum + chain.capacity, 0);
  const used = status.servers.reduce((sum, server) => sum + server.slots_used, 0);
  const total = status.servers.reduce((sum, server) => sum + server.slots_total, 0);
  setText(byId("running"), String(running));
  setText(byId("capacity"), String(capacity));
  setText(byId("queue"), String(status.queue_length));
  setText(byId("cache"), total ? percent(used / total) : "–");
  setText(byId("arrivals"), number(observed.arrivals_per_second, 2));
  setText(byId("tokens"), number(observed.tokens_per_second, 3));
  setText(byId("load"), outlook ? number(outlook.load, 2) : "–");
  history.push([running, status.queue_length]);
  if (history.length > historyLength) history.shift();
  const most = Math.max(1, capacity, ...history.map((entry) => Math.max(...entry)));
  ["history-running", "history-queue"].forEach((id, which) => {
    const points = history.map((entry, index) => {
      const x = historyLength - history.length + index;
      return x + "," + (46 - 44 * entry[which] / most).toFixed(1);
    });
    byId(id).setAttribute("points", points.join(" "));
  });
}

function showResponse(sight) {
  const { observed, outlook } = sight;
  const predicted = outlook && {
    mean: outlook.exact_response, lower: outlook.lower_response, upper: outlook.upper_response,
  };
  const entries = [
    { key: "whole answer", values: observed.response }, { key: "first token", values: observed.first_token },
    { key: "wait in the queue", values: observed.wait },
  ];
  if (predicted) entries.push({ key: "predicted: whole answer", values: { mean: predicted.mean } });
  if (outlook) entries.push({ key: "predicted: wait", values: { mean: outlook.exact_wait } });
  rows("response", entries, () => row(["", "", "", "", ""]), (node, entry) => {
    setText(node.cells[0], entry.key);
    ["mean", "p50", "p95", "p99"].forEach((name, index) =>
      setText(node.cells[index + 1], tableSeconds(entry.values ? entry.values[name] : null)));
  });
  showScale(observed.response, predicted, observed.window_seconds);
}

/// The observed quantiles over the band between the predicted bounds.
function showScale(response, predicted, windowSeconds) {
  const scale = byId("scale");
  const values = [response && response.p99, predicted && predicted.upper, predicted && predicted.mean];
  const most = Math.max(...values.filter((value) => Number.isFinite(value)), 0) * 1.1;
  if (!(most > 0)) {
    scale.replaceChildren();
    setText(byId("scale-text"), "No answer was finished yet, and nothing is predicted.");
    return;
  }
  const x = (value) => 10 + 380 * value / most;
  const parts = [makeSVG("line", { x1: 10, x2: 390, y1: 34, y2: 34, class: "axis" })];
  if (predicted && Number.isFinite(predicted.lower) && Number.isFinite(predicted.upper)) {
    parts.push(makeSVG("rect", {
      x: x(predicted.lower), width: Math.max(2, x(predicted.upper) - x(predicted.lower)), y: 22, height: 24,
      class: "band",
    }));
  }
  if (predicted && Number.isFinite(predicted.mean)) {
    parts.push(makeSVG("line", { x1: x(predicted.mean), x2: x(predicted.mean), y1: 20, y2: 48, class: "exact" }));
  }
  if (response) {
    let last = -100;
    for (const name of ["p50", "p95", "p99"]) {
      const at = x(response[name]);
      parts.push(makeSVG("line", { x1: at, x2: at, y1: 27, y2: 41, class: "mark" }));
      if (at - last > 24) {
        parts.push(makeSVG("text", { x: Math.min(at, 385), y: 17 }, name));
        last = at;
      }
    }
    parts.push(makeSVG("circle", { cx: x(response.mean), cy: 34, r: 4, class: "mean" }));
  }
  scale.replaceChildren(...parts);
  const told = response
    ? `Mean of ${response.count} answers in the last ${Math.round(windowSeconds / 60) || 1} min: ${seconds(response.mean)} (dot).`
    : "No answer was finished yet.";
  const foreseen = predicted && Number.isFinite(predicted.mean)
    ? ` Predicted mean ${seconds(predicted.mean)}, between ${seconds(predicted.lower)} and ${seconds(predicted.upper)} (band).`
    : " No mean is predicted: the demand planned for exceeds what the chains carry.";
  setText(byId("scale-text"), told + foreseen);
}

const stateKinds = { ready: "good", lost: "bad", suspect: "bad" };

function showServers(status) {
  const blocks = Math.max(1, ...status.servers.map((server) => server.first_block + server.block_count - 1));
  const entries = status.servers.map((server) => ({ key: server.name, server }));
  rows("servers", entries, () => row(["", "", "", "minor", "", "address"]), (node, { server }) => {
    const end = server.first_block + server.block_count - 1;
    setText(node.cells[0], server.name);
    setText(node.cells[1], server.block_count ? server.state : server.state + ", spare");
    node.cells[1].dataset.kind = stateKinds[server.state] ?? "notice";
    setText(node.cells[2], server.block_count ? server.first_block + "–" + end : "none");
    const where = [server.first_block, server.block_count, blocks].join(" ");
    if (node.cells[3].dataset.where !== where) {
      node.cells[3].dataset.where = where;
      const strip = makeSVG("svg", {
        viewBox: `0 0 ${blocks} 1`, preserveAspectRatio: "none", class: "where", "aria-hidden": "true",
      });
      strip.append(
        makeSVG("rect", { x: 0, y: 0, width: blocks, height: 1, class: "all" }),
        makeSVG("rect", { x: Math.max(0, server.first_block - 1), y: 0, width: server.block_count, height: 1, class: "part" }));
      node.cells[3].replaceChildren(strip);
    }
    setFill(node.cells[4], server.slots_used, server.slots_total, "cache units in use on " + server.name);
    setText(node.cells[5], server.address);
  });
}

function showChains(sight) {
  const { status, outlook, observed } = sight;
  const entries = status.chains.map((chain, index) => ({ key: chain.servers.join(" › "), chain, index }));
  rows("chains", entries, () => row(["", "", "", ""]), (node, { key, chain, index }) => {
    const why = whyClosed(chain, status);
    if (node.dataset.why !== why) {
      node.dataset.why = why;
      node.cells[0].replaceChildren(
        key, ...(why ? [make("span", { class: "why", "data-kind": "bad" }, "closed: " + why)] : []));
    }
    setFill(node.cells[1], chain.running, chain.capacity, "jobs running on " + key);
    setText(node.cells[2], seconds(outlook ? outlook.service_times[index] : null));
    setText(node.cells[3], seconds(observed.service_times[index]));
  });
}

function showEvents(events) {
  const newest = events.length ? events[0].number : 0;
  if (newest === lastEvent) return;
  const news = events.filter((event) => event.number > lastEvent).map((event) => event.text);
  if (lastEvent > 0) setText(byId("news"), news.slice(0, 3).join("; "));
  lastEvent = newest;
  byId("no-events").hidden = newest > 0;
  byId("events").replaceChildren(...events.map((event) => {
    const item = make("li");
    item.append(
      make("time", { datetime: new Date(event.at * 1000).toISOString() }, clock(event.at)),
      make("span", { "data-kind": event.kind }, event.text));
    return item;
  }));
}

function show(sight) {
  lastSight = Date.now();
  const { status } = sight;
  // A service that was started anew counts its events from the beginning.
  const start = sight.at - sight.uptime_seconds;
  if (Math.abs(start - lastStart) > 2) lastEvent = 0;
  lastStart = start;
  document.title = `${status.model} · ChainServe`;
  setText(byId("model"), `${status.model} on ${status.engine}`);
  byId("emulated").hidden = !status.emulated;
  const readiness = byId("readiness");
  setText(readiness, sight.readiness);
  readiness.dataset.kind = { ready: "good", unavailable: "bad" }[sight.readiness] ?? "notice";
  if (lastReadiness !== null && lastReadiness !== sight.readiness) {
    setText(byId("news"), "the service is " + sight.readiness);
  }
  lastReadiness = sight.readiness;
  setText(byId("started"), new Date((sight.at - sight.uptime_seconds) * 1000).toLocaleString());
  setText(byId("plan"), sight.outlook ? String(sight.outlook.plan_number) : "–");
  showNow(sight);
  showResponse(sight);
  showServers(status);
  showChains(sight);
  showEvents(sight.events);
  showConnection();
}

function showConnection() {
  const age = Date.now() - lastSight;
  const isStale = lastSight > 0 && age > staleAfter;
  document.body.classList.toggle("is-stale", isStale);
  byId("stale").hidden = !isStale;
  if (isStale) setText(byId("stale"), `No news since ${clock(lastSight / 1000)}; connecting again.`);
  setText(byId("connection"), lastSight === 0 ? "connecting" : isStale ? "stale" : "live");
}

// A browser gives up for good after some kinds of failure; so each failure is answered with a new connection.
let wait = 500;
function connect() {
  const source = new EventSource("/dashboard/events");
  source.addEventListener("sight", (message) => {
    wait = 500;
    show(JSON.parse(message.data));
  });
  source.onerror = () => {
    source.close();
    setTimeout(connect, wait);
    wait = Math.min(2 * wait, 5000);
  };
}
setInterval(showConnection, 1000);
connect();
