// Copyright 2026 The areal authors
// SPDX-License-Identifier: Apache-2.0
// Helpers of the report's scripts. Nodes are built with textContent only: the data is not trusted.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG_NS = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const child of children) if (child !== null) node.append(child);
  return node;
}
const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG_NS, name), attributes, children);

// A number in at most `digits` significant digits: 21034 -> 21k, 0.0004 -> 4e-4. Text ("nan") passes.
function short(value, digits = 3) {
  if (typeof value !== "number") return value === null || value === undefined ? "–" : String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-2) return value.toExponential(digits - 1).replace(/\.?0+e/, "e");
  for (const [unit, suffix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (size >= unit * 0.9995) return String(Number((value / unit).toPrecision(digits))) + suffix;
  return String(Number(value.toPrecision(digits)));
}

const seconds = (value) => value >= 1 ? short(value) + " s" : value >= 1e-3 ? short(value * 1e3) + " ms" : short(value * 1e6, 2) + " µs";

// About `count` round values in [low, high].
function ticks(low, high, count) {
  const raw = (high - low) / Math.max(count, 1), unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * unit >= raw * 0.999) * unit;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

// Lines of [text, value, colour] under a title, beside the pointer.
const tip = document.getElementById("tip");
function showTip(event, title, lines) {
  tip.replaceChildren(el("div", { class: "t" }, title), ...lines.map(([name, value, colour]) =>
    el("div", {}, colour ? el("i", { style: `background:${colour}` }) : null, name, el("b", {}, value))));
  tip.style.display = "block";
  const box = tip.getBoundingClientRect(), gap = 14;
  tip.style.left = Math.max(4, event.clientX + gap + box.width > innerWidth ? event.clientX - gap - box.width : event.clientX + gap) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + gap, innerHeight - box.height - 4)) + "px";
}
const hideTip = () => { tip.style.display = "none"; };

// Draw now and whenever the width changes.
function onWidth(node, draw) {
  let width = 0;
  // In the next frame: drawing changes heights, and the observer must not see its own effect.
  new ResizeObserver(() => requestAnimationFrame(() => {
    if (node.clientWidth && node.clientWidth !== width) { width = node.clientWidth; draw(); }
  })).observe(node);
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme || (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
});
