// Functions that the pages of the examples share.

const words = {
  idle: "Not connected",
  connecting: "Connecting…",
  connected: "Connected",
  waiting: "Connection lost. Reconnecting…",
  stopped: "Declined",
  closed: "Not connected",
};

/** Shows the state of a Pond as text in an element. */
export function showStatus(pond, element) {
  const show = ({ status, error }) => {
    element.dataset.state = status;
    element.textContent = words[status] + (status === "stopped" ? `: ${error.message}` : "");
  };
  show(pond.getSnapshot());
  return pond.subscribe(show);
}

/** Creates an element: el("li", { className: "mine" }, "text", child). Text is never parsed as HTML. */
export function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
