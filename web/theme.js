// Runs before the first paint, so that a chosen theme does not flash. Everything else is a module.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem('leeway.theme');
  } catch (error) {
    chosen = String(error) === '' ? 'light' : null; // storage is blocked: the system's theme it is
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
