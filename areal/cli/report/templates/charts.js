// Copyright 2026 The areal authors
// SPDX-License-Identifier: Apache-2.0
// Line and stacked panels over global steps, with one cross-hair for all of them, and the table of all statistics.
"use strict";
(() => {
  const HEIGHT = 176, LEFT = 44, RIGHT = 10, TOP = 8, BOTTOM = 20;
  const SMOOTH_FROM = 40; // points of a noisy statistic; below this a smoothed line would hide more than it shows
  const DENSE_FROM = 300; // points of any statistic: about one a pixel, where raw lines become a block of colour
  const PHASES = new Set(["wait", "train", "check", "sync", "save", "eval", "other"]);
  const charts = [];
  const isNumber = (value) => typeof value === "number";
  const colourOf = (panel, index) => panel.stacked && PHASES.has(panel.curves[index].name) ? `var(--${panel.curves[index].name})` : `var(--c${index % 8})`;

  // Mean of an exponential average from the left and one from the right: no lag, so it runs through the middle of the data.
  function smoothed(points) {
    const numbers = points.filter((p) => isNumber(p[1])), keep = Math.exp(-1 / Math.max(points.length / 40, 2));
    const average = (values) => {
      let sum = 0, weight = 0;
      return values.map((y) => { sum = keep * sum + y; weight = keep * weight + 1; return sum / weight; });
    };
    const ys = numbers.map((p) => p[1]), forth = average(ys), back = average([...ys].reverse()).reverse();
    return numbers.map(([x], i) => [x, (forth[i] + back[i]) / 2]);
  }

  function stack(panel) {
    const base = new Map();
    return panel.curves.map((curve) => curve.points.map(([x, y]) => {
      const low = base.get(x) || 0, high = low + (isNumber(y) ? y : 0);
      base.set(x, high);
      return [x, low, high];
    }));
  }

  function yRange(panel, bars) {
    const values = [];
    if (panel.stacked) bars.forEach((bar) => bar.forEach((p) => values.push(p[2])));
    else for (const curve of panel.curves) for (const [, y, half] of curve.points) if (isNumber(y)) values.push(y - (half || 0), y + (half || 0));
    if (panel.log) {
      const positive = values.filter((v) => v > 0);
      if (positive.length) {
        const low = Math.min(...positive), high = Math.max(...positive);
        return low === high ? [low / 3, high * 3] : [low, high];
      }
    }
    if (!values.length) return [0, 1];
    let low = Math.min(...values), high = Math.max(...values);
    if (panel.stacked || panel.from_zero || (low >= 0 && low < 0.35 * high)) low = Math.min(low, 0);
    if (low === high) { const pad = Math.abs(low) * 0.1 || 1; low -= low === 0 ? 0 : pad; high += pad; }
    const pad = (high - low) * 0.06;
    return [low === 0 ? 0 : low - pad, high + pad];
  }

  function logTicks(low, high) {
    const decades = Math.log10(high / low), found = [];
    const factors = decades < 1.5 ? [1, 2, 5] : [1];
    const skip = Math.max(1, Math.round(decades / 5));
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      if (e % skip === 0) for (const f of factors) { const v = f * 10 ** e; if (v >= low * 0.999 && v <= high * 1.001) found.push(Number(v.toPrecision(6))); }
    return found.length ? found : [low, high];
  }

  function axes(node, chart, width) {
    const { x, y, range, panel } = chart;
    const values = panel.useLog ? logTicks(...range) : ticks(...range, 4);
    const gap = values.length > 1 ? values[1] - values[0] : 1;
    for (const value of values) {
      const at = y(value), digits = value ? Math.max(3, Math.ceil(Math.log10(Math.abs(value) / gap)) + 1) : 3; // neighbours must differ
      node.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }), svg("text", { x: LEFT - 7, y: at + 3.5, "text-anchor": "end" }, short(value, digits)));
    }
    const [first, last] = chart.domain;
    const whole = ticks(first, last, Math.max(2, Math.min(6, width / 80))).filter(Number.isInteger);
    for (const value of first === last ? [first] : whole)
      node.append(svg("text", { x: x(value), y: HEIGHT - 4, "text-anchor": "middle" }, String(value)));
    node.append(svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
  }

  const path = (points, x, y) => points.map(([px, py], i) => `${i ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");

  // Runs of drawable points; a missing or non-finite value breaks the line.
  function runs(points, useLog) {
    const found = [[]];
    for (const point of points) {
      if (isNumber(point[1]) && (!useLog || point[1] > 0)) found[found.length - 1].push(point);
      else if (found[found.length - 1].length) found.push([]);
    }
    return found.filter((run) => run.length);
  }

  function drawCurve(node, chart, curve, colour) {
    const { x, y, panel } = chart;
    const withBand = curve.points.filter((p) => isNumber(p[1]) && p.length > 2);
    if (withBand.length > 1) {
      const upper = withBand.map((p) => [p[0], p[1] + p[2]]), lower = withBand.map((p) => [p[0], p[1] - p[2]]).reverse();
      node.append(svg("path", { d: `${path(upper, x, y)}${path(lower, x, y).replace("M", "L")}Z`, fill: colour, opacity: 0.13 }));
    }
    const isSmoothed = curve.points.length >= (panel.noisy ? SMOOTH_FROM : DENSE_FROM) && !curve.dashed && !panel.markers && !panel.exact;
    for (const run of runs(curve.points, panel.useLog)) {
      node.append(svg("path", { d: path(run, x, y), fill: "none", stroke: colour, "stroke-width": isSmoothed ? 1 : 1.8, "stroke-linejoin": "round", opacity: isSmoothed ? 0.35 : 1, "stroke-dasharray": curve.dashed ? "5 4" : null }));
      if (panel.markers || run.length === 1) for (const [px, py] of run) node.append(svg("circle", { cx: x(px), cy: y(py), r: run.length > 50 ? 1.6 : 3, fill: colour }));
    }
    if (isSmoothed) for (const run of runs(smoothed(curve.points), panel.useLog)) node.append(svg("path", { d: path(run, x, y), fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round" }));
    for (const [px, value] of curve.points) if (!isNumber(value)) node.append(svg("text", { x: x(px), y: TOP + 9, "text-anchor": "middle", style: "fill:var(--bad);font-weight:700" }, "✗"));
  }

  function drawBars(node, chart) {
    const { x, y, panel, bars, domain } = chart;
    const slot = (x(domain[1]) - x(domain[0])) / Math.max(domain[1] - domain[0], 1);
    const width = Math.max(Math.min(slot * 0.8, 26), 1);
    bars.forEach((bar, index) => {
      for (const [px, low, high] of bar) if (high > low)
        node.append(svg("rect", { x: x(px) - width / 2, y: y(high), width, height: Math.max(y(low) - y(high), 0.3), fill: colourOf(panel, index) }));
    });
  }

  function draw(chart) {
    const { panel, holder } = chart, width = holder.clientWidth;
    const steps = panel.curves.flatMap((curve) => curve.points.map((p) => p[0]));
    chart.domain = [Math.min(...steps), Math.max(...steps)];
    chart.bars = panel.stacked ? stack(panel) : [];
    chart.range = yRange(panel, chart.bars);
    panel.useLog = panel.log && chart.range[0] > 0;
    const inset = panel.stacked ? 12 : 0, span = chart.domain[1] - chart.domain[0];
    chart.x = (v) => span ? LEFT + inset + (v - chart.domain[0]) / span * (width - LEFT - RIGHT - 2 * inset) : (LEFT + width - RIGHT) / 2;
    const scale = panel.useLog ? Math.log : (v) => v, [low, high] = chart.range.map(scale);
    chart.y = (v) => HEIGHT - BOTTOM - (scale(v) - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    const node = svg("svg", { height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` });
    axes(node, chart, width);
    if (panel.stacked) drawBars(node, chart);
    else panel.curves.forEach((curve, index) => drawCurve(node, chart, curve, colourOf(panel, index)));
    chart.cross = svg("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    node.append(chart.cross);
    holder.replaceChildren(node);
  }

  function hover(chart, event) {
    const box = chart.holder.getBoundingClientRect(), at = event.clientX - box.left;
    const steps = [...new Set(chart.panel.curves.flatMap((curve) => curve.points.map((p) => p[0])))];
    const step = steps.reduce((best, s) => Math.abs(chart.x(s) - at) < Math.abs(chart.x(best) - at) ? s : best, steps[0]);
    for (const other of charts) {
      const inside = other.domain && step >= other.domain[0] && step <= other.domain[1];
      if (!other.cross) continue;
      other.cross.setAttribute("visibility", inside ? "visible" : "hidden");
      if (inside) { other.cross.setAttribute("x1", other.x(step)); other.cross.setAttribute("x2", other.x(step)); }
    }
    const lines = chart.panel.curves.map((curve, index) => [curve, curve.points.find((p) => p[0] === step), colourOf(chart.panel, index)])
      .filter(([, point]) => point)
      .map(([curve, point, colour]) => [curve.name, short(point[1]) + (point.length > 2 ? ` ± ${short(point[2], 2)}` : ""), colour]);
    showTip(event, `step ${step}`, chart.panel.stacked ? lines.reverse() : lines);
  }

  function leave() {
    hideTip();
    for (const chart of charts) if (chart.cross) chart.cross.setAttribute("visibility", "hidden");
  }

  function addPanel(parent, panel) {
    const holder = el("div", {});
    const chart = { panel, holder };
    const lastOf = (curve) => curve.points[curve.points.length - 1][1];
    const legend = el("div", { class: "legend" }, ...panel.curves.map((curve, index) => el("span", {},
      el("i", { class: panel.stacked ? "box" : null, style: `background:${colourOf(panel, index)}` }), curve.name, el("b", {}, short(lastOf(curve))))));
    parent.append(el("section", { class: panel.wide ? "card panel wide" : "card panel" },
      el("header", {}, el("h3", {}, panel.title), el("span", { class: "hint" }, panel.hint + (panel.log ? " · log" : ""))), legend, holder));
    holder.addEventListener("pointermove", (event) => hover(chart, event));
    holder.addEventListener("pointerleave", leave);
    charts.push(chart);
    onWidth(holder, () => draw(chart));
  }

  document.querySelectorAll("[data-group]").forEach((node) => DATA.groups[node.dataset.group].panels.forEach((panel) => addPanel(node, panel)));

  function spark(points) {
    const numbers = points.filter((p) => isNumber(p[1]));
    if (numbers.length < 2) return "";
    const ys = numbers.map((p) => p[1]), low = Math.min(...ys), high = Math.max(...ys), first = numbers[0][0], last = numbers[numbers.length - 1][0];
    const x = (v) => 1 + (v - first) / (last - first || 1) * 88, y = (v) => high === low ? 10 : 18 - (v - low) / (high - low) * 16;
    return svg("svg", { viewBox: "0 0 90 20" }, svg("path", { d: path(numbers, x, y), fill: "none", stroke: "var(--c0)", "stroke-width": 1.2 }));
  }

  function statisticsTable(query) {
    const rows = DATA.statistics.filter((s) => s.key.includes(query)).map((s) => el("tr", {},
      el("td", { class: "l mono" }, s.key), el("td", {}, spark(s.spark)), ...[s.first, s.last, s.min, s.max, s.n].map((v) => el("td", {}, short(v, 4)))));
    return el("table", {}, el("thead", {}, el("tr", {}, el("th", { class: "l" }, "key"), ...["", "first", "last", "min", "max", "steps"].map((t) => el("th", {}, t)))), el("tbody", {}, ...rows));
  }
  const table = document.getElementById("statistics");
  if (table) {
    table.append(statisticsTable(""));
    document.getElementById("filter").addEventListener("input", (event) => table.replaceChildren(statisticsTable(event.target.value.trim())));
  }
})();
