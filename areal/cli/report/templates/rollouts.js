// Copyright 2026 The areal authors
// SPDX-License-Identifier: Apache-2.0
// The viewer of rollouts: a sample's text coloured token by token, and the same tokens as a table.
"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const steps = DATA.rollouts;
  // Column of a record -> heading. Other columns are shown too, under their own name.
  const HEADINGS = { id: "id", mask: "mask", behave_logp: "behaviour", prox_logp: "proximal", logp: "current", ref_logp: "reference", ratio: "ratio", advantage: "advantage", version: "version" };
  const GAP_LABEL = "log-prob gap";
  const state = { step: steps.length - 1, sample: 0, colour: "advantage", withPrompt: false };
  const list = el("div", {}), article = el("article", {});

  const number = (value) => typeof value === "number" ? value : Number(value === null || value === undefined ? NaN : value);
  // Ids and counts in full: 1538 is not 1.54k.
  const WHOLE = new Set(["id", "mask", "version"]);
  const shown = (name, value) => WHOLE.has(name) ? String(value ?? "–") : short(value, 4);
  const isTrained = (tokens, i) => !tokens.mask || tokens.mask[i] > 0;
  function valuesFor(tokens, colour) {
    if (colour === GAP_LABEL) return tokens.prox_logp && tokens.behave_logp ? tokens.prox_logp.map((p, i) => number(p) - number(tokens.behave_logp[i])) : null;
    if (colour === "ratio") return tokens.ratio ? tokens.ratio.map((r) => Math.log(number(r))) : null;
    return tokens[colour] ? tokens[colour].map(number) : null;
  }

  // Diverging around 0 for signed columns, from pale to strong for the others; opacity carries the size.
  const SIGNED = new Set(["advantage", "ratio", GAP_LABEL]);
  function painter(tokens, colour) {
    const values = valuesFor(tokens, colour);
    if (!values) return { paint: () => "", ends: null };
    const seen = values.filter((v, i) => isTrained(tokens, i) && Number.isFinite(v));
    const low = Math.min(...seen, Infinity), high = Math.max(...seen, -Infinity), most = Math.max(...seen.map(Math.abs), 1e-9);
    const tint = (name, share) => `background:color-mix(in srgb, var(--${name}) ${Math.round(8 + 62 * share)}%, transparent)`;
    const paint = (i) => {
      const value = values[i];
      if (!isTrained(tokens, i)) return "";
      if (!Number.isFinite(value)) return "background:var(--bad);color:#fff";
      if (SIGNED.has(colour)) return Math.abs(value) < 1e-6 ? "" : tint(value > 0 ? "c2" : "bad", Math.abs(value) / most);
      if (colour === "mask") return tint("c0", 0.3);
      if (colour === "version") return tint(`c${Math.abs(value) % 7}`, 0.45);
      return tint("c1", high === low ? 0.2 : (high - value) / (high - low)); // log-probs: the unlikelier, the stronger
    };
    if (!seen.length || colour === "mask") return { paint, ends: null };
    const end = (v) => short(colour === "ratio" ? Math.exp(v) : v);
    if (SIGNED.has(colour) && most <= 1e-6) return { paint, ends: null }; // nothing to tell apart
    if (SIGNED.has(colour)) return { paint, ends: [end(-most), end(most), "linear-gradient(90deg, var(--bad), transparent, var(--c2))"] };
    if (colour === "version") return { paint, ends: [`v${low}`, `v${high}`, "linear-gradient(90deg, var(--c0), var(--c1), var(--c2), var(--c3))"] };
    return { paint, ends: [end(low), end(high), "linear-gradient(90deg, var(--c1), transparent)"] };
  }

  function columnsOf(tokens) {
    const known = Object.keys(HEADINGS).filter((name) => tokens[name]);
    const other = Object.keys(tokens).filter((name) => name !== "piece" && !(name in HEADINGS));
    return [...known, ...other];
  }
  const visible = (piece) => String(piece ?? "").replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ +| +$/g, (blanks) => "·".repeat(blanks.length)) || "∅";

  function tokenTip(event, record, i) {
    const tokens = record.tokens;
    showTip(event, `token ${i} · ${visible(tokens.piece?.[i])}`, columnsOf(tokens).map((name) => [HEADINGS[name] || name, shown(name, tokens[name][i]), null]));
  }

  // Hovering a token in one view marks it in the other.
  function mark(i, isOn) {
    for (const node of article.querySelectorAll(`[data-i="${i}"]`)) node.classList.toggle("on", isOn);
  }
  const handlers = (record, i) => ({
    onpointermove: (event) => tokenTip(event, record, i), onpointerenter: () => mark(i, true), onpointerleave: () => { mark(i, false); hideTip(); },
  });

  function textView(record, paint) {
    const tokens = record.tokens;
    return el("div", { class: "tokens" }, ...tokens.id.map((id, i) => el("span", { class: isTrained(tokens, i) ? "k" : "k p", style: paint(i), "data-i": i, ...handlers(record, i) }, String(tokens.piece?.[i] ?? id))));
  }

  function tableView(record, paint) {
    const tokens = record.tokens, columns = columnsOf(tokens);
    const heading = (name) => name === "ratio" && record.ratio_kind ? `ratio (${record.ratio_kind})` : HEADINGS[name] || name;
    const first = state.withPrompt ? 0 : Math.min(record.prompt_len || 0, tokens.id.length);
    const cell = (name, i) => !isTrained(tokens, i) && name !== "id" && name !== "mask" ? "" : shown(name, tokens[name][i]);
    const rows = tokens.id.slice(first).map((_, k) => k + first).map((i) => el("tr", { class: isTrained(tokens, i) ? null : "p", "data-i": i, onpointerenter: () => mark(i, true), onpointerleave: () => mark(i, false) },
      el("td", {}, String(i)), el("td", { class: "l mono", style: paint(i) }, visible(tokens.piece?.[i])), ...columns.map((name) => el("td", {}, cell(name, i)))));
    return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "#"), el("th", { class: "l" }, "token"), ...columns.map((name) => el("th", {}, heading(name))))), el("tbody", {}, ...rows)));
  }

  function drawSample() {
    const record = steps[state.step].records[state.sample];
    const tokens = record.tokens;
    if (!Array.isArray(tokens.id)) { article.replaceChildren(el("p", { class: "empty" }, "This record has no token ids.")); return; }
    const choices = ["advantage", "ratio", GAP_LABEL, "behave_logp", "prox_logp", "logp", "version", "mask"].filter((name) => valuesFor(tokens, name));
    if (!choices.includes(state.colour)) state.colour = choices[0];
    const { paint, ends } = painter(tokens, state.colour);
    const facts = [`reward ${short(number(record.reward))}`, `task ${record.task_id ?? "–"}`, `sample ${record.sample_idx ?? "–"}`, `${tokens.id.length} tokens, ${record.prompt_len ?? "–"} of them prompt`];
    if (record.truncated) facts.push("truncated");
    article.replaceChildren(
      el("div", { class: "tools" }, el("b", {}, facts.join(" · "))),
      el("div", { class: "tools", style: "margin-top:8px" }, "colour by", ...choices.map((name) => el("button", { "aria-pressed": name === state.colour, onclick: () => { state.colour = name; drawSample(); } }, HEADINGS[name] || name)),
        ends ? el("span", { class: "scale" }, ends[0], el("i", { style: `background:${ends[2]}` }), ends[1]) : null),
      textView(record, paint),
      el("label", { class: "tools", style: "margin-bottom:8px" }, el("input", { type: "checkbox", checked: state.withPrompt ? "" : null, onchange: (event) => { state.withPrompt = event.target.checked; drawSample(); } }), "prompt tokens in the table"),
      tableView(record, paint));
  }

  function drawList() {
    const records = steps[state.step].records;
    state.sample = Math.min(state.sample, records.length - 1);
    list.replaceChildren(...records.map((record, i) => el("button", { class: "sample", "aria-pressed": i === state.sample, onclick: () => { state.sample = i; drawList(); } },
      el("span", { class: `r ${record.pick === "best" ? "best" : "worst"}` }, short(number(record.reward))), ` ${record.pick ?? ""}`,
      el("small", {}, `task ${record.task_id ?? "–"} · ${record.tokens.id?.length ?? 0} tokens${record.truncated ? " · truncated" : ""}`))));
    drawSample();
  }

  const select = el("select", { "aria-label": "step", onchange: (event) => { state.step = Number(event.target.value); drawList(); } },
    ...steps.map((step, i) => el("option", { value: i }, `step ${step.step}`)));
  select.value = String(state.step);
  viewer.append(el("aside", {}, select, list), article);
  drawList();
})();
