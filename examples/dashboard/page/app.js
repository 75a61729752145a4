import { Pond } from "./pond.js";
import { showStatus } from "./page.js";

const metrics = {
  clients: ["Clients connected", (v) => v],
  watched: ["Metrics with members", (v) => v],
  goroutines: ["Goroutines", (v) => v],
  memory: ["Memory in use", (v) => `${v.toFixed(1)} MiB`],
};
const shown = 60_000; // milliseconds

const pond = new Pond("/socket");
showStatus(pond, document.getElementById("status"));

for (const [name, [title, format]] of Object.entries(metrics)) {
  const card = document.getElementById("card").content.firstElementChild.cloneNode(true);
  const [svg, line, checkbox] = ["svg", "polyline", "input"].map((s) => card.querySelector(s));
  card.querySelector("h2").textContent = title;
  checkbox.setAttribute("aria-label", `watch ${title}`);
  document.getElementById("cards").append(card);

  let points = [];
  const draw = () => {
    if (points.length === 0) return;
    const values = points.map((p) => p.value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const span = high - low || 1;
    const x = (p) => 240 - (points.at(-1).at - p.at) * (240 / shown);
    const y = (v) => (high === low ? 30 : 55 - ((v - low) / span) * 50);
    line.setAttribute("points", points.map((p) => `${x(p)},${y(p.value)}`).join(" "));
    card.querySelector(".value").textContent = format(values.at(-1));
    svg.setAttribute("aria-label", `${title} in the last minute: from ${format(low)} to ${format(high)}`);
  };

  // The snapshot comes first, and then each point once, even after a reconnect. If the page
  // was asleep, points are missing: only the latest matters.
  const watch = () => {
    const channel = pond.channel(`/metrics/${name}`);
    channel.on("snapshot", (snapshot) => {
      points = snapshot.points ?? [];
      draw();
    });
    channel.on("point", (point) => {
      points = [...points, point].filter((p) => p.at > point.at - shown);
      draw();
    });
    return channel;
  };

  let channel = watch();
  checkbox.addEventListener("change", () => {
    card.classList.toggle("off", !checkbox.checked);
    if (checkbox.checked) channel = watch();
    else channel.leave();
  });
}
