"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plane = data.kind === "classification";
  const byId = (id) => document.getElementById(id);
  const stage = byId("stage"), plot = byId("plot"), canvas = byId("canvas"), status = byId("status");
  const steps = byId("steps"), taken = byId("taken"), draws = byId("draws");
  let points = [], found = null, drawn = null, label = data.numClasses - 1, asked = 0, failed = "";

  stage.classList.toggle("square", plane);
  steps.max = data.steps.length - 1;
  steps.value = data.steps.indexOf(data.ownSteps);
  byId("drawing").hidden = !data.draws;
  draws.checked = data.draws;

  if (plane) {
    for (let i = 0; i < data.numClasses; i++) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "class " + i;
      button.style.setProperty("--paint", paint(i));
      button.addEventListener("click", () => { label = i; press(); });
      byId("classes").append(button);
    }
    press();
  }

  function press() {
    Array.from(byId("classes").children).forEach((button, i) => button.setAttribute("aria-pressed", String(i === label)));
  }

  function paint(index) { return "var(--c" + (index + 1) % 6 + ")"; }

  const size = () => [stage.clientWidth, stage.clientHeight];
  const scale = (range, length, flip) => (value) => {
    const part = (value - range[0]) / (range[1] - range[0]);
    return (flip ? 1 - part : part) * length;
  };

  function element(name, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    plot.append(made);
    return made;
  }

  function ticks(range) {
    const raw = (range[1] - range[0]) / 6, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((digit) => digit * power).find((each) => each >= raw);
    const values = [];
    for (let k = Math.ceil(range[0] / step); k * step <= range[1]; k++) values.push(Number((k * step).toPrecision(6)));
    return values;
  }

  function render() {
    const [width, height] = size();
    plot.replaceChildren();
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const x = scale(data.x, width, false), y = scale(data.y, height, true);
    const clear = canvas.getContext("2d");
    clear.clearRect(0, 0, canvas.width, canvas.height);
    if (plane && found) heat(clear);
    if (!plane) {
      for (const value of ticks(data.y)) element("line", { class: "grid", x1: 0, x2: width, y1: y(value), y2: y(value) });
      if (found) curves(x, y);
    }
    const inside = (place, length, edge) => place > edge && place < length - edge;
    for (const value of ticks(data.y)) {
      if (inside(y(value), height, 26)) element("text", { x: 6, y: y(value) - 3 }, value);
    }
    for (const value of ticks(data.x)) {
      if (inside(x(value), width, 26)) element("text", { x: x(value), y: height - 6, "text-anchor": "middle" }, value);
    }
    points.forEach((point, index) => {
      const fill = "fill:" + (plane ? paint(point[2]) : "var(--ink)");
      const dot = element("circle", { class: "point", r: 6, cx: x(point[0]), cy: y(point[1]), style: fill });
      dot.addEventListener("click", (event) => { event.stopPropagation(); points.splice(index, 1); adapt(); });
    });
    byId("how").textContent = (plane ? "Click in the plane to add support points of the chosen class" : "Click to add support points")
      + "; click a point to remove it." + (found && found.low ? " Band: two standard deviations around the prediction." : "")
      + (data.draws ? " Orange: functions drawn from it." : "");
    const many = points.length === 1 ? "1 point" : points.length + " points";
    status.textContent = failed || (found ? `${many}; adapted and predicted in ${found.ms.toFixed(1)} ms` + (drawn ? `, draws in ${drawn.ms.toFixed(0)} ms` : "") : "");
    status.classList.toggle("error", failed !== "");
  }

  function path(xs, ys, x, y) {
    return xs.map((value, i) => (i ? "L" : "M") + x(value).toFixed(1) + " " + y(ys[i]).toFixed(1)).join("");
  }

  function curves(x, y) {
    if (found.low) {
      const back = found.x.slice().reverse(), low = found.low.slice().reverse();
      element("path", { class: "band", d: path(found.x, found.high, x, y) + path(back, low, x, y).replace("M", "L") + "Z" });
    }
    for (const particle of found.particles || []) element("path", { class: "particle", d: path(found.x, particle, x, y) });
    for (const draw of (drawn && draws.checked && drawn.functions) || []) element("path", { class: "draw", d: path(drawn.x, draw, x, y) });
    element("path", { class: "mean", d: path(found.x, found.mean, x, y) });
  }

  function heat(context) {
    const side = found.side, style = getComputedStyle(document.documentElement);
    const colours = Array.from({ length: data.numClasses }, (_, i) => rgb(style.getPropertyValue("--c" + (i + 1) % 6).trim()));
    canvas.width = canvas.height = side;
    const image = context.createImageData(side, side);
    for (let i = 0; i < side * side; i++) {
      const row = side - 1 - Math.floor(i / side), column = i % side;
      const best = found.label[row * side + column], sure = found.probability[row * side + column];
      image.data.set([...colours[best], 200 * Math.max(0, (sure - 1 / data.numClasses) / (1 - 1 / data.numClasses))], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }

  function rgb(hex) { return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)); }

  async function ask(what, body) {
    const answer = await fetch("/" + what, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.error);
    return value;
  }

  async function adapt() {
    const number = ++asked, step = data.steps[Number(steps.value)];
    taken.textContent = step + (step === 1 ? " step" : " steps");
    const body = { points, steps: step };
    try {
      const next = await ask("adapt", body);
      if (number !== asked) return;
      [found, drawn, failed] = [next, null, ""];
      render();
      if (data.draws && draws.checked && points.length && step === data.ownSteps) {
        const functions = await ask("draw", body);
        if (number !== asked) return;
        drawn = functions;
      }
    } catch (error) {
      if (number !== asked) return;
      failed = "No answer: " + error.message;
    }
    render();
    document.documentElement.dataset.adapted = String(number);
  }

  stage.addEventListener("click", (event) => {
    const box = stage.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width, up = 1 - (event.clientY - box.top) / box.height;
    const at = [data.x[0] + across * (data.x[1] - data.x[0]), data.y[0] + up * (data.y[1] - data.y[0])];
    if (points.length >= data.mostPoints) return;
    points.push(plane ? [...at, label] : at);
    adapt();
  });
  steps.addEventListener("input", adapt);
  draws.addEventListener("change", adapt);
  byId("undo").addEventListener("click", () => { points.pop(); adapt(); });
  byId("clear").addEventListener("click", () => { points = []; adapt(); });
  let example = 0;
  byId("example").addEventListener("click", () => { points = data.examples[example++ % data.examples.length].slice(); adapt(); });
  new ResizeObserver(() => requestAnimationFrame(render)).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  adapt();
})();
