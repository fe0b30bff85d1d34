// Copyright 2026 The areal authors
// SPDX-License-Identifier: Apache-2.0
// The time line: steps on top, one lane a process, then the samples in flight, all on one clock.
"use strict";
(() => {
  const holder = document.getElementById("timeline");
  if (!holder) return;
  const data = DATA.timeline;
  const LEFT = 118, RIGHT = 10, STEPS = 20, LANE = 24, GAP = 8, FLIGHT = 64, ROW = 6, AXIS = 22;
  const FIRST_STEPS = 6; // shown at first: enough to see how one step hands over to the next
  const ends = [...data.lanes.flatMap((lane) => lane.spans), ...data.samples, ...data.steps.map((s) => [s[1], s[2]])].map((s) => s[1]);
  const whole = [Math.min(0, ...data.steps.map((s) => s[1])), Math.max(...ends, 1e-3)];
  let view = firstView(), chart = null;

  // Some steps of the middle, where start-up is over.
  function firstView() {
    if (data.steps.length <= FIRST_STEPS) return whole;
    const at = Math.floor((data.steps.length - FIRST_STEPS) / 2);
    return [data.steps[at][1], data.steps[at + FIRST_STEPS - 1][2]];
  }

  // Number of `phase` samples in flight over time: [time, count] at every change.
  function inFlight(phase) {
    const changes = data.samples.filter((s) => s[2] === phase).flatMap((s) => [[s[0], 1], [s[1], -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let count = 0;
    return changes.map(([time, change]) => [time, count += change]);
  }
  const flights = { generate: inFlight("generate"), reward: inFlight("reward") };
  const numRows = Math.min(data.num_rows, data.max_rows);

  const isSeen = (start, end) => end >= view[0] && start <= view[1];
  function rect(x, start, end, y, height, phase, extra) {
    const left = Math.max(x(start), LEFT), right = Math.min(x(end), chart.width - RIGHT);
    return svg("rect", { x: left, y, width: Math.max(right - left, 0.7), height, rx: right - left > 6 ? 2 : 0, fill: `var(--${phase})`, ...extra });
  }

  function drawSteps(node, x, height) {
    data.steps.forEach(([step, start, end], index) => {
      if (!isSeen(start, end)) return;
      const left = Math.max(x(start), LEFT), right = Math.min(x(end), chart.width - RIGHT);
      if (index % 2) node.append(svg("rect", { x: left, y: 0, width: Math.max(right - left, 0.5), height: height - AXIS, fill: "var(--grid)", opacity: 0.55 }));
      if (right - left > 34) node.append(svg("text", { class: "step-name", x: (left + right) / 2, y: 13, "text-anchor": "middle" }, right - left > 60 ? `step ${step}` : String(step)));
    });
  }

  // Most in flight of what is seen: an evaluation runs many more at once than the steps around it.
  function peakSeen() {
    const from = flights.generate.findLastIndex((p) => p[0] <= view[0]);
    return Math.max(1, ...flights.generate.filter((p, i) => i >= from && p[0] <= view[1]).map((p) => p[1]));
  }

  function drawFlight(node, x, top) {
    const peak = peakSeen();
    const y = (count) => top + FLIGHT - count / peak * FLIGHT;
    for (const [phase, points] of Object.entries(flights)) {
      if (!points.length) continue;
      const from = points.findLastIndex((p) => p[0] <= view[0]);
      let d = `M${LEFT} ${y(from >= 0 ? points[from][1] : 0)}`;
      for (const [time, count] of points.slice(from + 1)) {
        if (time > view[1]) break;
        d += `H${x(time).toFixed(1)}V${y(count).toFixed(1)}`;
      }
      d += `H${chart.width - RIGHT}V${top + FLIGHT}H${LEFT}Z`;
      node.append(svg("path", { d, fill: `var(--${phase})`, opacity: phase === "generate" ? 0.75 : 0.9 }));
    }
    node.append(svg("text", { x: LEFT - 8, y: top + 9, "text-anchor": "end" }, `${peak} in flight`), svg("text", { x: LEFT - 8, y: top + FLIGHT, "text-anchor": "end" }, "0"), svg("line", { class: "axis", x1: LEFT, x2: chart.width - RIGHT, y1: top + FLIGHT, y2: top + FLIGHT }));
  }

  function draw() {
    const width = holder.clientWidth - 28;
    const hasSamples = data.samples.length > 0;
    const flightTop = STEPS + data.lanes.length * (LANE + GAP) + 6, rowsTop = flightTop + (hasSamples ? FLIGHT + 12 : 0);
    const height = rowsTop + (hasSamples ? numRows * ROW + 6 : 0) + AXIS;
    const x = (time) => LEFT + (time - view[0]) / (view[1] - view[0]) * (width - LEFT - RIGHT);
    chart = { width, height, flightTop, rowsTop, x };
    const node = svg("svg", { height, viewBox: `0 0 ${width} ${height}` });
    drawSteps(node, x, height);
    for (const time of ticks(view[0], view[1], width / 110)) node.append(svg("line", { class: "grid", x1: x(time), x2: x(time), y1: STEPS, y2: height - AXIS }), svg("text", { x: x(time), y: height - 6, "text-anchor": "middle" }, `${short(time, 5)} s`));
    data.lanes.forEach((lane, index) => {
      const top = STEPS + index * (LANE + GAP);
      node.append(svg("text", { class: "lane-name", x: LEFT - 8, y: top + LANE / 2 + 4, "text-anchor": "end" }, lane.name));
      for (const [start, end, phase] of lane.spans) if (isSeen(start, end)) node.append(rect(x, start, end, top, LANE, phase));
    });
    if (hasSamples) {
      drawFlight(node, x, flightTop);
      node.append(svg("text", { class: "lane-name", x: LEFT - 8, y: rowsTop + 10, "text-anchor": "end" }, "samples"));
      for (const [start, end, phase, row] of data.samples) if (row < numRows && isSeen(start, end)) node.append(rect(x, start, end, rowsTop + row * ROW, ROW - 1, phase));
    }
    chart.brush = svg("rect", { y: 0, height: height - AXIS, fill: "var(--accent)", opacity: 0.15, visibility: "hidden" });
    node.append(chart.brush);
    holder.querySelector("svg")?.remove();
    holder.append(node);
    wire(node);
  }

  function found(px, py) {
    const time = view[0] + (px - LEFT) / (chart.width - LEFT - RIGHT) * (view[1] - view[0]);
    const step = data.steps.findLast((s) => s[1] <= time);
    const lane = Math.floor((py - STEPS) / (LANE + GAP));
    const lines = [["time", `${short(time, 5)} s`, null]];
    if (step && time <= step[2]) lines.unshift(["step", `${step[0]}`, null]);
    const slack = (view[1] - view[0]) / chart.width * 2;
    if (py >= STEPS && lane >= 0 && lane < data.lanes.length) {
      const span = data.lanes[lane].spans.findLast((s) => s[0] - slack <= time && s[1] + slack >= time);
      if (span) lines.push([span[3], seconds(span[1] - span[0]), `var(--${span[2]})`]);
    } else if (py >= chart.rowsTop) {
      const row = Math.floor((py - chart.rowsTop) / ROW), sample = data.samples.find((s) => s[3] === row && s[0] <= time && s[1] >= time);
      if (sample) lines.push([sample[2] + (sample[4] === null ? "" : ` · task ${sample[4]}`), seconds(sample[1] - sample[0]), `var(--${sample[2]})`]);
    } else if (py >= chart.flightTop) {
      for (const [phase, points] of Object.entries(flights)) { const point = points.findLast((p) => p[0] <= time); if (point) lines.push([phase, String(point[1]), `var(--${phase})`]); }
    }
    return lines;
  }

  const timeAt = (px) => view[0] + Math.min(Math.max((px - LEFT) / (chart.width - LEFT - RIGHT), 0), 1) * (view[1] - view[0]);
  function wire(node) {
    let from = null;
    const at = (event) => { const box = node.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    node.addEventListener("pointerdown", (event) => { from = at(event)[0]; node.setPointerCapture(event.pointerId); });
    node.addEventListener("pointermove", (event) => {
      const [px, py] = at(event);
      if (from !== null) { chart.brush.setAttribute("x", Math.min(from, px)); chart.brush.setAttribute("width", Math.abs(px - from)); chart.brush.setAttribute("visibility", "visible"); }
      const lines = found(px, py);
      showTip(event, lines.length > 1 && lines[0][0] === "step" ? `step ${lines[0][1]}` : "", lines[0][0] === "step" ? lines.slice(1) : lines);
    });
    node.addEventListener("pointerup", (event) => {
      const to = at(event)[0];
      if (from !== null && Math.abs(to - from) > 5) show([timeAt(Math.min(from, to)), timeAt(Math.max(from, to))]);
      from = null; chart.brush.setAttribute("visibility", "hidden");
    });
    node.addEventListener("dblclick", () => show(whole));
    node.addEventListener("pointerleave", hideTip);
  }

  function show(range) { view = range[1] - range[0] > 1e-5 ? range : view; draw(); }
  function move(by) { const width = view[1] - view[0], start = Math.min(Math.max(view[0] + by * width, whole[0]), Math.max(whole[1] - width, whole[0])); show([start, start + width]); }
  const phases = [...new Set([...data.lanes.flatMap((lane) => lane.spans.map((s) => s[2])), ...data.samples.map((s) => s[2])])];
  holder.append(el("div", { class: "tools" },
    el("div", { class: "legend" }, ...phases.map((phase) => el("span", {}, el("i", { class: "box", style: `background:var(--${phase})` }), phase))), el("span", { class: "grow" }),
    data.num_left_out ? `${data.num_left_out} earlier samples are not drawn` : null,
    data.num_rows > numRows ? `${numRows} of ${data.num_rows} sample rows` : null,
    el("button", { onclick: () => move(-0.8), title: "earlier" }, "‹"), el("button", { onclick: () => move(0.8), title: "later" }, "›"),
    el("button", { onclick: () => show(firstView()) }, "some steps"), el("button", { onclick: () => show(whole) }, "whole run")));
  onWidth(holder, draw);
})();
