// Runs before the first paint: a theme chosen by hand wins over the system's. Not a module for that reason.
(function () {
  try {
    const chosen = localStorage.getItem("homard.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage is refused in some private windows; the system's preference is then used.
  }
})();
