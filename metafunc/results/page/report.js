"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const font = getComputedStyle(document.body).fontFamily;
  const config = {
    background: null, font,
    view: { stroke: null },
    axis: {
      domainColor: "var(--quiet)", tickColor: "var(--quiet)", gridColor: "var(--hair)", labelColor: "var(--ink)",
      titleColor: "var(--ink)", titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12,
    },
    axisX: { grid: false, labelFlush: true, tickCount: 5 },
    axisY: { domain: false, ticks: false, tickCount: 5, labelPadding: 7 },
    legend: { labelColor: "var(--ink)", titleColor: "var(--ink)", labelFontSize: 12, symbolStrokeWidth: 3, offset: 6, labelLimit: 220 },
  };
  const views = new Map();

  async function draw(place) {
    if (views.has(place)) return views.get(place);
    const spec = Object.assign({}, data.specs[place.dataset.spec], { config });
    if (spec.datasets) spec.datasets = Object.assign({}, spec.datasets, data.shared);
    // The interpreter, in place of compiled expressions: the page allows no code to be made from text.
    const drawn = vegaEmbed(place, spec, { renderer: "svg", actions: false, ast: true, mode: "vega-lite", defaultStyle: false })
      .then((result) => result.view);
    views.set(place, drawn);
    return drawn;
  }

  const visible = (place) => !place.closest("[hidden]");

  for (const choice of document.querySelectorAll(".choice")) {
    const menu = choice.querySelector("select");
    if (!menu) continue;
    menu.addEventListener("change", () => {
      for (const panel of choice.querySelectorAll(".option")) panel.hidden = panel.dataset.option !== menu.value;
      choice.querySelectorAll(".chart").forEach((place) => visible(place) && draw(place));
    });
  }

  const explorer = document.getElementById("functions");
  if (explorer) {
    const task = explorer.querySelector("[name=task]"), step = explorer.querySelector("[name=step]");
    const shown = explorer.querySelector("output");
    const update = async () => {
      const steps = data.steps[Number(step.value)];
      delete explorer.dataset.shown;
      shown.textContent = steps + (steps === 1 ? " step" : " steps");
      for (const place of explorer.querySelectorAll(".chart")) {
        const view = await draw(place);
        await view.signal("task", Number(task.value)).signal("step", steps).runAsync();
      }
      explorer.dataset.shown = task.value + " " + steps;
    };
    task.addEventListener("change", update);
    step.addEventListener("input", update);
    update();
  }

  document.querySelectorAll("table.sortable").forEach(sortable);

  const all = Array.from(document.querySelectorAll(".chart")).filter(visible).map(draw);
  Promise.all(all).then(() => { document.documentElement.dataset.drawn = String(all.length); });
})();
