const figures = JSON.parse(document.getElementById("figures").textContent);
const hidden = new Set();
// A picture in a closed section has no size yet: it is drawn when the section opens.
function draw(name) {
  const plot = document.getElementById(name);
  if (plot.data || plot.closest("details:not([open])")) return;
  const figure = figures[name];
  let layout = figure.layout;
  if (plot.clientWidth < layout.width)
    layout = {...(layout.meta ?? layout), width: plot.clientWidth};
  const data = figure.data.map(t => ({...t, visible: !hidden.has(t.legendgroup)}));
  Plotly.newPlot(name, data, layout, {displaylogo: false, displayModeBar: false});
}
const drawAll = () => Object.keys(figures).forEach(draw);
drawAll();
const sections = document.querySelectorAll("details");
for (const section of sections) section.addEventListener("toggle", drawAll);
addEventListener("beforeprint", () => {
  for (const section of sections) section.open = true;
  drawAll();
});
for (const button of document.querySelectorAll(".legend button"))
  button.addEventListener("click", () => {
    const label = button.dataset.label, off = button.classList.toggle("off");
    button.setAttribute("aria-pressed", !off);
    if (off) hidden.add(label); else hidden.delete(label);
    for (const plot of document.querySelectorAll(".plot")) {
      if (!plot.data) continue;
      const traces = plot.data.flatMap((t, i) => t.legendgroup === label ? [i] : []);
      if (traces.length) Plotly.restyle(plot, {visible: !off}, traces);
    }
  });
