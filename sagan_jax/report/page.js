"use strict";
// What moves on the page. All numbers that do not are in the HTML already.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const plots = []; // functions that draw one again, in the colours and the width of the moment

function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer); // little-endian, as every browser's machine is
}

/** How many of the rising `sorted` are over `threshold`. */
function above(sorted, threshold) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > threshold) high = middle;
    else low = middle + 1;
  }
  return sorted.length - low;
}

/** Draws `columns` into the box `id`; `options` is called anew for each drawing. */
function plot(id, options, columns) {
  const box = find(id);
  const axis = { stroke: color("quiet"), grid: { stroke: color("grid"), width: 1 }, ticks: { show: false } };
  let chart;
  const draw = () => {
    chart?.destroy();
    axis.stroke = color("quiet");
    axis.grid.stroke = color("grid");
    const width = box.clientWidth;
    const made = options();
    chart = new uPlot({
      width,
      height: box.classList.contains("square") ? Math.min(width, 380) : 260,
      legend: { show: false },
      cursor: { show: false },
      padding: [12, 12, 0, 0],
      ...made,
      axes: made.axes.map((own) => ({ ...axis, ...own })),
    }, columns, box);
    made.ready?.(chart);
  };
  draw();
  plots.push({ box, draw, redraw: () => chart.redraw(false) });
}

function watch() {
  const redrawAll = () => plots.forEach(({ draw }) => draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redrawAll(); // a phone's address bar changes the height alone
    width = innerWidth;
  });
}

/** Calls `pick(value along x)` while a pointer is pressed on the plot. */
function draggable(chart, pick) {
  const move = (event) => pick(chart.posToVal(event.clientX - chart.over.getBoundingClientRect().left, "x"));
  chart.over.addEventListener("pointerdown", (event) => {
    chart.over.setPointerCapture(event.pointerId);
    move(event);
  });
  chart.over.addEventListener("pointermove", (event) => {
    if (chart.over.hasPointerCapture(event.pointerId)) move(event);
  });
}

let threshold = data.threshold;
const onThreshold = []; // called whenever it has moved

