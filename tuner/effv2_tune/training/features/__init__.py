"""Features of a frozen backbone: extracted once, cached, trained on."""
