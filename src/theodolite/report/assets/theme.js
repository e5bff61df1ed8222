// Runs before the page is painted, so that a chosen theme does not flash.
"use strict";
document.documentElement.classList.add("js");
try {
  const chosen = localStorage.getItem("theodolite-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (error) {
  // Storage may be closed to files; the system's theme holds.
}
