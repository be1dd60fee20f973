// Draws the page; that of a dashboard follows its study.
report.mount = () => report.mounts.forEach((mount) => mount());
report.mount();
report.follow?.();
