"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [ID, FUNCTION, ENDPOINT, STATE, WORKER, ATTEMPT, SUBMITTED, FINISHED, SPANS, SERVICE, STORES, REASON] = Array(12).keys();
  const states = data.states;
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const bad = new Set(["FAILED", "LOST", "EXPIRED", "DEAD"]);

  const seconds = s => s < 0.0009995 ? Math.round(s * 1e6) + " µs" : s < 0.9995 ? +(s * 1e3).toPrecision(3) + " ms" : s < 120 ? +s.toPrecision(3) + " s" : (s / 60).toFixed(1) + " min";
  const size = n => { for (const u of ["B", "kB", "MB", "GB"]) { if (n < 1000) return +n.toPrecision(3) + " " + u; n /= 1000; } return +n.toPrecision(3) + " TB"; };
  const state = t => states[t[STATE]] || "";
  const run = t => { const s = t[SPANS].find(s => s[0] === "run"); return s ? s[2] - s[1] : null; };

  // ---------------------------------------------------------------- workers over time
  const canvas = document.getElementById("gantt"), chart = document.getElementById("chart"), tip = document.getElementById("tip");
  const order = data.workers.map((w, i) => i).sort((a, b) => data.workers[a][0].localeCompare(data.workers[b][0]) || a - b);
  const rowOf = []; order.forEach((w, row) => { rowOf[w] = row; });
  const rows = order.map(() => []);
  let first = Infinity, last = 0;
  for (const t of data.tasks) {
    if (t[WORKER] < 0 || !t[SPANS].length) continue;
    rows[rowOf[t[WORKER]]].push(t);
    first = Math.min(first, t[SPANS][0][1]); last = Math.max(last, t[SPANS][t[SPANS].length - 1][2]);
  }
  for (const row of rows) row.sort((a, b) => a[SPANS][0][1] - b[SPANS][0][1]);
  if (!(first < last)) { first = first === Infinity ? 0 : first; last = first + 1; }
  const margin = (last - first) * 0.01;
  const whole = [Math.min(0, first - margin) || first - margin, last + margin];
  if (first >= 0 && first < (last - first) * 0.25) whole[0] = 0;
  let view = whole.slice();
  const height = Math.max(5, Math.min(22, Math.floor(560 / Math.max(1, rows.length))));
  const left = 150, top = 22;
  let width = 0;

  const label = row => {
    const [endpoint, worker] = data.workers[order[row]];
    return endpoint + "  " + worker.split("/").pop();
  };
  const x = s => left + (s - view[0]) / (view[1] - view[0]) * (width - left);

  function draw() {
    const scale = window.devicePixelRatio || 1;
    width = chart.clientWidth;
    const total = top + rows.length * height + 4;
    canvas.width = width * scale; canvas.height = total * scale; canvas.style.height = total + "px";
    const c = canvas.getContext("2d");
    c.scale(scale, scale);
    c.font = "11px system-ui, 'DejaVu Sans', sans-serif"; c.textBaseline = "middle";
    axis(c, total);
    const colours = { fetch: colour("fetch"), run: colour("run"), store: colour("store") }, failed = colour("bad");
    c.save(); c.beginPath(); c.rect(left, 0, width - left, total); c.clip();
    rows.forEach((row, i) => {
      const y = top + i * height + 1, h = Math.max(2, height - 2);
      for (const t of row) {
        if (t[SPANS][t[SPANS].length - 1][2] < view[0] || t[SPANS][0][1] > view[1]) continue;
        for (const [phase, from, to] of t[SPANS]) {
          c.fillStyle = phase === "run" && bad.has(state(t)) ? failed : colours[phase];
          const a = x(from), w = x(to) - a;
          c.fillRect(a, y, Math.max(phase === "run" ? 0.7 : 0.3, w > 3 ? w - 0.6 : w), h);
        }
      }
    });
    c.restore();
    c.fillStyle = colour("ink");
    const every = Math.ceil(12 / height);
    rows.forEach((row, i) => {
      if (i % every) return;
      let text = label(i);
      while (text.length > 4 && c.measureText(text).width > left - 10) text = "…" + text.slice(2);
      c.textAlign = "right"; c.fillText(text, left - 8, top + i * height + height / 2);
    });
  }

  function axis(c, total) {
    const span = view[1] - view[0], target = span / Math.max(2, (width - left) / 110);
    const power = Math.pow(10, Math.floor(Math.log10(target)));
    const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= target);
    c.strokeStyle = colour("line"); c.fillStyle = colour("faint"); c.textAlign = "center"; c.lineWidth = 1;
    for (let s = Math.ceil(view[0] / step) * step; s <= view[1]; s += step) {
      const at = Math.round(x(s)) + 0.5;
      c.beginPath(); c.moveTo(at, top - 4); c.lineTo(at, total); c.stroke();
      c.fillText(Math.abs(s) < step / 1e6 ? "0" : seconds(Math.abs(s)), Math.min(at, width - 24), 9);
    }
  }

  function under(event) {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top - top) / height), s = view[0] + (event.clientX - box.left - left) / (width - left) * (view[1] - view[0]);
    if (row < 0 || row >= rows.length) return null;
    const slack = (view[1] - view[0]) / (width - left) * 2;
    let best = null, distance = slack;
    for (const t of rows[row]) {
      const from = t[SPANS][0][1], to = t[SPANS][t[SPANS].length - 1][2];
      const d = s < from ? from - s : s > to ? s - to : 0;
      if (d <= distance) { best = t; distance = d; if (d === 0) break; }
    }
    return best;
  }

  let dragged = null;
  canvas.addEventListener("mousemove", event => {
    if (dragged !== null) {
      const shift = (dragged.x - event.clientX) / (width - left) * (dragged.view[1] - dragged.view[0]);
      view = [dragged.view[0] + shift, dragged.view[1] + shift];
      tip.hidden = true; draw(); return;
    }
    const t = under(event);
    tip.hidden = !t;
    if (!t) return;
    tip.textContent = [data.functions[t[FUNCTION]] + " · " + state(t) + (t[ATTEMPT] ? " · attempt " + (t[ATTEMPT] + 1) : ""),
      ...t[SPANS].map(s => ({ fetch: "fetching arguments", run: "running", store: "storing the result" })[s[0]] + " " + seconds(s[2] - s[1])),
      size(t[SERVICE]) + " through the service, " + size(t[STORES]) + " through stores", t[REASON], t[ID]].filter(Boolean).join("\n");
    tip.style.left = Math.min(event.clientX + 14, window.innerWidth - 300) + "px"; tip.style.top = event.clientY + 14 + "px";
  });
  canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
  canvas.addEventListener("mousedown", event => { dragged = { x: event.clientX, view: view.slice() }; });
  window.addEventListener("mouseup", () => { dragged = null; });
  canvas.addEventListener("dblclick", () => { view = whole.slice(); draw(); });
  canvas.addEventListener("wheel", event => {
    if (event.clientX - canvas.getBoundingClientRect().left < left) return;
    event.preventDefault();
    const s = view[0] + (event.clientX - canvas.getBoundingClientRect().left - left) / (width - left) * (view[1] - view[0]);
    const factor = Math.exp(event.deltaY * 0.0015);
    const span = Math.max(1e-5, Math.min((whole[1] - whole[0]) * 4, (view[1] - view[0]) * factor));
    const share = (s - view[0]) / (view[1] - view[0]);
    view = [s - share * span, s + (1 - share) * span];
    draw();
  }, { passive: false });
  window.addEventListener("resize", draw);
  draw();

  // ---------------------------------------------------------------- the tasks
  const body = document.getElementById("tasks"), search = document.getElementById("search"), found = document.getElementById("found");
  const words = data.tasks.map(t => [t[ID], data.functions[t[FUNCTION]], data.endpoints[t[ENDPOINT]], state(t), t[WORKER] < 0 ? "" : data.workers[t[WORKER]][1], t[REASON]].join(" ").toLowerCase());
  const MOST = 300;

  function cell(row, text, kind) {
    const td = row.insertCell();
    td.textContent = text;
    if (kind) td.className = kind;
    return td;
  }

  function list() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = data.tasks.filter((t, i) => wanted.every(w => words[i].includes(w)));
    found.textContent = hits.length.toLocaleString("en") + " tasks" + (hits.length > MOST ? ", the first " + MOST + " are listed" : "");
    body.textContent = "";
    for (const t of hits.slice(0, MOST)) {
      const row = body.insertRow(), id = document.createElement("code"), badge = document.createElement("span");
      id.textContent = t[ID].slice(-8); id.title = t[ID];
      cell(row, "").append(id);
      cell(row, data.functions[t[FUNCTION]]); cell(row, data.endpoints[t[ENDPOINT]]);
      badge.textContent = state(t).toLowerCase(); badge.className = "state " + state(t); badge.title = t[REASON];
      cell(row, "").append(badge);
      cell(row, seconds(t[SUBMITTED]), "n");
      cell(row, t[FINISHED] ? seconds(t[FINISHED] - t[SUBMITTED]) : "–", "n"); cell(row, run(t) === null ? "–" : seconds(run(t)), "n");
      cell(row, size(t[SERVICE]), "n"); cell(row, size(t[STORES]), "n");
    }
  }
  search.addEventListener("input", list);
  list();
})();
