const figures = JSON.parse(document.getElementById("figures").textContent);
for (const [name, figure] of Object.entries(figures))
  Plotly.newPlot(name, figure.data, figure.layout, {displaylogo: false, displayModeBar: false});
for (const button of document.querySelectorAll(".legend button"))
  button.addEventListener("click", () => {
    const shown = !button.classList.toggle("off");
    button.setAttribute("aria-pressed", shown);
    for (const name of Object.keys(figures)) {
      const plot = document.getElementById(name);
      const traces = plot.data.flatMap((t, i) => t.legendgroup === button.dataset.label ? [i] : []);
      if (traces.length) Plotly.restyle(plot, {visible: shown}, traces);
    }
  });
