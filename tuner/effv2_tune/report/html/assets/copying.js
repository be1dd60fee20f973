// Buttons that copy a command.
(() => {
  // The clipboard is closed to pages that are neither files nor on this machine.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = report.element("textarea", text);
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (button === null) return;
    await copy(button.dataset.copy);
    button.textContent = "Copied";
    report.announce("Copied");
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
})();
