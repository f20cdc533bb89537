"use strict";
// What a reader can do with a report: sort tables, move over plots, and ask a study's front. Nothing is loaded or sent.
(() => {
  const readJson = (element) => JSON.parse(element.textContent);
  const NARROW = 600;

  // Tables

  const numberIn = (text) => {
    const found = text.match(/^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?/i);
    return found ? Number(found[0]) : null;
  };

  function compare(a, b) {
    const [x, y] = [numberIn(a), numberIn(b)];
    if (x !== null && y !== null) return x - y;
    if (x !== null || y !== null) return x === null ? 1 : -1;
    return a.localeCompare(b);
  }

  function sortBy(table, column, button) {
    const head = button.parentElement;
    const isDown = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    rows.sort((a, b) => compare(a.cells[column].textContent, b.cells[column].textContent) * (isDown ? -1 : 1));
    body.append(...rows);
  }

  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sortBy(table, column, button));
      head.replaceChildren(button);
    });
  }

  // Plots

  // The buttons are listed, as plotly has one by itself that sends a chart to its makers.
  const BUTTONS = [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]];
  const CONFIG = { displaylogo: false, responsive: true, modeBarButtons: BUTTONS, showSendToCloud: false, plotlyServerURL: "" };

  function draw(source) {
    const place = document.getElementById(source.dataset.plot);
    const figure = readJson(source);
    const config = { ...CONFIG, displayModeBar: place.clientWidth > NARROW && figure.layout.hovermode === "closest" };
    const edits = { shapePosition: source.dataset.plot === "plot-front" };
    Plotly.newPlot(place, figure.data, figure.layout, { ...config, edits });
    return place;
  }

  // The front of a study

  function explore(plots) {
    const source = document.getElementById("explored");
    const plot = document.getElementById("plot-front");
    if (!source || !plot) return;
    const known = readJson(source);
    const panel = document.getElementById("point");
    const bound = document.getElementById("bound");
    const RING = 3; // the trace that marks what is chosen, after those of `front_plot`
    const axes = { x: known.objectives[0], y: known.objectives[1] };
    let shown = null;

    const row = (...cells) => {
      const line = document.createElement("tr");
      cells.forEach((cell) => {
        const place = document.createElement("td");
        place.append(cell);
        line.append(place);
      });
      return line;
    };
    const link = (name, path) => {
      const found = document.createElement("a");
      found.href = path;
      found.textContent = name;
      return found;
    };
    const valueOf = (number, name) => known.points[number].values[name] || null;
    const said = ([value, low, high]) => `${value.toPrecision(4)} [${low.toPrecision(4)}, ${high.toPrecision(4)}]`;

    function showTrial(trial, label, measures) {
      const { about, files } = known.trials[trial];
      const heading = document.createElement("h3");
      heading.textContent = label;
      const table = document.createElement("table");
      for (const [name, value] of measures) table.append(row(name, said(value)));
      for (const [name, value] of about) table.append(row(name, value));
      const list = document.createElement("p");
      files.forEach(([name, path], i) => list.append(i ? ", " : "Files: ", link(name, path)));
      panel.replaceChildren(heading, table, list);
      mark("data-trial", String(trial));
      const lines = document.getElementById("plot-parallel");
      if (lines) {
        const widths = lines.data.map((line) => (line.customdata[0] === trial ? 5 : 1.5));
        Plotly.restyle(lines, { "line.width": widths });
      }
    }

    function show(number) {
      shown = number;
      const point = known.points[number];
      showTrial(point.trial, point.label, Object.entries(point.values).filter(([, value]) => value));
      mark("data-point", point.label);
      ring(number);
    }

    function ring(number) {
      const [x, y] = [valueOf(number, axes.x), valueOf(number, axes.y)];
      Plotly.restyle(plot, { x: [x ? [x[0]] : []], y: [y ? [y[0]] : []] }, [RING]);
    }

    function mark(attribute, value) {
      for (const line of document.querySelectorAll(`tr[${attribute}]`))
        line.classList.toggle("chosen", line.getAttribute(attribute) === value);
    }

    // Axes

    function replot() {
      const update = { x: [], y: [], "error_x.array": [], "error_x.arrayminus": [], "error_y.array": [], "error_y.arrayminus": [] };
      for (const trace of plot.data.slice(0, RING))
        for (const side of ["x", "y"]) {
          const values = trace.customdata.map((number) => valueOf(number, axes[side]));
          update[side].push(values.map((value) => value && value[0]));
          update[`error_${side}.array`].push(values.map((value) => value && value[2] - value[0]));
          update[`error_${side}.arrayminus`].push(values.map((value) => value && value[0] - value[1]));
        }
      Plotly.restyle(plot, update, [0, 1, 2]);
      Plotly.relayout(plot, {
        "xaxis.title.text": known.measures[axes.x], "yaxis.title.text": known.measures[axes.y],
        "xaxis.autorange": true, "yaxis.autorange": true,
      });
      if (shown !== null) ring(shown);
      setBound(Number(bound.value));
    }

    function fillAxes() {
      const names = Object.keys(known.measures);
      for (const side of ["x", "y"]) {
        const choice = document.getElementById(`axis-${side}`);
        choice.append(...names.map((name) => new Option(name, name, false, name === axes[side])));
        choice.addEventListener("change", () => {
          axes[side] = choice.value;
          replot();
        });
        choice.parentElement.hidden = names.length < 3;
      }
    }

    // The bound

    function chosenBy(value) {
      const isMost = known.bounds.side === "at_most";
      const within = known.bounds.choices.filter(([limit]) => (isMost ? limit <= value : limit >= value));
      return within.length ? within[within.length - 1][1] : null;
    }

    function setBound(value, isAsked = false) {
      if (!known.bounds) return;
      const { measure, side } = known.bounds;
      const rounded = Number(value.toPrecision(4));
      bound.value = rounded;
      document.getElementById("bound-value").textContent = rounded;
      const number = chosenBy(rounded);
      const asked = `--search.pick '{${side}: {${measure}: ${rounded}}}'`;
      const says = document.getElementById("bound-says");
      if (number === null) says.textContent = `No point of the front has ${measure} ${side.replace("_", " ")} ${rounded}.`;
      else {
        const best = known.objectives[1];
        says.textContent = `${measure} ${side.replace("_", " ")} ${rounded}: ${known.points[number].label}, ${best} ${said(valueOf(number, best))}. `;
        const code = document.createElement("code");
        code.textContent = asked;
        says.append("Ask for it with ", code);
        if (isAsked && number !== shown) show(number);
      }
      const shapes = axes.x !== measure ? [] : [{
        type: "line", xref: "x", yref: "paper", x0: rounded, x1: rounded, y0: 0, y1: 1,
        line: { color: plot.data[RING].marker.color, width: 3, dash: "dot" },
      }];
      Plotly.relayout(plot, { shapes });
    }

    function fillBound() {
      bound.parentElement.hidden = !known.bounds;
      if (!known.bounds) return;
      const limits = known.bounds.choices.map(([limit]) => limit);
      const [low, high] = [Math.min(...limits), Math.max(...limits)];
      const margin = 0.05 * (high - low || Math.abs(high) || 1);
      bound.min = low - margin;
      bound.max = high + margin;
      bound.setAttribute("aria-label", `${known.bounds.measure} ${known.bounds.side.replace("_", " ")}`);
      bound.parentElement.firstChild.textContent = `${known.bounds.measure} ${known.bounds.side.replace("_", " ")} `;
      bound.addEventListener("input", () => setBound(Number(bound.value), true));
      plot.on("plotly_relayout", (change) => {
        const moved = change["shapes[0].x0"];
        if (moved !== undefined) setBound(Number(moved), true);
      });
      const start = known.bounds.side === "at_most" ? high + margin : low - margin;
      setBound(start);
    }

    fillAxes();
    fillBound();
    plot.on("plotly_click", ({ points }) => show(points[0].customdata));
    for (const other of plots)
      if (other.id === "plot-parallel" || other.id === "plot-cost")
        other.on("plotly_click", ({ points }) => {
          const trial = other.id === "plot-cost" ? points[0].x : points[0].customdata;
          showTrial(trial, `trial ${trial}`, []);
        });
    const byLabel = new Map(known.points.map((point, number) => [point.label, number]));
    for (const line of document.querySelectorAll("tr[data-point]")) {
      line.tabIndex = 0;
      const choose = () => show(byLabel.get(line.getAttribute("data-point")));
      line.addEventListener("click", choose);
      line.addEventListener("keydown", (event) => event.key === "Enter" && choose());
    }
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);
  const plots = [...document.querySelectorAll("script[data-plot]")].map(draw);
  explore(plots);

  // On paper plots are as wide as the sheet

  const resize = (width) => plots.forEach((plot) => Plotly.relayout(plot, { width, autosize: width === null }));
  const paper = window.matchMedia("print");
  window.addEventListener("beforeprint", () => resize(680));
  window.addEventListener("afterprint", () => resize(null));
  paper.addEventListener("change", (event) => resize(event.matches ? 680 : null));
})();