function thresholds() {
  const normal = floats(data.normal), abnormal = floats(data.abnormal);
  const slider = find("threshold");
  const all = new Float32Array([...normal, ...abnormal]).sort();
  const under = all[0] - (Math.abs(all[0]) || 1) * 1e-6; // calls every image abnormal
  const stops = [...new Set([under, ...all, data.threshold])].sort((a, b) => a - b);
  const start = stops.indexOf(data.threshold);
  let rates;

  const percent = (value) => (Number.isNaN(value) ? "–" : `${(100 * value).toFixed(1)} %`);
  const set = (index) => {
    slider.value = index;
    threshold = stops[index];
    const found = above(abnormal, threshold), alarms = above(normal, threshold);
    const missed = abnormal.length - found, passed = normal.length - alarms;
    rates = { recall: found / abnormal.length, alarms: alarms / normal.length, precision: found / (found + alarms) };
    const shown = {
      "true-positives": found, "false-positives": alarms, "false-negatives": missed, "true-negatives": passed,
    };
    for (const [id, count] of Object.entries(shown)) find(id).textContent = count.toLocaleString("en");
    find("recall").textContent = percent(rates.recall);
    find("false-positive-rate").textContent = percent(rates.alarms);
    find("precision").textContent = percent(rates.precision);
    find("f1").textContent = percent((2 * found) / (2 * found + alarms + missed));
    find("accuracy").textContent = percent((found + passed) / all.length);
    const written = threshold.toPrecision(4);
    find("threshold-value").textContent = written + (index === start ? " (calibrated)" : "");
    slider.setAttribute("aria-valuetext",
      `${written}: recall ${percent(rates.recall)}, false positive rate ${percent(rates.alarms)}`);
    find("reset").disabled = index === start;
    plots.forEach(({ redraw }) => redraw());
    onThreshold.forEach((call) => call());
  };
  /** The last stop at or under a value; the first if there is none. */
  const stopAt = (value) => Math.max(0, stops.length - 1 - above(stops, value));
  /** The stop over which `count` of the rising `sorted` lie. */
  const stopFor = (sorted, count) => {
    const place = sorted.length - 1 - Math.round(Math.min(1, Math.max(0, count)) * sorted.length);
    return place < 0 ? 0 : stopAt(sorted[place]);
  };
  slider.max = stops.length - 1;
  slider.addEventListener("input", () => set(slider.valueAsNumber));
  find("reset").addEventListener("click", () => { set(start); slider.focus(); });

  const scale = data.histogram.logarithmic ? Math.log10 : (value) => value;
  const back = data.histogram.logarithmic ? (value) => 10 ** value : (value) => value;
  const vertical = (chart) => {
    const { ctx, bbox } = chart;
    const x = chart.valToPos(scale(threshold), "x", true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) return;
    ctx.save();
    ctx.strokeStyle = color("mark");
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  };
  const point = (along, up) => (chart) => {
    const { ctx } = chart;
    if (Number.isNaN(along() + up())) return; // no precision where nothing is called abnormal
    ctx.save();
    ctx.fillStyle = color("mark");
    ctx.strokeStyle = color("paper");
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.beginPath();
    ctx.arc(chart.valToPos(along(), "x", true), chart.valToPos(up(), "y", true), 6 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.fill();
    ctx.stroke();
    ctx.restore();
  };
  const steps = uPlot.paths.stepped({ align: 1 });
  const area = (name) => ({ stroke: color(name), fill: color(name) + "44", width: 2, paths: steps, points: { show: false } });
  const edges = data.histogram.edges.map(scale);
  const density = (values) => [...values, 0];

  set(start); // before the plots are there, so that they find a threshold to draw
  plot("histogram", () => ({
    scales: { x: { time: false, range: [edges[0], edges.at(-1)] }, y: { range: (chart, low, high) => [0, high * 1.05] } },
    axes: [{ values: (chart, splits) => splits.map((value) => String(Number(back(value).toPrecision(3)))), size: 32 }, { show: false }],
    series: [{}, area("normal"), area("abnormal")],
    hooks: { draw: [vertical] },
    ready: (chart) => draggable(chart, (value) => set(stopAt(back(value)))),
  }), [edges, density(data.histogram.normal), density(data.histogram.abnormal)]);
  const unit = { x: { time: false, range: [0, 1] }, y: { range: [0, 1] } };
  const curve = () => [{}, { stroke: color("line-0"), width: 2, points: { show: false } }];
  plot("roc", () => ({
    scales: unit, axes: [{ label: "false positive rate", labelSize: 20, size: 32 }, { label: "recall", labelSize: 20 }], series: curve(),
    hooks: { draw: [point(() => rates.alarms, () => rates.recall)] },
    ready: (chart) => draggable(chart, (value) => set(stopFor(normal, value))),
  }), data.roc);
  plot("pr", () => ({
    scales: unit, axes: [{ label: "recall", labelSize: 20, size: 32 }, { label: "precision", labelSize: 20 }], series: curve(),
    hooks: { draw: [point(() => rates.recall, () => rates.precision)] },
    ready: (chart) => draggable(chart, (value) => set(stopFor(abnormal, value))),
  }), data.pr);
}

function losses() {
  data.losses.forEach((panel, place) => {
    const logarithmic = panel.logarithmic ? { distr: 3 } : {};
    plot(`loss-${place}`, () => ({
      scales: { x: { time: false, range: (chart, low, high) => [low - 0.5, high + 0.5] }, y: logarithmic },
      axes: [{ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], size: 32 }, { size: 60 }],
      series: [{}, ...panel.lines.map((line, index) => ({
        stroke: color(`line-${index % 4}`), width: 2, dash: [[], [8, 4], [8, 3, 2, 3], [2, 3]][index % 4],
        points: { show: panel.epochs.length <= 30, size: 6, fill: color(`line-${index % 4}`) },
      }))],
    }), [panel.epochs, ...panel.lines.map((line) => line.values)]);
  });
}

function gallery() {
  const list = find("gallery"), order = find("order"), filter = find("filter");
  const cards = [...list.children].map((element) => ({
    element,
    score: Number(element.dataset.score),
    abnormal: element.dataset.label === "1",
    kind: element.dataset.kind,
    name: element.dataset.name,
    verdict: element.querySelector(".verdict"),
  }));
  const orders = {
    highest: (a, b) => b.score - a.score,
    lowest: (a, b) => a.score - b.score,
    nearest: (a, b) => Math.abs(a.score - threshold) - Math.abs(b.score - threshold),
    name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
  };
  const sort = () => list.append(...cards.toSorted(orders[order.value]).map((card) => card.element));
  const judge = () => {
    let shown = 0;
    for (const card of cards) {
      const called = card.score > threshold, wrong = called !== card.abnormal;
      if (card.verdict) {
        card.verdict.textContent = `called ${called ? "abnormal" : "normal"}` +
          (wrong ? (called ? ", a false alarm" : ", missed") : "");
        card.verdict.classList.toggle("wrong", wrong);
      }
      const class_ = card.abnormal ? "abnormal" : "normal";
      const told = `${class_} called ${called ? "abnormal" : "normal"}`;
      card.element.hidden = !["all", `kind ${card.kind}`, told].includes(filter.value);
      shown += !card.element.hidden;
    }
    find("shown").textContent = `${shown} of ${cards.length} shown`;
  };
  order.addEventListener("change", sort);
  filter.addEventListener("change", judge);
  onThreshold.push(judge, () => { if (order.value === "nearest") sort(); });
  sort();
  judge();
}

if (find("gallery")) gallery();
if (find("threshold")) thresholds();
losses();
watch();
