"use strict";
// Play all views of a page in sync; shorter ones loop.
const play = document.getElementById("play");
const step = document.getElementById("step");
const speed = document.getElementById("speed");
const HOLD = 4; // frames' worth of time that the last frame stays
const views = [...document.querySelectorAll(".view")].map((view) => ({
  ...JSON.parse(view.dataset.view), // frames, numbers, boxes
  strip: view.querySelector("img"), // all frames, one below the other
  canvas: view.querySelector("canvas"),
  rects: [...view.querySelectorAll(".screen rect")],
  label: view.querySelector(".number"),
  now: view.querySelector(".track rect"),
}));
let timer = null;

function show(t) {
  step.value = t;
  for (const { frames, numbers, boxes, strip, canvas, rects, label, now } of views) {
    const at = t % frames;
    const { width, height } = canvas;
    canvas.getContext("2d").drawImage(strip, 0, at * height, width, height, 0, 0, width, height);
    rects.forEach((rect, r) => {
      const [x, y, w, h] = boxes[r][at];
      for (const [name, value] of Object.entries({ x, y, width: w, height: h })) rect.setAttribute(name, value);
      rect.style.visibility = w > 0 && h > 0 ? "visible" : "hidden";
    });
    if (numbers) label.textContent = `frame ${numbers[at]}`;
    if (now) now.setAttribute("x", numbers[at]);
  }
}

function move(by) {
  const length = Number(step.max) + 1;
  show((Number(step.value) + by + length) % length);
}

function run() {
  const hold = step.value === step.max ? HOLD : 1;
  timer = setTimeout(() => { move(1); run(); }, (1000 / speed.value) * hold);
}

function toggle() {
  if (timer === null) run();
  else { clearTimeout(timer); timer = null; }
  play.textContent = timer === null ? "Play" : "Pause";
}

play.addEventListener("click", toggle);
step.addEventListener("input", () => show(Number(step.value)));
speed.addEventListener("input", () => { document.getElementById("rate").textContent = `${speed.value} frames/s`; });
document.addEventListener("keydown", (event) => {
  if (event.target !== document.body) return; // buttons and sliders have keys of their own
  if (event.key === " ") toggle();
  else if (event.key === "ArrowRight") move(1);
  else if (event.key === "ArrowLeft") move(-1);
  else return;
  event.preventDefault();
});
addEventListener("load", () => {
  show(0);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) toggle();
});
